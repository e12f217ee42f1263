"""Bring in torch's weights: `python tools/convert.py net.pth -c configs/my_net.yaml --output net.pdparams`."""

import sys

from paddle_resume.cli import main

if __name__ == "__main__":
    main(["convert", *sys.argv[1:]])
