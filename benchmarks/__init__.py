"""Benchmarks, each against the peer that a user would otherwise take, in one run and with the spread shown."""

# Its CPU set-up comes before Paddle, which many modules here import first.
import paddle_resume  # noqa: F401
