"""A user's config as a program that can be run again and again, with everything it writes in a folder of its own."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Optional

from paddle_resume.config import load_config
from paddle_resume.config.shipped import find_config
from paddle_resume.errors import ConfigError, PaddleResumeError
from paddle_resume.testing.forked import ForkServers
from paddle_resume.testing.life import LifeError, Start

_ERROR = "error: "
_WRITTEN = ("run.save_dir={folder}/checkpoint", "run.log_dir={folder}/log", "run.model_path={folder}/m.pdparams")


class ConfigProgram:
    """`paddle-resume train -c CONFIG` with these overrides, up to so many steps; raises ConfigError."""

    def __init__(self, config_path: str, overrides: Sequence[str], steps: Optional[int]) -> None:
        self._file = find_config(config_path).resolve()
        self._overrides = [*overrides, *([f"trainer.max_steps={steps}"] if steps else [])]
        self.config = load_config(config_path, self._overrides)

    def set(self, key: str, value: Any) -> None:
        """Have it run with another value of a key; `config` stays what the user has given."""
        self._overrides.append(f"{key}={value}")

    def processes(self, wanted: Optional[int]) -> int:
        """How many train; raises ConfigError if the mesh has another number, or they would need GPUs."""
        mesh, device = self.config.parallel.mesh, self.config.run.device
        count = wanted or (mesh.size if mesh is not None else 1)
        if mesh is not None and mesh.size != count:
            raise ConfigError(
                f"--processes is {count}, and parallel.mesh: {mesh} is {mesh.size} processes; leave out --processes, "
                "or change the mesh."
            )
        if count > 1 and device != "cpu" and _has_gpu():
            raise ConfigError(
                f"prove starts {count} processes on the CPU, over gloo, and run.device is {device} on a machine with a "
                "GPU; add -o run.device=cpu."
            )
        return count

    @property
    def arguments(self) -> list[str]:
        """As `run_and_compare` takes a program: `{folder}` stands for the run's own folder."""
        program = ["-m", "paddle_resume", "train", "-c", str(self._file)]
        for override in [*self._overrides, *_WRITTEN]:
            program += ["-o", override]
        return program


def _has_gpu() -> bool:
    import paddle

    return paddle.is_compiled_with_cuda() and paddle.device.cuda.device_count() > 0


@contextmanager
def lives_of(program: ConfigProgram) -> Iterator[tuple[Path, Start]]:
    """A folder for lives of the program, which is gone at the end, and what starts them.

    One that fails by itself comes out as one paragraph, a PaddleResumeError.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="paddle_resume_proof_") as folder, ForkServers() as start:
            yield Path(folder), start
    except LifeError as error:
        raise PaddleResumeError(f"The config could not be run: {error.what}: {_reason(error.output)}") from error


def _reason(output: str) -> str:
    """The error that the program has told, or else its last line."""
    _, found, told = output.rpartition(_ERROR)
    lines = [line.strip() for line in (told if found else output).splitlines() if line.strip()]
    return " ".join(lines if found else lines[-1:]) or "it has said nothing"
