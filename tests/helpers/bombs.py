"""Files that ask for more than they are: each small to send, and meant to hang a reader or to fill its memory."""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from paddle_resume.checkpoint.record import FORMAT
from paddle_resume.storage.framing import digest

Maker = Callable[[Path], Path]
MIB = 1 << 20
_NOTHING = digest(b"")


def _text(value: str) -> bytes:
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


# ---------------------------------------------------------------- records


def record(folder: Path, name: str = "run_step9", **changed: Any) -> Path:
    """A record whose own digest fits, with these entries changed."""
    body: dict[str, Any] = {
        "format": FORMAT,
        "package": "0.1.0",
        "name": name,
        "sequence": 99,
        "saved_at": "2026-01-01T00:00:00+00:00",
        "step": 9,
        "epoch": None,
        "phase": None,
        "exact": True,
        "files": {},
        "owners": {},
        "lineage": [],
        **changed,
    }
    body["digest"] = digest(json.dumps(body, sort_keys=True, separators=(",", ":")).encode())
    path = folder / f"{name}.pdstates"
    path.write_text(json.dumps(body))
    return path


def _raw_record(content: Callable[[], bytes]) -> Maker:
    def make(folder: Path) -> Path:
        path = folder / "run_step9.pdstates"
        path.write_bytes(content())
        return path

    return make


def _with(**changed: Any) -> Maker:
    return lambda folder: record(folder, **changed)


def _nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def _entry(size: int, tensors: list[dict[str, Any]], framing: str = _NOTHING) -> dict[str, Any]:
    return {".pdparams": {"size": size, "framing": framing, "tensors": tensors}}


def _tensor(name: str, offset: int, length: int, shape: list[int]) -> dict[str, Any]:
    return {"name": name, "offset": offset, "length": length, "dtype": "|u1", "shape": shape, "digest": _NOTHING}


def _sparse(size: int, tensors: list[dict[str, Any]]) -> Maker:
    def make(folder: Path) -> Path:
        path = record(folder, files=_entry(size, tensors))
        with path.with_suffix(".pdparams").open("wb") as file:
            file.truncate(size)
        return path

    return make


def _place_of(make_node: Callable[[Path], None]) -> Maker:
    def make(folder: Path) -> Path:
        path = record(folder, files=_entry(0, []))
        make_node(path.with_suffix(".pdparams"))
        return path

    return make


