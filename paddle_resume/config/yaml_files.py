"""YAML files and `-o key=value` overrides as one tree, in which each value knows the place it comes from."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

import yaml

from paddle_resume.config.dialect import Loader
from paddle_resume.config.schema import model_at
from paddle_resume.config.sections import Component
from paddle_resume.config.shipped import find_config
from paddle_resume.config.wording import show
from paddle_resume.errors import ConfigError
from paddle_resume.storage.regular_files import read_regular

BASE_KEY = "_base_"
_MOST_FILES = 100
_MOST_BYTES = 1 << 20
_MOST_VALUES = 20_000
_MOST_DIGITS = 100
_MERGE = "tag:yaml.org,2002:merge"


@dataclass(frozen=True)
class Located:
    """A scalar, a list of `Located` or a dict of `Located`, and its place: `file:line` or `-o text`."""

    value: Any
    place: str

    def plain(self) -> Any:
        """The value without places."""
        if isinstance(self.value, dict):
            return {key: child.plain() for key, child in self.value.items()}
        if isinstance(self.value, list):
            return [child.plain() for child in self.value]
        return self.value

    def place_of(self, path: Iterable[Any]) -> str:
        """The place of the value at `path`, or of the nearest value above it that exists."""
        here = self
        for key in path:
            try:
                here = here.value[key]
            except (KeyError, TypeError):
                break
        return here.place


def locate(value: Any, place: str) -> Located:
    """Plain values as a tree, all of one place."""
    if isinstance(value, dict):
        return Located({key: locate(child, place) for key, child in value.items()}, place)
    if isinstance(value, list):
        return Located([locate(child, place) for child in value], place)
    return Located(value, place)


def merge(
    base: Located, over: Located, path: tuple[Any, ...] = (), left_out: Callable[..., None] = lambda *found: None
) -> Located:
    """`base` overlaid with `over`: mappings key by key, all else replaced.

    A component that gets another name starts afresh: the arguments in `base` were those of another class. `left_out` is
    called with the component's path, its old and its new name, and these arguments, if there were any.
    """
    if not (isinstance(base.value, dict) and isinstance(over.value, dict)):
        return over
    merged = dict(base.value)
    model = model_at(path)
    if model and issubclass(model, Component) and _renames(base.value, over.value):
        arguments = {key: child for key, child in merged.items() if key not in model.model_fields}
        merged = {key: child for key, child in merged.items() if key not in arguments}
        if arguments:
            left_out(path, base.value["name"].value, over.value["name"].value, arguments)
    for key, child in over.value.items():
        merged[key] = merge(merged[key], child, (*path, key), left_out) if key in merged else child
    return Located(merged, over.place)


def _renames(base: dict[str, Located], over: dict[str, Located]) -> bool:
    return "name" in over and "name" in base and over["name"].value != base["name"].value


def read_file(
    path: Path,
    problems: list[str],
    readers: tuple[Path, ...] = (),
    named_at: str = "",
    read: Optional[list[Path]] = None,
) -> Located:
    """The mapping in the YAML file `path`, laid over the files that its `_base_` names.

    `readers` are the files whose `_base_` led here, `named_at` says where the last of them does, and `read` lists those
    read before. What can be passed over for now is added to `problems`.
    Raises ConfigError for a file that is unreadable, empty, malformed or no mapping, and for a cycle.
    """
    read = [] if read is None else read
    read.append(path)
    if len(read) > _MOST_FILES:
        raise ConfigError(f"{named_at}{path}, and {_MOST_FILES} files were read before it; a config has fewer parts")
    text = _read_text(path, named_at)
    if path.resolve() in [reader.resolve() for reader in readers]:
        chain = " -> ".join(map(str, (*readers, path)))
        raise ConfigError(f"{named_at}{path}, which leads back to where it began: {chain}")
    tree = _parse(text, problems, lambda line: f"{path}:{line}")
    if tree is None:
        raise ConfigError(f"{path}: the file is empty; a config needs at least run.name and model")
    if not isinstance(tree.value, dict):
        raise ConfigError(f"{tree.place}: a config is a mapping of keys, such as 'run:'; found {show(tree.plain())}")
    own = dict(tree.value)
    bases = own.pop(BASE_KEY, Located([], str(path)))
    below = Located({}, str(path))
    for base in _base_paths(bases, path.parent):
        below = merge(below, read_file(base, problems, (*readers, path), f"{bases.place}: {BASE_KEY} names ", read))
    return merge(below, Located(own, str(path)))


def _base_paths(bases: Located, folder: Path) -> list[Path]:
    names = bases.plain()
    names = [names] if isinstance(names, str) else names
    if not (isinstance(names, list) and all(isinstance(name, str) and name for name in names)):
        raise ConfigError(f"{bases.place}: {BASE_KEY} is {show(names)}; expected a file name or a list of them")
    return [find_config(name, folder, f"{bases.place}: {BASE_KEY} names ") for name in names]


def _read_text(path: Path, named_at: str) -> str:
    try:
        return read_regular(path, _MOST_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{named_at}{path}: not a text in UTF-8 (byte {error.start}); save the file as UTF-8"
        ) from error
    except FileNotFoundError as error:
        raise ConfigError(f"{named_at}{path}: no such config file{_offers(path.parent)}") from error
    except IsADirectoryError as error:
        raise ConfigError(f"{named_at}{path}: a folder; a config is one file{_offers(path)}") from error
    except OSError as error:
        raise ConfigError(f"{named_at}{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"{named_at}{path}: cannot be read: {error}") from error


def _offers(folder: Path) -> str:
    files = sorted(str(file) for pattern in ("*.yaml", "*.yml") for file in folder.glob(pattern))
    return f"; {folder} has: {', '.join(files)}" if files else ""


def _parse(text: str, problems: list[str], place: Callable[[int], str]) -> Located | None:
    """The tree of one YAML text, None when it holds nothing; `place` turns a line number into a place."""
    try:
        loader = Loader(text)
        node = loader.get_single_node()
        return None if node is None else _Reader(loader, problems, place).read(node, "")
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = ", ".join(filter(None, (error.context, error.problem)))
        raise ConfigError(f"{place(mark.line + 1 if mark else 1)}: malformed YAML: {what}") from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ConfigError(f"{place(line)}: malformed YAML: a character that YAML does not allow") from error
    except RecursionError as error:
        raise ConfigError(f"{place(1)}: malformed YAML: nested too deeply, or an alias inside itself") from error


@dataclass(frozen=True)
class _Reader:
    loader: Loader
    problems: list[str]
    place: Callable[[int], str]
    values: list[int] = field(default_factory=lambda: [0])
    """How many were read: an alias is read as often as it is used."""

    def read(self, node: yaml.Node, key: str, at: yaml.Node | None = None) -> Located:
        """The tree under `node`; its place is the line of `at`, which for a value is that of its key."""
        self.values[0] += 1
        if self.values[0] > _MOST_VALUES:
            raise ConfigError(f"{self._place(node)}: its aliases stand for more than {_MOST_VALUES:,} values")
        place = self._place(at or node)
        if isinstance(node, yaml.MappingNode) and node.tag == Loader.DEFAULT_MAPPING_TAG:
            return Located(self._entries(node, key), place)
        if isinstance(node, yaml.SequenceNode) and node.tag == Loader.DEFAULT_SEQUENCE_TAG:
            items = [self.read(child, f"{key}.{index}") for index, child in enumerate(node.value)]
            return Located(items, place)
        return Located(self._scalar(node, key), place)

    def _entries(self, node: yaml.MappingNode, parent: str) -> dict[str, Located]:
        entries: dict[str, Located] = {}
        for key_node, child in node.value:
            key = key_node.value if isinstance(key_node, yaml.ScalarNode) else "a list or mapping"
            dotted = f"{parent}.{key}" if parent else key
            if key_node.tag == _MERGE:
                self._problem(key_node, f"the YAML merge key << is not supported; use {BASE_KEY}: other.yaml")
            elif key_node.tag != Loader.DEFAULT_SCALAR_TAG:
                self._problem(key_node, f"a key is a text, but YAML does not read {dotted} as one; put it in quotes")
            elif key in entries:
                self._problem(key_node, f"{dotted} is given twice, first at {entries[key].place}")
            else:
                entries[key] = self.read(child, dotted, at=key_node)
        return entries

    def _scalar(self, node: yaml.Node, key: str) -> Any:
        if len(node.value) > _MOST_DIGITS and node.tag != Loader.DEFAULT_SCALAR_TAG:
            self._problem(node, f"{key} is a number of {len(node.value):,} digits")
            return None
        try:
            value = self.loader.construct_object(node, deep=True)
        except ValueError as error:
            self._problem(node, f"{key} is {node.value}, which is no number: {error}")
            return None
        if not (value is None or isinstance(value, (str, int, float, bool))):
            self._problem(node, f"{key} has the YAML type {node.tag}, which a config cannot hold")
        return value

    def _place(self, node: yaml.Node) -> str:
        return self.place(node.start_mark.line + 1)

    def _problem(self, node: yaml.Node, text: str) -> None:
        self.problems.append(f"{self._place(node)}: {text}")


def apply_overrides(
    tree: Located,
    overrides: Iterable[str],
    problems: list[str],
    left_out: Callable[..., None] = lambda *found: None,
) -> Located:
    """The tree with each `a.b=value` laid over it; a later one wins over an earlier one of the same key.

    What cannot be applied is added to `problems`; `left_out` is told of arguments, see `merge`.
    """
    pairs = [(text, text.partition("=")[0].strip().split(".")) for text in overrides]
    # Broader keys first, and a component's name before its arguments: otherwise the order on the command line
    # could drop an argument that was given there.
    for text, keys in sorted(pairs, key=lambda pair: (len(pair[1]), pair[1][-1] != "name")):
        place = f"-o {text}"
        try:
            if "=" not in text or not all(keys):
                raise ConfigError(f"{place}: an override is written key=value, such as trainer.epochs=5")
            leaf = _parse(text.partition("=")[2], problems, lambda line, place=place: place)  # type: ignore[misc]
            tree = _with(tree, keys, leaf or Located(None, place), (), left_out)
        except ConfigError as error:
            problems.append(str(error))
    return tree


def _with(
    tree: Located, keys: list[str], leaf: Located, path: tuple[Any, ...], left_out: Callable[..., None]
) -> Located:
    if not keys:
        return leaf
    key, *rest = keys
    if isinstance(tree.value, list):
        index = int(key) if key.isdecimal() else -1
        if not 0 <= index < len(tree.value):
            raise ConfigError(
                f"{leaf.place}: {_dotted(path)} is a list of {len(tree.value)}; expected a number from 0 on, "
                f"found {key}"
            )
        items = list(tree.value)
        items[index] = merge(
            items[index], _with(items[index], rest, leaf, (*path, index), left_out), (*path, index), left_out
        )
        return Located(items, tree.place)
    if tree.value is None and path:
        tree = Located({}, leaf.place)  # A section that is switched off: naming one of its keys switches it on.
    if not isinstance(tree.value, dict):
        raise ConfigError(
            f"{leaf.place}: {_dotted(path)} is {show(tree.plain())}, not a mapping, so it has no key {key}"
        )
    child = _with(tree.value.get(key, Located({}, leaf.place)), rest, leaf, (*path, key), left_out)
    return merge(tree, Located({key: child}, tree.place), path, left_out)


def _dotted(path: tuple[Any, ...]) -> str:
    return ".".join(map(str, path))
