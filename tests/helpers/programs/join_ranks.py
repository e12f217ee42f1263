"""Joins the other processes of the run, for which it waits two seconds."""

import sys

import paddle_resume.parallel.world
from paddle_resume.errors import PaddleResumeError
from paddle_resume.parallel.world import World

if __name__ == "__main__":
    paddle_resume.parallel.world._START_SECONDS = 2.0
    try:
        World.current()
    except PaddleResumeError as error:
        print(f"error: {error}")
        sys.exit(error.exit_code)
