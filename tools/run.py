"""Keep a training running: `python tools/run.py --max-restarts 20 -- python tools/train.py -c configs/mnist.yaml`."""

import sys

from paddle_resume.cli import main

if __name__ == "__main__":
    main(["run", *sys.argv[1:]])
