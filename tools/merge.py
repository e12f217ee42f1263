"""Make plain files of a sharded checkpoint: `python tools/merge.py checkpoint/mnist_epoch2`."""

import sys

from paddle_resume.cli import main

if __name__ == "__main__":
    main(["merge", *sys.argv[1:]])
