"""Iterators whose place can be read and set, in the place of those of Python that hide it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

_VIEWS: tuple[type, ...] = (type({}.keys()), type({}.values()), type({}.items()))


class Counted:
    """As `enumerate`."""

    def __init__(self, inner: Iterator[Any], count: int) -> None:
        self.inner = inner
        self.count = count

    def __iter__(self) -> Counted:
        return self

    def __next__(self) -> tuple[int, Any]:
        item = next(self.inner)
        self.count += 1
        return self.count - 1, item


class Together:
    """As `zip`."""

    def __init__(self, inner: list[Iterator[Any]]) -> None:
        self.inner = inner
        self.items: list[Any] = []
        """What the first of them have given for the next tuple, while a later one is asked."""

    def __iter__(self) -> Together:
        return self

    def __next__(self) -> tuple[Any, ...]:
        if not self.inner:
            raise StopIteration
        return tuple(self.take())

    def take(self) -> list[Any]:
        """The next item of each; raises StopIteration.

        All that it holds is read anew after each item: while one is asked, the program may be put back.
        """
        self.items = []
        while len(self.items) < len(self.inner):
            item = next(self.inner[len(self.items)])
            self.items.append(item)
        items, self.items = self.items, []
        return items


class Applied(Together):
    """As `map`."""

    def __init__(self, function: Any, inner: list[Iterator[Any]]) -> None:
        super().__init__(inner)
        self.function = function

    def __iter__(self) -> Applied:
        return self

    def __next__(self) -> Any:
        items = self.take()
        return self.function(*items)


class WithBar:
    """What a `tqdm` bar goes over, and the bar, which shows it and decides nothing."""

    def __init__(self, inner: Iterator[Any], bar: Any) -> None:
        self.inner = inner
        self.bar = bar

    def __iter__(self) -> WithBar:
        return self

    def __next__(self) -> Any:
        try:
            item = next(self.inner)
        except StopIteration:
            self.bar.close()
            raise
        self.bar.update(1)
        return item


def placed_iterator(iterable: Any) -> Iterator[Any]:
    """`iter(iterable)`, in a form whose place can be read if there is one."""
    if type(iterable) in _VIEWS or type(iterable) is dict:
        return iter(list(iterable))
    if _is_bar(iterable) and getattr(iterable, "iterable", None) is not None:
        return WithBar(placed_iterator(iterable.iterable), iterable)
    return _placed(iter(iterable))


def reused(before: Iterator[Any], new: Iterator[Any]) -> Iterator[Any]:
    """`new`, as the same object as `before` where that is one of ours, of a loop that is over.

    A program that is put back stands inside the call of this very object.
    """
    if type(before) is not type(new) or not isinstance(new, (Counted, Together, WithBar)):
        return new
    held = vars(before)
    for name, value in vars(new).items():
        if isinstance(value, list) and len(held[name]) == len(value):
            held[name][:] = [*map(reused, held[name], value)]
        else:
            held[name] = reused(held[name], value)
    return before


def _placed(iterator: Any) -> Iterator[Any]:
    kind = type(iterator)
    if kind is enumerate:
        _, (inner, count) = iterator.__reduce__()
        return Counted(_placed(inner), count)
    if kind is zip and _is_plain_zip(iterator):
        return Together([_placed(each) for each in iterator.__reduce__()[1]])
    if kind is map:
        _, (function, *inner) = iterator.__reduce__()
        return Applied(function, [_placed(each) for each in inner])
    return iterator


def _is_plain_zip(iterator: Any) -> bool:
    return len(iterator.__reduce__()) == 2  # A third part says that it is strict.


def _is_bar(thing: Any) -> bool:
    return any(base.__module__.partition(".")[0] == "tqdm" and base.__name__ == "tqdm" for base in type(thing).__mro__)