RECORDS: dict[str, Maker] = {
    "nested as deep as JSON goes": _with(owners={"x": _nested(900)}),
    "nested in the lineage": _with(lineage=[{"x": _nested(900)}]),
    "nested without an end": _raw_record(lambda: b'{"format": ' + b"[" * MIB),
    "a format of 50 MB": _with(format="x" * (50 * MIB)),
    "a nested format": _with(format=_nested(900)),
    "a phase of 10 MB": _with(phase="x" * (10 * MIB), step="no number"),
    "a key of 10 MB": _with(files={"x" * (10 * MIB): 1}),
    "an unknown entry of 10 MB": _with(**{"x" * (10 * MIB): 1}),
    "a whole number of a million digits": _raw_record(lambda: b'{"format": 1, "step": ' + b"9" * MIB + b"}"),
    "a number that is infinite": _raw_record(lambda: b'{"format": 1, "step": 1e999}'),
    "millions of empty lists": _raw_record(lambda: b'{"format": 1, "x": [' + b"[]," * (8 * MIB) + b"[]]}"),
    "millions of dicts": _raw_record(lambda: b'{"format": 1, "x": [' + b'{"a":1},' * (2 * MIB) + b"1]}"),
    "600,000 tensors": _with(
        files=_entry(600_000, [_tensor(f"t{i}", i, 1, [1]) for i in range(600_000)]),
    ),
    "a sparse file of framing": _sparse(1 << 40, []),
    "a sparse file of one tensor": _sparse(1 << 40, [_tensor("t", 0, 1 << 40, [1 << 40])]),
    "a sparse file of many tensors": _sparse(
        1 << 40, [_tensor(f"t{i}", i << 30, 1 << 30, [1 << 30]) for i in range(1024)]
    ),
    "an empty array of huge shape": _with(
        files=_entry(0, [_tensor("t", 0, 0, [0, 1 << 40, 1 << 40])]),
    ),
    "a small file with an empty array of huge shape": lambda folder: (
        (folder / "run_step9.pdparams").write_bytes(b""),
        record(folder, files=_entry(0, [_tensor("t", 0, 0, [0, 1 << 61, 1 << 61])])),
    )[1],
    "an array in the record of huge shape": _with(owners={"x": {"__ndarray__": ["<f4", [0, 1 << 61, 1 << 61], ""]}}),
    "a pipe": _place_of(os.mkfifo),
    "a device": _place_of(lambda path: path.symlink_to("/dev/zero")),
    "a record that is a pipe": lambda folder: (os.mkfifo(folder / "run_step9.pdstates"), folder / "run_step9.pdstates")[
        1
    ],
    "a record that is a device": lambda folder: (
        (folder / "run_step9.pdstates").symlink_to("/dev/zero"),
        folder / "run_step9.pdstates",
    )[1],
    "a sparse record": lambda folder: _truncated(folder / "run_step9.pdstates", 1 << 27),
    "odd events": _with(
        lineage=[
            {"event": ["x"], "exact": "no", "step": {}, "differences": 3},
            {"event": "resume", "exact": False, "step": None, "differences": {"a": 1}},
            {"event": "rollback", "step": -1, "to": 5, "lr_scale": "x", "time": 7},
            {"event": "change", "changes": None},
            {},
        ]
    ),
    "odd owners": _with(
        owners={"progress": {"results": {"a": [], "b": None}, "step": "x"}, "environment": 3, "config": [1]}
    ),
    "odd metrics": _with(
        owners={"progress": {"results": {"train/loss": "x" * MIB, "b/c": {"d": 1}}}, "names": {"a": []}}
    ),
}


def _truncated(path: Path, size: int) -> Path:
    with path.open("wb") as file:
        file.truncate(size)
    return path


# ---------------------------------------------------------------- pickles of Paddle's


def _file(name: str, content: Callable[[], bytes]) -> Maker:
    def make(folder: Path) -> Path:
        path = folder / name
        path.write_bytes(content())
        return path

    return make


def _one_array_many_names() -> bytes:
    array = np.zeros(MIB, np.uint8)
    return pickle.dumps({f"w{i}": array for i in range(2000)}, 4)


def _shape_of_zero() -> bytes:
    whole = pickle.dumps({"w": np.zeros((0, 3, 5), np.float32)}, 2)
    return whole.replace(
        b"K\x00K\x03K\x05\x87", b"K\x00\x8a\x08" + b"\xff" * 7 + b"\x1f\x8a\x08" + b"\xff" * 7 + b"\x1f\x87"
    )


def _slices_of_one() -> bytes:
    array = np.zeros(MIB, np.uint8)
    table = {f"w{i}": {"slices": ["a"], "OriginShape": [MIB]} for i in range(2000)}
    return pickle.dumps({"a": array, "UnpackBigParamInfor@@": table}, 4)


def _many_slices_of_one() -> bytes:
    array = np.zeros(MIB, np.uint8)
    content: dict[str, Any] = {f"a{i}": array for i in range(500)}
    content["UnpackBigParamInfor@@"] = {"w": {"slices": [f"a{i}" for i in range(500)], "OriginShape": [500 * MIB]}}
    return pickle.dumps(content, 4)


