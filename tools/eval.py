"""Print the metrics of a checkpoint: `python tools/eval.py -c configs/mnist.yaml --weights checkpoint/mnist_epoch2`."""

import sys

from paddle_resume.cli import main

if __name__ == "__main__":
    main(["eval", *sys.argv[1:]])
