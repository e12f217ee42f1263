"""The course of a run: the same as long as the same steps come out the same."""

from __future__ import annotations

from pathlib import Path

from paddle_resume.checkpoint.lineage import Lineage
from paddle_resume.differences import Difference

DIFFERENT = Difference("optimizer.lr", 1, 2)


def resumed(*, exact: bool) -> Lineage:
    lineage = Lineage([{"event": "start", "time": "then", "host": "here", "pid": 1}])
    lineage.resumed(Path("run_step3"), 3, [] if exact else [DIFFERENT])
    return lineage


def test_exact_resumes_and_updates_left_out_are_on_the_course() -> None:
    start = Lineage([{"event": "start", "time": "then", "host": "here", "pid": 1}])
    lineage = resumed(exact=True)
    lineage.skipped(4, "nan")
    assert lineage.course == start.course and lineage.inexact_since is None


def test_every_turn_is_another_course_and_the_same_turn_the_same() -> None:
    turns = {
        "start": lambda lineage: lineage.note_start(pid=2),
        "change": lambda lineage: lineage.changed(Path("run_step3"), 3, [DIFFERENT]),
        "resume": lambda lineage: lineage.resumed(Path("run_step3"), 3, [DIFFERENT]),
        "rollback": lambda lineage: lineage.rolled_back(4, "run_step3", 0.5),
        "inexact": lambda lineage: lineage.inexact(3, "it differs"),
    }
    courses = {resumed(exact=True).course}
    for turn in turns.values():
        one, other = resumed(exact=True), resumed(exact=True)
        turn(one), turn(other)
        assert one.course == other.course == Lineage(one.events).course
        courses.add(one.course)
    assert len(courses) == len(turns) + 1


def test_what_made_a_run_inexact_is_noted_once_and_holds_for_good() -> None:
    lineage = resumed(exact=True)
    for _ in range(2):
        lineage.inexact(3, "it differs")
    lineage.inexact(5, "it differs again")
    assert [event["step"] for event in lineage.events if event["event"] == "inexact"] == [3, 5]
    assert not lineage.is_exact and lineage.inexact_since == 3
