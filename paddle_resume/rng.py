"""Every generator that training draws from: captured at a step boundary, restored last, left alone by all else."""

from __future__ import annotations

import ctypes
import pickle
import random
import struct
from _random import Random as CPythonRandom
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, Optional

import numpy as np
import paddle
import xxhash

from paddle_resume.checked_arguments import AT_LEAST_ZERO, SEED, checked, checked_class
from paddle_resume.differences import Difference

_WORD = 2**32
# Of a Mersenne Twister, with the place in them.
_Words = ctypes.c_uint32 * 625


def derive_seed(*key: int) -> int:
    """A seed in [0, 2**32) that is a pure function of `key`, for generators that belong to one step or sample."""
    return xxhash.xxh3_64_intdigest(struct.pack(f"<{len(key)}q", *key)) % _WORD


@checked(seed=SEED)
def seed_everything(seed: int) -> None:
    """Seed Paddle (every device), NumPy's global generator and Python's."""
    random.seed(seed)
    np.random.seed(seed % _WORD)
    paddle.seed(seed)


@contextmanager
def preserved() -> Iterator[None]:
    """Put every generator back at the end to where it stood at the start."""
    python, numpy_state, devices = random.getstate(), np.random.get_state(), _paddle_states()
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy_state)
        _set_paddle_states(devices)


@checked_class(rank=AT_LEAST_ZERO)
class RandomStreams:
    """Owner of the training randomness: Python's, NumPy's and Paddle's generators (CPU and each GPU).

    Invariant: captured first, restored last. Whatever is built, read or logged between cannot move them.
    """

    def __init__(self, seed: int = 0, *, stepped: bool = True, rank: int = 0) -> None:
        """`stepped` says that `begin_step` is called before each step; without it Paddle 2.6 cannot be exact.

        Among several processes each `rank` draws otherwise.
        """
        self._seed = seed
        self._rank = rank
        # Paddle 2.6 does not give its CPU engine away, only the seed it started from. There each step
        # draws from a generator seeded by (seed, step): a pure function needs no saving.
        self._reseed_cpu = len(_cpu_generator().get_state().__getstate__()) < 4
        self._stepped = stepped

    def begin_step(self, step: int) -> None:
        """Prepare the generators for `step`; does something only where Paddle's CPU engine cannot be saved."""
        if self._reseed_cpu:
            _cpu_generator().manual_seed(derive_seed(self._seed, step, *self._key))

    def start_rank(self) -> None:
        """Make what this rank draws its own; rank 0 draws as a single process does."""
        if self._rank:
            seed_everything(derive_seed(self._seed, *self._key))

    def fingerprint(self) -> int:
        """64 bits that tell whether the generators stand where they stood another time; cheap enough for each step.

        Of several GPUs the one in use.
        """
        hasher = xxhash.xxh3_64(_PYTHON_WORDS or repr(PYTHON.getstate()).encode())
        words, gauss = memory_of_numpy(), memory_of_gauss()
        if words is None or gauss is None:
            hasher.update(pickle.dumps(np.random.get_state(legacy=False)))
        else:
            hasher.update(words)
            hasher.update(gauss)
        hasher.update(struct.pack("<dQ", PYTHON.gauss_next or 0.0, self._next_of_cpu()) + _gpu_position())
        return hasher.intdigest()

    def _next_of_cpu(self) -> int:
        """What Paddle's CPU generator would draw next: its state is a text of thousands of digits."""
        generator = _cpu_generator()
        state = generator.get_state()
        if self._reseed_cpu:
            return state.current_seed()
        number = generator.random()
        generator.set_state(state)
        return number

    @property
    def _key(self) -> tuple[int, ...]:
        return (self._rank,) if self._rank else ()

    def state_dict(self) -> dict[str, Any]:
        return {
            "python": _python_state(),
            "numpy": _numpy_state(),
            "paddle": [_encode(state) for state in _paddle_states()],
            "whole": self._stepped or not self._reseed_cpu,
        }

    def set_state_dict(self, state: dict[str, Any]) -> None:
        version, words, gauss = state["python"]
        random.setstate((version, tuple(int(word) for word in words), gauss))
        np.random.set_state(tuple(state["numpy"]))
        # The objects of this process serve as moulds: Paddle's state type cannot be constructed from Python.
        _set_paddle_states([_decode(mould, saved) for mould, saved in zip(_paddle_states(), state["paddle"])])

    def differences(self, state: dict[str, Any]) -> list[Difference]:
        before, after = len(state["paddle"]), len(_paddle_states())
        found = []
        if before != after:
            found.append(Difference("number of Paddle generators (CPU and each GPU)", before, after))
        if not state["whole"]:
            advice = (
                "as seeded by this process (give the checkpointer a RandomStreams as `rng`, and call its "
                "begin_step(step) before each step)"
            )
            found.append(Difference("Paddle's CPU generator", "Paddle 2.6 does not let it be saved", advice))
        return found


def _memory_of_python(generator: Any) -> Any:
    """The words as CPython keeps them; None where they do not lie behind the object's head, the place in them first."""
    head = object.__basicsize__
    if CPythonRandom.__basicsize__ < head + ctypes.sizeof(_Words):
        return None
    memory = _Words.from_address(id(generator) + head)
    *words, place = generator.getstate()[1]
    return memory if list(memory) == [place, *words] else None


