"""From the command to the first new step of a resumed run, beside a bare loop's first step; and short commands.

python -m benchmarks.command_start [PAIRS]

Each pair starts every contestant once, in fresh processes one after the other, in an order that rotates. A time is from
the start of the process until its line is read: that of the first step, or the end of a short command.
"""

from __future__ import annotations

import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Callable

from benchmarks.stopwatch import OtherWork
from benchmarks.throughput import mnist_folder
from paddle_resume.environment import environment_as_given

_PAIRS = 11
_STOP_AFTER = 20  # steps, so that the checkpoint is one in mid-epoch
_BARE = """
import sys
import paddle
from paddle.vision.transforms import ToTensor

folder = sys.argv[1]
files = {"image_path": f"{folder}/train-images-idx3-ubyte.gz", "label_path": f"{folder}/train-labels-idx1-ubyte.gz"}
data = paddle.vision.datasets.MNIST(mode="train", transform=ToTensor(), **files)
net = paddle.nn.Sequential(
    paddle.nn.Conv2D(1, 20, 5, padding=2), paddle.nn.ReLU(), paddle.nn.MaxPool2D(2, 2),
    paddle.nn.Conv2D(20, 20, 5, padding=2), paddle.nn.ReLU(), paddle.nn.MaxPool2D(2, 2),
    paddle.nn.Flatten(), paddle.nn.Linear(980, 10),
)
adam = paddle.optimizer.Adam(paddle.optimizer.lr.PolynomialDecay(0.01, 100), parameters=net.parameters())
for images, labels in paddle.io.DataLoader(data, batch_size=32, shuffle=True):
    loss = paddle.nn.functional.cross_entropy(net(images), labels)
    loss.backward()
    adam.step()
    adam.clear_grad()
    print("[train]", float(loss), flush=True)
    break
"""


def main(pairs: int) -> None:
    """Print the table."""
    data = mnist_folder()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        (home / "bare.py").write_text(_BARE, encoding="utf-8")
        command = [sys.executable, "-m", "paddle_resume", "train", "-c", "mnist", "-o", f"data.root={data}"]
        command += ["-o", "trainer.log_every=1", "-o", "checkpoint.memory=off"]
        _until_line(command, home / "begun", "/1563", count=_STOP_AFTER, then=signal.SIGTERM)

        def resumed() -> float:
            shutil.rmtree(home / "run", ignore_errors=True)
            shutil.copytree(home / "begun", home / "run")
            return _until_line(command, home / "run", "[train]")

        contestants: dict[str, Callable[[], float]] = {
            "the first step of a bare loop": lambda: _until_line([sys.executable, "bare.py", data], home, "[train]"),
            "the first new step of a resumed run": resumed,
            "import paddle": lambda: _ended([sys.executable, "-c", "import paddle"], home),
            "paddle-resume --help": lambda: _ended([sys.executable, "-m", "paddle_resume", "--help"], home),
            "paddle-resume list": lambda: _ended([*command[:3], "list", "begun/checkpoint"], home),
        }
        seconds: dict[str, list[float]] = {name: [] for name in contestants}
        others = OtherWork()
        for number in range(pairs):
            names = [*contestants]
            first = number % len(names)
            for name in (*names[first:], *names[:first]):
                seconds[name].append(contestants[name]())
    _show(seconds, others.share)


def _show(seconds: dict[str, list[float]], others: float) -> None:
    bare = seconds["the first step of a bare loop"]
    print("| from the start of the process to | s: median (quartiles) | over the bare loop: median (quartiles) |")
    print("|---|---:|---:|")
    for name, found in seconds.items():
        ratios = [mine / theirs for mine, theirs in zip(found, bare)]
        print(f"| {name} | {_spread(found)} | {_spread(ratios)} |")
    print(f"\nOther programs took {others:.0%} of the processors meanwhile.")


def _spread(values: Sequence[float]) -> str:
    low, _, high = statistics.quantiles(values, n=4) if len(values) > 1 else (values[0],) * 3
    return f"{statistics.median(values):.2f} ({low:.2f}-{high:.2f})"


def _environment() -> dict[str, str]:
    return {
        **environment_as_given(),
        "PYTHONPATH": os.pathsep.join(filter(None, (str(_CHECKOUT), os.environ.get("PYTHONPATH")))),
    }


def _until_line(
    command: Sequence[object], folder: Path, line: str, count: int = 1, then: signal.Signals = signal.SIGKILL
) -> float:
    """Seconds until the program has printed so many such lines; it is sent a signal after that."""
    folder.mkdir(exist_ok=True)
    begun = time.perf_counter()
    process = subprocess.Popen(
        [*map(str, command)],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=_environment(),
        start_new_session=True,
    )
    assert process.stdout is not None
    for said in process.stdout:
        count -= line in said
        if count == 0:
            taken = time.perf_counter() - begun
            os.killpg(process.pid, then)
            process.stdout.read()
            process.wait()
            return taken
    raise SystemExit(f"{' '.join(map(str, command))} ended with {process.wait()} before it printed {line!r}.")


def _ended(command: Sequence[object], folder: Path) -> float:
    begun = time.perf_counter()
    subprocess.run([*map(str, command)], cwd=folder, env=_environment(), capture_output=True, check=True)
    return time.perf_counter() - begun


_CHECKOUT = Path(__file__).resolve().parent.parent

if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else _PAIRS)
