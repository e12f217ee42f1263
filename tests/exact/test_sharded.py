"""A model on a mesh of processes: it learns what one process learns, and its shards are whole, exact and mergeable."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import forking
import numpy as np
import paddle
import pytest
from places import CONFIGS, PROGRAMS, ROOT
from ranks import Ended, start_ranks, wait_for

from paddle_resume.checkpoint.catalog import find_all
from paddle_resume.checkpoint.commit import remove
from paddle_resume.checkpoint.merge_shards import merge_shards
from paddle_resume.checkpoint.reader import load
from paddle_resume.checkpoint.shard_folder import OWNER, ShardFolder
from paddle_resume.checkpoint.sharded_state import ShardedState
from paddle_resume.checkpoint.unreadable import Unreadable
from paddle_resume.cli import main
from paddle_resume.config.mesh import MeshConfig, ModelParallelConfig, SplitConfig
from paddle_resume.errors import CheckpointError, ConfigError
from paddle_resume.models import MLP, MNIST, TransformerLM
from paddle_resume.parallel.mesh import DeviceMesh, ShardingState
from paddle_resume.parallel.shard_plan import check_mesh, resolve_plan
from paddle_resume.parallel.world import World
from paddle_resume.storage.distcp import MetadataUnpickler, StoredShard, StoredTensor, Target, fill_targets
from paddle_resume.storage.restricted_pickle import parse_foreign, read_foreign

PROGRAM = PROGRAMS / "train_sharded.py"
paddle_3 = pytest.mark.skipif(paddle.__version__.startswith("2."), reason="a mesh needs Paddle 3")


def run(folder: Path, ranks: int = 2, **options: Any) -> Ended:
    """One start of the program, in real processes."""
    began = time.monotonic()
    return wait_for(start_ranks(folder, ranks, folder, json.dumps(options), program=PROGRAM), began)


def bits(path: Path) -> dict[str, bytes]:
    """What each process held, by key and rank."""
    with np.load(path) as arrays:
        return {key: arrays[key].tobytes() for key in arrays.files}


def whole(path: Path, split: dict[str, int]) -> dict[str, np.ndarray]:
    """Every tensor that two processes held parts of, put together by the test itself."""
    with np.load(path) as parts:
        keys = {key.rpartition("@")[0] for key in parts.files}
        return {
            key: np.concatenate([parts[f"{key}@0"], parts[f"{key}@1"]], split[key])
            if key in split
            else parts[f"{key}@0"]
            for key in keys
        }


# The dimension of each tensor that the plan of the program splits; beta powers are single numbers.
SPLIT = {
    key: dimension
    for name, dimension in (("hidden.weight", 1), ("hidden.bias", 0), ("output.weight", 0))
    for key in (f"model.{name}", f"optimizer.{name}.moment1", f"optimizer.{name}.moment2")
}


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes that share one model leave after four steps that nobody interrupts."""
    if paddle.__version__.startswith("2."):
        pytest.skip("a mesh needs Paddle 3")
    folder = tmp_path_factory.mktemp("straight")
    ended = run(folder, compare=True)
    assert ended.good, ended.explain()
    return folder


@pytest.fixture
def copied(straight: Path, tmp_path: Path) -> Path:
    """The checkpoints of `straight`, to be changed."""
    return Path(shutil.copytree(straight, tmp_path / "copied"))


