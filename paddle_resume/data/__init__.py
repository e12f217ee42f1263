"""Data: where it comes from, and the resumable order in which a run sees it."""
