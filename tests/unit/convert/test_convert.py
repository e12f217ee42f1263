"""Weights of torch's files, read without torch, and what becomes of them in a Paddle model."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path
from typing import Any

import forking
import numpy as np
import paddle
import pytest
from places import ROOT
from torch_files import (
    PROTOCOL_2,
    STOP,
    number,
    numbers,
    storage,
    tensor,
    text,
    torch_legacy,
    torch_zip,
    write_legacy,
    write_zip,
)

from paddle_resume.checkpoint.weights import read_weights
from paddle_resume.cli import main
from paddle_resume.convert import load_converted, read_source
from paddle_resume.convert.conversion import convert_weights
from paddle_resume.convert.name_map import MappedName, NameMap, read_name_map
from paddle_resume.convert.weight_sources import Source
from paddle_resume.errors import CheckpointError, ConfigError
from paddle_resume.models import MLP, LeNet
from paddle_resume.owners.model import match_weights

OUTPUT = ("--output", "out.pdparams")
WRITERS = [torch_zip, torch_legacy]
random = np.random.default_rng(0)


def values(*shape: int, dtype: str = "float32") -> np.ndarray:
    return np.asarray(random.standard_normal(shape) * 50).astype(dtype)


def as_torch(model: paddle.nn.Layer) -> dict[str, np.ndarray]:
    """Fresh weights for `model` under torch's names and in torch's layout."""
    state = {}
    for name, parameter in model.state_dict().items():
        layer: Any = model
        for part in name.split(".")[:-1]:
            layer = getattr(layer, part)
        shape = tuple(parameter.shape)
        turned = isinstance(layer, paddle.nn.Linear) and len(shape) == 2
        name = name.replace("_mean", "running_mean").replace("_variance", "running_var")
        state[name] = values(*(shape[::-1] if turned else shape))
    return state


def source(arrays: dict[str, np.ndarray], layout: Any = "torch") -> Source:
    return Source(Path("x.pt"), arrays, layout)


def command(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["convert", *arguments])
    return int(ended.value.code or 0)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mlp.yaml").write_text("run: {name: mlp}\nmodel: {name: MLP, hidden: 12}\ndata: {name: mnist}\n")
    return tmp_path


# ---------------------------------------------------------------- torch's files


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize(
    "dtype",
    ["float32", "float64", "float16", "uint16", "int64", "int32", "int16", "int8", "uint8", "bool", "complex64"],
)
def test_every_type_that_paddle_has_is_read_bit_for_bit(write: Any, dtype: str, tmp_path: Path) -> None:
    arrays = {"a": values(3, 4, dtype=dtype), "scalar": values(dtype=dtype), "empty": values(0, 4, dtype=dtype)}
    read = read_source(str(write(tmp_path / "x.pt", arrays)))
    assert read.layout == "torch" and list(read.arrays) == list(arrays)
    for name, array in arrays.items():
        assert read.arrays[name].dtype == array.dtype and read.arrays[name].shape == array.shape
        assert read.arrays[name].tobytes() == array.tobytes()


@pytest.mark.parametrize("write", WRITERS)
def test_the_state_dict_is_found_in_a_training_dictionary(write: Any, tmp_path: Path) -> None:
    weights = {"fc.weight": values(2, 3)}
    moments = {"state": {"step": 4, "exp_avg": values(2, 3)}, "param_groups": [{"lr": "0.1", "params": [0]}]}
    content = {"epoch": 3, "best": None, "amp": True, "state_dict": weights, "optimizer": moments}
    read = read_source(str(write(tmp_path / "x.ckpt", content)))
    assert read.key == "state_dict" and read.arrays["fc.weight"].tobytes() == weights["fc.weight"].tobytes()


def test_several_state_dicts_are_never_chosen_from_in_silence(tmp_path: Path) -> None:
    content = {"nets": {"model": {"w": values(2)}, "model_ema": {"w": values(3)}}, "epoch": 1}
    path = str(torch_zip(tmp_path / "x.pt", content))
    with pytest.raises(CheckpointError, match=r"several dicts of tensors: nets.model, nets.model_ema. Choose one"):
        read_source(path)
    assert read_source(path, "nets.model_ema").arrays["w"].shape == (3,)
    with pytest.raises(ConfigError, match=r"no such key there; it has: nets \(dict\), epoch \(int\)"):
        read_source(path, "net.model")
    with pytest.raises(CheckpointError, match="epoch is a int, not a dict of tensors"):
        read_source(path, "epoch")


def test_a_dict_without_tensors_is_an_error_that_says_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no dict of tensors by name. It has: epoch \(int\)"):
        read_source(str(torch_zip(tmp_path / "x.pt", {"epoch": 1})))


def test_tensors_that_are_views_of_one_storage_are_read_as_torch_means_them(tmp_path: Path) -> None:
    base = np.arange(12, dtype="float32")
    pid = storage("ctorch\nFloatStorage\n", "0", 12)
    items = text("turned") + tensor(pid, 0, [3, 4], [1, 3]) + text("tail") + tensor(pid, 6, [6], [1])
    write_zip(tmp_path / "x.pt", PROTOCOL_2 + b"}(" + items + b"u" + STOP, {"0": base.tobytes()})
    arrays = read_source(str(tmp_path / "x.pt")).arrays
    assert arrays["turned"].tobytes() == base.reshape(4, 3).T.tobytes()
    assert arrays["tail"].tobytes() == base[6:].tobytes()


def test_a_view_of_a_storage_in_a_file_of_the_first_torch_versions_is_read(tmp_path: Path) -> None:
    base = np.arange(12, dtype="float32")
    pid = storage("ctorch\nFloatStorage\n", "0", 12, True, b"(" + text("v") + number(4) + number(5) + b"t")
    write_legacy(tmp_path / "x.pt", b"}" + text("a") + tensor(pid, 1, [3], [1]) + b"s", {"0": base})
    assert read_source(str(tmp_path / "x.pt")).arrays["a"].tolist() == [5.0, 6.0, 7.0]


def test_arguments_of_a_program_beside_the_weights_are_passed_over(tmp_path: Path) -> None:
    namespace = b"cargparse\nNamespace\n)\x81}" + text("lr") + number(1) + b"sb"
    pid = storage("ctorch\nFloatStorage\n", "0", 2)
    content = b"}(" + text("args") + namespace + text("model") + b"}" + text("w") + tensor(pid, 0, [2], [1]) + b"su"
    write_zip(tmp_path / "x.pt", PROTOCOL_2 + content + STOP, {"0": bytes(8)})
    assert read_source(str(tmp_path / "x.pt")).key == "model"


FLOATS = "ctorch\nFloatStorage\n"
ONE = storage(FLOATS, "0", 4)
TOUCH = text("touch MARKER")
HOSTILE: dict[str, tuple[bytes, str]] = {
    "os.system": (b"cos\nsystem\n(" + TOUCH + b"tR", "os.system"),
    "eval": (b"cbuiltins\neval\n(" + text("open('MARKER', 'w')") + b"tR", "builtins.eval"),
    "getattr": (b"cbuiltins\ngetattr\n(" + text("x") + text("y") + b"tR", "builtins.getattr"),
    "torch.load": (b"ctorch\nload\n(" + text("MARKER") + b"tR", "torch.load"),
    "torch.hub": (b"ctorch.hub\nload\n(" + text("x") + b"tR", "torch.hub.load"),
    "a module": (b"c__main__\nNet\n)\x81}b", "__main__.Net"),
    "a dotted name": (b"\x80\x04\x8c\x05torch\x8c\x11storage.os.system\x93", "torch.storage.os.system"),
    "another name in torch._utils": (b"ctorch._utils\n_rebuild_sparse_tensor\n)R", "_rebuild_sparse_tensor"),
    "a storage that is called": (FLOATS.encode() + number(9) + b"\x85R", "a call of a _StorageKind"),
    "a storage that is changed": (FLOATS.encode() + b"}" + text("dtype") + text("x") + b"sb", "a change to a _Storage"),
    "a storage made as an object": (FLOATS.encode() + b")\x81", "an instance of a class"),
    "a namespace with arguments": (b"cargparse\nNamespace\n" + number(1) + b"\x85\x81", "an instance of a class"),
    "a persistent id of text": (b"Pos.system\n", "a persistent id"),
    "a persistent id of a number": (number(1) + b"Q", "a persistent id that is no storage"),
    "a storage of a text": (storage(text("x").decode("latin1"), "0", 4), "a persistent id that is no storage"),
    "a storage below zero": (storage(FLOATS, "0", -4), "whose place is no number"),
    "a tensor without a storage": (tensor(number(3), 0, [4], [1]), "a tensor without a storage"),
    "strides below zero": (tensor(ONE, 3, [4], [-1]), "whose place is no number"),
    "strides for another shape": (tensor(ONE, 0, [4], [1, 1]), "strides do not fit"),
    "a shape of lists": (
        b"ctorch._utils\n_rebuild_tensor_v2\n(" + ONE + number(0) + b"](]e" + numbers([1]) + b"tR",
        "whose place is no number",
    ),
    "a shape of many dimensions": (tensor(ONE, 0, [1] * 99, [1] * 99), "a tensor whose shape is something else"),
    "a parameter of a text": (b"ctorch._utils\n_rebuild_parameter\n(" + text("x") + b"tR", "a parameter made of str"),
    "a tensor beyond its storage": (tensor(ONE, 1, [4], [1]), "a tensor of shape [4] in a storage of 4 numbers"),
    "a tensor far beyond it": (tensor(ONE, 1 << 61, [1], [1]), "in a storage of 4 numbers"),
    "strides beyond it": (tensor(ONE, 0, [2], [1 << 61]), "in a storage of 4 numbers"),
    "an expanded tensor": (tensor(ONE, 0, [1 << 40], [0]), "in a storage of 4 numbers"),
    "a product beyond any number": (tensor(ONE, 0, [1 << 61] * 9, [0] * 9), "in a storage of 4 numbers"),
    "a storage larger than its bytes": (
        tensor(storage(FLOATS, "0", 1 << 40), 0, [4], [1]),
        "a storage of 1099511627776 numbers in 16 bytes",
    ),
    "a storage that is not there": (tensor(storage(FLOATS, "9", 4), 0, [4], [1]), "storage '9' is missing"),
    "a storage elsewhere": (tensor(storage(FLOATS, "../../etc/passwd", 4), 0, [4], [1]), "is missing"),
    "an extension": (b"\x82\x01", "the extension registry"),
    "a set": (b"\x80\x04\x8f", "a set"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_file_is_refused_and_runs_nothing(kind: str, here: Path) -> None:
    pickled, said = HOSTILE[kind]
    write_zip(here / "x.pt", PROTOCOL_2 + b"}" + text("a") + pickled + b"s" + STOP, {"0": bytes(16)})
    with pytest.raises(CheckpointError) as caught:
        read_source("x.pt")
    assert said in str(caught.value) and "x.pt" in str(caught.value) and len(str(caught.value)) < 1000
    assert not (here / "MARKER").exists()
    if b"storage" not in pickled:  # the zip alone holds the storages
        write_legacy(here / "x.pt", b"}" + text("a") + pickled + b"s", {})
        with pytest.raises(CheckpointError) as caught:
            read_source("x.pt")
        assert said in str(caught.value)
    assert sorted(os.listdir(here)) == ["mlp.yaml", "x.pt"]


def test_the_hostile_files_would_do_harm_where_nothing_is_refused(here: Path) -> None:
    import pickle

    for kind in ("os.system", "eval"):
        pickle.loads(PROTOCOL_2 + HOSTILE[kind][0] + STOP)
        assert (here / "MARKER").exists(), kind
        (here / "MARKER").unlink()


def test_many_tensors_of_one_storage_cannot_fill_a_disk(tmp_path: Path) -> None:
    pid = storage(FLOATS, "0", 25_000)
    items = b"".join(text(str(i)) + (b"h\x01" if i else tensor(pid, 0, [25_000], [1]) + b"q\x01") for i in range(99))
    write_zip(tmp_path / "x.pt", PROTOCOL_2 + b"}(" + items + b"u" + STOP, {"0": bytes(100_000)})
    with pytest.raises(CheckpointError, match="more numbers than it has bytes"):
        read_source(str(tmp_path / "x.pt"))


def test_a_type_that_paddle_lacks_is_named_by_its_tensor(tmp_path: Path) -> None:
    pid = storage("ctorch.storage\nUntypedStorage\n", "0", 4)
    where = pid + number(0) + numbers([4]) + numbers([1]) + b"\x89Nctorch\nfloat8_e4m3fn\n"
    call = b"ctorch._utils\n_rebuild_tensor_v3\n(" + where + b"tR"
    write_zip(tmp_path / "x.pt", PROTOCOL_2 + b"}" + text("fc.weight") + call + b"s" + STOP, {"0": bytes(4)})
    with pytest.raises(CheckpointError, match=r"fc.weight is torch.float8_e4m3fn. Convert them in torch first"):
        read_source(str(tmp_path / "x.pt"))


def test_damaged_and_foreign_archives_are_refused(tmp_path: Path) -> None:
    good = torch_zip(tmp_path / "x.pt", {"a": values(100)}).read_bytes()
    place = good.index(np.ascontiguousarray(read_source(str(tmp_path / "x.pt")).arrays["a"]).tobytes())
    empty = PROTOCOL_2 + b"}" + STOP
    deflated = write_zip(tmp_path / "y.pt", empty, compression=zipfile.ZIP_DEFLATED).read_bytes()
    script = write_zip(tmp_path / "y.pt", empty, more={"code/net.py": b""}).read_bytes()
    big = write_zip(tmp_path / "y.pt", empty, more={"byteorder": b"big"}).read_bytes()
    with zipfile.ZipFile(tmp_path / "y.pt", "w") as archive:
        archive.writestr("something.txt", "else")
    other = (tmp_path / "y.pt").read_bytes()
    cases = {
        "one byte turned": (good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :], "CRC"),
        "cut short": (good[: len(good) // 2], "damaged or is no file of torch.save"),
        "empty": (b"", "is empty"),
        "text": (b"hello", "no file of torch.save"),
        "compressed": (deflated, "a compressed or encrypted entry"),
        "TorchScript": (script, "holds a TorchScript program"),
        "big endian": (big, "other order of bytes"),
        "another zip": (other, "it has no data.pkl"),
        "Paddle's own": (b"\x80\x04}.", "A file of Paddle's needs the ending .pdparams"),
    }
    for kind, (raw, said) in cases.items():
        (tmp_path / "x.pt").write_bytes(raw)
        with pytest.raises(CheckpointError) as caught:
            read_source(str(tmp_path / "x.pt"))
        assert said in str(caught.value), kind
    with pytest.raises(CheckpointError, match="Could not read .*: No such file"):
        read_source(str(tmp_path / "missing.pt"))


@pytest.mark.parametrize("share", [0.2, 0.6, 0.9, 0.999])
def test_a_legacy_file_that_was_cut_short_is_refused(share: float, tmp_path: Path) -> None:
    path = torch_legacy(tmp_path / "x.pt", {"a": values(100)})
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(CheckpointError, match="x.pt (is damaged|was not loaded)"):
        read_source(str(path))


@pytest.mark.parametrize("write", WRITERS)
def test_whatever_the_damage_only_documented_errors_come_out(write: Any, tmp_path: Path) -> None:
    good = write(tmp_path / "x.pt", {"epoch": 1, "state_dict": {"a": values(3, 4), "b": values(5)}}).read_bytes()
    draw, refused = np.random.default_rng(1), 0
    for _ in range(300):
        raw = bytearray(good)
        for place in draw.integers(0, len(raw), draw.integers(1, 4)):
            raw[place] = draw.integers(0, 256)
        (tmp_path / "x.pt").write_bytes(raw)
        try:
            read_source(str(tmp_path / "x.pt"))
        except CheckpointError:
            refused += 1
    assert refused > 100


def test_two_entries_of_one_name_are_refused(tmp_path: Path) -> None:
    torch_zip(tmp_path / "x.pt", {"a": values(3)})
    with zipfile.ZipFile(tmp_path / "x.pt", "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("archive/data/0", values(3).tobytes())
    with pytest.raises(CheckpointError, match="two entries of one name"):
        read_source(str(tmp_path / "x.pt"))


# ---------------------------------------------------------------- into a model


def test_a_linear_weight_is_transposed_by_its_layer_and_not_by_its_shape() -> None:
    class Net(paddle.nn.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.square = paddle.nn.Linear(4, 4)
            self.embedding = paddle.nn.Embedding(4, 4)
            self.plain = self.create_parameter([4, 4])

    state = {name: values(4, 4) for name in ("square.weight", "embedding.weight", "plain")}
    found = convert_weights(Net(), source({**state, "square.bias": values(4)}))
    assert not found.problems
    assert found.arrays["square.weight"].tobytes() == state["square.weight"].T.tobytes()
    assert found.arrays["embedding.weight"].tobytes() == state["embedding.weight"].tobytes()
    assert found.arrays["plain"].tobytes() == state["plain"].tobytes()
    assert {row.name: row.result for row in found.rows}["square.weight"] == "transposed"


def test_the_layers_that_paddle_names_otherwise_get_their_weights() -> None:
    nn = paddle.nn
    model = nn.Sequential(nn.Conv2D(1, 3, 3), nn.BatchNorm2D(3), nn.InstanceNorm2D(3), nn.PReLU(), nn.BatchNorm(3))
    state = {
        "0.weight": values(3, 1, 3, 3),
        **{f"{i}.{name}": values(3) for i in (1, 4) for name in ("weight", "bias", "running_mean", "running_var")},
        "1.num_batches_tracked": values(dtype="int64"),
        "0.bias": values(3),
        "2.weight": values(3),
        "2.bias": values(3),
        "3.weight": values(1),
    }
    found = convert_weights(model, source(state))
    assert not found.problems and found.counts()["left_out"] == 1
    for ours, theirs in (("1._mean", "1.running_mean"), ("4._variance", "4.running_var"), ("2.scale", "2.weight")):
        assert found.arrays[ours].tobytes() == state[theirs].tobytes()
    assert set(match_weights(model, found.arrays).values()) == {""}
    assert list(found.arrays) == list(model.state_dict())


def test_the_three_projections_of_an_attention_come_out_of_one_matrix() -> None:
    model = paddle.nn.TransformerDecoderLayer(4, 2, 8)
    state = as_torch(model)
    for ours, theirs in (("self_attn", "self_attn"), ("cross_attn", "multihead_attn")):
        parts = [[state.pop(f"{ours}.{q}_proj.{kind}") for q in "qkv"] for kind in ("weight", "bias")]
        state[f"{theirs}.in_proj_weight"], state[f"{theirs}.in_proj_bias"] = map(np.concatenate, parts)
        for kind in ("weight", "bias"):
            state[f"{theirs}.out_proj.{kind}"] = state.pop(f"{ours}.out_proj.{kind}")
    found = convert_weights(model, source(state))
    assert not found.problems, found.problems
    keys = state["multihead_attn.in_proj_weight"][4:8]
    assert found.arrays["cross_attn.k_proj.weight"].tobytes() == keys.T.tobytes()
    assert found.arrays["self_attn.v_proj.bias"].tobytes() == state["self_attn.in_proj_bias"][8:].tobytes()


def test_a_tensor_with_two_names_needs_one_entry_and_refuses_two_that_differ() -> None:
    model = paddle.nn.LSTM(3, 4)
    state = {name: array for name, array in as_torch(model).items() if "cell" not in name}
    found = convert_weights(model, source(state))
    assert not found.problems
    assert found.arrays["0.cell.weight_ih"].tobytes() == state["weight_ih_l0"].tobytes()
    state["0.cell.bias_hh"] = values(16)
    assert "not the same as" in convert_weights(model, source(state)).problems[0].result


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod."])
def test_what_torch_s_wrappers_put_before_every_name_is_taken_off(prefix: str) -> None:
    state = as_torch(MLP(hidden=8))
    wrapped = {**{prefix + name: array for name, array in state.items()}, "n_averaged": values()}
    found = convert_weights(MLP(hidden=8), source(wrapped))
    assert not found.problems and found.arrays["output.weight"].tobytes() == state["output.weight"].T.tobytes()


def test_a_prefix_that_the_model_has_itself_stays() -> None:
    class Net(paddle.nn.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.module = paddle.nn.Linear(3, 2)

    assert not convert_weights(Net(), source(as_torch(Net()))).problems


@pytest.mark.parametrize(
    ("given", "wanted"),
    [("float16", "float32"), ("uint16", "float32"), ("float32", "float64"), ("int32", "int64"), ("uint16", "float64")],
)
def test_a_type_is_widened_without_a_bit_lost(given: str, wanted: str) -> None:
    model = paddle.nn.Layer()
    model.register_buffer("a", paddle.zeros([3, 2], dtype=wanted))
    array = random.integers(0, 1 << 14, (3, 2)).astype("uint16") if given == "uint16" else values(3, 2, dtype=given)
    found = convert_weights(model, source({"a": array}))
    assert not found.problems and found.arrays["a"].dtype == np.dtype(wanted)
    tensor = paddle.to_tensor(array).astype(wanted)  # uint16 becomes bfloat16
    assert found.arrays["a"].tobytes() == tensor.numpy().tobytes()


@pytest.mark.parametrize("given", ["float64", "uint16", "float16"])
def test_a_type_that_would_be_rounded_is_refused(given: str) -> None:
    model = paddle.nn.Layer()
    wanted = {"float64": "float32", "uint16": "float16", "float16": "bfloat16"}[given]
    model.register_buffer("a", paddle.zeros([2], dtype=wanted))
    problem = convert_weights(model, source({"a": np.ones(2, given)})).problems[0].result
    assert f"and the model {wanted}, which does not hold all of it" in problem


def test_what_does_not_fit_is_listed_and_nothing_of_the_model_is_changed() -> None:
    model = LeNet()
    before = {name: tensor.numpy().tobytes() for name, tensor in model.state_dict().items()}
    state = as_torch(model)
    state["features.0.bias"] = values(7)
    state["head.weight"] = state.pop("classifier.4.weight")
    found = convert_weights(model, source(state))
    assert {(row.name, row.target) for row in found.problems} == {
        ("features.0.bias", "features.0.bias"),
        ("head.weight", ""),
        ("", "classifier.4.weight"),
    }
    assert "features.0.bias" not in found.arrays and len(found.arrays) == 8
    with pytest.raises(CheckpointError, match=r"has the shape \[7\], and the model \[6\].*--map"):
        found.check(source(state), "LeNet")
    assert {name: tensor.numpy().tobytes() for name, tensor in model.state_dict().items()} == before


def test_a_layout_of_paddle_is_never_transposed() -> None:
    model = MLP(hidden=784)
    state = {name: values(*tensor.shape) for name, tensor in model.state_dict().items()}
    found = convert_weights(model, source(state, "paddle"))
    assert not found.problems and found.arrays["hidden.weight"].tobytes() == state["hidden.weight"].tobytes()


# ---------------------------------------------------------------- the name map


def named(folder: Path, content: str) -> NameMap:
    (folder / "names.yaml").write_text(content)
    return read_name_map(str(folder / "names.yaml"))


def test_the_first_pattern_that_matches_decides(tmp_path: Path) -> None:
    names = named(
        tmp_path,
        '"aux.*": null\n"block.*.conv*.gamma": "layers.*.c*.weight"\n"block.*": "x.*"\n'
        '"*.c_attn.weight": {transpose: false}\n"never": "y"\n',
    )
    assert names.apply("aux.fc.weight").to is None
    assert names.apply("block.3.conv1.gamma").to == "layers.3.c1.weight"
    assert names.apply("block.3.bias").to == "x.3.bias"
    assert names.apply("h.0.c_attn.weight") == MappedName("h.0.c_attn.weight", False)
    assert names.apply("blocks.3").to == "blocks.3"
    assert names.unused() == ["never"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('"a.*": "b"', "names.yaml:1: a.* and b need the same number of *"),
        ('\n"a": 3', "names.yaml:2: a becomes 3; expected a name, null"),
        ('"a": {to: b, transposed: true}', "expected a name, null"),
        ('"a": {transpose: 1}', "names.yaml:1: transpose of a is 1; expected true or false"),
        ("*.gamma: b", "malformed YAML"),
        ('"a": b\n"a": c', "a is given twice"),
    ],
)
def test_a_name_map_that_cannot_be_used_says_where_and_why(content: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        named(tmp_path, content)
    assert said in str(caught.value)


def test_a_map_renames_and_turns_weights_for_a_model(tmp_path: Path) -> None:
    model = MLP(hidden=8)
    state = as_torch(model)
    theirs = {"net.first.weight": state["hidden.weight"].T.copy(), "net.first.bias": state["hidden.bias"]}
    theirs |= {f"net.{name}": array for name, array in state.items() if name.startswith("output")}
    hint = convert_weights(model, source(theirs)).hint
    assert hint == 'A name map (--map) with the line "net.*": "*" takes net. off.'
    names = named(
        tmp_path, '"net.first.weight": {to: hidden.weight, transpose: false}\n"net.first.*": "hidden.*"\n"net.*": "*"\n'
    )
    found = convert_weights(model, source(theirs), names)
    assert not found.problems
    assert found.arrays["hidden.weight"].tobytes() == theirs["net.first.weight"].tobytes()
    assert found.arrays["output.weight"].tobytes() == state["output.weight"].T.tobytes()


# ---------------------------------------------------------------- the command


def test_the_command_writes_weights_that_training_takes(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = as_torch(MLP(hidden=12))
    torch_zip(here / "net.pth", {"epoch": 1, "state_dict": {f"module.{name}": array for name, array in state.items()}})
    assert command("net.pth", "--output", "out.pdparams", "-c", "mlp.yaml") == 0
    said = capsys.readouterr().out
    assert "net.pth, state_dict (4 tensors, layout of torch)" in said and "Wrote:       out.pdparams" in said
    _, arrays = read_weights("out.pdparams")
    assert arrays["hidden.weight"].tobytes() == state["hidden.weight"].T.tobytes()
    model = MLP(hidden=12)
    assert model.set_state_dict(paddle.load("out.pdparams")) in (([], []), None)
    assert model.output.bias.numpy().tobytes() == state["output.bias"].tobytes()
    other = MLP(hidden=12)
    load_converted(other, "net.pth")
    assert other.hidden.weight.numpy().tobytes() == model.hidden.weight.numpy().tobytes()


def test_a_dry_run_writes_nothing_and_json_is_json(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch_zip(here / "net.pth", as_torch(MLP(hidden=12)))
    before = sorted(os.listdir(here))
    assert command("net.pth", "-c", "mlp.yaml", "--dry-run", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["counts"] == {"filled": 4, "transposed": 2, "left_out": 0, "problems": 0} and told["output"] is None
    assert [row["target"] for row in told["rows"]] == ["hidden.weight", "hidden.bias", "output.weight", "output.bias"]
    assert sorted(os.listdir(here)) == before


def test_what_does_not_fit_ends_with_2_and_writes_nothing_unless_partial(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = as_torch(MLP(hidden=12))
    state["extra"] = state.pop("output.bias")
    torch_zip(here / "net.pth", state)
    assert command("net.pth", "--output", "out.pdparams", "-c", "mlp.yaml") == 2
    said = capsys.readouterr()
    assert "missing in the file" in said.out and said.err.startswith("error: net.pth does not fit the model MLP: ")
    assert not (here / "out.pdparams").exists()
    assert command("net.pth", "--output", "out.pdparams", "-c", "mlp.yaml", "--partial") == 0
    assert sorted(read_weights("out.pdparams")[1]) == ["hidden.bias", "hidden.weight", "output.weight"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["net.pth", *OUTPUT], "weights of torch need the model that they are for"),
        (["net.pth"], "convert writes a file: give --output"),
        (["net.pth", *OUTPUT, "--dry-run"], "convert writes a file: give --output"),
        (["net.pth", "--output", "out.txt", "-c", "mlp.yaml"], "ends in .pdparams or .safetensors"),
        (["net.pth", "--output", "folder.pdparams", "-c", "mlp.yaml"], "folder.pdparams is a folder"),
        (["net.pth", *OUTPUT, "-o", "model.hidden=3"], "-o changes a config"),
        (["net.pth", *OUTPUT, "-c", "mlp.yaml", "--from", "paddle"], "is a file of torch's; leave --from out"),
        (["net.pth", *OUTPUT, "-c", "mlp.yaml", "--map", "none.yaml"], "none.yaml: no such"),
        (["p.pdparams", "--output", "out.safetensors", "--key", "model"], "has no dictionaries inside"),
        (["p.pdparams", "--output", "p.pdparams"], "is the file that is read"),
        (["p.pdparams", "--output", "out.safetensors", "--partial"], "a name map or --partial need the model"),
        (["none.pdparams", "--output", "out.safetensors"], "There are no weights at none.pdparams"),
    ],
)
def test_a_user_s_mistake_is_one_paragraph(
    arguments: list[str], said: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch_zip(here / "net.pth", as_torch(MLP(hidden=12)))
    paddle.save(MLP(hidden=12).state_dict(), "p.pdparams")
    (here / "folder.pdparams").mkdir()
    assert command(*arguments) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1 and error.startswith("error: ")


def test_a_checkpoint_s_own_file_is_never_written_over(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from paddle_resume import Checkpointer

    checkpointer = Checkpointer("checkpoint", "net")
    checkpointer.save(4, {"model": MLP(hidden=12)})
    checkpointer.close()
    prefix = str(checkpointer.found()[0].prefix)
    torch_zip(here / "net.pth", as_torch(MLP(hidden=12)))
    assert command("net.pth", "--output", f"{prefix}.pdparams", "-c", "mlp.yaml") == 2
    assert "belongs to a checkpoint, which it would damage" in capsys.readouterr().err
    assert command(prefix, "--output", "out.safetensors") == 0
    assert command("out.safetensors", "--output", "back.pdparams") == 0
    assert Path("back.pdparams").read_bytes() == Path(f"{prefix}.pdparams").read_bytes()


def test_a_full_disk_leaves_what_was_there(here: Path, small_disk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paddle.save({"a": paddle.zeros([600_000])}, "p.pdparams")
    target = small_disk / "out.safetensors"
    target.write_bytes(b"before")
    assert command("p.pdparams", "--output", str(target)) == 2
    assert "Could not write" in capsys.readouterr().err
    assert target.read_bytes() == b"before" and os.listdir(small_disk) == ["out.safetensors"]


def test_the_door_in_tools_leads_to_the_command(here: Path) -> None:
    paddle.save(MLP(hidden=12).state_dict(), "p.pdparams")
    done = forking.run([ROOT / "tools" / "convert.py", "p.pdparams", "--dry-run"])
    assert (done.returncode, done.stderr) == (0, "") and "p.pdparams (4 tensors, layout of paddle)" in done.stdout