# ---------------------------------------------------------------- the plan


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        (
            SplitConfig(name="output.weight", split=1),
            "parallel.plan.0.split: dimension 1 of output.weight, shape [30, 10], is 10, which the axis model of size "
            "3 does not divide; split another dimension, leave the parameter out, or choose another "
            "parallel.mesh.model",
        ),
        (
            SplitConfig(name="output.weight", axis="rows", split=0),
            "parallel.plan.0.axis is rows; expected model, the axis of the mesh that parameters are split over "
            "(data splits the samples)",
        ),
        (
            SplitConfig(name="*.fc1.weight", split=0),
            "parallel.plan.0.name: '*.fc1.weight' matches no parameter of the model; expected a glob on whole "
            "structured names; did you mean output.weight, hidden.weight?",
        ),
        (
            SplitConfig(name="hidden.bias", split=1),
            "parallel.plan.0.split: hidden.bias has shape [30] and no dimension 1; expected 0 to 0",
        ),
    ],
)
def test_a_plan_that_does_not_fit_names_the_entry_the_parameter_its_shape_and_the_axis(
    entry: SplitConfig, text: str
) -> None:
    with pytest.raises(ConfigError) as error:
        resolve_plan(MLP(hidden=30), MeshConfig(model=3), [entry])
    assert str(error.value) == text


def test_an_entry_that_an_earlier_one_leaves_nothing_is_refused() -> None:
    plan = [SplitConfig(name="hidden.*", split=0), SplitConfig(name="hidden.bias", split=0)]
    with pytest.raises(ConfigError, match=r"parallel.plan.1.name: hidden.bias matches only parameters that an earlier"):
        resolve_plan(MLP(hidden=32), MeshConfig(model=2), plan)


def test_a_tied_parameter_is_split_by_any_of_its_names_and_once() -> None:
    model = TransformerLM(8, context=4, width=4, depth=1, heads=2)
    model.head = model.tokens
    splits = resolve_plan(model, MeshConfig(model=2), [SplitConfig(name="head.weight", split=0)])
    assert splits == {model.tokens.weight.name: 0}


def test_a_mesh_that_is_not_the_processes_that_are_there_is_refused() -> None:
    with pytest.raises(ConfigError) as error:
        check_mesh(MeshConfig(data=2, model=2), 2)
    assert str(error.value).startswith("parallel.mesh: data 2 x model 2 is 4 processes, and there are 2. Start 4 with")


def test_batch_norms_are_refused_on_a_mesh_and_left_alone_without_one() -> None:
    model = paddle.nn.Sequential(paddle.nn.Linear(4, 4), paddle.nn.BatchNorm1D(4))
    with pytest.raises(ConfigError, match=r"parallel.mesh: 1 is a batch norm"):
        resolve_plan(model, MeshConfig(data=2), [])
    assert resolve_plan(model, MeshConfig(), []) == {}
    assert resolve_plan(MNIST(), MeshConfig(data=2), []) == {}


def test_the_sections_of_the_config_read_a_plan_and_refuse_an_unknown_key() -> None:
    read = ModelParallelConfig.model_validate({"mesh": {"model": 2}, "plan": [{"name": "*.weight", "split": 1}]})
    assert read.mesh.size == 2 and read.plan == [SplitConfig(name="*.weight", axis="model", split=1)]
    with pytest.raises(ValueError, match="rows"):
        ModelParallelConfig.model_validate({"mesh": {"rows": 2}})


@pytest.mark.skipif(not paddle.__version__.startswith("2."), reason="of Paddle 2.6")
def test_paddle_2_is_refused_in_plain_words() -> None:
    with pytest.raises(ConfigError, match=r"parallel.mesh needs Paddle 3, and this is 2\."):
        DeviceMesh(MeshConfig(), World())


@paddle_3
def test_an_optimizer_that_paddle_cannot_shard_is_refused_by_name() -> None:
    optimizer = paddle.optimizer.Adam(parameters=MLP(hidden=4).parameters())
    with pytest.raises(ConfigError, match=r"optimizer.name is Adam; with parallel.mesh expected one of AdamW, SGD"):
        DeviceMesh(MeshConfig(), World()).shard_optimizer(optimizer)


# ---------------------------------------------------------------- the same as one process


def require_close(folder: Path) -> None:
    for kind, found in json.loads((folder / "compare.json").read_text()).items():
        assert found["mesh"] == pytest.approx(found["one process"], rel=1e-5), kind
        assert found["one process"][0] != found["one process"][1], kind
        # Sums in another order: a few units in the last place of weights below 1.
        assert found["furthest weight"] < 1e-6, kind


