"""`python -m paddle_resume.wrap SCRIPT ARGUMENTS...`: as `paddle-resume wrap`, for launchers that start Python."""

from __future__ import annotations

import sys

if __name__ == "__main__":
    from paddle_resume.cli.app import main

    main(["wrap", *sys.argv[1:]])
