"""Print a model's layers: `python tools/inspect_model.py -c configs/mnist.yaml --values`."""

import sys

from paddle_resume.cli import main

if __name__ == "__main__":
    main(["inspect", *sys.argv[1:]])