def test_steps_on_two_model_columns_are_those_of_one_process(straight: Path) -> None:
    require_close(straight)


def test_each_process_holds_its_part_only(straight: Path) -> None:
    with np.load(straight / "final.npz") as parts:
        assert parts["model.hidden.weight@0"].shape == parts["model.hidden.weight@1"].shape == (784, 16)
        assert parts["optimizer.hidden.weight.moment1@1"].shape == (784, 16)
        assert parts["model.output.bias@1"].shape == (10,)
        assert parts["model.output.bias@0"].tobytes() == parts["model.output.bias@1"].tobytes()


# ---------------------------------------------------------------- interruptions


def named_folders(folder: Path) -> list[str]:
    """The shard folders that the records of the run name."""
    shards = [ShardFolder.of(found.record) for found in find_all(folder, "run") if found.record]
    return sorted(one.folder for one in shards if one is not None)


def folders(folder: Path) -> list[str]:
    return sorted(f"run.shards/{path.name}" for path in (folder / "run.shards").iterdir())


def require_killed_and_whole(folder: Path, ended: Ended, rank: int, step: int) -> None:
    assert ended.statuses[rank] == -signal.SIGKILL, ended.explain()
    newest = find_all(folder, "run")[0]
    assert newest.record is not None and newest.record.step == step
    assert load(newest.prefix).record.step == step
    assert set(folders(folder)) > set(named_folders(folder)), "the save had not begun"


def test_a_kill_within_a_sharded_save_leaves_the_older_checkpoint_and_the_run_goes_on_bit_for_bit(
    straight: Path, tmp_path: Path
) -> None:
    # The first process ends with its shards of step 3 written and not durable; the other waits for it, and says so.
    ended = run(tmp_path, kill_at_fsync=3, kill_rank=1)
    require_killed_and_whole(tmp_path, ended, rank=1, step=2)
    assert "error: rank 1: it is gone" in ended.outputs[0]
    again = run(tmp_path)
    assert again.good, again.explain()
    assert bits(tmp_path / "final.npz") == bits(straight / "final.npz")
    assert bits(tmp_path / "restored.npz") != bits(straight / "final.npz")
    # What the dead process left is gone, and so are the shards of the checkpoints that retention removed.
    assert folders(tmp_path) == named_folders(tmp_path)
    assert [found.record.step for found in find_all(tmp_path, "run") if found.record] == [4, 3]


@pytest.mark.full
@paddle_3
@pytest.mark.parametrize("count", [5, 6])
def test_a_kill_of_rank_0_before_its_shards_or_the_metadata_are_durable_changes_nothing(
    straight: Path, tmp_path: Path, count: int
) -> None:
    require_killed_and_whole(tmp_path, run(tmp_path, kill_at_fsync=count), rank=0, step=2)
    again = run(tmp_path)
    assert again.good, again.explain()
    assert bits(tmp_path / "final.npz") == bits(straight / "final.npz")


@pytest.mark.full
@paddle_3
def test_four_processes_share_data_and_model_and_resume_bit_for_bit(tmp_path: Path) -> None:
    options = {"mesh": (2, 2), "kind": "transformer"}
    ended = run(tmp_path / "a", 4, compare=True, **options)
    assert ended.good, ended.explain()
    require_close(tmp_path / "a")
    assert run(tmp_path / "b", 4, steps=2, **options).good
    again = run(tmp_path / "b", 4, **options)
    assert again.good, again.explain()
    assert bits(tmp_path / "b" / "restored.npz") != bits(tmp_path / "a" / "final.npz")
    assert bits(tmp_path / "b" / "final.npz") == bits(tmp_path / "a" / "final.npz")


# ---------------------------------------------------------------- damage, and another mesh


def flip_a_bit(folder: Path, name: str) -> None:
    newest = ShardFolder.of(load(folder / "run_step4").record)
    assert newest is not None
    path = folder / newest.folder / name
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)


