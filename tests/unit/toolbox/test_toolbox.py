"""The toolbox: on checkpoints of a real run, on files of stock Paddle, and on what was broken on purpose."""

from __future__ import annotations

import json
import os
import pickle
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import paddle
import pytest
import typer
from places import ROOT

from paddle_resume import Checkpointer
from paddle_resume.checkpoint import record
from paddle_resume.checkpoint.reader import load, peek
from paddle_resume.checkpoint.weights import read_weights
from paddle_resume.cli import main
from paddle_resume.cli.app import app
from paddle_resume.cli.help_examples import EXAMPLES
from paddle_resume.config import Config, load_config
from paddle_resume.config.schema import model_in
from paddle_resume.storage.durable_files import temporary
from paddle_resume.toolbox.array_figures import count_non_finite, difference, narrowed, norm, widened
from paddle_resume.toolbox.json_schema import json_schema, undescribed
from paddle_resume.toolbox.reference_config import reference_yaml

NEWEST, OLDER = "ck/tiny_step6", "ck/tiny_step2"
ALL = ["ck/tiny_step2", "ck/tiny_step4", "ck/tiny_step6", "ck/tiny_best", "ck/tiny_epoch0"]
CONFIG = """
run: {{name: tiny, save_dir: ck, log_dir: log}}
model: {{name: MLP, hidden: 8}}
data: {{name: mnist, root: {root}, global_batch_size: 10}}
optimizer: {{name: Adam, lr: 0.01}}
trainer: {{epochs: 4, max_steps: 6, log_every: 2, ema: {{decay: 0.9}}}}
best: {{monitor: valid/acc}}
checkpoint: {{every_steps: 2, every_epochs: 1, keep: 4}}
"""


