"""The script that docs/suites.md shows, killed under `wrap --auto` and compared with a straight run."""

from __future__ import annotations

from pathlib import Path

import forking
import paddle
import pytest
from test_docs import _blocks, _text

WRAP = ["-m", "paddle_resume.wrap", "--auto", "--every-steps", "5", "--"]
STEP = "        total += float(loss)\n"
DEATH = "        import os; os.environ.get('PADDLE_RESUME_DIE') == f'{epoch} {number}' and os.kill(os.getpid(), 9)\n"


@pytest.mark.skipif(paddle.__version__.startswith("2."), reason="Paddle 2.6 does not give its CPU generator away")
def test_the_script_of_the_page_survives_kills(tmp_path: Path) -> None:
    script = next(code for _, code in _blocks(_text("docs/suites.md")) if code.startswith("# my_training.py"))
    assert "paddle-resume wrap --auto --every-steps 5 -- python my_training.py" in _text("docs/suites.md")
    outputs = {}
    for name, deaths in {"straight": [""], "wrapped": ["1 2", "2 8", ""]}.items():
        folder = tmp_path / name
        folder.mkdir()
        (folder / "my_training.py").write_text(script.replace(STEP, STEP + DEATH), encoding="utf-8")
        for death in deaths:
            arguments = [*(WRAP if name == "wrapped" else []), "my_training.py"]
            done = forking.run(arguments, folder, PADDLE_RESUME_DIE=death)
            assert done.returncode == (-9 if death else 0), done.stderr
            assert ("Resumed from checkpoint/my_training_step" in done.stderr) == (name == "wrapped" and death != "1 2")
        outputs[name] = [(folder / file).read_bytes() for file in ("my_net.pdparams", "history.json")]
    assert outputs["straight"] == outputs["wrapped"]
