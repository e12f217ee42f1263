"""The door for other people's pickles: stock Paddle's files come in, and nothing in any file is ever run."""

from __future__ import annotations

import os
import pickle
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import pytest

from paddle_resume.checkpoint.weights import read_weights
from paddle_resume.errors import CheckpointError
from paddle_resume.storage import restricted_pickle
from paddle_resume.storage.restricted_pickle import read_foreign


class Call:
    """Pickles as a call of `function(*args)`."""

    def __init__(self, function: Any, *args: Any) -> None:
        self._call = (function, args)

    def __reduce__(self) -> Any:
        return self._call


def stored(path: Path, content: Any, protocol: int = 4) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else pickle.dumps(content, protocol))
    return path


# ---------------------------------------------------------------- what must come in


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_a_state_dict_saved_by_stock_paddle_is_read_bit_for_bit(protocol: int, tmp_path: Path) -> None:
    model = paddle.nn.Sequential(paddle.nn.Linear(3, 2), paddle.nn.BatchNorm1D(2))
    path = tmp_path / "model.pdparams"
    paddle.save(model.state_dict(), str(path), protocol=protocol)
    found, arrays = read_weights(str(path))
    assert found == path
    assert set(arrays) == set(model.state_dict())
    for name, tensor in model.state_dict().items():
        assert arrays[name].tobytes() == tensor.numpy().tobytes()
        assert (arrays[name].dtype, list(arrays[name].shape)) == (tensor.numpy().dtype, tensor.shape)


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_a_plain_dict_saved_by_stock_paddle_is_read_bit_for_bit(protocol: int, tmp_path: Path) -> None:
    model = paddle.nn.Linear(3, 2)
    tensors = {"net": model.weight, "bias": model.bias, "epoch": 3}
    paddle.save(tensors, str(tmp_path / "x.pdparams"), protocol=protocol)
    content = read_foreign(tmp_path / "x.pdparams")
    assert content["epoch"] == 3
    assert content["net"][1].tobytes() == model.weight.numpy().tobytes()
    del tensors["epoch"]
    paddle.save(tensors, str(tmp_path / "x.pdparams"), protocol=protocol)
    _, arrays = read_weights(str(tmp_path / "x"))
    assert arrays["bias"].tobytes() == model.bias.numpy().tobytes()


@pytest.mark.parametrize("protocol", [2, 4])
def test_an_optimizer_s_file_saved_by_stock_paddle_is_read(protocol: int, tmp_path: Path) -> None:
    model = paddle.nn.Linear(3, 2)
    scheduler = paddle.optimizer.lr.StepDecay(0.1, 2)
    optimizer = paddle.optimizer.Adam(scheduler, parameters=model.parameters())
    model(paddle.ones([1, 3])).sum().backward()
    optimizer.step()
    paddle.save(optimizer.state_dict(), str(tmp_path / "x.pdopt"), protocol=protocol)
    content = read_foreign(tmp_path / "x.pdopt")
    assert content["LR_Scheduler"]["last_lr"] == 0.1
    moment = optimizer.state_dict()[f"{model.weight.name}_moment1_0"]
    assert content[f"{model.weight.name}_moment1_0"].tobytes() == moment.numpy().tobytes()


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
@pytest.mark.parametrize(
    "array",
    [
        np.arange(6, dtype=np.float32).reshape(2, 3),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.arange(3, dtype=">f4"),
        np.array(2.5, np.float16),
        np.zeros((0, 4), np.int64),
        np.array([True, False]),
        np.float32(0.1),
        np.int64(-5),
    ],
    ids=["f4", "fortran", "big-endian", "0-d", "empty", "bool", "float32", "int64"],
)
def test_what_numpy_pickles_is_read_with_its_values(array: Any, protocol: int, tmp_path: Path) -> None:
    _, arrays = read_weights(str(stored(tmp_path / "x.pdparams", {"w": array}, protocol)))
    native = np.asarray(array)
    assert arrays["w"].dtype == native.dtype.newbyteorder("=")
    assert arrays["w"].shape == native.shape
    assert arrays["w"].tolist() == native.tolist()


# ---------------------------------------------------------------- what must stay out

