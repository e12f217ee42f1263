"""A stop under proof has to be answered: what does not say its step, or has not saved it, is no proof."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import paddle
import pytest
from forking import run_and_compare
from places import PROGRAMS
from small_run import train, trainer

from paddle_resume.testing import Kill, first_differences
from paddle_resume.testing.kill_plan import KILL

LOOP = """
import signal, sys
from paddle_resume import RandomStreams
signal.signal(signal.SIGTERM, lambda *_: ({says}, sys.exit(143)))
for step in range(6):
    RandomStreams().begin_step(step)
"""


@pytest.mark.parametrize(
    ("says", "told"),
    [
        ("None", "the run ended with exit code 143 and did not say after which step it stopped"),
        ("print('Stopped after step 3.')", "the run stopped after step 3, and no whole checkpoint holds that step"),
        ("print('Stopped after step 6.')", "it came in step 2, and the run stopped after step 6; expected 3 or 4"),
    ],
    ids=["silent", "not saved", "late"],
)
def test_a_stop_that_is_not_answered_is_told(says: str, told: str, tmp_path: Path) -> None:
    path = tmp_path / "loop.py"
    path.write_text(LOOP.format(says=says))
    proof = run_and_compare([str(path)], tmp_path, [Kill("begin", 2, signal="SIGTERM")], timeout=60)
    assert not proof.holds and proof.landed == proof.kills
    assert f"SIGTERM at the beginning of step 2: {told}" in proof.differences


def test_the_checkpoint_of_a_stop_and_no_other_may_be_there_besides(tmp_path: Path) -> None:
    for folder, every in (("straight", 4), ("stopped", 2)):
        train(trainer(tmp_path / folder, every_steps=every, every_epochs=None, keep=9), epochs=1, max_steps=4)
    compare = partial(first_differences, tmp_path / "straight", tmp_path / "stopped")
    assert [line.split(":")[0] for line in compare()] == [
        "checkpoint/model_step2.pdstates",
        "checkpoint/model_step2.pdparams",
        "checkpoint/model_step2.pdopt",
    ]
    assert compare(stopped_after=[2]) == [] and compare(stopped_after=[3]) == compare()


RANKS = [str(PROGRAMS / "train_ranks.py"), "--max-steps", "12"]
ONE, ALL = Kill("step", 7, rank=1), Kill("step", 7)


@pytest.mark.full
@pytest.mark.parametrize(
    "kill", [ONE, ALL, Kill("gather", 4, rank=1), Kill("begin", 5, signal="SIGINT", rank=1)], ids=str
)
def test_several_processes_are_proved_exact_and_without_the_others_randomness_they_are_not(
    kill: Kill, tmp_path: Path
) -> None:
    compare = partial(run_and_compare, RANKS, kills=[kill], processes=2, timeout=120)
    proof = compare(folder=tmp_path / "sound")
    assert proof.holds, proof.explain()
    if kill.signal == KILL:
        assert -9 in proof.endings[0].codes and len(proof.endings[0].codes) == 2
    if not paddle.__version__.startswith("2."):  # There each step seeds its generator anew: nothing is forgotten.
        assert not compare(folder=tmp_path / "forgetful", forget=["rng"]).holds
