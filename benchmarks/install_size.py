"""What an installation of this package adds to one of Paddle alone, by distribution, in two fresh environments.

`python benchmarks/install_size.py [--limit MB]`: only the standard library is needed; pip has to reach a package index.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

_ROOT = Path(__file__).resolve().parent.parent
# Run by the environment that is measured: bytes on disk of each of its distributions, with the .pyc that pip made.
_MEASURE = """
import json
from importlib.metadata import distributions
def size(distribution):
    paths = {distribution.locate_file(file).resolve() for file in distribution.files or ()}
    return sum(path.stat().st_size for path in paths if path.is_file())
print(json.dumps({found.metadata["Name"]: size(found) for found in distributions()}))
"""


def installed(folder: Path, requirement: str) -> dict[str, int]:
    """The bytes on disk of each distribution in a new environment in `folder` after `pip install requirement`."""
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", requirement], check=True)
    return json.loads(subprocess.run([python, "-c", _MEASURE], check=True, stdout=subprocess.PIPE).stdout)


def copied(checkout: Path, folder: Path) -> Path:
    """The checkout in `folder`, since pip builds where the sources lie and leaves what it built."""
    return shutil.copytree(checkout, folder, symlinks=True, ignore=shutil.ignore_patterns(".*", "build", "*.egg-info"))


def added(paddle: dict[str, int], package: dict[str, int]) -> dict[str, float]:
    """MB (10^6 bytes) that each distribution of `package` has more than in `paddle`, the most first."""
    more = {name: (package.get(name, 0) - paddle.get(name, 0)) / 1e6 for name in {*paddle, *package}}
    return dict(sorted(((name, size) for name, size in more.items() if size), key=lambda entry: -entry[1]))


def main() -> None:
    """Measure, print the table, and end with 1 if the sum is above the limit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--limit", type=float, help="MB that the sum may have at most")
    parser.add_argument("--checkout", type=Path, default=_ROOT, help="what to install; default: this one")
    parser.add_argument("--paddle", default="paddlepaddle", help="the requirement of Paddle alone")
    parser.add_argument("--extra", default="cpu", help="the extra of this package that brings the same Paddle")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        paddle = installed(Path(work, "paddle"), options.paddle)
        source = copied(options.checkout, Path(work, "source"))
        package = installed(Path(work, "package"), f"{source}[{options.extra}]")
    table = added(paddle, package)
    for name, size in table.items():
        if abs(size) >= 0.05:
            print(f"{size:8.1f}  {name}")
    total = sum(table.values())
    print(f"{total:8.1f}  MB beyond the {sum(paddle.values()) / 1e6:.0f} MB of {options.paddle} alone")
    if options.limit is not None and total > options.limit:
        sys.exit(f"That is above the limit of {options.limit:g} MB.")


if __name__ == "__main__":
    main()
