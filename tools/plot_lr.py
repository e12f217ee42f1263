"""Draw a config's learning rate before training: `python tools/plot_lr.py -c configs/mnist.yaml --output lr.png`."""

import sys

from paddle_resume.cli import main

if __name__ == "__main__":
    main(["plot-lr", *sys.argv[1:]])
