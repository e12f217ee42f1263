"""The framing: what we write is what stock Paddle reads, and the index says where each tensor's bytes lie."""

from __future__ import annotations

import pickletools
import warnings
from pathlib import Path

import numpy as np
import paddle
import pytest
import xxhash

from paddle_resume.checkpoint.digested_file import SealedFile
from paddle_resume.errors import StateError
from paddle_resume.storage.framing import FramedFile, digest

ARRAYS = {
    "bool": np.array([True, False, True]),
    "uint8": np.arange(5, dtype=np.uint8),
    "int8": np.arange(-3, 3, dtype=np.int8),
    "int16": np.arange(4, dtype=np.int16),
    "int32": np.array([[-(2**31), 2**31 - 1]], dtype=np.int32),
    "int64": np.array([-(2**63), 2**63 - 1]),
    "float16": np.array([0.5, np.inf, np.nan], dtype=np.float16),
    "float32": np.array([[1.5, -0.0], [np.nan, 1e-45]], dtype=np.float32),
    "float64": np.array([np.pi]),
    "complex64": np.array([1 + 2j], dtype=np.complex64),
    "0-d": np.array(3.25, dtype=np.float32),
    "empty": np.zeros((0, 3), dtype=np.float32),
    "transposed": np.arange(6, dtype=np.float32).reshape(2, 3).T,
    "strided": np.arange(10, dtype=np.int64)[::3],
    "big-endian": np.arange(3, dtype=">f4"),
}


def written(path: Path, content: dict) -> FramedFile:
    framed = FramedFile(content)
    path.write_bytes(b"".join(framed.chunks()))
    return framed


def stock_load(path: Path) -> dict:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return paddle.load(str(path), return_numpy=True)


@pytest.mark.parametrize("kind", ARRAYS)
def test_stock_paddle_reads_every_kind_of_array_without_a_warning(kind: str, tmp_path: Path) -> None:
    array = ARRAYS[kind]
    written(tmp_path / "a.pdparams", {"w": array})
    loaded = np.asarray(stock_load(tmp_path / "a.pdparams")["w"])
    assert loaded.dtype == array.dtype.newbyteorder("=")
    assert loaded.shape == array.shape
    assert loaded.tobytes() == np.ascontiguousarray(array, loaded.dtype).tobytes()


def test_stock_paddle_reads_a_state_dict_into_a_model(tmp_path: Path) -> None:
    source, target = paddle.nn.Linear(3, 2), paddle.nn.Linear(3, 2)
    written(tmp_path / "a.pdparams", {name: t.numpy() for name, t in source.state_dict().items()})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        target.set_state_dict(paddle.load(str(tmp_path / "a.pdparams")))
    assert target.weight.numpy().tobytes() == source.weight.numpy().tobytes()


def test_the_index_points_at_the_raw_bytes_of_every_tensor(tmp_path: Path) -> None:
    framed = written(tmp_path / "a", {**ARRAYS, "group": {"x": np.arange(3), "y": np.zeros(2)}})
    raw = (tmp_path / "a").read_bytes()
    index = SealedFile(framed).entry().model_dump()
    assert index["size"] == framed.size == len(raw)
    assert [t["name"] for t in index["tensors"]] == [*ARRAYS, "group/x", "group/y"]
    framing, position = b"", 0
    for tensor in index["tensors"]:
        part = raw[tensor["offset"] : tensor["offset"] + tensor["length"]]
        source = ARRAYS.get(tensor["name"])
        if source is not None:
            little = np.ascontiguousarray(source, source.dtype.newbyteorder("<"))
            assert part == little.tobytes()
            assert (tensor["dtype"], tensor["shape"]) == (little.dtype.str, list(source.shape))
        assert digest(part) == tensor["digest"]
        framing += raw[position : tensor["offset"]]
        position = tensor["offset"] + tensor["length"]
    assert digest(framing + raw[position:]) == index["framing"]


def test_the_file_is_one_pickle_of_protocol_4_that_ends_where_the_file_ends(tmp_path: Path) -> None:
    written(tmp_path / "a", {"w": np.zeros(3, np.float32)})
    opcodes = [(op.name, arg, at) for op, arg, at in pickletools.genops((tmp_path / "a").read_bytes())]
    assert opcodes[0][:2] == ("PROTO", 4)
    assert opcodes[-1] == ("STOP", None, (tmp_path / "a").stat().st_size - 1)
    assert {arg for name, arg, _ in opcodes if name == "GLOBAL"} == {
        "numpy.core.multiarray _reconstruct",
        "numpy ndarray",
        "numpy dtype",
    }


def test_nested_master_weights_and_plain_values_are_read_back_by_stock_paddle(tmp_path: Path) -> None:
    content = {
        "fc.w_0_moment1_0": np.ones((2, 2), np.float32),
        "master_weights": {"fc.w_0": np.full(3, 0.1, np.float32), "fc.b_0": np.zeros(1, np.float32)},
        "LR_Scheduler": {"last_epoch": 7, "last_lr": 0.1, "name": None, "on": True, "steps": [1, 2], "t": ()},
        "fc.weight": np.zeros(2, np.float32),
        "StructuredToParameterName@@": {"fc.weight": "fc.w_0"},
        "big": -(2**100),
        "none": {},
    }
    written(tmp_path / "a.pdopt", content)
    loaded = stock_load(tmp_path / "a.pdopt")
    for name, array in content["master_weights"].items():
        assert np.asarray(loaded["master_weights"][name]).tobytes() == array.tobytes()
    assert loaded["LR_Scheduler"] == content["LR_Scheduler"]
    assert loaded["big"] == content["big"] and loaded["none"] == {}


def test_unicode_names_survive(tmp_path: Path) -> None:
    names = ["Gewicht.größe", "权重.卷积1", "emoji😀", "a b\n'\"", ""]
    written(tmp_path / "a", {name: np.array([i]) for i, name in enumerate(names)})
    loaded = stock_load(tmp_path / "a")
    assert {name: int(np.asarray(loaded[name])[0]) for name in names} == {n: i for i, n in enumerate(names)}


def test_the_arrays_are_not_copied() -> None:
    array = np.zeros(1000, np.float32)
    framed = FramedFile({"w": array})
    array[:] = 1
    assert b"".join(framed.chunks()).count(np.float32(1).tobytes()) == 1000


def test_what_has_no_raw_form_is_refused_by_name() -> None:
    with pytest.raises(StateError, match=r"Tensor 'w' has dtype object, which has no raw byte form"):
        FramedFile({"w": np.array([None])})
    with pytest.raises(StateError, match=r"A value of type set cannot be written for stock Paddle"):
        FramedFile({"w": {1}})


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "99aa06d3014798d86001c324468d497f"),  # as XXH3's author publishes it
        (b"paddle_resume", "9c2034aa1f316dfaf4ad2b49e0128161"),
        (bytes(range(256)) * 5, "d92ab3a1cb0542a74844b009e164352e"),
        (np.arange(6, dtype=np.float32), "2d0408b485dd77b108c27fcd95d1fea5"),
    ],
)
def test_digests_are_these_for_good(data: object, expected: str) -> None:
    """Every checkpoint is verified by them: another xxhash must not make all that was saved unreadable."""
    assert digest(data) == expected
    piecewise = xxhash.xxh3_128()
    for start in range(0, len(bytes(data)), 100):  # type: ignore[call-overload]
        piecewise.update(bytes(data)[start : start + 100])  # type: ignore[call-overload]
    assert piecewise.hexdigest() == expected