PICKLES: dict[str, Maker] = {
    "one array under 2,000 names": _file("x.pdparams", _one_array_many_names),
    "an empty array of huge shape": _file("x.pdparams", _shape_of_zero),
    "one array in 500 slices": _file("x.pdparams", _many_slices_of_one),
    "slices that are one": _file("x.pdparams", _slices_of_one),
    "a sparse file": lambda folder: _truncated(folder / "x.pdparams", 1 << 40),
    "a pipe": lambda folder: (os.mkfifo(folder / "x.pdparams"), folder / "x.pdparams")[1],
    "a device": lambda folder: ((folder / "x.pdparams").symlink_to("/dev/zero"), folder / "x.pdparams")[1],
    "a whole number of a million bytes": _file(
        "x.pdparams", lambda: b"\x80\x02}" + _text("w") + b"\x8b" + struct.pack("<i", MIB) + b"\x7f" * MIB + b"s."
    ),
    "a whole number of a million digits": _file("x.pdparams", lambda: b"}" + _text("w") + b"I" + b"9" * MIB + b"\ns."),
    "a long of a million digits": _file("x.pdparams", lambda: b"}" + _text("w") + b"L" + b"9" * MIB + b"L\ns."),
    "a nest": _file("x.pdparams", lambda: b"}" + _text("w") + b"](" * 100_000 + b"e" * 100_000 + b"s."),
    "marks without an end": _file("x.pdparams", lambda: b"(" * (4 * MIB)),
    "millions of empty lists": _file("x.pdparams", lambda: b"](" + b"]" * (4 * MIB) + b"e."),
    "millions of empty dicts": _file("x.pdparams", lambda: b"](" + b"}" * (4 * MIB) + b"e."),
    "memo without an end": _file("x.pdparams", lambda: b"\x80\x04N" + b"\x94" * (4 * MIB) + b"."),
}


# ---------------------------------------------------------------- files of torch's


def _torch_zip(pickled: bytes) -> bytes:
    with io.BytesIO() as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            archive.writestr("a/data.pkl", pickled)
            archive.writestr("a/byteorder", b"little")
            archive.writestr("a/data/0", bytes(4 * MIB))
        return file.getvalue()


def _storage(count: int = MIB) -> bytes:
    total = b"\x8a\x08" + struct.pack("<q", count)
    return b"(" + _text("storage") + b"ctorch\nFloatStorage\n" + _text("0") + _text("cpu") + total + b"tQ"


def _torch_tensor(shape: list[int], strides: list[int], count: int = MIB) -> bytes:
    def numbers(values: list[int]) -> bytes:
        return b"(" + b"".join(b"\x8a\x08" + struct.pack("<q", value) for value in values) + b"t"

    arguments = _storage(count) + b"K\x00" + numbers(shape) + numbers(strides) + b"\x89cc\nOrderedDict\n)R"
    arguments = arguments.replace(b"cc\nOrderedDict\n", b"ccollections\nOrderedDict\n")
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + arguments + b"tR"


def _shared_dicts(count: int = 300) -> bytes:
    """A dict of dicts of dicts, each level of which is one and the same: so many keys to the third."""
    inner = b"}q\x01(" + b"".join(_text(f"k{i}") + b"K\x01" for i in range(count)) + b"u0"
    middle = b"}q\x02(" + b"".join(_text(f"k{i}") + b"h\x01" for i in range(count)) + b"u0"
    outer = b"}(" + b"".join(_text(f"k{i}") + b"h\x02" for i in range(count)) + b"u."
    return b"\x80\x02" + inner + middle + outer


