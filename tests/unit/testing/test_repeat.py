"""What is made of two traces: which step differs first, and how often it is looked into."""

from __future__ import annotations

from typing import Any, Optional

from paddle_resume.testing.repeat import Repetition, Row, _first_rows, _first_step, _look_into, _rows


def trace(*losses: int, layers: Optional[list[list[str]]] = None) -> list[dict[str, Any]]:
    """A trace whose steps have these losses; its last one was looked into and has these layers."""
    lines: list[dict[str, Any]] = [
        {"step": i, "digests": {"data": "d", "loss": str(loss)}, "events": None} for i, loss in enumerate(losses)
    ]
    lines[-1]["events"] = layers
    return lines


def look(pairs: list[Any], step: int) -> tuple[Repetition, list[int], list[str]]:
    """What comes of further runs with these traces, up to which steps they went, and what was said."""
    found = Repetition(9, step, [Row("loss", "", False)])
    looked: list[int] = []
    said: list[str] = []
    traces = [one for pair in pairs for one in pair]

    def run(name: str, look_into: int) -> Any:
        looked.append(look_into)
        return [traces.pop(0)]

    _look_into(found, run, said.append)
    return found, looked, said


LAYERS = [["forward", "a", "1"], ["forward", "b", "2"]], [["forward", "a", "1"], ["forward", "b", "3"]]


def test_the_first_step_that_differs_is_the_first_line_whose_digests_do() -> None:
    assert _first_step([trace(1, 2, 3)], [trace(1, 2, 3)]) is None
    assert _first_step([trace(1, 2, 3)], [trace(1, 4, 5)]) == 1
    assert _first_step([trace(1, 2)], [trace(1, 2, 3)]) is None


def test_a_difference_that_comes_again_is_looked_into_once() -> None:
    pair = trace(1, 2, layers=LAYERS[0]), trace(1, 3, layers=LAYERS[1])
    found, looked, said = look([pair], 1)
    assert found.located and looked == [1, 1] and len(said) == 1
    assert found.rows == [Row("forward", "a", True), Row("forward", "b", False)]
    assert str(found.first) == "forward b"


def test_a_difference_that_does_not_come_again_is_tried_three_times_and_keeps_the_first_rows() -> None:
    found, looked, said = look([(trace(1, 2), trace(1, 2))] * 3, 1)
    assert not found.located and found.further_pairs == 3 and looked == [1] * 6
    assert found.first_step == 1 and found.rows == [Row("loss", "", False)]
    assert said[-1] == "Step 1 differs. Running twice up to it, to look into it (attempt 3 of 3)."


def test_a_difference_that_comes_earlier_by_chance_is_followed_there() -> None:
    earlier = trace(1, 2, 3), trace(1, 4, 5)
    again = trace(1, 2, layers=LAYERS[0]), trace(1, 4, layers=LAYERS[1])
    found, looked, _ = look([earlier, again], 2)
    assert found.located and found.first_step == 1 and looked == [2, 2, 1, 1]


def test_of_several_processes_the_one_counts_in_which_the_difference_comes_first() -> None:
    same = [["forward", "a", "1"], ["forward", "b", "2"], ["loss", "", "3"]]
    late, early = ([*same[:i], ["forward", "ab"[i], "9"], *same[i + 1 :]] for i in (1, 0))
    for others, rank in (((late, early), 1), ((early, late), 0), ((same, late), 1)):
        ours = [trace(1, layers=same), trace(1, layers=same)]
        theirs = [trace(1, layers=each) for each in others]
        assert _first_rows(ours, theirs, 0, lambda line: line["events"])[0] == rank


def test_two_runs_that_compute_different_things_part_where_the_names_do() -> None:
    rows = _rows([["forward", "a", "1"], ["forward", "b", "2"]], [["forward", "a", "1"], ["forward", "c", "2"]])
    assert rows == [Row("forward", "a", True), Row("forward", "b, or forward c", False)]
    rows = _rows([["forward", "a", "1"]], [["forward", "a", "1"], ["forward", "c", "2"]])
    assert rows[1:] == [Row("forward", "c, in one of the runs only", False)]
