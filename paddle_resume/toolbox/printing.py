"""The one place that prints what the toolbox found: for a person, or as JSON for a program."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Optional

from rich.text import Text
from rich.tree import Tree

from paddle_resume.storage.durable_files import format_bytes
from paddle_resume.toolbox.doctor_check import OK, PROBLEM
from paddle_resume.toolbox.listing import DAMAGED
from paddle_resume.translations import heading, labelled, padded, shown
from paddle_resume.ui.tables import TablePrinter

if TYPE_CHECKING:  # Each command brings what it found itself, so that `list` does not wait for the others.
    from paddle_resume.config.shipped import ShippedConfig
    from paddle_resume.toolbox.averaging import Averaged
    from paddle_resume.toolbox.diff import Differences, TensorDifference
    from paddle_resume.toolbox.doctor_check import Check
    from paddle_resume.toolbox.listing import Listed
    from paddle_resume.toolbox.pruning import Planned
    from paddle_resume.toolbox.recover import Recovered
    from paddle_resume.toolbox.salvaging import Salvaged
    from paddle_resume.toolbox.show import Shown
    from paddle_resume.toolbox.stripping import Stripped
    from paddle_resume.toolbox.verification import Verified

_ROWS = 20
_LETTERS = 2000
_GOOD, _BAD, _DOUBTFUL = "green", "red", "yellow"


def as_json(found: Any) -> str:
    """Data classes as JSON; NaN and the infinities, which JSON lacks, as the texts `nan`, `inf` and `-inf`."""
    return json.dumps(_plain(found), indent=2, ensure_ascii=False, allow_nan=False)


def print_found(found: Any, to_json: bool, show: Callable[[Any], None]) -> None:
    """Print what a command found, as JSON or for a person with `show`, a method of ToolboxPrinter."""
    if to_json:
        print(as_json(found))
    else:
        show(found)


class ToolboxPrinter(TablePrinter):
    """Prints what each command found."""

    def checkpoints(self, listed: Sequence[Listed]) -> None:
        """The list of a folder."""
        if not listed:
            self.say("There are no checkpoints.")
            return
        columns = ("checkpoint", "step", "epoch", "next", "metrics", "size", "state", "exact")
        table = self.table("", columns, right=("step", "epoch", "size"))
        for one in listed:
            state = heading("whole" if one.good and one.verified and one.state == "complete" else one.state)
            if one.reason:
                state += f": {shown(one.reason)}"
            exact = "" if one.exact is None else heading("exact" if one.exact else "inexact")
            exact += ", " + shown(f"{one.resumes} resume{'' if one.resumes == 1 else 's'}") if one.resumes else ""
            cells = (one.prefix, _text(one.step), _text(one.epoch), _text(one.phase), _metrics(one.metrics))
            style = _BAD if one.state == DAMAGED else None
            self.add(table, *cells, format_bytes(one.size) if one.size else "", state, exact, style=style)
        self.show(table)

    def checkpoint(self, shown: Shown, everything: bool = False) -> None:
        """One checkpoint: facts, tensors, and the way it came."""
        facts = {
            "Checkpoint": shown.name,
            "Position": _position(shown),
            "Saved": f"{shown.saved_at}, by paddle_resume {shown.package}" if shown.saved_at else "",
            "Metrics": _metrics(shown.metrics, every=True),
            "Environment": ", ".join(f"{k} {v}" for k, v in shown.environment.items() if v is not None),
            "State of": ", ".join(shown.owners),
        }
        for label, text in facts.items():
            if text:
                self.say(labelled(label, _shortened(text)))
        for file in dict.fromkeys(tensor.file for tensor in shown.tensors):
            self._tensors(shown, file, everything)
        if shown.lineage:
            self.show(_lineage_tree(shown))

    def configs(self, shipped: Sequence[ShippedConfig]) -> None:
        """The configs that come with the package."""
        table = self.table("", ("name", "what it trains"), right=())
        for one in shipped:
            self.add(table, one.name, one.purpose)
        self.show(table)

    def verified(self, results: Sequence[Verified]) -> None:
        """What is wrong with each checkpoint, or that nothing is."""
        for one in results:
            size = f"{one.files} files, {one.tensors} tensors, {format_bytes(one.size)}"
            self.say(f"{one.prefix}: {'good: ' + size if one.good else 'NOT good'}", _GOOD if one.good else _BAD)
            for problem in one.problems:
                self.say(f"  problem: {problem}")
            for remark in one.remarks:
                self.say(f"  remark: {remark}")

    def differences(self, found: Differences, everything: bool = False) -> None:
        """The tensors that differ, then the rest."""
        for file in dict.fromkeys(one.file for one in found.tensors):
            rows = [one for one in found.tensors if one.file == file]
            columns = ("tensor", "largest", "relative", "values", "remark")
            table = self.table(f"{file}: {len(rows):,} tensors differ", columns, right=columns[1:4])
            cut = rows if everything else rows[:_ROWS]
            for one in cut:
                self.add(table, one.name, *_figures(one), one.reason)
            self.show(table)
            self._say_more(len(rows) - len(cut))
        for room, lines in found.state.items():
            told = lines if everything else lines[:_ROWS]
            self.say(f"{room}:")
            for line in told:
                self.say(f"  {line}")
            self._say_more(len(lines) - len(told))
        for line in found.not_compared:
            self.say(f"not compared: {line}", _DOUBTFUL)
        if found.same:
            self.say(f"The same: {found.compared:,} tensors, bit for bit{_rest_too(found)}.", _GOOD)
        else:
            self.say(f"Different: {len(found.tensors):,} of {found.compared:,} tensors{_and_rooms(found)}.", _DOUBTFUL)

    def averaged(self, done: Averaged) -> None:
        """What was written."""
        self.say(
            f"Wrote {done.output}: the average of {len(done.sources)}, {done.tensors} tensors, "
            f"{format_bytes(done.size)}."
        )
        if done.taken_over:
            self.say(f"Whole numbers, taken from {done.sources[-1]}: {', '.join(done.taken_over)}", _DOUBTFUL)

    def stripped(self, done: Stripped) -> None:
        """What was written."""
        self.say(
            f"Wrote {done.output}: {done.tensors} tensors, {format_bytes(done.size)} of {format_bytes(done.before)}."
        )

    def pruned(self, lines: Sequence[Planned], done: bool) -> None:
        """What goes and what stays, and why."""
        table = self.table("", ("checkpoint", "", "size", "why"), right=("size",))
        verb = "removed" if done else "remove"
        for line in lines:
            cells = (line.prefix, verb if line.remove else "keep", format_bytes(line.size), line.reason)
            self.add(table, *cells, style=_DOUBTFUL if line.remove else None)
        self.show(table)
        gone = [line for line in lines if line.remove]
        size = format_bytes(sum(line.size for line in gone))
        if not gone:
            self.say("Nothing is to be removed.")
        elif done:
            self.say(f"Removed {len(gone)}, {size}.")
        else:
            self.say(f"Nothing was removed yet: --yes removes these {len(gone)}, {size}.")

    def recovered(self, found: Recovered) -> None:
        """The state of a folder, and what to do."""
        self.checkpoints(found.checkpoints)
        for run, prefixes in found.leftovers.items():
            self.say(f"Run {run}: a save or removal was cut short: {', '.join(prefixes)}. --yes completes it.")
        if found.tidied and not found.leftovers:
            self.say("Commits that only lacked their renames are complete, and leftovers are gone.")
        for one in found.damaged:
            name = one.prefix.replace("\\", "/").rpartition("/")[2]
            self.say(f"To save what is right of it: paddle-resume recover {one.prefix} --output {name}_saved.pdparams")
        if found.newest_whole:
            self.say(f"Newest whole checkpoint: {found.newest_whole}", _GOOD)
        else:
            self.say("No checkpoint is whole.", _BAD)

    def salvaged(self, done: Salvaged) -> None:
        """What was saved and what is lost."""
        total = len(done.saved) + len(done.lost)
        self.say(f"{done.source}: {len(done.saved)} of {total} tensors are right, {done.how}.")
        for name, why in done.lost[:_ROWS]:
            self.say(f"  lost: {name}: {why}", _BAD)
        if len(done.lost) > _ROWS:
            self.say(f"  and {len(done.lost) - _ROWS:,} more; --json tells of all", _BAD)
        self.say(f"Wrote {done.output}, {format_bytes(done.size)}." if done.output else "Nothing was written.")

    def checks(self, checks: Iterable[Check]) -> list[Check]:
        """Each check as soon as it is made; returns them."""
        made = []
        for check in checks:
            made.append(check)
            style = {OK: _GOOD, PROBLEM: _BAD}.get(check.status, _DOUBTFUL)
            line = labelled(check.name, check.text, 15, before=padded(check.status, 9))
            self.say(line, None if check.status == OK else style)
            if check.advice:
                self.say(f"{'':<9}{'':<15}-> {shown(check.advice)}")
        return made

    def _tensors(self, shown: Shown, file: str, everything: bool) -> None:
        rows = [tensor for tensor in shown.tensors if tensor.file == file]
        cut = rows if everything or file == ".pdparams" else rows[:_ROWS]
        columns = ("tensor", "shape", "dtype", "size", "norm", "remark")
        title = f"{file}: {len(rows):,} tensors, {shown.parameters(file):,} values"
        table = self.table(title, columns, right=("size", "norm"))
        for each in cut:
            norm = "" if each.norm is None else f"{each.norm:.6g}"
            remark = f"NaN or infinite: {each.non_finite:,}" if each.non_finite else ""
            style = _BAD if remark else None
            self.add(table, each.name, str(each.shape), each.dtype, format_bytes(each.size), norm, remark, style=style)
        self.show(table)
        self._say_more(len(rows) - len(cut))

    def _say_more(self, hidden: int) -> None:
        if hidden:
            self.say(f"and {hidden:,} more; --all shows them")


def _lineage_tree(shown: Shown) -> Tree:
    """The run's history: its start, each resume and each allowed change, with what differed below it."""
    tree = Tree(Text(f"Lineage: {'all exact' if shown.exact else 'not exact'}"))
    for event in shown.lineage:
        kind = str(event.get("event"))
        text = heading(kind)
        if "from" in event:
            text += f" {'at' if kind == 'change' else 'from'} {event['from']} (step {event.get('step')})"
        if "exact" in event:
            text += ", exact" if event["exact"] else ", NOT exact"
        text += f", {event.get('time', '')}, pid {event.get('pid', '?')} on {event.get('host', '?')}"
        branch = tree.add(Text(_shortened(text), style="" if event.get("exact", True) else _DOUBTFUL))
        for lines in (event.get("differences"), event.get("changes")):
            for line in lines if isinstance(lines, list) else ():
                branch.add(Text(_shortened(str(line))))
    return tree


