"""Export a checkpoint: `python tools/export.py -c configs/mnist.yaml --weights checkpoint/mnist_epoch2`."""

import sys

from paddle_resume.cli import main

if __name__ == "__main__":
    main(["export", *sys.argv[1:]])
