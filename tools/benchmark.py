"""Measure side by side what is promised: `python tools/benchmark.py throughput`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))  # The benchmarks are no part of the installed package.

from benchmarks.commands import main

if __name__ == "__main__":
    main()