def test_a_damaged_shard_is_passed_over_and_another_mesh_gets_the_same_values(copied: Path) -> None:
    flip_a_bit(copied, "1_0.distcp")
    with pytest.raises(Unreadable, match=r"run.shards/3/1_0.distcp: its digest does not match, so it is damaged"):
        load(copied / "run_step4")
    ended = run(copied, mesh=(2, 1), allow_inexact=True, compare=True)
    assert ended.good, ended.explain()
    assert "passed over" in ended.outputs[0] and "run_step4" in ended.outputs[0]
    # On this mesh each process holds everything; Paddle's own merge is not asked.
    merged = paddle.load(str(merge_shards(str(copied / "run_step3"))[0]), return_numpy=True)
    with np.load(copied / "restored.npz") as held:
        for name in ("hidden.weight", "hidden.bias", "output.weight", "output.bias"):
            for rank in (0, 1):
                assert held[f"model.{name}@{rank}"].tobytes() == merged[name].tobytes()
    require_close(copied)


def test_one_process_without_a_mesh_gets_the_same_values(copied: Path) -> None:
    model = MLP(hidden=32)
    optimizer = paddle.optimizer.AdamW(parameters=model.parameters())
    shards = ShardedState(model, optimizer, save_dir=copied, name="run", world=World())
    shards.set_state_dict(load(copied / "run_step4").record.owners[OWNER])
    expected = whole(copied / "final.npz", SPLIT)
    assert {key: tensor.numpy().tobytes() for key, tensor in shards.tensors().items()} == {
        key: array.tobytes() for key, array in expected.items()
    }


def test_a_model_that_does_not_fit_is_told_every_difference_and_left_as_it_was(copied: Path) -> None:
    model = paddle.nn.Sequential(paddle.nn.Linear(4, 4))
    before = model[0].weight.numpy().tobytes()
    optimizer = paddle.optimizer.AdamW(parameters=model.parameters())
    shards = ShardedState(model, optimizer, save_dir=copied, name="run", world=World())
    with pytest.raises(
        CheckpointError, match=r"model.0.weight is missing in the files; .*model.hidden.weight is unknown"
    ):
        shards.set_state_dict(load(copied / "run_step4").record.owners[OWNER])
    assert model[0].weight.numpy().tobytes() == before


def test_another_mesh_or_another_split_on_the_same_one_makes_a_resume_inexact(straight: Path) -> None:
    saved = load(straight / "run_step4").record.owners["sharding"]
    mesh = list(map(str, ShardingState(MeshConfig(data=2), MLP(hidden=32)).differences(saved)))
    assert mesh == ["parallel.mesh: data 1 x model 2 -> data 2 x model 1"]
    lines = list(map(str, ShardingState(MeshConfig(model=2), MLP(hidden=32)).differences(saved)))
    assert lines[0] == "the part of hidden.bias in each process: [16] -> all"
    assert len(lines) == 3


# ---------------------------------------------------------------- removal


def test_removing_a_checkpoint_removes_its_shards_and_no_others(copied: Path) -> None:
    remove(copied / "run_step3")
    assert folders(copied) == named_folders(copied) == ["run.shards/3"]


# ---------------------------------------------------------------- plain files


