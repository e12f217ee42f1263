"""Trains a generated run straight and through its history, compares all that both leave, and counts."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

from forking import servers
from places import PROGRAMS

from paddle_resume.testing import Kill, first_differences
from paddle_resume.testing.kill_plan import Plan
from paddle_resume.testing.life import Ending, LifeError, live

PROGRAM = str(PROGRAMS / "train_generated.py")
STEPS = 14
_REFUSED = re.compile(r"^refused: (\w+): (.*)", re.MULTILINE)


class Counts:
    """What came of all generated runs."""

    def __init__(self) -> None:
        self.of: Counter[str] = Counter()
        self.refusals: Counter[str] = Counter()

    def __str__(self) -> str:
        kinds = "; ".join(f"{count} {kind}" for kind, count in self.refusals.most_common())
        names = ("runs", "lives", "kills", "stops", "made longer", "comparisons", "silent differences")
        said = ", ".join(f"{self.of[name]} {name}" for name in names)
        return f"{said}, {sum(self.refusals.values())} refused{f' ({kinds})' if kinds else ''}"


class Refused(Exception):
    """The package does not train this run, and has said why."""


class GeneratedRun:
    """One description and one history, in a folder."""

    def __init__(self, description: dict[str, Any], history: dict[str, Any], folder: Path, counts: Counts) -> None:
        self._history, self._folder, self._counts = history, folder, counts
        kills = [Kill(**kill) for kill in history["kills"]]
        self._kills = kills
        # A stop saves a checkpoint more, and so does the end of a shorter run: another would be pruned for it.
        if history["short"] is not None or any(kill.is_stop for kill in kills):
            description = {**description, "keep": 100}
        if any(kill.moment == "save" and not kill.is_stop for kill in kills):
            description = {**description, "background": True}  # It is the writer that counts the system calls.
        self._stopped: set[int] = set()
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "run.json").write_text(json.dumps(description, indent=1), encoding="utf-8")
        (folder / "history.json").write_text(json.dumps(history), encoding="utf-8")

    def differences(self) -> list[str]:
        """Train both and compare; [] if nothing differs or if the package refuses the run, which is counted.

        Raises LifeError for a run that fails after an interruption only.
        """
        self._counts.of["runs"] += 1
        try:
            self._live("straight", STEPS)
        except Refused as refused:
            self._counts.refusals[str(refused)] += 1
            return []
        except LifeError as error:  # Such as what one of Paddle's optimizers cannot do; nothing was interrupted yet.
            self._counts.refusals[f"It fails untouched: {_last_words(error.output)}"] += 1
            return []
        try:
            self._go_through()
        except Refused as refused:
            return [f"refused only after an interruption: {refused}"]
        self._counts.of["comparisons"] += 1
        found = first_differences(self._folder / "straight", self._folder / "killed", stopped_after=self._stopped)
        # Of a run that was made longer at an epoch's end, the checkpoint of its first end has been through that end.
        found = [line for line in found if f"_step{self._history['short']}." not in line]
        report = self._folder / "report"
        if report.exists():
            found += report.read_text(encoding="utf-8").splitlines()
        self._counts.of["silent differences"] += bool(found)
        return found

    def _go_through(self) -> None:
        short, kills = self._history["short"], list(self._kills)
        if short is not None:
            self._counts.of["made longer"] += 1
            self._stopped.add(short)
            while kills and kills[0].after < short:
                if self._live("killed", short, kills.pop(0)).finished:
                    break
            else:
                while not self._live("killed", short).finished:
                    pass
        for kill in kills:
            if self._live("killed", STEPS, kill).finished:
                return
        self._live("killed", STEPS)

    def _live(self, name: str, steps: int, kill: Any = None) -> Ending:
        self._counts.of["lives"] += 1
        plan = Plan(str(self._folder / "report"), kill)
        program = [PROGRAM, str(self._folder / "run.json"), str(steps)]
        try:
            ending = live(program, self._folder / name, plan, timeout=120, start=servers())
        except LifeError as error:
            refused = _REFUSED.search(error.output)
            if refused is None:
                raise
            raise Refused(f"{refused[1]}: {_kind(refused[2])}") from error
        if ending.stopped_after is not None:
            self._stopped.add(ending.stopped_after)
        if not ending.finished and kill is not None:
            self._counts.of["stops" if kill.is_stop else "kills"] += 1
        return ending


def _last_words(output: str) -> str:
    said = [line.strip() for line in output.splitlines() if re.match(r"\s*(\[Hint|\w*Error)", line)]
    return re.sub(r"\d+", "n", said[-1])[:110] if said else "without a word"


def _kind(text: str) -> str:
    """The reason without what is only this run's own."""
    text = re.sub(
        r"A part of this run bears state that cannot be saved, so that it could not go on as it was: ", "", text
    )
    text = re.sub(r"became nan in step \d+ .*", "became nan", text)
    return re.split(r"[;.] ", text)[0][:110]