def _shortened(text: str) -> str:
    """As much of a record's own words as a person reads."""
    return text if len(text) <= _LETTERS else f"{text[:_LETTERS]}..."


def _position(shown: Shown) -> str:
    if shown.step is None:
        return ""
    text = f"step {shown.step}"
    text += f", epoch {shown.epoch}" if shown.epoch is not None else ""
    return text + (f", next: {shown.phase}" if shown.phase else "")


def _metrics(metrics: dict[str, float], every: bool = False) -> str:
    """Those of evaluations, or of training where there was none; those of single classes only if asked for."""
    chosen = {tag: value for tag, value in metrics.items() if every or tag.count("/") == 1}
    if not every:
        chosen = {tag: v for tag, v in chosen.items() if not tag.startswith("train/")} or chosen
        chosen.pop("train/lr", None)
    return ", ".join(f"{tag} {value:.6g}" for tag, value in chosen.items())


def _figures(one: TensorDifference) -> tuple[str, str, str]:
    if one.largest is None or one.relative is None:
        return "", "", ""
    return f"{one.largest:.4g}", f"{one.relative:.2g}", f"{one.values:,} of {one.of:,}"


def _rest_too(found: Differences) -> str:
    return "" if found.not_compared else "; position, random state, config and environment too"


def _and_rooms(found: Differences) -> str:
    return f"; {', '.join(found.state)}" if found.state else ""


def _text(value: Optional[object]) -> str:
    return "" if value is None else str(value)


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        content = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        # What a program would have to work out again from the others.
        for name in ("good", "same", "newest_whole"):
            if isinstance(getattr(type(value), name, None), property):
                content[name] = getattr(value, name)
        return _plain(content)
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
