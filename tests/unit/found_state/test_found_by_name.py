"""What code of the run reaches by a name of its module: classes, functions, other modules, settings of the process."""

from __future__ import annotations

import decimal
import enum
import functools
import logging
import os
import zlib
from collections.abc import Callable
from typing import Any, ClassVar

import found_levels
import numpy as np
import paddle
import pytest
import yaml
from graphs import Life, Thing, resumed

from paddle_resume.errors import CheckpointError


class Held:
    count = 0
    seen: ClassVar[list[int]] = []

    @staticmethod
    def more(value: int, cache: dict = {}) -> int:  # noqa: B006 - what is tested
        cache[value] = len(cache)
        return len(cache)

    @classmethod
    def grow(cls) -> None:
        cls.count += 1


class Counting(type):
    made = 0


class Counted(metaclass=Counting):
    pass


class Phase:
    def __init__(self) -> None:
        self.name = "warm"


PHASE = Phase()


def doubled(value: int) -> int:
    return 2 * value


def called(value: int) -> int:
    return value


scale: Callable[[int], int] = called


def by_class() -> Any:
    Held.grow()
    Held.seen.append(Held.more(Held.count))
    return Held.count, list(Held.seen), Held.more(Held.count)


def in_methods() -> type:
    count, seen = 0, []

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        calls = [0]

        @functools.wraps(function)
        def wrapped(*arguments: Any) -> Any:
            calls[0] += 1
            return function(*arguments), calls[0]

        return wrapped

    class Field:
        def __init__(self) -> None:
            self.last = 0

        def __get__(self, thing: Any, owner: Any = None) -> int:
            return self.last

        def __set__(self, thing: Any, value: int) -> None:
            self.last = value

    class Callback:
        field = Field()

        class settings:
            level = 0

        @property
        def seen(self) -> int:
            seen.append(len(seen))
            return len(seen)

        @staticmethod
        def level(step: list[int] = [0]) -> int:  # noqa: B006 - what is tested
            step[0] += 2
            return step[0]

        @counted
        def on_step_end(self) -> Any:
            nonlocal count
            count += 1
            self.settings.level += 3
            self.field = self.field + 5
            return count, self.settings.level, self.field, self.seen, self.level()

    return Callback


def test_what_the_methods_of_a_class_hold_goes_on() -> None:
    def make() -> Any:
        return {"callback": in_methods()()}

    life = Life(make)
    assert life.walker.survey().refused == [] and life.saved()[0]["moved"] == {}
    for _ in range(3):
        life.roots["callback"].on_step_end()
    saved = life.saved()
    expected = life.roots["callback"].on_step_end()
    assert expected == ((4, 12, 20, 4, 8), 4)
    assert make()["callback"].on_step_end() != expected
    assert resumed(make, saved).roots["callback"].on_step_end() == expected


def by_metaclass() -> Any:
    Counting.made += 1
    return Counted.made


def by_function() -> Any:
    called.count = getattr(called, "count", 0) + 1  # type: ignore[attr-defined]
    return called.count  # type: ignore[attr-defined]


def by_object() -> Any:
    PHASE.name += "!"
    return PHASE.name


def by_other_module() -> Any:
    found_levels.LEVEL += 1
    found_levels.SEEN.append(found_levels.LEVEL)
    return found_levels.LEVEL, list(found_levels.SEEN)


def by_import() -> Any:
    import found_levels as inner

    inner.LEVEL += 3
    return inner.LEVEL


def by_globals() -> Any:
    globals()["BY_TEXT"] = globals().get("BY_TEXT", 0) + 1
    setattr(found_levels, "BY_TEXT", globals()["BY_TEXT"])  # noqa: B010 - what is tested
    return globals()["BY_TEXT"], found_levels.BY_TEXT


def by_name_of_a_function() -> Any:
    global scale
    scale = doubled
    return scale(3)


class Replaced:
    def value(self) -> int:
        return 1


def by_method() -> Any:
    Replaced.value = doubled  # type: ignore[assignment, method-assign]
    return Replaced.value(4)  # type: ignore[call-arg, arg-type]


class Stage(enum.Enum):
    WARM = 1
    HOT = 2


def by_members() -> Any:
    for stage in Stage:
        stage.seen = getattr(stage, "seen", 0) + stage.value  # type: ignore[attr-defined]
    Stage.HOT._last = Stage.HOT.seen  # type: ignore[attr-defined]
    return Stage.WARM.seen, Stage.HOT.seen, Stage.HOT._last  # type: ignore[attr-defined]


def by_settings() -> Any:
    paddle.set_default_dtype("float64")
    np.seterr(divide="raise")
    decimal.getcontext().prec = 7
    paddle.set_flags({"FLAGS_check_nan_inf_level": 2})
    os.environ["FOUND_LEVEL"] = os.environ.get("FOUND_LEVEL", "") + "1"
    return paddle.get_default_dtype(), np.geterr()["divide"], decimal.getcontext().prec, os.environ["FOUND_LEVEL"]


def forget() -> None:
    """What a new process begins with."""
    global scale
    Held.count = 0
    Held.seen.clear()
    (Held.more.__defaults__ or ())[0].clear()
    Counting.made = 0
    vars(called).clear()
    PHASE.name = "warm"
    for stage in Stage:
        for name in ("seen", "_last"):
            vars(stage).pop(name, None)
    found_levels.LEVEL = 0
    found_levels.SEEN.clear()
    for module in (globals(), vars(found_levels)):
        module.pop("BY_TEXT", None)
    scale = called
    Replaced.value = VALUE  # type: ignore[method-assign]
    paddle.set_default_dtype("float32")
    np.seterr(divide="warn")
    decimal.getcontext().prec = 28
    paddle.set_flags({"FLAGS_check_nan_inf_level": 0})
    os.environ.pop("FOUND_LEVEL", None)


