"""Where Python's and NumPy's generators stand is seen in their memory, and they can be brought back there."""

from __future__ import annotations

import random
from typing import Any, Callable

import numpy as np
import pytest

from paddle_resume import rng
from paddle_resume.suites.host_generators import HostState, host_state, set_host_state

DRAWS: dict[str, Callable[[], Any]] = {
    "python": random.random,
    "gauss of python": lambda: random.gauss(0, 1),
    "numpy": np.random.rand,
    "normal of numpy": np.random.randn,
    "700 words of both": lambda: (np.random.rand(350), [random.random() for _ in range(350)]),
}


@pytest.fixture(params=["read in memory", "told", "another generator"])
def how(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    random.seed(1)
    np.random.seed(1)
    if request.param == "told":
        monkeypatch.setattr(rng, "_PYTHON_WORDS", None)
        monkeypatch.setattr(rng, "_GAUSS", None)
    if request.param == "another generator":
        monkeypatch.setattr(np.random.mtrand, "_rand", np.random.RandomState(np.random.MT19937(3)))
    return request.param


@pytest.mark.parametrize("what", DRAWS)
def test_each_draw_is_seen_and_taken_back(what: str, how: str) -> None:
    for _ in range(3):
        before, values = HostState.now(), host_state()
        told = random.getstate(), repr(np.random.mtrand._rand.get_state())
        assert before.is_same(HostState.now())
        DRAWS[what]()
        if how != "another generator" or "numpy" not in what:  # The functions of np.random are those of the first one.
            assert not before.is_same(HostState.now())
        assert repr(before.values()) == repr(values)
        if how != "another generator":
            set_host_state(values)
            assert before.is_same(HostState.now())
            assert (random.getstate(), repr(np.random.mtrand._rand.get_state())) == told
            DRAWS[what]()
