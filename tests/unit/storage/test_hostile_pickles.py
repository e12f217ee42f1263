"""Hostile pickles, written opcode by opcode: each is refused, runs nothing, ends soon and stays small."""

from __future__ import annotations

import os
import pickle
import resource
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from places import ROOT

from paddle_resume.errors import CheckpointError
from paddle_resume.storage.restricted_pickle import read_foreign

SECONDS = 2.0


def text(value: str) -> bytes:
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def name(module: str, attribute: str) -> bytes:
    return f"c{module}\n{attribute}\n".encode()


def call(module: str, attribute: str, *arguments: bytes) -> bytes:
    return name(module, attribute) + b"(" + b"".join(arguments) + b"tR"


TOUCH = text("touch MARKER")
OPEN = text("open('MARKER', 'w')")
ARRAY = call("numpy.core.multiarray", "_reconstruct", name("numpy", "ndarray"), b"K\x00\x85", b"C\x01b")
DTYPE = (
    call("numpy", "dtype", text("f4"), b"\x89\x88")
    + b"(K\x03"
    + text("<")
    + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
)
# A tuple of two of itself, forty deep: its hash, its text and its comparison take longer than the universe has.
NEST = b")" + b"".join(b"q" + bytes([i]) + b"h" + bytes([i]) + b"\x86" for i in range(40))
# The same as lists, whose text is no shorter.
LISTS = b"]" + b"".join(b"q" + bytes([i]) + b"0](h" + bytes([i]) * 1 + b"h" + bytes([i]) + b"e" for i in range(40))

