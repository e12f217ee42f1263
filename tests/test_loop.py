"""The engine alone, in a training loop that is written by hand."""

import subprocess
import sys
from pathlib import Path

import paddle
import pytest

from paddle_resume import Checkpointer
from paddle_resume.errors import StateError
from paddle_resume.testing import first_differences

PROGRAM = Path(__file__).parent / "programs" / "loop.py"


def loop(folder, *arguments):
    folder.mkdir(exist_ok=True)
    return subprocess.run([sys.executable, str(PROGRAM), *arguments], cwd=folder, capture_output=True, text=True)


def test_a_hand_written_loop_that_stops_and_starts_again_ends_bit_for_bit_the_same(tmp_path):
    assert loop(tmp_path / "straight").returncode == 0
    for stop in ("9", "23"):
        assert loop(tmp_path / "killed", stop).returncode == 1
    assert loop(tmp_path / "killed").returncode == 0
    assert first_differences(tmp_path / "straight", tmp_path / "killed") == []


def test_what_the_engine_needs_in_a_loop_is_less_than_fifteen_lines():
    text = PROGRAM.read_text(encoding="utf-8")
    ours = text[text.index("# --- from here") : text.index("# --- to here")].splitlines()
    own = range(ours.index("        # --- the loop's own step"), ours.index("        # --- the engine again"))
    lines = [line for i, line in enumerate(ours) if i not in own and not line.strip().startswith("# ---")]
    test_only = [line for line in lines if "sys.argv" in line or "wait()" in line or "sys.exit" in line]
    loop_itself = [line for line in lines if line.strip().startswith(("while", "for", "step += 1"))]
    assert len(lines) - len(test_only) - len(loop_itself) < 15


def test_two_models_are_refused_with_what_to_do(tmp_path):
    things = {"one": paddle.nn.Linear(1, 1), "two": paddle.nn.Linear(1, 1)}
    with pytest.raises(StateError, match=r"found 2 \(one, two\): put several networks into one Layer"):
        Checkpointer(tmp_path, "x", background=False).save(0, things)


def test_a_program_that_ends_without_closing_does_not_lose_its_last_save(tmp_path):
    program = (
        "import paddle_resume, numpy as np\n"
        "class Big:\n"
        "    suffix = '.pdparams'\n"
        "    def state_dict(self): return {'w': np.ones(20_000_000, np.float32)}\n"
        "    def set_state_dict(self, state): pass\n"
        "paddle_resume.Checkpointer('.', 'big').save(1, {'model': Big()})\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True)
    assert (tmp_path / "big_step1.pdstates").exists()
    assert not list(tmp_path.glob(".*.tmp"))
