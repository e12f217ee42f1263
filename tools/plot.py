"""Draw the curves of runs: `python tools/plot.py log/mnist log/mnist_lenet --output curves.png`."""

import sys

from paddle_resume.cli import main

if __name__ == "__main__":
    main(["plot", *sys.argv[1:]])