# Name: (content, what the error has to say).
HOSTILE: dict[str, tuple[bytes, str]] = {
    "os.system": (call("os", "system", TOUCH) + b".", "os.system"),
    "posix.system": (call("posix", "system", TOUCH) + b".", "posix.system"),
    "nt.system": (call("nt", "system", TOUCH) + b".", "nt.system"),
    "os.popen": (call("os", "popen", TOUCH) + b".", "os.popen"),
    "pty.spawn": (call("pty", "spawn", TOUCH) + b".", "pty.spawn"),
    "subprocess.Popen": (
        call("subprocess", "Popen", b"](" + text("touch") + text("MARKER") + b"e") + b".",
        "subprocess.Popen",
    ),
    "eval": (call("builtins", "eval", OPEN) + b".", "builtins.eval"),
    "exec": (call("builtins", "exec", OPEN) + b".", "builtins.exec"),
    "Python 2's eval": (call("__builtin__", "eval", OPEN) + b".", "__builtin__.eval"),
    "compile": (call("builtins", "compile", OPEN, text("x"), text("eval")) + b".", "builtins.compile"),
    "open": (call("builtins", "open", text("MARKER"), text("w")) + b".", "builtins.open"),
    "io.open": (call("io", "open", text("MARKER"), text("w")) + b".", "io.open"),
    "getattr chain": (
        call("builtins", "getattr", call("builtins", "__import__", text("os")), text("system")) + b"(" + TOUCH + b"tR.",
        "builtins.getattr",
    ),
    "operator.attrgetter": (call("operator", "attrgetter", text("system")) + b".", "operator.attrgetter"),
    "operator.methodcaller": (call("operator", "methodcaller", text("x")) + b".", "operator.methodcaller"),
    "functools.partial": (call("functools", "partial", name("os", "system"), TOUCH) + b".", "functools.partial"),
    "runpy": (call("runpy", "_run_code", OPEN, b"}") + b".", "runpy._run_code"),
    "importlib": (call("importlib", "import_module", text("antigravity")) + b".", "importlib.import_module"),
    "ctypes": (call("ctypes", "CDLL", text("libc.so.6")) + b".", "ctypes.CDLL"),
    "code": (call("code", "InteractiveInterpreter") + b".", "code.InteractiveInterpreter"),
    "bdb": (call("bdb", "Bdb") + b".", "bdb.Bdb"),
    "timeit": (call("timeit", "timeit", OPEN) + b".", "timeit.timeit"),
    "shutil.rmtree": (call("shutil", "rmtree", text(".")) + b".", "shutil.rmtree"),
    "pathlib": (call("pathlib", "PosixPath", text("MARKER")) + b".", "pathlib.PosixPath"),
    "pickle.loads": (call("pickle", "loads", b"C\x01.") + b".", "pickle.loads"),
    "copyreg": (call("copyreg", "_reconstructor", name("os", "system")) + b".", "copyreg._reconstructor"),
    "paddle.load": (call("paddle", "load", text("MARKER")) + b".", "paddle.load"),
    "numpy.load": (call("numpy", "load", text("MARKER")) + b".", "numpy.load"),
    "numpy's exec": (call("numpy.testing._private.utils", "runstring", OPEN, b"}") + b".", "runstring"),
    "numpy's f2py": (call("numpy.f2py.crackfortran", "getlincoef", OPEN, b"}") + b".", "getlincoef"),
    "numpy.memmap": (call("numpy", "memmap", text("MARKER")) + b".", "numpy.memmap"),
    "numpy.ndarray called": (call("numpy", "ndarray", b"J\x00\x00\x00\x7f\x85") + b".", "a call of numpy.ndarray"),
    "dotted name": (b"\x80\x04\x8c\x05numpy\x8c\x0endarray.tofile\x93.", "numpy.ndarray.tofile"),
    "dotted name to sys.modules": (b"\x80\x04\x8c\x05numpy\x8c\x0fdtype.__class__\x93.", "numpy.dtype.__class__"),
    "name with a space": (b"cnumpy \ndtype\n.", "numpy .dtype"),
    "name in other letters": (b"cNumPy\ndtype\n.", "NumPy.dtype"),
    "our own reader": (b"cpaddle_resume.storage.foreign\n_ALLOWED\n.", "_ALLOWED"),
    "stack global of no text": (b"\x80\x04K\x01K\x02\x93.", "is damaged"),
    "codecs as rot13": (call("_codecs", "encode", text("x"), text("rot13")) + b".", "bytes made of str with 'rot13'"),
    "codecs as zip": (call("_codecs", "encode", b"C\x01x", text("zip")) + b".", "bytes made of bytes with 'zip'"),
    "codecs as utf-7": (call("_codecs", "encode", text("x"), text("utf-7")) + b".", "with 'utf-7'"),
    "codecs by a long name": (call("_codecs", "encode", text("x"), text("y" * 9999)) + b".", "with 'yyy"),
    "codecs by a nest": (
        b"\x80\x02" + call("_codecs", "encode", text("x"), NEST) + b".",
        "bytes made of str with tuple",
    ),
    "codecs.decode": (call("_codecs", "decode", b"C\x01x", text("zip")) + b".", "_codecs.decode"),
    "codecs.lookup": (call("codecs", "lookup", text("x")) + b".", "codecs.lookup"),
    "inst": (b"(" + TOUCH + b"ios\nsystem\n.", "os.system"),
    "inst of what is allowed": (b"(" + text("f4") + b"inumpy\ndtype\n.", "an instance of a class"),
    "obj": (b"(" + name("os", "system") + TOUCH + b"o.", "os.system"),
    "obj of what is allowed": (b"(" + name("numpy", "dtype") + text("f4") + b"o.", "an instance of a class"),
    "newobj": (b"\x80\x02" + name("subprocess", "Popen") + TOUCH + b"\x85\x81.", "subprocess.Popen"),
    "newobj of what is allowed": (b"\x80\x02" + name("numpy", "dtype") + text("f4") + b"\x85\x81.", "an instance"),
    "newobj_ex": (b"\x80\x04" + name("subprocess", "Popen") + b")}\x92.", "subprocess.Popen"),
    "newobj_ex of what is allowed": (b"\x80\x04" + name("numpy", "dtype") + b")}\x92.", "an instance of a class"),
    "ext1": (b"\x80\x02\x82\x01.", "the extension registry"),
    "ext2": (b"\x80\x02\x83\x01\x00.", "the extension registry"),
    "ext4": (b"\x80\x02\x84\x01\x00\x00\x00.", "the extension registry"),
    "persistent id": (b"Pid\n.", "a persistent id"),
    "binary persistent id": (b"K\x01Q.", "a persistent id"),
    "next buffer": (b"\x80\x05\x97.", "a buffer outside the file"),
    "readonly buffer": (b"\x80\x05C\x01x\x98.", "a buffer outside the file"),
    "set": (b"\x80\x04\x8f(K\x01\x90.", "a set"),
    "frozen set": (b"\x80\x04(K\x01\x91.", "a set"),
    "call of a text": (text("x") + b")R.", "a call of a str"),
    "call without a tuple": (name("numpy", "dtype") + text("f4") + b"R.", "a call of"),
    "build of an allowed name": (
        name("numpy", "dtype") + b"}" + text("_make") + b"K\x01sb.",
        "a change to what it calls",
    ),
    "build of a list": (b"]}" + text("x") + b"K\x01sb.", "a change to a list"),
    "build of a number": (b"K\x01}b.", "a change to a int"),
    "items into an array": (ARRAY + b"K\x00K\x01s.", "items put into a PickledArray"),
    "appended to an array": (ARRAY + b"K\x01a.", "items put into a PickledArray"),
    "items into a list": (b"](K\x00K\x01u.", "items put into a list"),
    "array of state that is none": (ARRAY + b"Nb.", "an array whose state is something else"),
    "array of a dict": (ARRAY + b"}b.", "an array whose state is something else"),
    "array of texts as shape": (ARRAY + b"(K\x01" + text("9" * 5) + DTYPE + b"\x89C\x00tb.", "an array whose"),
    "array of many dimensions": (
        ARRAY + b"(K\x01(" + b"K\x01" * 99 + b"t" + DTYPE + b"\x89C\x04aaaatb.",
        "an array whose",
    ),
    "array of a huge shape": (
        ARRAY
        + b"(K\x01(\x8b"
        + struct.pack("<i", 200_000)
        + b"\x7f" * 200_000
        + b"q\x00"
        + b"h\x00" * 30
        + b"t"
        + DTYPE
        + b"\x89C\x00tb.",
        "an array whose shape is something else",
    ),
    "array larger than its bytes": (
        ARRAY + b"(K\x01J\xff\xff\xff\x7f\x85" + DTYPE + b"\x89C\x04aaaatb.",
        "with 4 bytes",
    ),
    "dtype of objects": (call("numpy", "dtype", text("O")) + b".", "dtype 'O'"),
    "dtype of records": (call("numpy", "dtype", text("f4,O")) + b".", "dtype 'f4,O'"),
    "dtype of a long text": (call("numpy", "dtype", text("f4," * 99_999)) + b".", "dtype 'f4,"),
    "dtype of a nest": (b"\x80\x02" + call("numpy", "dtype", NEST) + b".", "a dtype made of tuple"),
    "dtype of nested lists": (b"\x80\x02" + call("numpy", "dtype", LISTS) + b".", "a dtype made of list"),
    "a nest as a key": (b"\x80\x02}" + NEST + b"K\x01s.", "a tuple as a key"),
    "a nest as one of many keys": (b"\x80\x02}(" + NEST + b"K\x01u.", "a tuple as a key"),
    "a nest as the key of a dict": (b"\x80\x02(" + NEST + b"K\x01d.", "a tuple as a key"),
    "a nest as the key of an ordered dict": (
        b"\x80\x02" + name("collections", "OrderedDict") + b"](" + NEST + b"K\x01\x86e\x85R.",
        "a tuple as a key",
    ),
    "an ordered dict of no pairs": (call("collections", "OrderedDict", text("ab")) + b".", "a dict of str"),
    "a tuple of a text": (call("builtins", "tuple", text("ab")) + b".", "a tuple of str"),
    "unknown opcode": (b"\xff.", "is damaged"),
    "unknown protocol": (b"\x80\x63N.", "is damaged"),
    "nothing on the stack": (b"R.", "is damaged"),
    "a mark too few": (b"t.", "is damaged"),
    "a memo that is not there": (b"h\x07.", "is damaged"),
    "a number of too many digits": (b"I" + b"9" * 100_000 + b"\n.", "is damaged"),
    "a long number of too many digits": (b"L" + b"9" * 100_000 + b"L\n.", "is damaged"),
    "string without quotes": (b"Sabc\n.", "is damaged"),
    "zip": (b"PK\x03\x04" + b"\x00" * 99, "is damaged"),
    "gzip": (b"\x1f\x8b\x08" + b"\x00" * 99, "is damaged"),
    "HDF5": (b"\x89HDF\r\n\x1a\n" + b"\x00" * 99, "is damaged"),
}

