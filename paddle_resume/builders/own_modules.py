"""What an import path of a config may reach: things that a module of the user's own defines, and no others."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import sys
import sysconfig
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any, Optional

import paddle

from paddle_resume.config.trust import ADVICE, is_trusted, own_folders
from paddle_resume.config.wording import nearest
from paddle_resume.errors import ConfigError
from paddle_resume.found_state.uncaptured import is_installed

_INSTALLED = {"site-packages", "dist-packages"}
_PACKAGES = {"Paddle": paddle.__file__, "this package": str(Path(__file__).parent)}


def import_attribute(path: str, where: str) -> Any:
    """What the import path `my_package.module:Class` names; nothing of it is called.

    Raises ConfigError, which names the key `where`: for a module that is neither the user's own nor vouched for, which
    is not imported, and for one that cannot be imported.
    """
    module_name, _, attribute = path.partition(":")
    if not is_trusted(path):
        _require_own(module_name, path, where)
    for folder in map(str, own_folders()):
        if folder not in sys.path:
            sys.path.append(folder)  # at the end and for good: it shadows nothing, and loader processes inherit it
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        looked = f"; {_looked_in()}" if isinstance(error, ModuleNotFoundError) else ""
        raise ConfigError(
            f"{where}: {path}: importing {module_name} failed: {type(error).__name__}: {error}{looked}"
        ) from error
    if not hasattr(module, attribute):
        hint = nearest(attribute, (known for known in vars(module) if not known.startswith("_")))
        advice = f"; did you mean {module_name}:{hint}?" if hint else ""
        raise ConfigError(f"{where}: module {module_name} has no {attribute}{advice}")
    return getattr(module, attribute)


def says_of_itself(path: str, attribute: str) -> bool:
    """Whether the class at the import path has `attribute = True` in its body; nothing is imported to find out.

    For a path that stands in a checkpoint's record, which anybody may have written.
    """
    module_name, _, name = path.partition(":")
    module = sys.modules.get(module_name)
    if module is not None:
        return getattr(vars(module).get(name), attribute, False) is True
    relative = Path(*module_name.split("."))
    for folder in own_folders():
        for file in (folder / relative.with_suffix(".py"), folder / relative / "__init__.py"):
            if file.is_file():
                return _is_set_in_body(file, name, attribute)
    return False


def _is_set_in_body(file: Path, name: str, attribute: str) -> bool:
    try:
        tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    found = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name]
    assigned = [node for cls in found for node in cls.body if isinstance(node, (ast.Assign, ast.AnnAssign))]
    return any(
        isinstance(node.value, ast.Constant)
        and node.value.value is True
        and any(isinstance(target, ast.Name) and target.id == attribute for target in _targets(node))
        for node in assigned
    )


def _targets(node: ast.Assign | ast.AnnAssign) -> list[ast.expr]:
    return node.targets if isinstance(node, ast.Assign) else [node.target]


def _require_own(module_name: str, path: str, where: str) -> None:
    top = module_name.partition(".")[0]
    # The name in it may lead elsewhere, so the module is looked at too where it is there already.
    for name in (module_name, top):
        module = sys.modules.get(name)
        if module is not None:
            reason = _why_not_own(_file_of(module), name) if not _is_of_this_program(module) else ""
            break
    else:
        spec = importlib.util.find_spec(top) or PathFinder.find_spec(top, list(map(str, own_folders())))
        if spec is None:
            raise ConfigError(
                f"{where}: {path}: importing {module_name} failed: ModuleNotFoundError: No module named {top!r}; "
                f"{_looked_in()}"
            )
        reason = _why_not_own(_file_of(spec), top)
        reason = reason or ("" if _is_in_own_folder(_file_of(spec)) else _elsewhere(_file_of(spec)))
    if reason:
        raise ConfigError(
            f"{where}: {path} was not imported: {reason}. A config chooses from the names of this package and Paddle, "
            f"and from modules of your own: beside the config, in the working directory or on PYTHONPATH.{_twin(top)} "
            f"{ADVICE}."
        )


def require_defined_by_user(found: Any, path: str, where: str) -> None:
    """Raise ConfigError if what was found at the import path is neither of the user's own code nor vouched for.

    A class or function counts by the module that defines it, any other object by its class.
    """
    if is_trusted(path):
        return
    home = getattr(found, "__module__", None)
    home = home if isinstance(home, str) else type(found).__module__
    module = sys.modules.get(home)
    if isinstance(found, ModuleType) or module is None or not _is_of_this_program(module):
        what = f"the module {found.__name__}" if isinstance(found, ModuleType) else f"of the module {home}"
        raise ConfigError(
            f"{where}: {path} is {what}, which is not yours: {path.partition(':')[0]} only imports it. Name a class or "
            f"function that your own module defines, such as a subclass. {ADVICE}."
        )


def _is_of_this_program(module: ModuleType) -> bool:
    """Whether a module that was imported before, by whomever, is the user's: neither installed nor Python's."""
    file = _file_of(module)
    if file is None:  # made by the program itself, such as that of a notebook; Python's own have a loader
        return module.__name__ == "__main__" or getattr(module, "__spec__", None) is None
    return not _why_not_own(file, module.__name__)


def _why_not_own(file: Optional[Path], name: str) -> str:
    """Why the module in that file is not the user's own, as a clause; empty if it may be."""
    libraries = {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")}
    if file is None or (is_installed(str(file)) and not _INSTALLED & set(file.parts) and _is_below(file, libraries)):
        return f"{name} is a part of Python"
    for package, home in _PACKAGES.items():
        if any(Path(home).parent.resolve() in (one, *one.parents) for one in _both(file)):
            return f"{name} is a part of {package}"
    if any(is_installed(str(one)) or _INSTALLED & set(one.parts) for one in _both(file)):
        return f"{name} is installed, in {file}"
    return ""


def _is_below(file: Path, folders: set[str]) -> bool:
    return any(Path(folder) in file.absolute().parents for folder in folders)


def _is_in_own_folder(file: Optional[Path]) -> bool:
    places = {resolved for folder in own_folders() for resolved in _both(folder)}
    return file is not None and any(places & set(one.parents) for one in _both(file))


def _elsewhere(file: Optional[Path]) -> str:
    return f"it lies in {file}, which is none of your folders"


def _both(path: Path) -> tuple[Path, Path]:
    """As it is written, and where it leads to."""
    return path.absolute(), path.resolve()


def _file_of(thing: Any) -> Optional[Path]:
    """Where a module, or the spec of one, was found; the folder of a package without an `__init__.py`."""
    spec = getattr(thing, "__spec__", thing)
    file = getattr(thing, "__file__", None) or (getattr(spec, "origin", None) if spec is not None else None)
    if isinstance(file, str) and file not in ("built-in", "frozen", "namespace"):
        return Path(file)
    folders = list(getattr(spec, "submodule_search_locations", None) or ())
    return Path(folders[0]) / "__init__.py" if folders else None


def _twin(top: str) -> str:
    """A sentence on the user's own module of that name, if there is one that Python finds only after the other."""
    for folder in own_folders():
        for file in (folder / f"{top}.py", folder / top / "__init__.py"):
            if file.is_file() and not _why_not_own(file, top):
                return f" Yours of that name, {file}, comes after it: give it another name."
    return ""


def _looked_in() -> str:
    return f"looked beside the config, in the working directory and on PYTHONPATH: {', '.join(map(str, own_folders()))}"
