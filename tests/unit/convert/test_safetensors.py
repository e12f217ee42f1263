"""safetensors in and out: bit for bit, understood by the format's own library, and safe from hostile headers."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import pytest

from paddle_resume.checkpoint.weights import read_weights
from paddle_resume.cli import main
from paddle_resume.convert import read_safetensors, read_source, write_safetensors
from paddle_resume.errors import CheckpointError, ConfigError, StateError

TYPES = ["bool", "uint8", "int8", "int16", "int32", "int64", "float16", "uint16", "float32", "float64", "complex64"]


def every_type() -> dict[str, np.ndarray]:
    """Arrays of every type, in an order in which each would lie askew, with bits that are no number among them."""
    random = np.random.default_rng(0)
    arrays: dict[str, np.ndarray] = {}
    for name in TYPES:
        raw = (
            random.integers(0, 2, 15).astype("bool") if name == "bool" else np.frombuffer(random.bytes(240), name)[:15]
        )
        arrays[name] = raw.reshape(3, 5)
    arrays["scalar"] = np.array(1.5, "float32")
    arrays["empty"] = np.empty((0, 3), "int64")
    arrays["turned"] = np.arange(6, dtype="float32").reshape(2, 3).T
    return arrays


def same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    return list(one) == list(other) and all(
        (a.dtype, a.shape, a.tobytes()) == (other[name].dtype, other[name].shape, other[name].tobytes())
        for name, a in one.items()
    )


def command(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["convert", *arguments])
    return int(ended.value.code or 0)


def test_every_type_comes_back_bit_for_bit_in_the_same_order_with_its_metadata(tmp_path: Path) -> None:
    arrays, path = every_type(), tmp_path / "x.safetensors"
    size = write_safetensors(path, arrays, {"format": "paddle", "from": "Füße"})
    assert size == path.stat().st_size
    back, metadata = read_safetensors(path)
    assert same(arrays, back) and metadata == {"format": "paddle", "from": "Füße"}


def test_each_tensor_lies_at_a_multiple_of_its_own_size(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    write_safetensors(path, every_type(), {})
    raw = path.read_bytes()
    length = struct.unpack("<Q", raw[:8])[0]
    assert length % 8 == 0
    for name, entry in json.loads(raw[8 : 8 + length]).items():
        assert entry["data_offsets"][0] % every_type()[name].itemsize == 0, name


def test_the_format_s_own_library_reads_what_is_written_and_the_other_way_round(tmp_path: Path) -> None:
    library = pytest.importorskip("safetensors")
    arrays, path = every_type(), tmp_path / "x.safetensors"
    write_safetensors(path, arrays, {"format": "paddle"})
    theirs = dict(library.deserialize(path.read_bytes()))
    assert set(theirs) == set(arrays)
    for name, array in arrays.items():
        assert bytes(theirs[name]["data"]) == array.tobytes() and theirs[name]["shape"] == list(array.shape)
    with library.safe_open(str(path), "np") as opened:
        assert opened.metadata() == {"format": "paddle"}
    from safetensors.numpy import save_file

    written = {name: array for name, array in arrays.items() if array.dtype != np.uint16 and name != "turned"}
    save_file(written, str(tmp_path / "y.safetensors"), {"format": "pt"})
    back, metadata = read_safetensors(tmp_path / "y.safetensors")
    assert metadata == {"format": "pt"} and same(dict(sorted(written.items())), dict(sorted(back.items())))


def test_a_pdparams_comes_back_byte_for_byte_with_its_table_of_names(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    model = paddle.nn.Sequential(paddle.nn.Conv2D(1, 2, 3), paddle.nn.BatchNorm2D(2), paddle.nn.Linear(4, 3))
    model[2].to(dtype="bfloat16")
    paddle.save(model.state_dict(), "a.pdparams")
    for source, target in (
        ("a.pdparams", "b.safetensors"),
        ("b.safetensors", "c.pdparams"),
        ("c.pdparams", "d.safetensors"),
    ):
        assert command(source, "--output", target) == 0
    assert same(read_weights("a.pdparams")[1], read_weights("c.pdparams")[1])
    assert Path("b.safetensors").read_bytes() == Path("d.safetensors").read_bytes()
    ours, theirs = (paddle.load(name, keep_name_table=True) for name in ("c.pdparams", "a.pdparams"))
    assert ours["StructuredToParameterName@@"] == theirs["StructuredToParameterName@@"]
    assert ours["2.weight"].dtype == paddle.bfloat16


def test_other_metadata_is_kept_by_safetensors_and_told_where_a_pdparams_has_no_place(
    tmp_path: Path, monkeypatch: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_safetensors(Path("a.safetensors"), {"w": np.ones(2, "f4")}, {"format": "paddle", "license": "MIT"})
    assert command("a.safetensors", "--output", "b.safetensors") == 0
    assert read_safetensors(Path("b.safetensors"))[1] == {"format": "paddle", "license": "MIT"}
    assert command("a.safetensors", "--output", "b.pdparams") == 0
    assert "Not kept:    metadata license" in capsys.readouterr().out


def test_whose_layout_a_file_has_is_said_by_it_or_by_the_user(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    for said, layout in (("pt", "torch"), ("paddle", "paddle")):
        write_safetensors(path, {"w": np.ones(2, "f4")}, {"format": said})
        assert read_source(str(path)).layout == layout
    with pytest.raises(ConfigError, match="--from torch: .* is a file of paddle's; leave --from out"):
        read_source(str(path), layout="torch")
    write_safetensors(path, {"w": np.ones(2, "f4")}, {"format": "np"})
    with pytest.raises(ConfigError, match="does not say whether its weights are laid out as torch's or as Paddle's"):
        read_source(str(path))
    assert read_source(str(path), layout="torch").layout == "torch"


def test_what_the_format_does_not_have_is_not_written(tmp_path: Path) -> None:
    for arrays in ({"a": np.ones(1, "complex128")}, {"a": np.ones(1, "uint32")}, {"__metadata__": np.ones(1, "f4")}):
        with pytest.raises(StateError, match="safetensors cannot hold it"):
            write_safetensors(tmp_path / "x.safetensors", arrays, {})
    assert os.listdir(tmp_path) == []


def entry(dtype: str = "F32", shape: Any = (2,), offsets: Any = (0, 8)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def header(content: Any) -> bytes:
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()
    return struct.pack("<Q", len(raw)) + raw


EIGHT = bytes(8)
HOSTILE: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "it has 0 bytes"),
    "no header": (b"abc", "it has 3 bytes"),
    "a header longer than the file": (struct.pack("<Q", 1 << 40) + b"{}", "its first eight give the header"),
    "a header of all bits": (b"\xff" * 8 + b"{}", "its first eight give the header"),
    "a header of one byte": (struct.pack("<Q", 1) + b"{", "its first eight give the header"),
    "a header that is a list": (header([1]), "no JSON object"),
    "a header with spaces before": (header(b" {}"), "no JSON object"),
    "a header that is no text": (header(b"{\xff}"), "is no JSON"),
    "a header cut short": (header(b'{"a":'), "is no JSON"),
    "a nest": (header(b"{" + b'"a":{' * 200_000), "is no JSON"),
    "a list of lists": (header(b'{"a":' + b"[" * 200_000), "is no JSON"),
    "a name twice": (header(b'{"a":1,"a":2}'), "a name twice"),
    "a key twice in an entry": (header(b'{"a":{"dtype":"F32","dtype":"F16"}}'), "a name twice"),
    "a number of many digits": (header(b'{"a":' + b"9" * 1_000_000 + b"}"), "a number of 1000000 digits"),
    "a number with a point": (header(b'{"a":1.5}'), "the number 1.5"),
    "infinity": (header(b'{"a":Infinity}'), "the number Infinity"),
    "metadata of numbers": (header({"__metadata__": {"a": 1}}), "__metadata__ is something else"),
    "metadata that is a list": (header({"__metadata__": []}), "__metadata__ is something else"),
    "an entry that is a number": (header({"a": 1}), "the entry of 'a'"),
    "an entry with more": (header({"a": {**entry(), "url": "x"}}) + EIGHT, "the entry of 'a'"),
    "a type that Paddle lacks": (header({"a": entry("F8_E4M3", [8])}) + EIGHT, "the type F8_E4M3, which Paddle"),
    "a type of 16 bits without a sign": (header({"a": entry("U16", [4])}) + EIGHT, "the type U16, which Paddle"),
    "a type that is a list": (header({"a": entry(["F32"])}) + EIGHT, "'a' has the type"),  # type: ignore[arg-type]
    "a shape of texts": (header({"a": entry(shape=["2"])}) + EIGHT, "something else than whole numbers"),
    "a shape of truths": (header({"a": entry(shape=[True, 2])}) + EIGHT, "something else than whole numbers"),
    "a shape below zero": (header({"a": entry(shape=[-1, -2])}) + EIGHT, "something else than whole numbers"),
    "a shape that is a number": (header({"a": entry(shape=2)}) + EIGHT, "something else than whole numbers"),
    "very many dimensions": (header({"a": entry(shape=[1] * 5000)}) + EIGHT, "has 5000 numbers"),
    "three offsets": (header({"a": entry(offsets=[0, 8, 8])}) + EIGHT, "has 3 numbers"),
    "an offset below zero": (header({"a": entry(offsets=[-8, 0])}) + EIGHT, "something else than whole numbers"),
    "offsets the wrong way round": (header({"a": entry(offsets=[8, 0])}) + EIGHT, "and -8 bytes"),
    "a shape for fewer bytes": (header({"a": entry(shape=[1])}) + EIGHT, "has the shape [1] of F32 and 8 bytes"),
    "a shape of no end": (header({"a": entry(shape=[1 << 62] * 9)}) + EIGHT, "larger than any memory"),
    "a shape of much that has nothing": (
        header({"a": entry(shape=[0, 1 << 62, 1 << 62], offsets=[0, 0])}),
        "larger than any memory",
    ),
    "a range past the end": (header({"a": entry(shape=[4], offsets=[0, 16])}) + EIGHT, "16 bytes, and the file 8"),
    "a range far past the end": (
        header({"a": entry(shape=[1 << 40], offsets=[0, 1 << 42])}) + EIGHT,
        "4398046511104 bytes, and the file 8",
    ),
    "bytes that are nobody's": (header({"a": entry()}) + EIGHT * 2, "8 bytes, and the file 16"),
    "a gap": (
        header({"a": entry(), "b": entry(offsets=[16, 24])}) + EIGHT * 3,
        "'b' begins at byte 16, and the one before it ends at 8",
    ),
    "two in one place": (
        header({"a": entry(), "b": entry()}) + EIGHT,
        "'b' begins at byte 0, and the one before it ends at 8",
    ),
    "two that overlap": (
        header({"a": entry(), "b": entry(offsets=[4, 12])}) + EIGHT * 2,
        "'b' begins at byte 4, and the one before it ends at 8",
    ),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_header_is_refused_by_what_is_wrong_with_it(kind: str, tmp_path: Path) -> None:
    raw, said = HOSTILE[kind]
    path = tmp_path / "x.safetensors"
    path.write_bytes(raw)
    with pytest.raises(CheckpointError) as caught:
        read_safetensors(path)
    assert said in str(caught.value) and str(path) in str(caught.value) and len(str(caught.value)) < 1000


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="Could not read .*: No such file"):
        read_safetensors(tmp_path / "x.safetensors")
