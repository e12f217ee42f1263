"""Exact resume for `paddle.Model.fit`, by one callback."""

from paddle_resume.hapi.exact_resume import ExactResume

__all__ = ["ExactResume"]
