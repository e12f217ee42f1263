"""Write text: `python tools/generate.py -c configs/text.yaml --weights checkpoint/text_epoch5 --prompt "The "`."""

import sys

from paddle_resume.cli import main

if __name__ == "__main__":
    main(["generate", *sys.argv[1:]])
