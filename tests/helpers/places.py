"""Where the checkout has its parts, so that no test counts folders upwards."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / "configs"
EXAMPLES = ROOT / "examples"
PROGRAMS = ROOT / "tests" / "helpers" / "programs"
