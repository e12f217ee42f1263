"""Train from a YAML file, or continue: `python tools/train.py -c configs/mnist.yaml`."""

import sys

from paddle_resume.cli import main

if __name__ == "__main__":
    main(["train", *sys.argv[1:]])
