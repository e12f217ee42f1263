"""Prove that interruptions change nothing: `python tools/prove.py -c configs/mnist.yaml --kills 5`."""

import sys

from paddle_resume.cli import main

if __name__ == "__main__":
    main(["prove", *sys.argv[1:]])
