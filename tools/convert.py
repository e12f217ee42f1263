"""Bring in torch's weights: `python tools/convert.py resnet18.pth resnet18.pdparams -c configs/my_resnet.yaml`."""

import sys

from paddle_resume.cli import main

if __name__ == "__main__":
    main(["convert", *sys.argv[1:]])
