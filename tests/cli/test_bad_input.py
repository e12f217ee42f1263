"""Bad input gets one plain error and exit code 2, no traceback, and loses nothing: all through the command line."""

from __future__ import annotations

import gzip
import pickle
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import forking
import numpy as np
import paddle
import pytest
from idx_files import idx
from places import ROOT

from paddle_resume.checkpoint import record
from paddle_resume.checkpoint.reader import load
from paddle_resume.cli import main

GOOD = ("tiny_step4", "tiny_step2")
CONFIG = """
run: {{name: tiny, save_dir: ck, log_dir: log}}
model: {{name: MLP, hidden: 8}}
data: {{name: mnist, root: {root}, global_batch_size: 10}}
optimizer: {{name: Adam, lr: 0.01}}
trainer: {{epochs: 4, max_steps: 4, log_every: 2}}
checkpoint: {{every_steps: 2, every_epochs: null, keep: 4, background: false}}
"""


class Result(NamedTuple):
    code: int
    out: str
    err: str


Command = Callable[..., Result]


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, tiny_mnist: Path) -> Path:
    """A folder with c.yaml and a run of 4 steps with two checkpoints, as the command line made it."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "c.yaml").write_text(CONFIG.format(root=tiny_mnist))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        with pytest.raises(SystemExit) as end:
            main(["train", "-c", "c.yaml", "-q"])
    assert end.value.code == 0
    return folder


@pytest.fixture
def here(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of `trained` as the working directory."""
    folder = tmp_path / "work"
    shutil.copytree(trained, folder)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def command(here: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs the command line in this process: command("train", "-o", ...), with `-c c.yaml` unless given."""

    def run(name: str, *arguments: object, config: str = "c.yaml") -> Result:
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main([name, "-c", config, *map(str, arguments)])
        captured = capsys.readouterr()
        assert isinstance(end.value.code, int)
        return Result(end.value.code, captured.out, captured.err)

    return run


def in_a_process(*arguments: str) -> Result:
    """The same in a process of its own, through tools/train.py."""
    done = forking.run([ROOT / "tools" / "train.py", *arguments])
    return Result(done.returncode, done.stdout, done.stderr)


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix not in (".lock", ".steps")
    }


def refused(result: Result, *parts: str) -> None:
    """A refusal: exit code 2, one paragraph on stderr that holds all `parts`."""
    assert result.code == 2, result
    assert "Traceback" not in result.err + result.out
    message = result.err.strip()
    assert message.count("error: ") == 1 and "\n\n" not in message
    for part in parts:
        assert part in message, f"{part!r} is not in: {message}"


MORE = ("-o", "trainer.max_steps=8")


def goes_on(command: Command, step: int = 4) -> None:
    """The run can still be continued exactly, from `step`."""
    result = command("train", *MORE)
    assert result.code == 0, result
    assert f"tiny_step{step}, step {step}, next: " in result.out
    assert load(Path("ck/tiny_step8")).record.exact


# ---------------------------------------------------------------- the config

CONFIGS = {
    "malformed": ("run: {name: tiny\nmodel: [", "bad.yaml:", "malformed YAML"),
    "empty": ("", "the file is empty"),
    "list": ("- 1\n- 2\n", "a config is a mapping of keys"),
    "not a text": (b"\xff\xfe\x00", "not a text in UTF-8"),
    "without a model": ("run: {name: x}\n", "model is missing"),
    "code": ("run: {name: x}\nmodel: !!python/object/apply:os.system ['touch MARKER']\n", "bad.yaml:2"),
}


@pytest.mark.parametrize("kind", CONFIGS)
def test_a_bad_config_file_is_refused(kind: str, here: Path, command: Command) -> None:
    text, *parts = CONFIGS[kind]
    Path("bad.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    before = contents(here)
    refused(command("train", config="bad.yaml"), "bad.yaml", *parts)
    assert contents(here) == before


def test_a_missing_config_file_is_refused_and_those_that_exist_are_listed(here: Path) -> None:
    before = contents(here)
    refused(in_a_process("-c", "c.yml"), "error: c.yml: no such config file; . has: c.yaml")
    assert contents(here) == before


OVERRIDES = {
    "trainer.epoch=3": ("-o trainer.epoch=3", "is not a known key; did you mean trainer.epochs?"),
    "epochs=3": ("epochs is not a known key; did you mean trainer.epochs?",),
    "data.size=3": ("data.size is not a known key",),
    "trainer.epochs=three": ("trainer.epochs is three; expected a whole number",),
    "trainer.epochs=0": ("trainer.epochs is 0; expected 1 or more",),
    "optimizer.lr=fast": ("optimizer.lr is fast; expected a number",),
    "optimizer.lr=.nan": ("optimizer.lr is .nan; expected a finite number",),
    "data.global_batch_size=2.5": ("data.global_batch_size is 2.5; expected a whole number",),
    "run.name=../x": ("run.name is ../x; expected a plain part of a file name",),
    "trainer.on_nan=cry": ("trainer.on_nan is cry; expected 'stop', 'skip', 'rollback' or 'ignore'",),
    "trainer": ("-o trainer: an override is written key=value",),
    "model.name=MPL": ("model.name: MPL is not known", "did you mean MLP?"),
    "model.name=os.system": ("model.name: os.system is not known",),
    "model.name=no_such_module:Net": ("importing no_such_module failed: ModuleNotFoundError",),
    "model.hiden=9": ("model: MLP cannot take these arguments", "did you mean hidden?", "MLP(num_classes=10, hidden="),
    "model.hidden=-1": ("model: MLP could not be built with {'hidden': -1}",),
    "data.name=mnits": ("data.name: mnits is not known", "did you mean MNIST?"),
    "loss.name=CrossEntropy": ("loss.name: CrossEntropy is not known", "did you mean CrossEntropyLoss?"),
    "loss.weigth=1": ("loss: CrossEntropyLoss cannot take these arguments", "did you mean weight?"),
    "metrics.0.name=Acuracy": ("metrics.0.name: Acuracy is not known", "did you mean Accuracy?"),
    "optimizer.name=os.system": ("optimizer.name: os.system is not known",),
    "optimizer.name=os:system": ("optimizer: os:system was not imported: os is a part of Python", "--trust-config"),
    "optimizer.name=builtins:eval": ("optimizer: builtins:eval was not imported: builtins is a part of Python",),
    "optimizer.name=Adan": ("optimizer.name: Adan is not known", "did you mean Adam?"),
    "optimizer.beta=0.5": ("optimizer: Adam cannot take these arguments", "its signature: Adam(", "did you mean beta"),
    "optimizer.parameters=1": ("optimizer.parameters: the trainer supplies that; remove it from the config.",),
    "optimizer.lr={name: PolyDecay}": ("optimizer.lr.name: PolyDecay is not known", "PolynomialDecay"),
    "optimizer.lr={name: StepDecay, learning_rate: 1}": ("optimizer.lr: StepDecay cannot take", "'step_size'"),
    "data.valid=60": ("valid is 60; expected 'auto', a count in 0..59",),
    "run.device=tpu": ("run.device is tpu; expected auto, cpu, gpu or gpu:N",),
    "run.device=gpu:7": ("run.device: gpu:7 cannot be used",),
    "data.root=nowhere": ("mnist is not in the data root nowhere, which is no folder", "train-images-idx3-ubyte"),
}


@pytest.mark.parametrize("override", OVERRIDES)
def test_a_bad_value_is_refused_by_its_key(override: str, here: Path, command: Command) -> None:
    before = contents(here)
    refused(command("train", "-o", override), *OVERRIDES[override])
    assert contents(here) == before


def test_a_bad_value_is_refused_in_a_process_of_its_own(here: Path) -> None:
    before = contents(here)
    result = in_a_process("-c", "c.yaml", "-o", "model.name=MPL")
    refused(result, "error: model.name: MPL is not known", "did you mean MLP?")
    assert result.out == ""
    assert contents(here) == before


@pytest.mark.parametrize("arguments", [("-c",), ("--no-such-option",), ("-c", "c.yaml", "extra")])
def test_a_bad_command_line_exits_with_2(arguments: tuple[str, ...], here: Path, capsys) -> None:
    with pytest.raises(SystemExit) as end:
        main(["train", *arguments])
    captured = capsys.readouterr()
    assert end.value.code == 2
    assert "Error" in captured.err and "Traceback" not in captured.err


# ---------------------------------------------------------------- the data

IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"


def cut_gzip(raw: bytes) -> bytes:
    return gzip.compress(raw)[:-20]


DATA = {
    "cut": (IMAGES, lambda raw: raw[:-100], "is cut off: its header declares 60 x 28 x 28 = 47,040 bytes"),
    "too long": (LABELS, lambda raw: raw + b"\0", "is too long"),
    "empty": (LABELS, lambda raw: b"", "is empty"),
    "header cut": (IMAGES, lambda raw: raw[:7], "ends inside its header"),
    "wrong magic": (
        IMAGES,
        lambda raw: b"<html>" + raw[6:],
        "is not an IDX file: magic 0x3c68746d, expected 0x00000803",
    ),
    "swapped": (
        LABELS,
        lambda raw: idx(np.zeros((60, 2, 2), np.uint8)),
        "Perhaps the image and label files are swapped",
    ),
    "floats": (IMAGES, lambda raw: b"\0\0\x0d\x03" + raw[4:], "holds float32 values"),
    "gzip cut": (IMAGES, cut_gzip, "its gzip stream has no end"),
    "gzip damaged": (IMAGES, lambda raw: b"\x1f\x8b\x08" + raw, "is a damaged gzip file"),
    "lengths": (LABELS, lambda raw: idx(np.zeros(59, np.uint8)), "has 60 images but"),
    "classes": (LABELS, lambda raw: idx(np.full(60, 10, np.uint8)), "has 60 labels out of 0..9: 10 at index 0"),
}


@pytest.mark.parametrize("kind", DATA)
def test_bad_data_is_refused_by_its_file(kind: str, here: Path, command: Command, tiny_mnist: Path) -> None:
    shutil.copytree(tiny_mnist, "data")
    name, damage, text = DATA[kind]
    (Path("data") / name).write_bytes(damage((Path("data") / name).read_bytes()))
    before = contents(here)
    refused(command("train", "-o", "data.root=data"), f"data/{name}", text)
    assert contents(here) == before


def test_a_file_that_cannot_be_read_is_refused(here: Path, command: Command, tiny_mnist: Path) -> None:
    shutil.copytree(tiny_mnist, "data")
    # /proc/self/mem opens and fails to be read, for root too.
    (Path("data") / IMAGES).unlink()
    (Path("data") / IMAGES).symlink_to("/proc/self/mem")
    refused(command("train", "-o", "data.root=data"), f"data/{IMAGES} cannot be read: Input/output error")


def test_other_data_on_resume_are_a_difference(here: Path, command: Command, tiny_mnist: Path) -> None:
    shutil.copytree(tiny_mnist, "data")
    path = Path("data") / IMAGES
    raw = path.read_bytes()
    path.write_bytes(raw[:100] + bytes([raw[100] ^ 1]) + raw[101:])
    before = contents(here / "ck")
    refused(command("train", *MORE, "-o", "data.root=data"), "data digest: ")
    assert contents(here / "ck") == before


# ---------------------------------------------------------------- the checkpoint


def flip(raw: bytes) -> bytes:
    middle = len(raw) // 2
    return raw[:middle] + bytes([raw[middle] ^ 0x10]) + raw[middle + 1 :]


def foreign(raw: bytes) -> bytes:
    paddle.save({"a": paddle.ones([2])}, "foreign.tmp")
    data = Path("foreign.tmp").read_bytes()
    Path("foreign.tmp").unlink()
    return data


DAMAGE = {
    "cut": lambda raw: raw[:-50],
    "flipped": flip,
    "empty": lambda raw: b"",
    "foreign": foreign,
}


def damage(kind: str, suffix: str, name: str = GOOD[0]) -> None:
    path = Path("ck") / f"{name}{suffix}"
    path.write_bytes(DAMAGE[kind](path.read_bytes()))


def test_the_checkpoints_go_on_when_nothing_is_wrong(command: Command) -> None:
    goes_on(command)


def test_a_checkpoint_that_does_not_exist_is_refused_and_those_that_do_are_listed(here: Path, command: Command) -> None:
    before = contents(here)
    refused(
        command("train", *MORE, "--resume", "ck/tiny_step99"),
        "There is no checkpoint ck/tiny_step99. Checkpoints that can be resumed: ck/tiny_step4, ck/tiny_step2.",
    )
    assert contents(here) == before
    goes_on(command)


@pytest.mark.parametrize("suffix", [".pdparams", ".pdopt", ".pdstates"])
@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_checkpoint_that_was_named_is_refused_and_the_good_ones_are_listed(
    kind: str, suffix: str, here: Path, command: Command
) -> None:
    damage(kind, suffix)
    before = contents(here)
    result = command("train", *MORE, "--resume", "ck/tiny_step4")
    refused(result, "Checkpoint ck/tiny_step4 is not whole: ", "Checkpoints that can be resumed: ck/tiny_step2.")
    if suffix != ".pdstates":
        assert f"tiny_step4{suffix}" in result.err
    assert contents(here) == before


def test_a_cut_checkpoint_that_was_named_is_refused_in_a_process_of_its_own(here: Path) -> None:
    damage("cut", ".pdparams")
    before = contents(here)
    result = in_a_process("-c", "c.yaml", *MORE, "--resume", "ck/tiny_step4.pdparams")
    refused(result, "Checkpoint ck/tiny_step4 is not whole: tiny_step4.pdparams has ", "resumed: ck/tiny_step2.")
    assert contents(here) == before


@pytest.mark.parametrize("suffix", [".pdparams", ".pdopt"])
@pytest.mark.parametrize("kind", DAMAGE)
def test_auto_falls_back_to_the_checkpoint_before_and_says_so(
    kind: str, suffix: str, here: Path, command: Command
) -> None:
    damage(kind, suffix)
    result = command("train", *MORE)
    assert result.code == 0
    assert f"Passed over ck/tiny_step4: tiny_step4{suffix}" in result.out
    assert "Resume:      ck/tiny_step2, step 2" in result.out
    lineage = load(Path("ck/tiny_step8")).record.lineage
    assert [(event["event"], event.get("from"), event.get("exact")) for event in lineage] == [
        ("start", None, None),
        ("resume", "tiny_step2", True),
    ]


def test_a_run_that_fell_back_ends_with_the_bits_of_one_that_did_not(here: Path, command: Command) -> None:
    shutil.copytree("ck", "straight")
    shutil.copytree("log", "log2")
    assert command("train", *MORE, "-o", "run.save_dir=straight", "-o", "run.log_dir=log2").code == 0
    damage("flipped", ".pdopt")
    assert command("train", *MORE).code == 0
    for suffix in (".pdparams", ".pdopt"):
        assert Path(f"ck/tiny_step8{suffix}").read_bytes() == Path(f"straight/tiny_step8{suffix}").read_bytes()


def test_a_run_of_which_no_checkpoint_is_whole_is_not_started_over_by_itself(here: Path, command: Command) -> None:
    damage("cut", ".pdparams")
    damage("empty", ".pdstates", GOOD[1])
    before = contents(here)
    refused(
        command("train", *MORE),
        "None of this run's checkpoints is whole",
        "ck/tiny_step4: tiny_step4.pdparams has ",
        "ck/tiny_step2: it is empty",
        "--resume none --overwrite",
    )
    assert contents(here) == before
    assert command("train", "--resume", "none", "--overwrite").code == 0


def test_weights_without_their_optimizer_are_refused(here: Path, command: Command) -> None:
    Path("ck/tiny_step4.pdopt").unlink()
    refused(
        command("train", *MORE, "--resume", "ck/tiny_step4"),
        "Checkpoint ck/tiny_step4 is not whole: tiny_step4.pdopt is missing.",
        "resumed: ck/tiny_step2.",
    )
    shutil.copy("ck/tiny_step2.pdparams", "ck/book_epoch0.pdparams")
    refused(
        command("train", *MORE, "--resume", "ck/book_epoch0.pdparams"),
        "ck/book_epoch0.pdparams has no book_epoch0.pdopt and no book_epoch0.pdstates beside it",
        "its weights alone can be loaded with --weights",
    )
    goes_on(command, step=2)


@pytest.mark.parametrize("states", [None, pickle.dumps({"epoch": 3}, 2)], ids=["pair", "trio"])
def test_a_checkpoint_of_another_program_is_refused(states: bytes | None, here: Path, command: Command) -> None:
    net = paddle.nn.Linear(2, 2)
    paddle.save(net.state_dict(), "ck/other_epoch0.pdparams")
    paddle.save(paddle.optimizer.Adam(parameters=net.parameters()).state_dict(), "ck/other_epoch0.pdopt")
    expected = "has .pdparams and .pdopt but no commit record (other_epoch0.pdstates)"
    if states is not None:
        Path("ck/other_epoch0.pdstates").write_bytes(states)
    before = contents(here)
    refused(
        command("train", *MORE, "--resume", "ck/other_epoch0"),
        expected,
        "resumed: ck/tiny_step4, ck/tiny_step2.",
    )
    assert contents(here) == before
    goes_on(command)


def test_shapes_that_do_not_fit_are_all_named(here: Path, command: Command) -> None:
    before = contents(here)
    shapes = (
        "does not fit the model MLP",
        "hidden.weight has shape [784, 8] in the file and [784, 9] in the model",
        "hidden.bias has shape [8] in the file and [9] in the model",
        "output.weight has shape [8, 10] in the file and [9, 10] in the model",
    )
    refused(command("train", *MORE, "-o", "model.hidden=9"), "model.hidden: 8 -> 9")
    refused(command("train", *MORE, "-o", "model.hidden=9", "--allow-inexact"), *shapes)
    refused(command("eval", "-o", "model.hidden=9", "--weights", "ck/tiny_step4"), "ck/tiny_step4.pdparams", *shapes)
    refused(
        command("eval", "-o", "model.name=LeNet", "--weights", "ck/tiny_step4.pdparams"),
        "features.0.weight is missing in the file",
        "hidden.weight is unknown to the model",
    )
    assert contents(here) == before
    goes_on(command)


WEIGHTS = {
    "cut": (lambda: damage("cut", ".pdparams"), "ck/tiny_step4", "is not whole: tiny_step4.pdparams has "),
    "flipped": (lambda: damage("flipped", ".pdparams"), "ck/tiny_step4.pdparams", "the digest of hidden.weight"),
    "missing": (lambda: None, "ck/tiny_step5", "There are no weights at ck/tiny_step5.pdparams"),
    "garbage": (lambda: Path("x.pdparams").write_bytes(b"garbage"), "x.pdparams", "x.pdparams is damaged"),
    "hostile": (
        lambda: Path("x.pdparams").write_bytes(b"cos\nsystem\n(X\x0c\x00\x00\x00touch MARKERtR."),
        "x.pdparams",
        "it asks for os.system",
    ),
}


@pytest.mark.parametrize("kind", WEIGHTS)
def test_bad_weights_are_refused(kind: str, here: Path, command: Command) -> None:
    prepare, weights, text = WEIGHTS[kind]
    prepare()
    before = contents(here)
    refused(command("eval", "--weights", weights), text)
    assert contents(here) == before


def test_a_part_of_the_data_that_does_not_exist_is_refused(command: Command) -> None:
    refused(command("eval", "--weights", "ck/tiny_step4", "--split", "half"), "--split half: the data has no such part")


# ---------------------------------------------------------------- changes on resume


def test_a_changed_config_is_refused_with_each_old_and_new_value_and_goes_on_when_allowed(
    here: Path, command: Command
) -> None:
    changes = ("-o", "optimizer.lr=0.02", "-o", "data.global_batch_size=5", "-o", "run.seed=7")
    lines = ("optimizer.lr: 0.01 -> 0.02", "data.global_batch_size: 10 -> 5", "run.seed: 1024 -> 7")
    before = contents(here)
    refused(command("train", *MORE, *changes), "would not continue bit for bit", "--allow-change", *lines)
    assert contents(here) == before

    result = command("train", *MORE, *changes, "--allow-inexact")
    assert result.code == 0
    assert "1 resume, inexact since step 4" in result.out
    assert all(f"Changed:     {line}" in result.out for line in lines)
    assert "lr: 0.02" in result.out  # the new value is the one in force
    last = load(Path("ck/tiny_step8")).record
    assert not last.exact
    assert last.lineage[-1]["exact"] is False
    assert set(lines) <= set(last.lineage[-1]["differences"])
    assert record.read(Path("ck/tiny_step4.pdstates")).exact


def test_a_change_that_does_not_alter_the_trajectory_is_not_asked_about(command: Command) -> None:
    result = command("train", *MORE, "-o", "trainer.log_every=1", "-o", "checkpoint.keep=1", "-o", "data.num_workers=1")
    assert result.code == 0
    assert load(Path("ck/tiny_step8")).record.exact


def test_starting_over_is_refused_without_overwrite_and_starts_over_with_it(here: Path, command: Command) -> None:
    before = contents(here)
    refused(
        command("train", "--resume", "none"),
        "--resume none would write over the checkpoints of an earlier run: ck/tiny_step4, ck/tiny_step2",
        "Add --overwrite",
    )
    assert contents(here) == before
    result = command("train", "--resume", "none", "--overwrite")
    assert result.code == 0
    assert "Starting over: removed 2 checkpoints" in result.out
    for name in GOOD:
        again = load(Path("ck") / name)
        assert [event["event"] for event in again.record.lineage] == ["start"]
        assert again.tensors[".pdparams"]["hidden.weight"].tobytes() in before[f"ck/{name}.pdparams"]


def test_a_completed_run_says_so_and_changes_nothing(here: Path, command: Command) -> None:
    before = contents(here)
    result = command("train")
    assert result.code == 0
    assert "This run is complete (4 steps): nothing is left to do." in result.out
    assert result.err == ""
    assert contents(here) == before


def test_a_second_process_on_one_run_is_refused_and_told_who_the_first_is(here: Path, command: Command) -> None:
    endless = ("-o", "trainer.max_steps=null", "-o", "trainer.epochs=1000000", "-o", "checkpoint.every_steps=null")
    first = forking.start([ROOT / "tools" / "train.py", "-c", "c.yaml", *endless])
    try:
        for line in first.stdout:
            if line.startswith("[train]"):
                break
        refused(
            command("train", *MORE),
            f"Another process already writes this run in ck: pid {first.pid} on host {socket.gethostname()}",
        )
        first.send_signal(signal.SIGTERM)
        out, err = first.communicate(timeout=60)
    finally:
        first.kill()
    assert first.returncode == 143
    assert "Traceback" not in err and "Run the same command again to continue" in out
    assert {load(Path("ck") / name).record.step for name in GOOD} == {2, 4}


# ---------------------------------------------------------------- the disk


def test_a_read_only_save_folder_is_refused(here: Path, command: Command, small_disk: Path) -> None:
    shutil.copytree("ck", small_disk / "ck")
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    where = ("-o", f"run.save_dir={small_disk / 'ck'}")
    before = contents(here)
    text = "Read-only file system; the file system is read-only. Choose another folder with -o run.save_dir=FOLDER"
    refused(command("train", *MORE, *where), "Could not save", str(small_disk), text)
    refused(command("train", "-o", f"run.save_dir={small_disk / 'new'}"), "Could not save", text)
    assert contents(here) == before
    assert load(small_disk / "ck" / "tiny_step4").record.step == 4


def test_a_full_disk_costs_no_older_checkpoint_and_the_run_ends_with_an_error(
    here: Path, command: Command, small_disk: Path
) -> None:
    shutil.move("ck", small_disk / "ck")  # with its log left where it is
    before = contents(small_disk / "ck")
    where = ("-o", f"run.save_dir={small_disk / 'ck'}", "-o", "trainer.max_steps=8")
    ballast = small_disk / "ballast"
    with ballast.open("wb", buffering=0) as file, pytest.raises(OSError):
        while True:
            file.write(bytes(4096))
    result = command("train", *where)
    refused(result, "Could not save", "No space left on device; the save needs", "Make room")
    assert (
        result.out.count("Training goes on and tries again at the next save") == 4
    )  # step 4 without its end, 6, 8, and the end
    assert "[test]" in result.out  # it went on to the end
    assert contents(small_disk / "ck") == before

    ballast.unlink()
    again = command("train", *where)
    assert again.code == 0 and "tiny_step4, step 4" in again.out
    assert load(small_disk / "ck" / "tiny_step8").record.exact
    shutil.copytree(small_disk / "ck", "ck")


def test_a_save_that_fails_ends_the_run_if_the_config_says_so(here: Path, command: Command, small_disk: Path) -> None:
    shutil.move("ck", small_disk / "ck")  # with its log left where it is
    with (small_disk / "ballast").open("wb", buffering=0) as file, pytest.raises(OSError):
        while True:
            file.write(bytes(4096))
    result = command("train", *MORE, "-o", f"run.save_dir={small_disk / 'ck'}", "-o", "checkpoint.on_error=stop")
    refused(result, "Could not save", "No space left on device")
    assert "step: 8" not in result.out and "[test]" not in result.out
    assert load(small_disk / "ck" / "tiny_step4").record.step == 4
    shutil.copytree(small_disk / "ck", "ck")


@pytest.mark.parametrize("where", ["file", "file/below", "file/far/below"])
def test_a_save_folder_that_is_a_file_is_refused(where: str, here: Path, command: Command) -> None:
    Path("file").write_text("mine")
    before = contents(here)
    refused(command("train", "-o", f"run.save_dir={where}"), "a file lies where a folder should be", where)
    assert contents(here) == before


def test_a_model_path_that_cannot_be_written_is_an_error_and_the_run_can_be_completed(
    here: Path, command: Command
) -> None:
    Path("file").write_text("mine")
    result = command("train", *MORE, "-o", "run.model_path=file/m.pdparams")
    refused(result, "Could not save file/m.pdparams", "a file lies where a folder should be")
    assert Path("file").read_text() == "mine"
    assert command("train", *MORE).code == 0
    assert load(Path("ck/tiny_step8")).record.exact


# ---------------------------------------------------------------- the loss


def test_a_loss_that_is_not_finite_stops_the_run_and_the_last_good_checkpoint_stays(
    here: Path, command: Command
) -> None:
    before = contents(here / "ck")
    result = command("train", *MORE, "-o", "optimizer.lr=1e39", "--allow-inexact")
    refused(
        result,
        "The loss became nan in step 5 (counted from 0; epoch ",
        "the last good checkpoint is ck/tiny_step4.",
        "Lower the learning rate",
        "trainer.on_nan to skip",
    )
    assert contents(here / "ck") == before
    goes_on(command)


def test_a_loss_that_is_not_finite_before_the_first_save_says_that_there_is_none(here: Path, command: Command) -> None:
    shutil.rmtree("ck")
    result = command("train", *MORE, "-o", "optimizer.lr=1e39", "-o", "checkpoint.every_steps=null")
    refused(result, "The loss became nan in step 1", "none: nothing was saved yet")
    assert not list(Path("ck").glob("*.pdstates"))


def test_a_loss_that_is_not_finite_is_trained_on_if_the_config_says_so(here: Path, command: Command) -> None:
    result = command("train", *MORE, "-o", "optimizer.lr=1e39", "--allow-inexact", "-o", "trainer.on_nan=ignore")
    assert result.code == 0
    assert "loss: nan" in result.out