def test_merged_files_are_what_an_unsharded_model_and_its_optimizer_load(copied: Path) -> None:
    done = forking.run([ROOT / "tools" / "merge.py", copied / "run_step4.pdstates"])
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"Wrote {copied}/run_step4_merged.pdparams.\nWrote {copied}/run_step4_merged.pdopt.\n"
    expected = whole(copied / "final.npz", SPLIT)
    weights = paddle.load(str(copied / "run_step4_merged.pdparams"))
    # All names are those of a fresh process, the accumulators' too: other tests here have made models before.
    with paddle.utils.unique_name.guard():
        model = MLP(hidden=32)
        optimizer = paddle.optimizer.AdamW(parameters=model.parameters())
        assert list(weights) == list(model.state_dict())
        assert model.set_state_dict(weights) == ([], [])
        optimizer.set_state_dict(paddle.load(str(copied / "run_step4_merged.pdopt")))
        block = paddle.static.default_main_program().global_block()
        optimizer._create_accumulators(block, list(model.parameters()))  # Paddle takes them over at the first step.
    for name, parameter in model.named_parameters():
        assert parameter.numpy().tobytes() == expected[f"model.{name}"].tobytes()
        for slot in ("moment1", "moment2", "beta1_pow_acc", "beta2_pow_acc"):
            found = optimizer._accumulators[slot][parameter.name].numpy()
            assert found.tobytes() == expected[f"optimizer.{name}.{slot}"].tobytes(), slot


def test_merging_refuses_what_is_damaged_missing_or_a_checkpoint(copied: Path) -> None:
    with pytest.raises(CheckpointError, match=r"run_step3 is a checkpoint, which merged files would become part of"):
        merge_shards(str(copied / "run_step4"), str(copied / "run_step3"))
    with pytest.raises(CheckpointError, match=r"There is no checkpoint .*run_step9. Checkpoints that can be resumed"):
        merge_shards(str(copied / "run_step9"))
    flip_a_bit(copied, "0.metadata")
    with pytest.raises(CheckpointError, match=r"run_step4 is not whole: run.shards/3/0.metadata: its digest does not"):
        merge_shards(str(copied / "run_step4"))
    assert not list(copied.glob("*.pdparams"))


def test_stock_paddle_loads_the_folder(copied: Path) -> None:
    shards = ShardFolder.of(load(copied / "run_step4").record)
    assert shards is not None
    model = MLP(hidden=32)
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    paddle.distributed.load_state_dict(tensors, str(copied / shards.folder))
    expected = whole(copied / "final.npz", SPLIT)
    for key, tensor in tensors.items():
        assert tensor.numpy().tobytes() == expected[key].tobytes()


# ---------------------------------------------------------------- what is in the files


class _Bomb:
    def __reduce__(self) -> Any:
        return os.mkdir, (self.path,)

    def __init__(self, path: Path) -> None:
        self.path = str(path)


def test_metadata_that_asks_for_anything_else_is_refused_and_nothing_is_run(tmp_path: Path) -> None:
    target = tmp_path / "executed"
    for content in (_Bomb(target), {"state_dict_metadata": _Bomb(target)}):
        with pytest.raises(CheckpointError, match=r"it asks for posix.mkdir"):
            parse_foreign(tmp_path / "0.metadata", pickle.dumps(content, 4), MetadataUnpickler)
    assert not target.exists()


@paddle_3
def test_the_classes_of_the_metadata_are_known_to_its_own_reader_only(copied: Path) -> None:
    with pytest.raises(CheckpointError, match=r"metadata.Metadata, which no file of weights needs"):
        read_foreign(copied / "run.shards" / "3" / "0.metadata")


def test_any_part_of_a_tensor_is_put_together_from_the_pieces_that_overlap_it() -> None:
    tensor = np.arange(6 * 8, dtype="float32").reshape(6, 8)
    corners = [(0, 0), (0, 4), (3, 0), (3, 4)]
    shards = tuple(StoredShard(f"{rank}_0.distcp", corner, (3, 4)) for rank, corner in enumerate(corners))
    files = {p.file: {"w": tensor[p.start[0] : p.start[0] + 3, p.start[1] : p.start[1] + 4].copy()} for p in shards}
    stored = {"w": StoredTensor((6, 8), shards)}
    for top in range(6):
        for left in range(8):
            for bottom, right in ((6, 8), (top + 1, 8), (6, left + 1)):
                part = np.zeros((bottom - top, right - left), "float32")
                fill_targets({"w": Target(part, (top, left))}, stored, files.__getitem__)
                assert part.tobytes() == tensor[top:bottom, left:right].tobytes()