class Result(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture(scope="module")
def trained(tmp_path_factory, tiny_mnist):
    """A folder with a run of 6 steps: three step checkpoints, one of an epoch, the best."""
    folder = tmp_path_factory.mktemp("toolbox")
    (folder / "c.yaml").write_text(CONFIG.format(root=tiny_mnist))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        with pytest.raises(SystemExit) as end:
            main(["train", "-c", "c.yaml", "-q"])
    assert end.value.code == 0
    return folder


@pytest.fixture
def here(trained, tmp_path, monkeypatch):
    """A copy of it as the working directory."""
    folder = tmp_path / "work"
    shutil.copytree(trained, folder)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def run(here, capsys):
    """Runs the command line in this process, in that folder."""

    def command(*arguments):
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main([*map(str, arguments)])
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return Result(end.value.code, captured.out, captured.err)

    return command


def refused(result, *parts):
    assert result.code == 2, result
    message = result.err.strip()
    assert message.startswith("error: ") and "\n" not in message
    for part in parts:
        assert part in message, message


def flip(path, offset):
    """Damage one byte."""
    content = bytearray(Path(path).read_bytes())
    content[offset] ^= 0xFF
    Path(path).write_bytes(content)


def place_of(prefix, name, suffix=".pdparams"):
    (tensor,) = [tensor for tensor in peek(Path(prefix)).files[suffix].tensors if tensor.name == name]
    return tensor.offset


def files_in(folder="ck"):
    """Every file but locks, with its bytes."""
    return {path.name: path.read_bytes() for path in Path(folder).iterdir() if path.suffix != ".lock"}


def stock_model(path):
    """What Paddle's tutorial leaves: weights and optimizer state by `paddle.save`."""
    model = paddle.nn.Sequential(paddle.nn.Linear(4, 3), paddle.nn.BatchNorm1D(3))
    optimizer = paddle.optimizer.Adam(parameters=model.parameters())
    model(paddle.ones([2, 4])).sum().backward()
    optimizer.step()
    paddle.save(model.state_dict(), f"{path}.pdparams")
    paddle.save(optimizer.state_dict(), f"{path}.pdopt")
    return model


# ---------------------------------------------------------------- list


def test_list_tells_every_checkpoint_with_step_metrics_and_state(run):
    result = run("list", "ck", "--json")
    assert result.code == 0
    by_prefix = {one["prefix"]: one for one in result.json}
    assert set(ALL) <= set(by_prefix)
    newest = by_prefix[NEWEST]
    assert (newest["step"], newest["phase"], newest["state"], newest["exact"]) == (6, "done", "complete", True)
    assert newest["metrics"]["valid/acc"] == peek(Path(NEWEST)).owners["progress"]["results"]["valid/acc"]
    assert newest["size"] == sum(path.stat().st_size for path in Path("ck").glob("tiny_step6.*"))
    printed = run("list", "ck").out
    assert re.search(r"ck/tiny_step6 +6 +1 +done +valid/loss .*complete +exact", printed)


def test_list_without_verify_sees_a_cut_file_and_with_it_a_flipped_byte(run):
    flip(f"{NEWEST}.pdparams", place_of(NEWEST, "hidden.weight"))
    assert run("list", "ck").code == 0
    seen = run("list", "ck", "--verify", "--json")
    assert seen.code == 1
    (damaged,) = [one for one in seen.json if one["state"] == "damaged"]
    assert damaged["prefix"] == NEWEST and "hidden.weight" in damaged["reason"]
    os.truncate(f"{OLDER}.pdopt", 100)
    seen = run("list", "ck")
    assert seen.code == 1 and "tiny_step2.pdopt has 100 bytes and should have" in seen.out


def test_list_tells_files_without_a_record_and_empty_folders(run):
    stock_model("ck/stock")
    (one,) = [one for one in run("list", "ck", "--json").json if one["prefix"] == "ck/stock"]
    assert (one["state"], one["good"]) == ("no record", False)
    Path("empty").mkdir()
    assert run("list", "empty").out == "There are no checkpoints.\n"
    refused(run("list", "nowhere"), "nowhere is not there", "run.save_dir")


# ---------------------------------------------------------------- show


def test_show_tells_norms_shapes_and_the_lineage(run):
    result = run("show", NEWEST, "--json")
    assert result.code == 0
    tensors = load(Path(NEWEST)).tensors
    shown = {(one["file"], one["name"]): one for one in result.json["tensors"]}
    assert len(shown) == sum(map(len, tensors.values()))
    one = shown[".pdparams", "hidden.weight"]
    weight = tensors[".pdparams"]["hidden.weight"]
    assert one["shape"] == list(weight.shape) and one["dtype"] == "float32"
    assert one["norm"] == pytest.approx(np.linalg.norm(weight.astype("float64")), rel=1e-12)
    assert result.json["lineage"][0]["event"] == "start"
    assert run("train", "-c", "c.yaml", "-q", "-o", "trainer.max_steps=8").code == 0
    printed = run("show", "ck/tiny_step8").out
    assert "Position:    step 8" in printed and "Lineage: all exact" in printed
    assert re.search(r"[└`].* resume from tiny_step6 \(step 6\), exact", printed)


def test_show_reads_stock_paddles_files_and_runs_nothing_in_them(run):
    model = stock_model("stock")
    shown = {one["name"]: one for one in run("show", "stock.pdparams", "--json").json["tensors"]}
    assert set(model.state_dict()) < set(shown)
    Path("evil.pdparams").write_bytes(pickle.dumps({"a": _Evil()}))
    refused(run("show", "evil.pdparams"), "was not loaded", "Nothing of it was run")
    assert not Path("ran").exists()


class _Evil:
    def __reduce__(self):
        return (os.mkdir, ("ran",))


def test_show_of_a_damaged_or_missing_checkpoint_is_one_plain_error(run):
    flip(f"{NEWEST}.pdparams", place_of(NEWEST, "hidden.weight"))
    refused(run("show", NEWEST), "tiny_step6.pdparams is damaged", "hidden.weight", "paddle-resume recover")
    refused(run("show", "ck/tiny_step7"), "There is no checkpoint ck/tiny_step7", "ck/tiny_step4")
    refused(run("show", "ck"), "ck is a folder", "ck/tiny_step4")
    assert run("show", NEWEST, "--no-values").code == 0


# ---------------------------------------------------------------- verify


def test_verify_finds_every_damaged_tensor_and_only_those(run):
    assert run("verify", "ck").code == 0
    for name in ("hidden.weight", "output.bias"):
        flip(f"{NEWEST}.pdparams", place_of(NEWEST, name))
    result = run("verify", NEWEST, "--json")
    assert result.code == 1
    (one,) = result.json
    assert [problem.split(": ")[1] for problem in one["problems"]] == ["hidden.weight", "output.bias"]
    assert [each["prefix"] for each in run("verify", "ck", "--json").json if not each["good"]] == [NEWEST]
    assert run("verify", OLDER).code == 0


@pytest.mark.parametrize("suffix", [".pdparams", ".pdopt", ".pdema"])
def test_verify_misses_no_byte_of_a_file_wherever_it_lies(suffix, run):
    size = Path(f"{NEWEST}{suffix}").stat().st_size
    for offset in (0, 1, size // 2, size - 1):
        flip(f"{NEWEST}{suffix}", offset)
        assert run("verify", NEWEST).code == 1, offset
        flip(f"{NEWEST}{suffix}", offset)
    assert run("verify", NEWEST).code == 0
    Path(f"{NEWEST}{suffix}").unlink()
    result = run("verify", NEWEST)
    assert result.code == 1 and f"tiny_step6{suffix} is missing" in result.out


def rewrite(prefix, **changes):
    """A record that is sound in itself and says something else."""
    before = peek(Path(prefix))
    after = record.Record(**{**dict(before), **changes})
    Path(f"{prefix}.pdstates").write_bytes(record.encode(after))


def test_verify_finds_files_that_do_not_belong_together(run):
    owners = dict(peek(Path(NEWEST)).owners)
    names = dict(owners["names"])
    rewrite(NEWEST, owners={**owners, "names": {**names, "hidden.weight": "linear_x.w_0"}})
    result = run("verify", NEWEST)
    assert (
        result.code == 1 and f"{names['hidden.weight']}_moment1_0 of tiny_step6.pdopt finds no parameter" in result.out
    )
    exchanged = {"hidden.weight": names["hidden.bias"], "hidden.bias": names["hidden.weight"]}
    rewrite(NEWEST, owners={**owners, "names": {**names, **exchanged}})
    assert "its parameter hidden.bias [8]" in run("verify", NEWEST).out
    rewrite(NEWEST, owners={**owners, "names": {**names, "more.weight": "linear_y.w_0"}})
    assert "more.weight is in the record's table of names, and not in tiny_step6.pdparams" in run("verify", NEWEST).out
    rewrite(NEWEST, owners=owners, step=7)
    assert "says step 7, and its name 6" in run("verify", NEWEST).out


@pytest.mark.parametrize("name", ["SGD", "Momentum", "AdamW", "Adadelta", "Lamb", "ASGD", "LBFGS"])
def test_verify_finds_nothing_wrong_with_the_state_of_any_optimizer(name, run):
    if not hasattr(paddle.optimizer, name):
        pytest.skip(f"this Paddle has no {name}")
    model = paddle.nn.Linear(4, 3)
    options = {"batch_num": 2} if name == "ASGD" else {}
    optimizer = getattr(paddle.optimizer, name)(learning_rate=0.1, parameters=model.parameters(), **options)

    def loss():
        value = (model(paddle.ones([2, 4])) ** 2).mean()
        value.backward()
        return value

    if name == "LBFGS":
        optimizer.step(loss)
    else:
        loss()
        optimizer.step()
    checkpointer = Checkpointer("optimizers", "one", background=False)
    checkpointer.save(1, {"model": model, "optimizer": optimizer})
    checkpointer.close()
    assert run("verify", "optimizers/one_step1").code == 0


def test_verify_says_whether_stock_files_fit_each_other(run):
    stock_model("stock")
    result = run("verify", "stock")
    assert result.code == 0 and "no digest vouches for it" in result.out
    paddle.save({"strange_0.w_0_moment1_0": paddle.ones([2])}, "stock.pdopt")
    result = run("verify", "stock")
    assert result.code == 1 and "strange_0.w_0_moment1_0 of stock.pdopt finds no parameter" in result.out
    Path("stock.pdparams").write_bytes(b"\x80\x04cut")
    assert run("verify", "stock").code == 1
    refused(run("verify", "ck/nothing"), "There is no checkpoint")


# ---------------------------------------------------------------- diff


def test_diff_of_a_checkpoint_with_a_copy_of_it_is_the_same(run):
    shutil.copytree("ck", "copy")
    result = run("diff", NEWEST, "copy/tiny_step6")
    assert result.code == 0 and "bit for bit; position, random state, config and environment too" in result.out


def test_diff_measures_the_tensors_and_names_what_else_differs(run):
    result = run("diff", OLDER, NEWEST, "--json")
    assert result.code == 1
    then, now = (load(Path(prefix)).tensors[".pdparams"] for prefix in (OLDER, NEWEST))
    found = {one["name"]: one for one in result.json["tensors"] if one["file"] == ".pdparams"}
    for name, a in then.items():
        b, one = now[name], found[name]
        assert one["largest"] == np.abs(a.astype("float64") - b.astype("float64")).max()
        assert one["values"] == np.count_nonzero(a.view("uint32") != b.view("uint32"))
    largest = [one["largest"] for one in result.json["tensors"] if one["file"] == ".pdparams"]
    assert largest == sorted(largest, reverse=True)
    assert "step: 2 -> 6" in result.json["state"]["position"]
    assert "hidden.weight" in run("diff", OLDER, NEWEST).out


def test_diff_sees_one_bit_of_a_generator_and_one_key_of_the_config(run):
    shutil.copytree("ck", "copy")
    owners = dict(peek(Path(NEWEST)).owners)
    config = {**owners["config"], "loss": {"name": "MSELoss"}}
    (random,) = owners["rng"]["ranks"]
    random = {**random, "python": [*random["python"][:-1], 0.5]}
    rewrite("copy/tiny_step6", owners={**owners, "config": config, "rng": {"ranks": [random]}})
    result = run("diff", NEWEST, "copy/tiny_step6", "--json")
    assert result.code == 1 and not result.json["tensors"]
    assert result.json["state"] == {
        "config": ["config.loss.name: 'CrossEntropyLoss' -> 'MSELoss'"],
        "random state": ["rng.ranks.0.python.2: None -> 0.5"],
    }


def test_diff_with_plain_weights_compares_those_and_says_what_it_could_not(run):
    result = run("diff", NEWEST, "tiny.pdparams")
    assert "not compared: .pdopt: only ck/tiny_step6 has it" in result.out
    assert run("strip", NEWEST, "--output", "w.pdparams").code == 0
    assert run("diff", NEWEST, "w.pdparams").code == 0
    stock_model("stock")
    other = run("diff", NEWEST, "stock.pdparams", "--json")
    assert other.code == 1
    reasons = {one["reason"] for one in other.json["tensors"] if one["file"] == ".pdparams"}
    assert reasons == {"only in stock.pdparams", "only in tiny_step6.pdparams"}


# ---------------------------------------------------------------- average, strip


def test_average_is_the_mean_in_float64_rounded_once_and_stock_paddle_loads_it(run):
    sources = ["ck/tiny_step2", "ck/tiny_step4.pdparams", "ck/tiny_step6"]
    assert run("average", *sources, "--output", "a.pdparams").code == 0
    tables = [load(Path(source.removesuffix(".pdparams"))).tensors[".pdparams"] for source in sources]
    stored = paddle.load("a.pdparams", return_numpy=True, keep_name_table=True)
    assert stored.pop("StructuredToParameterName@@") == peek(Path(OLDER)).owners["names"]
    assert set(stored) == set(tables[0])
    for name, array in stored.items():
        mean = sum(table[name].astype("float64") for table in tables) / 3
        assert array.tobytes() == mean.astype("float32").tobytes()


def test_average_takes_stock_files_and_leaves_whole_numbers_alone(run):
    for i in (1, 3):
        paddle.save({"w": paddle.full([2], float(i)), "n": paddle.full([1], i, "int64")}, f"s{i}.pdparams")
    result = run("average", "s1.pdparams", "s3", "--output", "a.pdparams")
    assert result.code == 0 and "Whole numbers, taken from s3.pdparams: n" in result.out
    arrays = read_weights("a.pdparams")[1]
    assert arrays["w"].tolist() == [2.0, 2.0] and arrays["n"].tolist() == [3]


def test_average_refuses_what_is_not_of_one_model_and_writes_nothing(run):
    stock_model("stock")
    before = sorted(os.listdir())
    refused(run("average", NEWEST, "stock", "--output", "a.pdparams"), "not of one model", "hidden.weight is missing")
    refused(run("average", NEWEST, "--output", "a.pdparams"), "needs two checkpoints")
    refused(run("average", NEWEST, OLDER, "--output", "a.bin"), "ends with .pdparams")
    refused(run("average", NEWEST, OLDER, "--output", f"{OLDER}.pdparams", "--overwrite"), "part of the checkpoint")
    refused(run("average", NEWEST, OLDER, "--output", "tiny.pdparams"), "is there already", "--overwrite")
    assert sorted(os.listdir()) == before


def test_strip_gives_the_very_bytes_of_the_pdparams_and_with_ema_those_values(run):
    assert run("strip", NEWEST, "--output", "w.pdparams").code == 0
    assert Path("w.pdparams").read_bytes() == Path(f"{NEWEST}.pdparams").read_bytes()
    assert run("strip", NEWEST, "--ema", "--output", "e.pdparams").code == 0
    arrays = read_weights("e.pdparams")[1]
    for name, array in load(Path(NEWEST)).tensors[".pdema"].items():
        assert arrays[name].tobytes() == array.tobytes()
    model = stock_model("stock")
    assert run("strip", "stock", "--output", "s.pdparams").code == 0
    stored = paddle.load("s.pdparams", return_numpy=True)
    assert all(stored[name].tobytes() == tensor.numpy().tobytes() for name, tensor in model.state_dict().items())
    flip(f"{NEWEST}.pdparams", place_of(NEWEST, "hidden.weight"))
    refused(run("strip", NEWEST, "--output", "d.pdparams"), "is damaged", "recover")
    assert not Path("d.pdparams").exists()


# ---------------------------------------------------------------- prune


def removed(result):
    return [line["prefix"] for line in result.json["checkpoints"] if line["remove"]]


def test_prune_only_tells_until_yes_is_given_then_removes_just_those(run):
    before = files_in()
    told = run("prune", "ck", "--keep", 1, "--json")
    assert told.code == 0 and files_in() == before
    best = peek(Path(NEWEST)).owners["best"]["step"]
    expected = [f"ck/tiny_step{step}" for step in (4, 2) if step != best]
    assert removed(told) == expected
    assert "Nothing was removed yet" in run("prune", "ck", "--keep", 1).out
    done = run("prune", "ck", "--keep", 1, "--yes", "--json")
    assert removed(done) == expected
    gone = {name for name in before if f"ck/{name.partition('.')[0]}" in expected}
    assert files_in() == {name: content for name, content in before.items() if name not in gone}
    assert run("train", "-c", "c.yaml", "-q").code == 0


def test_prune_counts_only_whole_checkpoints_and_leaves_damaged_ones(run):
    flip(f"{NEWEST}.pdopt", 5000)
    result = run("prune", "ck", "--keep", 1, "--json")
    why = {line["prefix"]: line["reason"] for line in result.json["checkpoints"]}
    assert "damaged, and so left alone" in why[NEWEST] and why["ck/tiny_step4"] == "step 1 of 1 kept"
    run("prune", "ck", "--keep", 1, "--yes")
    assert Path(f"{NEWEST}.pdparams").exists() and run("verify", "ck/tiny_step4").code == 0


def test_prune_keeps_the_step_of_the_best_evaluation_also_without_its_own_checkpoint(run):
    owners = dict(peek(Path(NEWEST)).owners)
    rewrite(NEWEST, owners={**owners, "best": {**owners["best"], "step": 2}})
    result = run("prune", "ck", "--keep", 1, "--json")
    why = {line["prefix"]: line["reason"] for line in result.json["checkpoints"]}
    assert why[OLDER] == "the best evaluation" and removed(result) == ["ck/tiny_step4"]
    assert why["ck/tiny_best"] == "kept by its name"
    refused(run("prune", "ck", "--keep", 1, "--name", "other"), "no step or epoch checkpoint of the run other")


def test_prune_refuses_while_a_process_writes_the_run(run):
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "from pathlib import Path; from paddle_resume.storage.lock import RunLock\n"
            "RunLock(Path('ck'), 'tiny').acquire(); print('held', flush=True); input()",
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
    before = files_in()
    try:
        refused(run("prune", "ck", "--keep", 1, "--yes"), "Another process already writes this run", str(holder.pid))
        assert files_in() == before
    finally:
        holder.communicate(b"\n")


# ---------------------------------------------------------------- recover


def half_published(prefix):
    """As a save leaves it that dies after its first rename: the other files are still under temporary names."""
    for suffix in (".pdopt", ".pdema", ".pdstates"):
        path = Path(f"{prefix}{suffix}")
        path.rename(temporary(path))


def test_recover_rolls_a_commit_forward_that_died_among_its_renames(run):
    before = files_in()
    half_published(NEWEST)
    told = run("recover", "ck", "--json")
    assert told.code == 0 and told.json["leftovers"] == {"tiny": [NEWEST]}
    (one,) = [one for one in told.json["checkpoints"] if one["prefix"] == NEWEST]
    assert one["state"] == "unpublished" and files_in() != before
    assert run("verify", NEWEST).code == 0
    assert run("diff", NEWEST, NEWEST).code == 0
    done = run("recover", "ck", "--yes", "--json")
    assert done.code == 0 and done.json["leftovers"] == {} and done.json["tidied"]
    assert files_in() == before


def test_recover_completes_the_best_too_and_removes_what_a_dead_save_left(run):
    before = files_in()
    half_published("ck/tiny_best")
    Path("ck/.tiny_step9.pdparams.tmp").write_bytes(b"cut short")
    assert run("recover", "ck", "--yes").code == 0
    assert files_in() == before


def test_recover_says_what_is_whole_and_ends_with_1_if_something_is_broken(run):
    os.truncate(f"{NEWEST}.pdstates", 50)
    result = run("recover", "ck")
    assert result.code == 1
    assert "paddle-resume recover ck/tiny_step6 --output tiny_step6_saved.pdparams" in result.out
    assert re.search(r"Newest whole checkpoint: ck/tiny_(epoch0|best|step4)\n", result.out)


def saved_of(result, output):
    """The arrays that were saved, each the very bytes of the whole checkpoint it came from."""
    arrays = read_weights(output)[1]
    assert sorted(arrays) == sorted(result.json["saved"])
    return arrays


def test_recover_saves_the_tensors_whose_digests_are_right_and_names_the_lost(run):
    whole = load(Path(NEWEST)).tensors[".pdparams"]
    flip(f"{NEWEST}.pdparams", place_of(NEWEST, "hidden.bias"))
    result = run("recover", NEWEST, "--output", "s.pdparams", "--json")
    assert result.code == 1 and result.json["how"] == "by the digests of its record"
    assert result.json["lost"] == [["hidden.bias", "its digest does not match"]]
    arrays = saved_of(result, "s.pdparams")
    assert set(arrays) == set(whole) - {"hidden.bias"}
    assert all(array.tobytes() == whole[name].tobytes() for name, array in arrays.items())


def test_recover_saves_what_lies_before_a_cut_also_with_a_damaged_record(run):
    whole = load(Path(NEWEST)).tensors[".pdparams"]
    os.truncate(f"{NEWEST}.pdparams", place_of(NEWEST, "output.weight") + 4)
    text = Path(f"{NEWEST}.pdstates").read_text()
    Path(f"{NEWEST}.pdstates").write_text(text.replace('"phase": "done"', '"phase": "dime"', 1))
    result = run("recover", NEWEST, "--output", "s.pdparams", "--json")
    assert result.code == 1 and "which is damaged itself" in result.json["how"]
    arrays = saved_of(result, "s.pdparams")
    assert set(arrays) == {"hidden.weight", "hidden.bias"}
    assert all(array.tobytes() == whole[name].tobytes() for name, array in arrays.items())


def test_recover_without_any_record_reads_the_pickle_and_says_that_nothing_vouches(run):
    whole = load(Path(NEWEST)).tensors[".pdparams"]
    Path(f"{NEWEST}.pdstates").write_bytes(b"\x00" * 100)
    result = run("recover", NEWEST, "--output", "s.pdparams", "--json")
    assert result.code == 0 and "no digest vouches" in result.json["how"]
    arrays = saved_of(result, "s.pdparams")
    assert all(array.tobytes() == whole[name].tobytes() for name, array in arrays.items())
    refused(run("recover", "ck/nothing", "--output", "x.pdparams"), "There are no weights")
    refused(run("recover", NEWEST), "--output FILE.pdparams")
    refused(run("recover", "ck", "--output", "x.pdparams"), "name it by its prefix")


# ---------------------------------------------------------------- doctor


def test_doctor_measures_the_disk_and_leaves_nothing_behind(run, tiny_mnist, monkeypatch):
    monkeypatch.setenv("PADDLE_RESUME_DATA", str(tiny_mnist.parent))
    before = files_in()
    result = run("doctor", "ck", "--json")
    assert result.code == 0
    checks = {check["name"]: check for check in result.json}
    assert checks["VisualDL"]["status"] == checks["locks"]["status"] == checks["Paddle"]["status"] == "ok"
    assert re.search(r"[\d.]+ [MG]iB/s with fsync", checks["writing"]["text"])
    assert re.search(r"takes [\d.]+ ms", checks["math"]["text"])
    assert all(check["advice"] for check in result.json if check["status"] != "ok")
    assert files_in() == before and not list(Path("ck").glob("*doctor*")) + list(Path("ck").glob(".*doctor*"))


def test_doctor_says_what_to_do_where_nothing_can_be_written(run, small_disk):
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    result = run("doctor", small_disk)
    assert result.code == 1
    assert re.search(r"problem +writing: .*Read-only file system", result.out)
    assert "-> Choose a folder that you may write to" in result.out


def test_doctor_warns_of_threads_that_are_not_those_of_the_machine(run, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "61")
    (threads,) = [check for check in run("doctor", "ck", "--json").json if check["name"] == "threads"]
    assert threads["status"] == "warning" and threads["text"].startswith("61 of ")


# ---------------------------------------------------------------- schema


def test_every_key_has_a_description():
    assert list(undescribed()) == []


def test_the_reference_config_is_the_schemas_and_holds_every_default():
    path = ROOT / "configs" / "reference.yaml"
    assert path.read_text(encoding="utf-8") == reference_yaml(), "make it anew: paddle-resume schema --reference"
    loaded = load_config(path).to_dict()
    assert loaded == Config(run={"name": "mnist"}, model={"name": "MNIST"}).to_dict()


def test_the_reference_config_shows_every_key_also_of_sections_that_are_off(tmp_path):
    """With every alternative taken in, the file is still a config, and no key of the schema is missing."""
    lines = reference_yaml().split("\n\n", 1)[1].splitlines()
    while any(re.match(r"(# )+ *[a-z]", line) for line in lines):
        lines = _take_in_first(lines)
    (tmp_path / "a.yaml").write_text("\n".join(lines))
    config = load_config(tmp_path / "a.yaml", ["optimizer.lr.metric=null"]).to_dict()
    missing = list(_missing(Config, config, ""))
    assert missing == []


def _take_in_first(lines):
    """Take the first alternative in place of the key above it."""
    at = next(i for i, line in enumerate(lines) if line.startswith("# "))
    key = lines[at][2:].rstrip()
    above = max(i for i in range(at) if lines[i].startswith(f"{key} "))
    end = next((i for i in range(at, len(lines)) if not lines[i].startswith("# ")), len(lines))
    return [*lines[:above], *lines[above + 1 : at], *(line[2:] for line in lines[at:end]), *lines[end:]]


def _missing(model, value, above):
    value = value[0] if isinstance(value, list) else value
    if not isinstance(value, dict):
        yield above
        return
    for name, field in model.model_fields.items():
        if name not in value:
            yield f"{above}{name}"
        elif model_in(field.annotation):
            yield from _missing(model_in(field.annotation), value[name], f"{above}{name}.")


def check(schema, value, whole, path=""):
    """The few words of JSON Schema that are used here, in plain Python; gives the places that do not fit."""
    if "$ref" in schema:
        schema = {
            **whole["$defs"][schema["$ref"].rpartition("/")[2]],
            **{k: v for k, v in schema.items() if k != "$ref"},
        }
    for word in ("anyOf", "oneOf"):
        if word in schema:
            found = [list(check(each, value, whole, path)) for each in schema[word]]
            if all(found):
                yield path
    types = {"object": dict, "array": list, "string": str, "boolean": bool, "null": type(None)}
    types.update({"integer": int, "number": (int, float)})
    wanted = [schema["type"]] if isinstance(schema.get("type"), str) else schema.get("type")
    if wanted and not any(isinstance(value, types[t]) and (type(value) is not bool or t == "boolean") for t in wanted):
        yield path
    elif isinstance(value, dict) and ("properties" in schema or "additionalProperties" in schema):
        for key, item in value.items():
            if key in schema.get("properties", {}):
                yield from check(schema["properties"][key], item, whole, f"{path}.{key}")
            elif schema.get("additionalProperties") is False:
                yield f"{path}.{key}"
    elif isinstance(value, list) and "items" in schema:
        for item in value:
            yield from check(schema["items"], item, whole, path)
    if "enum" in schema and value not in schema["enum"]:
        yield path


@pytest.mark.parametrize("file", sorted(path.name for path in (ROOT / "configs").glob("*.yaml")))
def test_the_json_schema_accepts_every_config_of_this_repository(file):
    import yaml

    schema = json_schema()
    content = yaml.safe_load((ROOT / "configs" / file).read_text(encoding="utf-8"))
    assert list(check(schema, content, schema)) == []


def test_the_json_schema_refuses_unknown_keys_and_wrong_types(run):
    schema = run("schema").json
    assert schema == json_schema()
    assert list(check(schema, {"trainer": {"epoch": 3}}, schema)) == [".trainer.epoch"]
    assert list(check(schema, {"run": {"seed": "x"}}, schema)) == [".run.seed"]
    assert list(check(schema, {"trainer": {"on_nan": "hope"}}, schema)) == [".trainer.on_nan"]
    assert schema["$defs"]["TrainerConfig"]["properties"]["epochs"]["description"]


# ---------------------------------------------------------------- habits


def names_of_commands():
    return [command.name or command.callback.__name__ for command in app.registered_commands]


@pytest.mark.parametrize("name", names_of_commands())
def test_the_help_of_every_command_ends_with_examples_of_it(name, run):
    assert EXAMPLES.get(name), f"{name} has no example in paddle_resume/cli/help_examples.py"
    result = run(name, "--help")
    assert result.code == 0
    said = " ".join(result.out.split())
    for example in EXAMPLES[name]:
        assert example.split()[1] == name and " ".join(example.split()) in said


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_every_example_is_a_command_that_is_understood(name):
    command = typer.main.get_command(app).commands[name]
    for example in EXAMPLES[name]:
        words = shlex.split(re.split(r" (?:>|&&) ", example)[0])
        assert command.make_context(name, words[2:]).params


def test_no_color_reaches_a_pipe_and_none_a_terminal_with_no_color(here):
    program = [sys.executable, "-m", "paddle_resume", "verify", "ck"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm-256color"}
    piped = subprocess.run(program, capture_output=True, env=environment)
    assert piped.returncode == 0 and b"\x1b" not in piped.stdout + piped.stderr
    seen = []
    for extra in ({}, {"NO_COLOR": "1"}):
        main_end, other_end = os.openpty()
        subprocess.run(program, stdout=other_end, stderr=subprocess.DEVNULL, env={**environment, **extra})
        seen.append(re.findall(rb"\x1b\[\d+m", os.read(main_end, 10_000)))
        os.close(main_end)
        os.close(other_end)
    assert seen[0] and not seen[1]


def test_shell_completion_offers_commands_and_options(here):
    code = "import sys; sys.argv[0] = 'paddle-resume'; from paddle_resume.cli import main; main()"

    def offered(words, count):
        environment = {"_PADDLE_RESUME_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(count)}
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
            capture_output=True,
            text=True,
        )
        return done.stdout.split()

    assert offered("paddle-resume pr", 1) == ["prove", "predict", "prune"]
    assert offered("paddle-resume prune --keep", 2) == ["--keep", "--keep-epochs"]


def test_looking_at_checkpoints_does_not_import_paddle(here):
    code = (
        "import json, sys\nfrom paddle_resume.cli import main\n"
        "for arguments in json.loads(sys.argv[1]):\n"
        "    try:\n        main(arguments)\n"
        "    except SystemExit as end:\n        print('ended', arguments[0], end.code, 'paddle' in sys.modules)"
    )
    looks = [["list", "ck"], ["show", NEWEST], ["verify", "ck"], ["diff", OLDER, NEWEST], ["recover", "ck"]]
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(looks)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    ended = [line.split()[1:] for line in done.stdout.splitlines() if line.startswith("ended")]
    assert [(name, imported) for name, _, imported in ended] == [(look[0], "False") for look in looks], done


# ---------------------------------------------------------------- figures


def test_bfloat16_is_widened_exactly_and_rounded_to_the_nearest():
    values = np.concatenate([np.random.RandomState(0).randn(2000) * 1e3, [0.0, -0.0, 1e-40, 3.3e38, np.inf, -np.inf]])
    values = values.astype("float32")
    stored = narrowed(values.astype("float64"), np.dtype("uint16"))
    shorter = paddle.to_tensor(values).astype("bfloat16")
    assert widened(shorter.numpy()).tobytes() == shorter.astype("float32").numpy().astype("float64").tobytes()
    if not paddle.__version__.startswith("2."):  # 2.6 cuts off instead of rounding.
        assert stored.tobytes() == shorter.numpy().tobytes()
    finite = np.isfinite(values) & (values != 0)
    distance = np.abs(widened(stored)[finite] - values[finite])
    for step in (-1, 1):
        beside = widened((stored[finite].astype("int32") + step).astype("uint16"))
        assert (distance <= np.abs(beside - values[finite])).all()
    assert np.isnan(widened(narrowed(np.array([np.nan]), np.dtype("uint16")))).all()


def test_differences_know_bits_nan_and_infinity():
    a = np.array([0.0, 1.0, np.nan, np.inf, 2.0], "float32")
    b = np.array([-0.0, 1.0, np.nan, np.inf, 2.5], "float32")
    found = difference(a, b)
    assert (found.largest, found.values, found.of) == (0.5, 2, 5)
    assert np.isnan(difference(a, np.array([0.0, np.nan, 0.0, 0.0, 2.0], "float32")).largest)
    assert (norm(np.array([3.0, 4.0], "float32")), count_non_finite(a)) == (5.0, 2)
