"""A module whose variables other modules change."""

from __future__ import annotations

LEVEL = 0
SEEN: list[int] = []
