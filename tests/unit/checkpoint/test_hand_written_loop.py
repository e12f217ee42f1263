"""The engine alone, in a training loop that is written by hand."""

import contextlib
import subprocess
import sys

import numpy as np
import paddle
import pytest
from forking import run, run_and_compare
from places import EXAMPLES, PROGRAMS

from paddle_resume import Checkpointer
from paddle_resume.data.sampler import ResumableBatchSampler
from paddle_resume.errors import DataError, InexactResumeError, StateError
from paddle_resume.testing import Kill, first_differences

PROGRAM = PROGRAMS / "loop.py"
EXAMPLE = EXAMPLES / "hand_written_loop.py"


def loop(folder, *arguments):
    folder.mkdir(exist_ok=True)
    return run([PROGRAM, *arguments], folder)


def test_a_hand_written_loop_that_stops_and_starts_again_ends_bit_for_bit_the_same(tmp_path):
    assert loop(tmp_path / "straight").returncode == 0
    for stop in ("9", "23"):
        assert loop(tmp_path / "killed", stop).returncode == 1
    assert loop(tmp_path / "killed").returncode == 0
    assert first_differences(tmp_path / "straight", tmp_path / "killed") == []


def test_what_is_found_in_the_model_and_the_data_decides_how_a_loop_goes_on(tmp_path):
    """The negative control: what its owners list is not all."""
    assert loop(tmp_path / "straight").returncode == 0
    assert loop(tmp_path / "killed", "23").returncode == 1
    assert loop(tmp_path / "killed", "--forget").returncode == 0
    assert first_differences(tmp_path / "straight", tmp_path / "killed")


def example(folder, saves_every=3):
    """The example as a program that runs on few samples, with saves that fit to them."""
    text = EXAMPLE.read_text(encoding="utf-8")
    assert "step % 100 == 0" in text
    path = folder / "hand_written_loop.py"
    path.write_text(text.replace("step % 100 == 0", f"step % {saves_every} == 0"), encoding="utf-8")
    return [str(PROGRAM.parent / "small_mnist.py"), str(path)]


def test_the_example_of_a_hand_written_loop_survives_kills_bit_for_bit(tmp_path):
    # 7 batches an epoch, the last one short; 21 steps.
    kills = [Kill("begin", 5), Kill("save", 8, 5), Kill("begin", 17)]
    proof = run_and_compare(example(tmp_path), tmp_path, kills)
    assert proof.holds, proof.explain()
    assert len(EXAMPLE.read_text(encoding="utf-8").splitlines()) <= 40


@pytest.mark.full
def test_the_example_ends_otherwise_if_the_sampler_is_forgotten(tmp_path):
    proof = run_and_compare(example(tmp_path), tmp_path, [Kill("begin", 12)], forget=["sampler"])
    assert any("lenet.pdparams" in line for line in proof.differences)


# ---------------------------------------------------------------- its sampler


class Numbers(paddle.io.Dataset):
    def __init__(self, count=23):
        self.count = count

    def __getitem__(self, index):
        return np.array([index])

    def __len__(self):
        return self.count


def taken(sampler, loader, epochs, stop=None):
    """The samples batch by batch, counted as a loop counts them, up to `stop` batches."""
    batches = []
    for _ in sampler.epochs(epochs):
        for batch in loader:
            batches.append(np.asarray(batch).reshape(-1).tolist())
            sampler.advance()
            if len(batches) == stop:
                return batches
    return batches


@pytest.mark.parametrize("drop_last", [False, True])
def test_a_sampler_goes_on_at_every_position_as_if_it_had_not_stopped(drop_last):
    def new():
        sampler = ResumableBatchSampler(Numbers(), 5, seed=3, drop_last=drop_last)
        return sampler, paddle.io.DataLoader(Numbers(), batch_sampler=sampler)

    straight = taken(*new(), 3)
    assert len(straight) == 3 * len(new()[0]) == (12 if drop_last else 15)
    assert straight[: len(straight) // 3] != straight[len(straight) // 3 :]
    for stop in range(1, len(straight) + 1):
        stopped, loader = new()
        before = taken(stopped, loader, 3, stop)
        resumed, loader = new()
        resumed.set_state_dict(stopped.state_dict())
        assert resumed.state_dict() == stopped.state_dict()
        assert before + taken(resumed, loader, 3) == straight


def test_a_loop_that_forgets_to_count_its_batches_is_told():
    sampler = ResumableBatchSampler(Numbers(), 5)
    with pytest.raises(StateError, match=r"No batch of epoch 0 was counted.*Call the sampler's advance\(\)"):
        for _ in sampler.epochs(2):
            list(sampler)


def test_a_sampler_over_other_data_is_not_resumed(tmp_path):
    with contextlib.closing(Checkpointer(tmp_path, "x", background=False)) as checkpointer:
        checkpointer.save(0, {"data": ResumableBatchSampler(Numbers(), 5)})
        with pytest.raises(InexactResumeError, match=r"\n  data length: 23 -> 24 \(set by .*\)\n  data digest"):
            checkpointer.restore({"data": ResumableBatchSampler(Numbers(24), 5)})


def test_a_stream_is_refused_by_the_sampler():
    class Stream(paddle.io.IterableDataset):
        def __iter__(self):
            return iter(())

    with pytest.raises(DataError, match=r"give it to paddle_resume\.Feed"):
        ResumableBatchSampler(Stream())


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