@pytest.mark.parametrize(
    "folder", ["../run.shards/1", "/run.shards/1", "run.shards/../1", "run.shards/1/..", "other/1", ".run.shards/1"]
)
def test_a_record_that_names_a_folder_elsewhere_is_not_believed(folder: str) -> None:
    with pytest.raises(Unreadable, match="inconsistent"):
        ShardFolder.of_state({"folder": folder, "files": {}})


# ---------------------------------------------------------------- from a config


CONFIG = CONFIGS / "text_mesh.yaml"
SMALL = ("model.width=32", "trainer.max_steps=24", "trainer.log_every=4", "checkpoint.every_steps=3", "data.valid=64")


def train_config(folder: Path, *options: str, kill_after: str | None = None) -> Ended:
    """Train CONFIG with two processes; kill rank 1 once the record `kill_after` is there."""
    overrides = [
        each for option in (*SMALL, "data.test=64", "optimizer.lr.T_max=24", *options) for each in ("-o", option)
    ]
    began = time.monotonic()
    train = ROOT / "tools" / "train.py"
    processes = start_ranks(folder, 2, "-c", CONFIG, *overrides, program=train)
    if kill_after:
        while not (folder / "checkpoint" / kill_after).exists() and processes[1].poll() is None:
            time.sleep(0.005)
        processes[1].kill()
    return wait_for(processes, began)


def what_it_left(folder: Path) -> list[bytes]:
    merged = merge_shards(folder / "checkpoint" / "text_mesh_step24", folder / "merged")
    lines = [json.loads(line) for line in (folder / "log" / "text_mesh" / "metrics.jsonl").read_text().splitlines()]
    curves = [{tag: value for tag, value in line.items() if tag != "time"} for line in lines]
    return [*(path.read_bytes() for path in (*merged, folder / "text_mesh.pdparams")), json.dumps(curves).encode()]


@paddle_3
def test_a_config_splits_the_model_and_a_killed_run_goes_on_bit_for_bit(tmp_path: Path) -> None:
    straight = train_config(tmp_path / "straight")
    assert straight.good, straight.explain()
    assert "Processes:   2, as a mesh: data 1 x model 2" in straight.outputs[0]
    killed = train_config(tmp_path / "killed", kill_after="text_mesh_step9.pdstates")
    # Paddle's error within a step on a mesh may end a process by itself.
    assert killed.statuses[0] and killed.statuses[1] == -9, killed.explain()
    again = train_config(tmp_path / "killed")
    assert again.good and "Resume:      checkpoint/text_mesh_step" in again.outputs[0], again.explain()
    assert what_it_left(tmp_path / "killed") == what_it_left(tmp_path / "straight")


@paddle_3
@pytest.mark.full
def test_prove_starts_the_processes_of_a_mesh_and_interrupts_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    options = [word for option in (*SMALL, "data.test=64", "optimizer.lr.T_max=24") for word in ("-o", option)]
    with pytest.raises(SystemExit) as end:
        main(["prove", "-c", str(CONFIG), *options, "--kills", "4", "--stops", "--seed", "3"])
    said = capsys.readouterr().out
    assert end.value.code == 0, said
    assert "24 steps of 2 processes end bit for bit as without" in said


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ("model.heads=3 model.width=33", "33"),
        ("parallel.mesh.model=3", "parallel.mesh: data 1 x model 3 is 3 processes, and there are 2."),
        ("trainer.amp=O1", "trainer.amp does not work with parallel.mesh yet"),
        ("optimizer.name=Momentum", "with parallel.mesh expected one of AdamW, SGD"),
    ],
    ids=["indivisible", "mesh", "amp", "optimizer"],
)
@paddle_3
@pytest.mark.full
def test_a_plan_that_cannot_be_is_one_error_of_all(option: str, told: str, tmp_path: Path) -> None:
    ended = train_config(tmp_path, *option.split())
    assert ended.statuses == [2, 2] and told in ended.outputs[0], ended.explain()