VALUE = Replaced.value
LOGGER = logging.getLogger("found")
WAYS = [
    *(by_class, by_metaclass, by_function, by_object, by_other_module, by_import, by_globals),
    *(by_name_of_a_function, by_method, by_members, by_settings),
]


@pytest.fixture(autouse=True)
def _forget() -> Any:
    forget()
    yield
    forget()


def through_others() -> Any:
    return [way() for way in WAYS]


@pytest.mark.parametrize("way", [*WAYS, through_others])
def test_what_code_reaches_by_name_goes_on(way: Callable[[], Any]) -> None:
    class Callback:
        def on_step_end(self) -> Any:
            return way()

    life = Life(lambda: {"callback": Callback()})
    assert life.walker.survey().refused == []
    assert life.saved()[0]["moved"] == {}
    for _ in range(3):
        life.roots["callback"].on_step_end()
    saved = life.saved()
    expected = life.roots["callback"].on_step_end()
    forget()
    later = resumed(lambda: {"callback": Callback()}, saved)
    assert later.roots["callback"].on_step_end() == expected


def test_the_environment_is_looked_at_where_code_speaks_of_it() -> None:
    def speaks() -> str:
        return os.environ.get("FOUND_LEVEL", "")

    life = Life(lambda: {"callback": Thing(call=speaks)})
    os.environ["FOUND_OTHER"] = "1"
    assert life.saved()[0]["moved"] == {}
    os.environ["FOUND_LEVEL"] = "1"
    record, arrays = life.saved()
    assert record["moved"]["<process>"]["labels"] == ["environ.FOUND_LEVEL"]
    record["moved"]["<process>"]["labels"] = ["environ.LD_PRELOAD"]
    with pytest.raises(CheckpointError, match=r"no setting 'environ\.LD_PRELOAD'"):
        resumed(lambda: {"callback": Thing(call=speaks)}, (record, arrays))
    del os.environ["FOUND_OTHER"]
    assert "LD_PRELOAD" not in os.environ


@pytest.mark.parametrize(
    "label", ["WARM._value_", "WARM.__class__", "NONE.seen", "_member_map_.seen", ".seen", "WARM."]
)
def test_a_record_gives_a_member_of_an_enumeration_no_other_value(label: str) -> None:
    def use() -> Any:
        return by_members()

    life = Life(lambda: {"callback": Thing(call=use)})
    by_members()
    record, arrays = life.saved()
    (found,) = (entry for path, entry in record["moved"].items() if "Stage" in path)
    found["labels"][found["labels"].index("WARM.seen")] = label
    forget()
    with pytest.raises(CheckpointError, match="of an enumeration"):
        resumed(lambda: {"callback": Thing(call=use)}, (record, arrays))
    assert Stage.WARM.value == 1 and not hasattr(Stage.WARM, "seen")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("paddle.default_dtype", 3),
        ("flag.FLAGS_cudnn_dir", "/tmp"),
        ("flag.FLAGS_nothing", 1),
        ("numpy.errstate.divide", 1),
        ("sys.path", "/tmp"),
        (3, 3),
    ],
)
def test_a_record_sets_no_other_setting(name: Any, value: Any) -> None:
    life = Life(lambda: {"callback": Thing()})
    decimal.getcontext().prec = 9
    record, arrays = life.saved()
    record["moved"]["<process>"].update(labels=[name], values=[value])
    with pytest.raises(CheckpointError, match="this process has no setting"):
        resumed(lambda: {"callback": Thing()}, (record, arrays))


def test_a_method_that_another_one_without_a_name_replaces_is_refused() -> None:
    life = Life(lambda: {"callback": Replaced()})
    Replaced.value = lambda self: 3  # type: ignore[assignment, method-assign]
    refused = life.walker.survey()
    assert refused.refused == []
    with pytest.raises(Exception, match=r"<Replaced>\.value: .*was not there at the start and has no name"):
        life.saved()


COMPILED = zlib.decompressobj()
CONSOLE = pytest.Cache  # a class of a library
OF_A_LIBRARY = yaml.SafeLoader("a: 1")


def test_an_object_of_a_library_that_code_uses_by_name_is_told_and_stops_no_run() -> None:
    def use() -> Any:
        return COMPILED, OF_A_LIBRARY, CONSOLE, logging.getLogger(), LOGGER

    life = Life(lambda: {"callback": Thing(call=use)})
    survey = life.walker.survey()
    assert survey.refused == []
    assert {entry.path.rpartition(".")[2] for entry in survey.told} == {"COMPILED", "OF_A_LIBRARY"}
    OF_A_LIBRARY.get_data()
    assert life.saved()[0]["moved"] == {}


def test_a_cache_is_told_and_its_function_is_looked_into() -> None:
    seen: list[int] = []

    @functools.lru_cache(None)
    def cached(value: int) -> int:
        seen.append(value)
        return value

    def make() -> Any:
        return {"callback": Thing(call=cached, seen=seen)}

    life = Life(make)
    cached(3)
    saved = life.saved()
    seen.clear()
    resumed(make, saved)
    assert seen == [3]