TORCH: dict[str, Maker] = {
    "shared dicts": _file("x.pth", lambda: _torch_zip(_shared_dicts(3000))),
    "one tensor under 2,000 names": _file(
        "x.pth",
        lambda: _torch_zip(
            b"\x80\x02}("
            + _text("a")
            + _torch_tensor([MIB], [1])
            + b"q\x01"
            + b"".join(_text(f"w{i}") + b"h\x01" for i in range(2000))
            + b"u."
        ),
    ),
    "an expanded tensor": _file(
        "x.pth", lambda: _torch_zip(b"\x80\x02}" + _text("w") + _torch_tensor([1 << 40], [0]) + b"s.")
    ),
    "an empty tensor of huge shape": _file(
        "x.pth", lambda: _torch_zip(b"\x80\x02}" + _text("w") + _torch_tensor([0, 1 << 61, 1 << 61], [1, 1, 1]) + b"s.")
    ),
    "a compressed entry": _file("x.pth", lambda: _compressed()),
    "a sparse file": lambda folder: _truncated(folder / "x.pth", 1 << 40),
    "a pipe": lambda folder: (os.mkfifo(folder / "x.pth"), folder / "x.pth")[1],
    "a device": lambda folder: ((folder / "x.pth").symlink_to("/dev/zero"), folder / "x.pth")[1],
    "a nest": _file("x.pth", lambda: _torch_zip(b"](" * 100_000 + b"e" * 100_000 + b".")),
    "hundreds of thousands of entries": _file("x.pth", lambda: _many_entries()),
}


def _compressed() -> bytes:
    with io.BytesIO() as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a/data.pkl", bytes(1 << 28))
        return file.getvalue()


def _many_entries() -> bytes:
    with io.BytesIO() as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            for number in range(60_000):
                archive.writestr(f"a/data/{number}", b"")
        return file.getvalue()


# ---------------------------------------------------------------- safetensors


def _safetensors(header: bytes, rest: bytes = b"") -> bytes:
    return struct.pack("<Q", len(header)) + header + rest


SAFETENSORS: dict[str, Maker] = {
    "a header of 2 EiB": _file("x.safetensors", lambda: struct.pack("<Q", 1 << 61) + b"{}"),
    "a nest": _file("x.safetensors", lambda: _safetensors(b'{"a":' + b"[" * MIB)),
    "a number without an end": _file("x.safetensors", lambda: _safetensors(b'{"a":' + b"9" * MIB + b"}")),
    "an empty tensor of huge shape": _file(
        "x.safetensors",
        lambda: _safetensors(
            json.dumps({"a": {"dtype": "F32", "shape": [0, 1 << 61, 1 << 61], "data_offsets": [0, 0]}}).encode()
        ),
    ),
    "millions of empty lists": _file("x.safetensors", lambda: _safetensors(b'{"a":[' + b"[]," * (8 * MIB) + b"[]]}")),
    "600,000 tensors": _file(
        "x.safetensors",
        lambda: _safetensors(
            b"{" + b",".join(b'"%d":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}' % i for i in range(600_000)) + b"}"
        ),
    ),
    "a sparse file": lambda folder: _sparse_safetensors(folder / "x.safetensors"),
    "a pipe": lambda folder: (os.mkfifo(folder / "x.safetensors"), folder / "x.safetensors")[1],
    "a device": lambda folder: ((folder / "x.safetensors").symlink_to("/dev/zero"), folder / "x.safetensors")[1],
}


def _sparse_safetensors(path: Path) -> Path:
    size = 1 << 40
    header = json.dumps({"a": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    path.write_bytes(_safetensors(header))
    os.truncate(path, path.stat().st_size + size)
    return path


# ---------------------------------------------------------------- configs


def _laughs() -> bytes:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 10)]
    return "\n".join(lines).encode()


def _diamond(folder: Path) -> Path:
    for level in range(30):
        below = f"_base_: [{level + 1}a.yaml, {level + 1}b.yaml]\n" if level < 29 else "run: {name: x}\n"
        for side in "ab":
            (folder / f"{level}{side}.yaml").write_text(below)
    return folder / "0a.yaml"


def _chain(folder: Path) -> Path:
    for level in range(2000):
        (folder / f"{level}.yaml").write_text(f"_base_: {level + 1}.yaml\n")
    return folder / "0.yaml"


def _base_is(make_node: Callable[[Path], None]) -> Maker:
    def make(folder: Path) -> Path:
        make_node(folder / "base.yaml")
        (folder / "c.yaml").write_text("_base_: base.yaml\n")
        return folder / "c.yaml"

    return make


