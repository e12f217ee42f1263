"""Classify images: `python tools/predict.py export/mnist digit.png`."""

import sys

from paddle_resume.cli import main

if __name__ == "__main__":
    main(["predict", *sys.argv[1:]])
