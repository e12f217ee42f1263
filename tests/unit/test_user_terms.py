# ruff: noqa: E501 - a table of sentences is read by its lines
"""What a message names is what the user wrote: arguments in Python, keys and flags with a command."""

from __future__ import annotations

import importlib
import inspect
import re
from typing import Any

import pytest

import paddle_resume
from paddle_resume import set_language
from paddle_resume.config.schema import Config, model_in
from paddle_resume.differences import ConfigScope, Difference
from paddle_resume.errors import PaddleResumeError
from paddle_resume.translations import shown
from paddle_resume.translations.catalog import catalog_path, read_translations
from paddle_resume.translations.template import CHINESE, PLACE
from paddle_resume.user_terms import (
    ARGUMENTS,
    command_terms,
    in_python_terms,
    in_user_terms,
    translated_in_user_terms,
)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("set trainer.on_nan to skip", "set StepOptions(on_nan=) to skip"),
        ("trainer.on_nan: rollback goes back", 'StepOptions(on_nan="rollback") goes back'),
        ("checkpoint.keep: 4 of them.", "SaveSchedule(keep=4) of them."),
        ("Set checkpoint.every_steps: auto, or null.", 'Set SaveSchedule(every_steps="auto"), or null.'),
        ("data.num_workers: the data has none", "Trainer.train(num_workers=): the data has none"),
        ("data.drop_last: true if", "Trainer.train(drop_last=True) if"),
        ("best.patience: 1 -> 2", "Best(patience=): 1 -> 2"),
        ("another run.name or run.save_dir.", "another Trainer(name=) or Trainer(save_dir=)."),
        ("start over with --resume none.", 'start over with resume="none".'),
        ("over with --resume none --overwrite.", 'over with resume="none" overwrite=True.'),
        ("--resume checkpoint/model_epoch0 names", 'resume="checkpoint/model_epoch0" names'),
        ("leave out --resume to continue", "leave out resume= to continue"),
        ("go on with --allow-inexact (the", "go on with allow_inexact=True (the"),
        ("with --allow-change: x", "with allow_change=: x"),
        ("Run the same command again.", "Run the same program again."),
        # What is no key or flag stays as it is.
        ("my_data.shuffle, /run.name/x, 'run.seed', model.run.seedling", "my_data.shuffle, /run.name/x, 'run.seed', model.run.seedling"),
        ("run.names of a train.py --resumed", "run.names of a train.py --resumed"),
    ],
)  # fmt: skip
def test_keys_and_flags_are_told_as_arguments(text: str, told: str) -> None:
    assert in_python_terms(text) == in_user_terms(text) == told
    with command_terms():
        assert in_user_terms(text) == text


def test_a_difference_names_the_one_place_where_it_is_set() -> None:
    one = Difference("seed", 1, 2, ConfigScope(("run.seed",)), "Trainer(seed=)")
    assert one.advice == "seed: 1 -> 2 (set by Trainer(seed=))"
    with command_terms():
        assert one.advice == "seed: 1 -> 2 (set by run.seed)"


@pytest.mark.parametrize("key", ARGUMENTS)
def test_every_key_is_one_and_every_argument_is_there(key: str) -> None:
    section: Any = Config
    for part in key.split("."):
        if key == "trainer.amp.level" and part == "level":  # as messages call it
            break
        field = section.model_fields[part]
        section = model_in(field.annotation)
    face, _, argument = ARGUMENTS[key].removesuffix("=)").partition("(")
    name, _, method = face.partition(".")
    called = getattr(paddle_resume, name)
    assert argument in inspect.signature(getattr(called, method) if method else called).parameters


def test_every_key_of_the_sections_that_have_arguments_is_known() -> None:
    sections = {name: model_in(Config.model_fields[name].annotation) for name in ("trainer", "best", "checkpoint")}
    keys = {f"{name}.{key}" for name, section in sections.items() if section for key in section.model_fields}
    assert keys <= set(ARGUMENTS)


def test_the_terms_are_those_of_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module("paddle_resume.user_terms")
    with pytest.raises(RuntimeError), command_terms():
        raise RuntimeError
    assert not module.speaks_command()


def _catalog() -> list[tuple[str, str]]:
    return [
        (message, said)
        for message, said, _ in read_translations(catalog_path("zh"))
        if in_python_terms(message) != message != said and "schema --page" not in said
    ]


def _arguments(text: str) -> list[str]:
    """What a message names that a program sets."""
    named = re.findall(r"\w+(?:\.\w+)*\([\w]+=[^)]*\)|\b\w+=\w*|set_state_dict|same program|同样的程序", text, re.ASCII)
    return sorted(each.replace("同样的程序", "same program") for each in named)


def test_every_message_names_the_same_arguments_in_chinese() -> None:
    """What is reworded is the translation; no key of a config or flag is left in it, and no argument is another."""
    found = _catalog()
    other = [(message, said) for message, said in found if "{" not in message]
    assert len(found) > 80 and len(other) > 10
    wrong = [
        f"{in_python_terms(message)}\n{in_python_terms(said)}"
        for message, said in found
        if _arguments(in_python_terms(message)) != _arguments(in_python_terms(said))
    ]
    assert not wrong, "\n\n".join(wrong)


@pytest.mark.parametrize("said_in", ["an error", "an error of an error", "a line"])
def test_no_message_stays_english_because_it_names_arguments(said_in: str) -> None:
    """Each message that is reworded, filled with values, is shown to a program in Chinese as to a command."""
    filled = [(PLACE.sub("v1/x", message), said) for message, said in _catalog()]
    set_language("zh")
    try:
        wrong = []
        for text, _ in filled:
            with command_terms():
                wanted = in_python_terms(shown(text))
            told = in_user_terms(text)
            if said_in != "a line":
                told = str(PaddleResumeError(told))
            if said_in == "an error of an error":
                told = str(PaddleResumeError(in_user_terms(told)))
            assert told == in_python_terms(text) and type(told) is str  # which a program may keep
            if shown(told) != wanted or not CHINESE.search(wanted):
                wrong.append(f"{told}\n{shown(told)}\n{wanted}")
    finally:
        set_language("en")
    assert not wrong, "\n\n".join(wrong)


def test_a_program_that_catches_an_error_finds_english() -> None:
    set_language("zh")
    try:
        with pytest.raises(PaddleResumeError, match=r"Trainer\(name=\)") as caught:
            raise PaddleResumeError(in_user_terms("choose another run.name"))
        assert f"{caught.value}" == "choose another Trainer(name=)"
    finally:
        set_language("en")


def test_as_many_messages_are_remembered_as_a_screen_holds() -> None:
    for number in range(1000):
        told = in_user_terms(f"{number}: another run.name")
    assert translated_in_user_terms(told, str.upper) == "999: ANOTHER RUN.NAME"
    assert translated_in_user_terms("0: another Trainer(name=)", str.upper) == "0: ANOTHER TRAINER(NAME=)"
    with_fit = in_user_terms("another run.save_dir and data.global_batch_size", of_fit=True)
    assert with_fit == "another ExactResume(save_dir=) and Model.fit(batch_size=)"
    assert translated_in_user_terms(with_fit, lambda text: f"{text}!") == f"{with_fit}!"