CONFIGS: dict[str, Maker] = {
    "a billion laughs": _file("c.yaml", _laughs),
    "a diamond of bases": _diamond,
    "a chain of 2,000 bases": _chain,
    "a base that is a device": _base_is(lambda path: path.symlink_to("/dev/zero")),
    "a base that is a pipe": _base_is(os.mkfifo),
    "a sparse base": _base_is(lambda path: _truncated(path, 1 << 40) and None),
    "a nest": _file("c.yaml", lambda: b"a: " + b"[" * 100_000),
    "a whole number of a million digits": _file("c.yaml", lambda: b"run: {seed: " + b"9" * (MIB // 2) + b"}"),
    "a number in sixties without an end": _file("c.yaml", lambda: b"run: {seed: 1" + b":59" * (MIB // 8) + b"}"),
    "50 MB of text": _file("c.yaml", lambda: b"a: " + b"x" * (50 * MIB)),
    "a million keys": _file("c.yaml", lambda: b"".join(b"a%d: 1\n" % i for i in range(1_000_000))),
    "an alias in itself": _file("c.yaml", lambda: b"a: &a [*a]"),
}


# ---------------------------------------------------------------- data and logs


def _idx(magic: bytes, *sizes: int) -> bytes:
    return magic + b"".join(struct.pack(">I", size) for size in sizes)


def _gzip_of(header: bytes, zeros: int) -> bytes:
    with io.BytesIO() as file:
        with gzip.GzipFile(fileobj=file, mode="wb", compresslevel=9) as packed:
            packed.write(header)
            for _ in range(zeros // MIB):
                packed.write(bytes(MIB))
        return file.getvalue()


IDX: dict[str, Maker] = {
    "gzip beyond its declared size": _file("x", lambda: _gzip_of(_idx(b"\0\0\x08\x01", 10), 512 * MIB)),
    "gzip of as much as it declares": _file("x", lambda: _gzip_of(_idx(b"\0\0\x08\x01", 512 * MIB), 512 * MIB)),
    "a shape of 2^128": _file("x", lambda: _idx(b"\0\0\x08\x04", *[0xFFFFFFFF] * 4) + bytes(100)),
    "a shape of zero and much": _file("x", lambda: _idx(b"\0\0\x08\x04", 0, *[0xFFFFFFFF] * 3)),
    "a sparse file": lambda folder: _sparse_idx(folder / "x"),
    "a pipe": lambda folder: (os.mkfifo(folder / "x"), folder / "x")[1],
    "a device": lambda folder: ((folder / "x").symlink_to("/dev/zero"), folder / "x")[1],
}


def _book(*pieces: tuple[bytes, int]) -> bytes:
    """Gzip of these pieces, each so often."""
    with io.BytesIO() as file:
        with gzip.GzipFile(fileobj=file, mode="wb", compresslevel=9) as packed:
            for piece, times in pieces:
                packed.write(piece * times)
        return file.getvalue()


_BOOK_ROW = b"[" + b",".join([b"0.0"] * 784) + b"]"
BOOKS: dict[str, Maker] = {
    "gzip of a gigabyte of spaces": _file("mnist.json.gz", lambda: _gzip_of(b"[[[", 1024 * MIB)),
    "gzip of one long row": _file("mnist.json.gz", lambda: _book((b"[[[0", 1), (b",0" * 1000, 64_000))),
    "a million rows that are alike": _file(
        "mnist.json.gz", lambda: _book((b"[[", 1), (b"[" + _BOOK_ROW, 1), (b"," + _BOOK_ROW, 200_000))
    ),
    "empty lists": _file("mnist.json.gz", lambda: b"[" + b"[]," * 2_000_000 + b"[]]"),
    "nested lists": _file("mnist.json.gz", lambda: b"[" * 2_000_000),
    "each number another": _file(
        "mnist.json.gz", lambda: b"[[[" + b",".join(b"%d" % n for n in range(1_000_000)) + b"]]]"
    ),
    "a number of a million digits": _file("mnist.json.gz", lambda: b"[[[" + b"1" * 1_000_000 + b"]]]"),
    "objects": _file("mnist.json.gz", lambda: b"[[[" + b'{"a":0},' * 500_000 + b"0]]]"),
    "infinite pixels": _file("mnist.json.gz", lambda: b"[[[" + b",".join([b"Infinity"] * 784) + b"],[3]]]"),
    "a sparse file": lambda folder: _sparse_book(folder / "mnist.json.gz"),
    "a pipe": lambda folder: (os.mkfifo(folder / "mnist.json.gz"), folder / "mnist.json.gz")[1],
    "a device": lambda folder: ((folder / "mnist.json.gz").symlink_to("/dev/zero"), folder / "mnist.json.gz")[1],
}


def _sparse_book(path: Path) -> Path:
    path.write_bytes(b"[[[")
    os.truncate(path, 1 << 40)
    return path


def _sparse_idx(path: Path) -> Path:
    path.write_bytes(_idx(b"\0\0\x08\x02", 1 << 20, 1 << 20))
    os.truncate(path, path.stat().st_size + (1 << 40))
    return path


def _log(*lines: str) -> Maker:
    def make(folder: Path) -> Path:
        (folder / "log" / "run").mkdir(parents=True, exist_ok=True)
        path = folder / "log" / "run" / "metrics.jsonl"
        path.write_text("".join(f"{line}\n" for line in lines))
        return path

    return make


def _log_node(make_node: Callable[[Path], None]) -> Maker:
    def make(folder: Path) -> Path:
        path = _log()(folder)
        path.unlink()
        make_node(path)
        return path

    return make


LOGS: dict[str, Maker] = {
    "an infinite step": _log('{"step": Infinity, "train/loss": 1}'),
    "a step of 1e999": _log('{"step": 1e999, "train/loss": 1}'),
    "a step of minus one": _log('{"step": 5, "train/loss": 1}', '{"step": -1, "valid/loss": 1}'),
    "steps of minus many": _log(*(f'{{"step": {-i}, "train/loss": 1, "valid/loss": 2}}' for i in range(9))),
    "a step of a million digits": _log('{"step": ' + "9" * MIB + ', "train/loss": 1}'),
    "a step beyond any float": _log('{"step": ' + "9" * 400 + ', "train/loss": 1}', '{"step": 1, "valid/loss": 1}'),
    "a value beyond any float": _log('{"step": 1, "train/loss": ' + "9" * 400 + "}"),
    "a value that is a list": _log('{"step": 1, "train/loss": [1]}'),
    "a line that is a list": _log("[1, 2]"),
    "a nest": _log("[" * MIB),
    "no text": lambda folder: (_log()(folder).write_bytes(b"\xff\xfe\n"), folder / "log" / "run" / "metrics.jsonl")[1],
    "millions of tags": _log("{" + ",".join(f'"a/{i}": 1' for i in range(2_000_000)) + ', "step": 1}'),
    "a sparse file": _log_node(lambda path: _truncated(path, 1 << 40) and None),
    "a pipe": _log_node(os.mkfifo),
}


def _steps(content: Callable[[], bytes]) -> Maker:
    return _file(".run.steps", content)


SMALL_FILES: dict[str, Maker] = {
    "fingerprints: a sparse file": lambda folder: _truncated(folder / ".run.steps", 1 << 40),
    "fingerprints: a pipe": lambda folder: (os.mkfifo(folder / ".run.steps"), folder / ".run.steps")[1],
    "fingerprints: a device": lambda folder: ((folder / ".run.steps").symlink_to("/dev/zero"), folder / ".run.steps")[
        1
    ],
    "fingerprints: noise": _steps(lambda: b"paddle_resume fingerprints 2\n\0\0\0" + os.urandom(50 * 1000)),
    "claim: a nest": _file(".metrics.jsonl.run", lambda: b"[" * 4096),
    "claim: no text in it": _file(".metrics.jsonl.run", lambda: b'{"run": "a\\u0000b", "log": null}'),
    "claim: odd types": _file(".metrics.jsonl.run", lambda: b'{"run": {"a": []}, "log": "x"}'),
    "claim: a pattern": _file(".metrics.jsonl.run", lambda: b'{"run": "/**", "log": null}'),
    "claim: a pipe": lambda folder: (os.mkfifo(folder / ".metrics.jsonl.run"), folder / ".metrics.jsonl.run")[1],
    "lock: a nest": _file(".run.lock", lambda: b"[" * 4096),
    "lock: a list": _file(".run.lock", lambda: b'["pid"]'),
    "lock: a pipe": lambda folder: (os.mkfifo(folder / ".run.lock"), folder / ".run.lock")[1],
    "export: a nest": _file("x_export.json", lambda: b"[" * MIB),
    "export: a sparse file": lambda folder: _truncated(folder / "x_export.json", 1 << 40),
    "export: a pipe": lambda folder: (os.mkfifo(folder / "x_export.json"), folder / "x_export.json")[1],
}


def _frames(*payloads: bytes, lengths: tuple[int, ...] = ()) -> Maker:
    frames = [struct.pack("<Q", len(payload)) + payload for payload in payloads]
    return _file("vdlrecords.run.log", lambda: b"".join([*frames, *(struct.pack("<Q", each) for each in lengths)]))


CURVES: dict[str, Maker] = {
    "a record of 16 EiB": _frames(lengths=(0xFFFFFFFFFFFFFFFF, 1)),
    "a record of minus one": _frames(lengths=((1 << 64) - 1,) * 3),
    "noise": _frames(b"\xff" * 100, b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f"),
    "a field that says more than it has": _frames(b"\x0a\x7f\x08"),
    "an infinite value": _frames(b"\x0a\x0d\x08\x01\x12\x01t\x1d\x00\x00\x80\x7f\x20\x01"),
    "a negative step": _frames(b"\x0a\x0b\x08" + b"\xff" * 9 + b"\x01"),
    "a nest of groups": _frames(b"\x0b" * 100_000),
    "a hundred thousand empty records": _file("vdlrecords.run.log", lambda: bytes(8 * 100_000)),
    "a sparse file": lambda folder: _truncated(folder / "vdlrecords.run.log", 1 << 40),
    "a pipe": lambda folder: (os.mkfifo(folder / "vdlrecords.run.log"), folder / "vdlrecords.run.log")[1],
}


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _png(width: int, height: int, *between: bytes, pixels: int = 0) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = zlib.compress(bytes(pixels), 9)
    return b"".join(
        [b"\x89PNG\r\n\x1a\n", _chunk(b"IHDR", header), *between, _chunk(b"IDAT", body), _chunk(b"IEND", b"")]
    )


IMAGES: dict[str, Maker] = {
    "a png of 100 million pixels": _file("x.png", lambda: _png(10_000, 10_000, pixels=10_001 * 10_000)),
    "a png of 2^62 pixels": _file("x.png", lambda: _png((1 << 31) - 1, (1 << 31) - 1)),
    "a png whose text unpacks to 500 MB": _file(
        "x.png", lambda: _png(28, 28, _chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(500 * MIB), 9)), pixels=29 * 28)
    ),
    "a gif of 65,535 by 65,535": _file(
        "x.gif", lambda: b"GIF89a\xff\xff\xff\xff\x80\0\0\0\0\0\xff\xff\xff,\0\0\0\0\xff\xff\xff\xff\0\x02\x02D\x01\0;"
    ),
    "a program for Ghostscript": _file(
        "x.png",
        lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 28 28\n%%EndComments\n(MARKER) (w) file closefile\n",
    ),
    "a sparse file": lambda folder: _truncated(folder / "x.png", 1 << 40),
    "a pipe": lambda folder: (os.mkfifo(folder / "x.png"), folder / "x.png")[1],
    "a device": lambda folder: ((folder / "x.png").symlink_to("/dev/zero"), folder / "x.png")[1],
}
