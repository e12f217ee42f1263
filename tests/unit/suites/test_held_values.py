"""What a statement holds back while one of its calls waits."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from paddle_resume.suites.held_values import held_value
from paddle_resume.suites.live_names import instruction_at
from paddle_resume.suites.source import Source

STATEMENTS = {
    "value = ask()": "",
    "total += ask()": "total",
    "total = total + ask()": "total",
    "total = ask() + total": "",
    "best = max(best, ask())": "best",
    "history.append(ask())": "",
    "history.append((total, ask()))": "total",
    "value = step(net, ask())": "",
    "value = step(total, ask())": "total",
    "value = step(net.lr, ask())": "net.lr",
    "value = [ask() for _ in range(1)]": "asks" if sys.version_info < (3, 12) else "[ask() for _ in range(1)]",
    "value = total and ask()": "",
    "value = 1 if total is None else ask()": "",
    "pairs['a'] = ask()": "",
    "value = {'a': total, 'b': ask()}": "total",
    "value = 3 * ask()": "",
    "if ask() == 1: pass": "",
    "assert ask() == 1, total": "",
}


@pytest.mark.parametrize("statement", STATEMENTS)
def test_what_is_held(statement: str, tmp_path: Path) -> None:
    wanted = STATEMENTS[statement]
    if wanted == "asks":
        pytest.skip("a comprehension is a function of its own here, which the stack shows")
    text = f"def train(ask, step, net, history, pairs):\n    total = best = 1.5\n    {statement}\n"
    path = tmp_path / "program.py"
    path.write_text(text)
    found: list[str] = []

    def ask() -> Any:
        frame = sys._getframe(1)
        function = Source(str(path)).function("train", 1)
        assert function is not None
        found.append(held_value(frame, function, instruction_at(frame.f_code, frame.f_lasti), "ask"))
        return 1

    class Net:
        lr = 0.1

    names: dict[str, Any] = {}
    exec(compile(text, str(path), "exec"), names)
    names["train"](ask, lambda *given: given, Net(), [], {})
    assert found == [wanted]
