"""A program without Paddle that counts steps, gives heartbeats, and comes into the trouble it is told to.

Where only the life and death of processes is at stake it stands for a training, which would take longer to start.
It leaves one line a start, with pid and rank, in the file `starts`, and the last step it made in `steps<rank>`.
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from paddle_resume.supervision.heartbeat import Heartbeat


def wait_for_the_others():
    time.sleep(600)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--pause", type=float, default=0.01)
    parser.add_argument("--ranks", type=int, default=1)
    parser.add_argument("--trouble", choices=["raise", "kill", "stop", "hang"])
    parser.add_argument("--at", type=int, default=5)
    parser.add_argument("--by", type=int, default=0, help="the rank that has the trouble")
    parser.add_argument("--times", type=int, default=1000, help="how many starts have it")
    parser.add_argument("--further", type=int, default=0, help="so many steps later at each start")
    parser.add_argument("--deaf", action="store_true", help="take no notice of SIGTERM")
    options = parser.parse_args()

    rank = int(os.environ.get("PADDLE_TRAINER_ID", "0"))
    if options.deaf:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with Path("starts").open("a") as file:
        file.write(f"{os.getpid()} {rank}\n")
    starts = sum(line.split()[1] == str(rank) for line in Path("starts").read_text().splitlines())
    others = []
    if rank == 0 and "PADDLE_TRAINERS_NUM" not in os.environ:
        for other in range(1, options.ranks):
            environment = {**os.environ, "PADDLE_TRAINER_ID": str(other), "PADDLE_TRAINERS_NUM": str(options.ranks)}
            others.append(subprocess.Popen([sys.executable, *sys.argv], env=environment, start_new_session=True))
    heart = Heartbeat.from_environment(rank)
    troubled = rank == options.by and starts <= options.times
    for step in range(1, options.steps + 1):
        heart.beat(step - 1, "train")
        time.sleep(options.pause)
        Path(f"steps{rank}").write_text(str(step))
        if troubled and step == options.at + options.further * (starts - 1):
            heart.beat(step, options.trouble)
            if options.trouble == "raise":
                raise RuntimeError(f"step {step} cannot be made")
            if options.trouble == "hang":
                wait_for_the_others()
            os.kill(os.getpid(), signal.SIGSTOP if options.trouble == "stop" else signal.SIGKILL)
            wait_for_the_others()
    sys.exit(max((abs(other.wait()) for other in others), default=0))


if __name__ == "__main__":
    main()
