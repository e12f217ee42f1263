"""`python -m paddle_resume.wrap SCRIPT ARGUMENTS...`: as `paddle-resume wrap`, for launchers that start Python.

Those of Paddle start no module, but this file; options are in PADDLE_RESUME_WRAP then.
"""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

if __name__ == "__main__":
    if sys.path[0] == str(Path(__file__).parent):
        del sys.path[0]  # In which programs would find this package's modules for theirs.
        sys.path.insert(0, "")
    from paddle_resume.cli.app import main

    main(["wrap", *shlex.split(os.environ.get("PADDLE_RESUME_WRAP", "")), *sys.argv[1:]])
