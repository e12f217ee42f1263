"""What every part of the config is made of: strict sections, classes with arguments, and checked texts."""

from __future__ import annotations

import copy
import re
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
)
from pydantic_core import PydanticCustomError

# Marks a field whose change leaves the sequence of parameter values as it was.
ASIDE: dict[str, Any] = {"trajectory": False}
# Tags of a union turn up in error locations; this first character tells them from keys.
TAG_MARK = "<"


def matching(pattern: str, expected: str) -> AfterValidator:
    """The text must match `pattern` as a whole; otherwise the error says what was `expected`."""

    def check(text: str) -> str:
        if not re.fullmatch(pattern, text, re.ASCII):
            raise PydanticCustomError("unexpected", "{expected}", {"expected": expected})
        return text

    return AfterValidator(check)


NotEmpty = Annotated[str, matching(r"(?s).+", "a text that is not empty")]


class Section(BaseModel):
    """A frozen mapping of strictly typed keys, in which an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, protected_namespaces=())


class Component(Section):
    """A class by its name, and the arguments to build it with: `{name, **args}`."""

    model_config = ConfigDict(extra="allow")

    name: NotEmpty = Field(description="a class by its name, or by an import path my_package.module:Class")

    @property
    def args(self) -> dict[str, Any]:
        """A copy of the arguments: every key that is not a field of the config itself."""
        return copy.deepcopy(self.model_extra or {})
