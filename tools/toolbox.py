"""Every command of docs/toolbox.md without installing the package: `python tools/toolbox.py list checkpoint`."""

import sys

from paddle_resume.cli import main

if __name__ == "__main__":
    main(sys.argv[1:])
