"""Measure side by side what is promised: `python tools/benchmark.py throughput`."""

from paddle_resume.benchmark.app import main

if __name__ == "__main__":
    main()