_HUGE = 1 << 40
_2G = (1 << 31) - 1
# These ask for much memory: read in a process that has little.
BOMBS: dict[str, tuple[bytes, str]] = {
    "BINBYTES8 that lies": (b"\x80\x04\x8e" + struct.pack("<Q", _HUGE) + b"abc", "is damaged"),
    "BINBYTES8 beyond any size": (b"\x80\x04\x8e" + b"\xff" * 8 + b"abc", "is damaged"),
    "BINBYTES that lies": (b"\x80\x03B" + struct.pack("<I", _2G) + b"abc.", "is damaged"),
    "BINUNICODE8 that lies": (b"\x80\x04\x8d" + struct.pack("<Q", _HUGE) + b"abc", "is damaged"),
    "BINUNICODE that lies": (b"X" + struct.pack("<I", _2G) + b"abc", "is damaged"),
    "BYTEARRAY8 that lies": (b"\x80\x05\x96" + struct.pack("<Q", _HUGE) + b"abc", "is damaged"),
    "BYTEARRAY8 that lies within memory": (b"\x80\x05\x96" + struct.pack("<Q", 1 << 32) + b"abc", "is damaged"),
    "BINSTRING that lies": (b"T" + struct.pack("<i", _2G) + b"abc", "is damaged"),
    "LONG4 that lies": (b"\x80\x02\x8b" + struct.pack("<i", _2G) + b"abc", "is damaged"),
    "LONG4 below zero": (b"\x80\x02\x8b" + struct.pack("<i", -1) + b"abc.", "is damaged"),
    "FRAME that lies": (b"\x80\x04\x95" + struct.pack("<Q", _HUGE) + b"N.", ""),
    "memo of a huge index": (b"\x80\x02}r\xff\xff\xff\x7f0K\x01r\xff\xff\xff\xff.", ""),
    "memo of a huge index in digits": (b"}p4000000000\n0K\x01p4294967295\n.", ""),
    "many huge memos": (b"\x80\x02}" + b"".join(b"r" + struct.pack("<I", _2G - i) for i in range(9999)) + b".", ""),
    "one text made into bytes again and again": (
        b"\x80\x02"
        + name("_codecs", "encode")
        + b"q\x00"
        + text("a" * 1_000_000)
        + text("latin1")
        + b"\x86q\x010]("
        + b"h\x00h\x01R" * 10_000
        + b"e.",
        "more copies of its values than it has bytes",
    ),
    "one array's bytes taken again and again": (
        b"\x80\x02("
        + DTYPE
        + b"q\x00B"
        + struct.pack("<I", 1_000_000)
        + b"a" * 1_000_000
        + b"q\x01J"
        + struct.pack("<i", 250_000)
        + b"\x85q\x02"
        + (ARRAY + b"(K\x01h\x02h\x00\x89h\x01tb") * 3_000
        + b"l.",
        "more copies of its values than it has bytes",
    ),
    "one list made a tuple again and again": (
        b"\x80\x02](" + b"N" * 500_000 + b"eq\x00\x85q\x01(" + (name("builtins", "tuple") + b"h\x01R") * 20_000 + b"l.",
        "more steps than a file of weights takes",
    ),
    "deep lists": (b"]" * 300_000 + b"a" * 299_999 + b".", ""),
    "deep tuples": (b"\x80\x02)" + b"\x85" * 300_000 + b".", ""),
    "deep marks": (b"(" * 300_000 + b"t" * 300_000 + b".", ""),
    "deep calls": (b"\x80\x02" + (name("builtins", "tuple") + b"(") * 50_000 + b"tR" * 50_000 + b".", ""),
    "a list that holds itself": (b"\x80\x02]q\x00h\x00a.", ""),
    "a dict that holds itself": (b"\x80\x02}q\x00K\x01h\x00s.", ""),
}


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A working directory in which, at the end, no file may be that was not put there."""
    monkeypatch.chdir(tmp_path)
    yield
    assert set(os.listdir(tmp_path)) <= {"x.pdparams", "bombs"}


@pytest.mark.parametrize("kind", HOSTILE)
def test_it_is_refused_by_what_it_asks_for_and_runs_nothing(kind: str, tmp_path: Path) -> None:
    content, asked = HOSTILE[kind]
    path = tmp_path / "x.pdparams"
    path.write_bytes(content)
    began = time.monotonic()
    with pytest.raises(CheckpointError) as caught:
        read_foreign(path)
    assert time.monotonic() - began < SECONDS
    assert asked in str(caught.value) and str(path) in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_the_corpus_would_do_harm_where_nothing_is_refused(tmp_path: Path) -> None:
    """The negative control: these are no malformed files that any reader would refuse."""
    for kind in ("os.system", "posix.system", "eval", "exec", "getattr chain", "io.open", "inst"):
        pickle.loads(HOSTILE[kind][0])
        assert (tmp_path / "MARKER").exists(), kind
        (tmp_path / "MARKER").unlink()


def test_an_extension_that_another_pickle_has_used_is_refused_too(tmp_path: Path) -> None:
    import copyreg

    copyreg.add_extension("os", "system", 77)
    try:
        content = b"\x80\x02\x82\x4d(" + TOUCH + b"tR."
        pickle.loads(content)  # From here on the C reader takes it from a cache, and asks nobody.
        (tmp_path / "MARKER").unlink()
        (tmp_path / "x.pdparams").write_bytes(content)
        with pytest.raises(CheckpointError, match="the extension registry"):
            read_foreign(tmp_path / "x.pdparams")
    finally:
        copyreg.remove_extension("os", "system", 77)
        copyreg.clear_extension_cache()


_READ_ALL = """
import resource, sys, time
from pathlib import Path
from paddle_resume.storage.restricted_pickle import read_foreign
from paddle_resume.errors import CheckpointError
have = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (have + (512 << 20), have + (512 << 20)))
for path in sorted(Path("bombs").iterdir()):
    began = time.monotonic()
    try:
        read_foreign(path)
        said = "read"
    except CheckpointError as error:
        said = str(error)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(path.name, f"{time.monotonic() - began:.2f}", peak, said, sep="|", flush=True)
