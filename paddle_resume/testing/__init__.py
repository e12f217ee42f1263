"""The proof that an interruption changes nothing: real processes, real kills, everything compared bit for bit."""

from paddle_resume.testing.compare import first_differences
from paddle_resume.testing.kill_plan import Kill
from paddle_resume.testing.proof import Proof, assert_exact_resume, run_and_compare

__all__ = ["Kill", "Proof", "assert_exact_resume", "first_differences", "run_and_compare"]