HOSTILE = {
    "os.system": (Call(os.system, "touch MARKER"), "posix.system"),
    "subprocess.Popen": (Call(subprocess.Popen, ["touch", "MARKER"]), "subprocess.Popen"),
    "eval": (Call(eval, "open('MARKER', 'w')"), "builtins.eval"),
    "exec": (Call(exec, "open('MARKER', 'w')"), "builtins.exec"),
    "getattr": (Call(getattr, Call(__import__, "os"), "system"), "builtins."),
    "open": (Call(open, "MARKER", "w"), "io.open"),
    "os by name": (b"cos\nsystem\n(X\x0c\x00\x00\x00touch MARKERtR.", "os.system"),
    "dotted name": (b"\x80\x04\x8c\x05numpy\x8c\x0endarray.tofile\x93.", "numpy.ndarray.tofile"),
    "inst": (b"(X\x0c\x00\x00\x00touch MARKERios\nsystem\n.", "os.system"),
    "numpy.load": (Call(np.load, "MARKER"), "numpy.load"),
    "paddle layer": (b"cpaddle.nn\nLinear\n.", "paddle.nn.Linear"),
    "our own module": (
        b"cpaddle_resume.storage.restricted_pickle\npickle\n.",
        "paddle_resume.storage.restricted_pickle.pickle",
    ),
    "persistent id": (b"Psomething\n.", "a persistent id"),
    "object array": (np.array([None]), "dtype 'O8'"),
    "text array": (np.array(["a"]), "dtype 'U1'"),
    "record array": (np.zeros(1, [("a", "f4")]), "dtype 'V4'"),
    "array type called": (b"cnumpy\nndarray\n((J\x00\x00\x00\x7fttR.", "a call of numpy.ndarray"),
    "function altered": (b"cnumpy\ndtype\n}X\x04\x00\x00\x00nameK\x01sb.", "a change to what it calls"),
    "other encoding": (Call(__import__("_codecs").encode, "eA==", "rot13"), "bytes made of str with 'rot13'"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_pickle_is_refused_by_what_it_asks_for_and_runs_nothing(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    content, asked = HOSTILE[name]
    path = stored(tmp_path / "x.pdparams", content)
    with pytest.raises(CheckpointError) as caught:
        read_weights(str(path))
    assert f"{path} was not loaded: it asks for " in str(caught.value)
    assert asked in str(caught.value)
    assert "Nothing of it was run" in str(caught.value)
    assert os.listdir(tmp_path) == ["x.pdparams"]


def test_the_hostile_pickles_are_real(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pickle.loads(pickle.dumps(HOSTILE["os.system"][0]))
    assert (tmp_path / "MARKER").exists()


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("lie", [(10**6,), (2,), (-1, -3), (2**40, 2**40)])
def test_an_array_whose_declared_size_is_not_that_of_its_bytes_is_refused(
    lie: tuple[int, ...], protocol: int, tmp_path: Path
) -> None:
    honest = np.arange(3, dtype=np.float32)

    class Lying:
        def __reduce__(self) -> Any:
            make, args, state = honest.__reduce__()
            return make, args, (state[0], lie, *state[2:])

    path = stored(tmp_path / "x.pdparams", {"w": Lying()}, protocol)
    with pytest.raises(CheckpointError, match=r"asks for an array of shape .* with 12 bytes"):
        read_foreign(path)


@pytest.mark.parametrize(
    "content",
    [
        b"(" * 50_000 + b"." + b"t" * 50_000,
        b"]" + b"(" + b"]" * 200_000 + b"e.",
        pickle.dumps(np.zeros(1000))[:-500],
        b"\x80\x05\x96" + b"\xff" * 7 + b"\x3f",
        b"\x80\x04\x8e" + (2**40).to_bytes(8, "little") + b"abc",
        b"PK\x03\x04 a zip file",
        b"\x80\x02}q\x00X\x01\x00\x00\x00wK\x01s",
        b"\x00" * 100,
        b".",
    ],
    ids=["marks", "lists", "cut", "huge bytearray", "huge bytes", "zip", "no stop", "zeros", "nothing"],
)
def test_a_damaged_file_is_one_error_that_names_it(content: bytes, tmp_path: Path) -> None:
    path = stored(tmp_path / "x.pdparams", content)
    with pytest.raises(CheckpointError, match=r"x\.pdparams (is damaged|holds a list)"):
        read_weights(str(path))


def test_deep_recursion_is_refused(tmp_path: Path) -> None:
    reduce_nested = b"\x80\x02" + b"cnumpy\ndtype\n(" * 100_000 + b"t" * 100_000 + b"."
    path = stored(tmp_path / "x.pdparams", reduce_nested)
    with pytest.raises(CheckpointError, match="was not loaded|is damaged|holds a tuple"):
        read_weights(str(path))


def test_an_empty_and_a_missing_file_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"empty\.pdparams is empty: its writer was probably cut short"):
        read_foreign(stored(tmp_path / "empty.pdparams", b""))
    with pytest.raises(CheckpointError, match=r"Could not read .*gone\.pdparams: No such file or directory"):
        read_foreign(tmp_path / "gone.pdparams")


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ([1, 2], "holds a list, not a dict of weights by name"),
        ({"w": np.zeros(1), "epoch": 3}, "holds entries that are no weights: epoch"),
        ({3: np.zeros(1)}, "holds entries whose names are no text"),
        ({10**5000: np.zeros(1)}, "holds entries whose names are no text"),
    ],
    ids=["list", "number", "number as name", "huge number as name"],
)
def test_what_is_not_weights_by_name_is_refused(content: Any, text: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=text):
        read_weights(str(stored(tmp_path / "x.pdparams", content)))


def test_reading_files_leaves_no_trace_in_what_reads_them(tmp_path: Path) -> None:
    stored(tmp_path / "x", {"w": np.arange(3, dtype=">f4")}, 2)
    read_foreign(tmp_path / "x")
    assert np.dtype("f4").str == "<f4"
    for name in HOSTILE:
        with pytest.raises(CheckpointError):
            read_foreign(stored(tmp_path / "x", HOSTILE[name][0]))
    assert all(not hasattr(maker, "__dict__") for maker in restricted_pickle.RestrictedUnpickler.allowed.values())
    stored(tmp_path / "x", {"w": np.arange(3)}, 2)
    assert read_foreign(tmp_path / "x")["w"].tolist() == [0, 1, 2]
