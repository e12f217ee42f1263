"""How often to save: `python tools/interval.py --save-stall 250ms --mtbf 60d --nodes 8 --step-time 400ms`."""

import sys

from paddle_resume.cli import main

if __name__ == "__main__":
    main(["interval", *sys.argv[1:]])
