"""Programs with mixed precision and static graphs, killed and stopped in the middle."""

from __future__ import annotations

from pathlib import Path

import paddle
import pytest
from wrapping import differences, straight, through

pytestmark = pytest.mark.skipif(
    paddle.__version__.startswith("2."), reason="Paddle 2.6 does not give its CPU generator away"
)


def full(way: str) -> object:
    return pytest.param(way, marks=pytest.mark.full)


# On a CPU O1 and O2 change nothing: that such a program is taken at all is what they show there.
WAYS = ["short", "O1,to_static", full("short,to_static"), full("O2,grad"), full("to_static"), full("jit")]


@pytest.mark.parametrize("way", WAYS)
def test_all_outputs_are_those_of_a_straight_run(way: str, tmp_path: Path) -> None:
    whole = straight(tmp_path, "precision", way)
    assert differences(whole, through(tmp_path, "precision", "3:SIGKILL", "6:SIGTERM", arguments=[way])) == []
