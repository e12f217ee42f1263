"""The configs that come with the package, each found by its bare name: `-c mnist`."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from paddle_resume.config.wording import nearest
from paddle_resume.errors import ConfigError

# In a checkout a link to the `configs/` at its top, so that there is one copy; installed, the files themselves.
FOLDER = Path(__file__).resolve().parent.parent / "configs"
_SUFFIXES = (".yaml", ".yml")


@dataclass(frozen=True)
class ShippedConfig:
    """A config of the package: its name, its file and what it is for, in one sentence."""

    name: str
    path: str
    purpose: str


def shipped_configs() -> list[ShippedConfig]:
    """All of them, sorted by name."""
    return [ShippedConfig(file.stem, str(file), _first_sentence(file)) for file in sorted(FOLDER.glob("*.yaml"))]


def find_shipped(name: str) -> Path:
    """The file of the package's config `name`; raises ConfigError, which lists them all, if there is none."""
    file = FOLDER / f"{name}.yaml"
    names = [each.name for each in shipped_configs()]
    if name in names:
        return file
    like = nearest(name, names)
    hint = f" Did you mean {like}?" if like else ""
    raise ConfigError(f"The package has no config {name}.{hint} It has: {', '.join(names)}.")


def find_config(given: str | os.PathLike[str], folder: Path | None = None, named_at: str = "") -> Path:
    """The file that `given` means: a path, relative to `folder`, or the bare name of a config of the package.

    A file wins: a name without folder and suffix is looked for in the package only where no file has it. `named_at`
    begins the text of the error. Raises ConfigError for a bare name that nothing has.
    """
    path, text = (folder or Path()) / given, os.fspath(given)
    if not text or os.path.sep in text or text in (".", "..") or text.endswith(_SUFFIXES) or path.exists():
        return path
    try:
        return find_shipped(text)
    except ConfigError as error:
        raise ConfigError(f"{named_at}{text}: no such file. {error}") from None


def _first_sentence(file: Path) -> str:
    """The comment at the top of the file, up to its first full stop that ends a sentence."""
    lines = []
    for line in file.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.lstrip("# "))
    return " ".join(lines).partition(". ")[0].rstrip(".")
