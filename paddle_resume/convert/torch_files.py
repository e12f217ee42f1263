"""The two containers of `torch.save`: the zip archive of today, and the row of pickles of torch before 1.6."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from paddle_resume.checkpoint.reader import Arrays
from paddle_resume.convert.torch_pickle import Tensor, TorchUnpickler
from paddle_resume.errors import CheckpointError
from paddle_resume.storage.regular_files import open_regular, read_regular
from paddle_resume.storage.restricted_pickle import COPIES, explained
from paddle_resume.storage.safe_constructors import Refused

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_ZIP = b"PK\x03\x04"
_OTHERWISE = "no file of torch.save"
_OTHER_ORDER = "was saved on a machine with the other order of bytes (big endian); save it on one like this."
_ADVICE = "Save the weights alone in torch, torch.save(model.state_dict(), 'weights.pt'), and convert that file."


@dataclass(frozen=True)
class TorchFile:
    """What a file of torch's holds, each tensor in it still on disk."""

    path: Path
    content: Any
    _raw: Callable[[str], np.ndarray]

    def arrays(self, tensors: Mapping[str, Tensor]) -> Arrays:
        """The tensors' values by name; bfloat16 as uint16. Tensors that share a storage share memory.

        Raises CheckpointError for a type that Paddle lacks, a storage that is missing or damaged, and a tensor that
        does not lie in its own.
        """
        strange = [f"{name} is torch.{tensor.dtype}" for name, tensor in tensors.items() if not tensor.known]
        if strange:
            raise CheckpointError(
                f"{self.path} holds tensors of types that Paddle does not have: {'; '.join(strange[:5])}. Convert them "
                "in torch first, such as with tensor.to(torch.bfloat16)."
            )
        storages: dict[str, np.ndarray] = {}
        arrays: Arrays = {}
        left = COPIES * self.path.stat().st_size + 4096
        with explained(self.path, _OTHERWISE, _ADVICE):
            for name, tensor in tensors.items():
                key = tensor.storage.key
                if key not in storages:
                    storages[key] = self._raw(key)
                arrays[name] = tensor.array(storages[key])
                left -= arrays[name].nbytes
                if left < 0:
                    raise Refused("more numbers than it has bytes")
        return arrays


def read_torch(path: Path) -> TorchFile:
    """Read what `torch.save` wrote to `path`, in either format, without executing anything.

    Raises CheckpointError naming the file and what in it was refused or damaged.
    """
    try:
        with open_regular(path) as file:
            start = file.read(4)
        with explained(path, _OTHERWISE, _ADVICE):
            return _read_zip(path) if start == _ZIP else _read_legacy(path)
    except OSError as error:
        raise CheckpointError(f"Could not read {path}: {error.strerror}.") from error


def _read_zip(path: Path) -> TorchFile:
    with zipfile.ZipFile(path) as archive:
        entries = {entry.filename: entry for entry in archive.infolist()}
        found = [name for name in entries if name.endswith("/data.pkl") and name.count("/") == 1]
        if len(found) != 1:
            raise CheckpointError(f"{path} is a zip archive, but not one of torch.save: it has no data.pkl.")
        folder = found[0].partition("/")[0]
        if any(name.startswith(f"{folder}/code/") for name in entries):
            raise CheckpointError(f"{path} holds a TorchScript program, which is not read. {_ADVICE}")
        _check_entries(path, archive.infolist())
        if f"{folder}/byteorder" in entries and archive.read(f"{folder}/byteorder") != b"little":
            raise CheckpointError(f"{path} {_OTHER_ORDER}")
        raw = archive.read(found[0])
    content = TorchUnpickler(io.BytesIO(raw), len(raw)).load()

    def storage(key: str) -> np.ndarray:
        with zipfile.ZipFile(path) as archive:
            entry = entries.get(f"{folder}/data/{key}")
            if entry is None:
                raise _missing(path, key)
            return np.frombuffer(archive.read(entry), np.uint8)

    return TorchFile(path, content, storage)


def _check_entries(path: Path, listed: list[zipfile.ZipInfo]) -> None:
    """As torch writes them, none is compressed, so none can be larger than the file."""
    if len({entry.filename for entry in listed}) != len(listed):
        raise Refused("two entries of one name")
    for entry in listed:
        if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1 or entry.file_size != entry.compress_size:
            raise Refused("a compressed or encrypted entry")
    if sum(entry.file_size for entry in listed) > path.stat().st_size:
        raise Refused("entries that overlap")


def _read_legacy(path: Path) -> TorchFile:
    raw = read_regular(path)
    if not raw:
        raise CheckpointError(f"{path} is empty: its writer was probably cut short. Use another file.")
    file = io.BytesIO(raw)
    magic = TorchUnpickler(file, len(raw)).load()
    if type(magic) is not int or magic != _MAGIC or TorchUnpickler(file, len(raw)).load() != _PROTOCOL:
        raise CheckpointError(f"{path} is no file of torch.save. A file of Paddle's needs the ending .pdparams.")
    system = TorchUnpickler(file, len(raw)).load()
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise CheckpointError(f"{path} {_OTHER_ORDER}")
    reader = TorchUnpickler(file, len(raw))
    content = reader.load()
    keys = TorchUnpickler(file, len(raw)).load()
    if not isinstance(keys, list) or not all(type(key) is str and key in reader.nbytes for key in keys):
        raise Refused("a list of storages that is something else")
    # Then each storage: how many numbers it has, in eight bytes, and the numbers.
    places: dict[str, tuple[int, int]] = {}
    end = file.tell()
    for key in keys:
        places[key] = (end + 8, reader.nbytes[key])
        end += 8 + reader.nbytes[key]
    if end > len(raw):
        raise EOFError

    def storage(key: str) -> np.ndarray:
        if key not in places:
            raise _missing(path, key)
        start, nbytes = places[key]
        return np.frombuffer(raw, np.uint8, nbytes, start)

    return TorchFile(path, content, storage)


def _missing(path: Path, key: str) -> CheckpointError:
    return CheckpointError(f"{path} is damaged: its storage {key[:40]!r} is missing. Use another file.")