# The generator behind the functions of `random`, which stays the same one. To ask it and NumPy's for their states would
# take longer than all else together, so the words are read where they lie.
PYTHON: Any = random.random.__self__  # type: ignore[attr-defined]
_PYTHON_WORDS = _memory_of_python(PYTHON)


def _python_state() -> list[Any]:
    if _PYTHON_WORDS is None:
        version, words, gauss = random.getstate()
        return [version, np.array(words, np.uint32), gauss]
    words = np.frombuffer(_PYTHON_WORDS, np.uint32)
    return [PYTHON.VERSION, np.concatenate((words[1:], words[:1])), PYTHON.gauss_next]


def _numpy_state() -> list[Any]:
    memory, gauss = memory_of_numpy(), memory_of_gauss()
    is_usual = np.random.get_state.__self__ is np.random.mtrand._rand  # type: ignore[attr-defined]
    if memory is None or gauss is None or not is_usual:
        kind, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
        return [str(kind), np.asarray(keys), int(position), int(has_gauss), float(cached)]
    words = np.frombuffer(memory, np.uint32).copy()
    return ["MT19937", words[:-1], int(words[-1]), *struct.unpack("=id", gauss)]


def memory_of_python() -> Any:
    """The 625 words of the generator behind `random`, the place in them first; None where they cannot be read."""
    return _PYTHON_WORDS


def memory_of_numpy() -> Any:
    """The 625 words of the generator behind `np.random`, the place in them last; None where they cannot be read."""
    return _words_of_numpy(np.random.mtrand._rand._bit_generator)


@lru_cache(maxsize=1)
def _words_of_numpy(generator: Any) -> Any:
    """None for another kind of generator, which a program may have put there."""
    return _Words.from_address(generator.ctypes.state_address) if type(generator) is np.random.MT19937 else None


def memory_of_gauss() -> Optional[bytes]:
    """Whether NumPy has the second of two normal numbers left, an int, and which one, a float64; None if unknown."""
    generator = np.random.mtrand._rand
    if _GAUSS is None or type(generator) is not np.random.RandomState:
        return None
    memory = ctypes.string_at(id(generator) + _GAUSS - _TOLD_BEFORE, _TOLD_BEFORE + 8)
    return memory[:4] + memory[_TOLD_BEFORE:]


_TOLD_BEFORE = 8  # bytes, the padding included


def _find_gauss() -> Optional[int]:
    """So many bytes behind the head of a `RandomState` lies the number; None where it is not found each time."""
    made = np.random.RandomState(0)
    found = set()
    for has_gauss, cached in ((1, 0.1234567890123), (0, -7.654321e-5), (1, 3.3e7)):
        state: Any = made.get_state(legacy=True)
        made.set_state((*state[:3], has_gauss, cached))
        memory = ctypes.string_at(id(made), type(made).__basicsize__)
        place = memory.find(struct.pack("=d", cached))
        told = place - _TOLD_BEFORE
        found.add(place if told > 0 and struct.unpack_from("=i", memory, told)[0] == has_gauss else None)
    return found.pop() if len(found) == 1 else None


_GAUSS = _find_gauss()


def _gpu_position() -> bytes:
    if not paddle.is_compiled_with_cuda():
        return b""
    device = paddle.device.get_device()
    if not device.startswith("gpu"):
        return b""
    generator = paddle.framework.core.default_cuda_generator(int(device.partition(":")[2] or 0))
    return repr(generator.get_state().__getstate__()[:3]).encode()


@lru_cache(maxsize=1)
def _cpu_generator() -> Any:
    return paddle.framework.core.default_cpu_generator()


def _paddle_states() -> list[Any]:
    gpus = paddle.get_cuda_rng_state() if paddle.is_compiled_with_cuda() else []
    return [_cpu_generator().get_state(), *gpus]


def _set_paddle_states(states: list[Any]) -> None:
    _cpu_generator().set_state(states[0])
    if len(states) > 1:
        paddle.set_cuda_rng_state(states[1:])


def _encode(state: Any) -> list[Any]:
    device, seed, offset, *engine = state.__getstate__()
    # The engine comes as the character codes of a text of numbers: kept as that text.
    return [device, seed, offset, *map(_text_of, engine)]


def _text_of(codes: Any) -> str:
    """To compare the codes with those of the last time takes a fraction of the time in which a text is made of them."""
    if _last_text[0] != codes:
        _last_text[:] = codes, bytes(codes).decode("ascii")
    return _last_text[1]


_last_text: list[Any] = [None, ""]


def _decode(mould: Any, saved: list[Any]) -> Any:
    device, seed, offset, *engine = saved
    engines = [list(text.encode("ascii")) for text in engine]
    own = list(mould.__getstate__()[3:])
    kind: Any = type(mould)
    state = kind.__new__(kind)
    # Another Paddle has another engine, or gives none away: that difference is the environment's to tell.
    state.__setstate__((device, seed, offset, *(engines if len(engines) == len(own) else own)))
    return state
