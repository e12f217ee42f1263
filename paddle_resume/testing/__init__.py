"""The proof that an interruption changes nothing: real processes, real kills, everything compared bit for bit."""

from paddle_resume.testing.compare import first_differences
from paddle_resume.testing.kill_plan import Kill
from paddle_resume.testing.proof import Proof, assert_exact_resume, run_and_compare
from paddle_resume.testing.repeat import Repetition, repeat_and_compare

__all__ = [
    "Kill",
    "Proof",
    "Repetition",
    "assert_exact_resume",
    "first_differences",
    "repeat_and_compare",
    "run_and_compare",
]
