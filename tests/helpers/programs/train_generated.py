"""Trains the run that a JSON file describes; ends with 2 and one line if the package refuses it."""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import paddle_resume  # noqa: F401  # isort: skip (its CPU set-up comes before Paddle)
from generated.run import train

from paddle_resume.errors import PaddleResumeError


def main():
    description = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    try:
        train(description, int(sys.argv[2]))
    except PaddleResumeError as error:
        print(f"refused: {type(error).__name__}: {error}", flush=True)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