"""


def test_bombs_neither_fill_the_memory_nor_take_long(tmp_path: Path) -> None:
    """All in one process that may have 512 MiB more than at its start; it must live to tell of each."""
    (tmp_path / "bombs").mkdir()
    for i, (content, _) in enumerate(BOMBS.values()):
        (tmp_path / "bombs" / f"{i:02}").write_bytes(content)
    done = subprocess.run(
        [sys.executable, "-c", _READ_ALL],
        capture_output=True, text=True, timeout=100, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    lines = [line.split("|", 3) for line in done.stdout.splitlines()]
    assert len(lines) == len(BOMBS)
    for (kind, (_, asked)), (_, seconds, _, said) in zip(BOMBS.items(), lines):
        assert asked in said, (kind, said)
        assert asked == "" or said != "read", kind
        assert float(seconds) < SECONDS, kind


def test_the_bombs_are_real(tmp_path: Path) -> None:
    """The negative control: the standard reader in C takes a gigabyte for a memo index in a file of ten bytes."""
    code = (
        "import pickle, resource\n"
        f"resource.setrlimit(resource.RLIMIT_AS, ({1 << 29}, {1 << 29}))\n"
        "pickle.loads(b'\\x80\\x02}r\\xff\\xff\\xff\\x07.')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "MemoryError" in done.stderr
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss > 0
