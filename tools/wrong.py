"""Draw wrongly classified images: `python tools/wrong.py -c configs/mnist.yaml --weights checkpoint/mnist_epoch2`."""

import sys

from paddle_resume.cli import main

if __name__ == "__main__":
    main(["wrong", *sys.argv[1:]])
