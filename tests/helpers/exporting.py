"""What the tests of export and prediction share: a run on the package's small digits, and the command line."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from idx_files import idx

from paddle_resume.cli import main
from paddle_resume.data.digits import load_digits

CONFIG = """
run: {{name: mnist, save_dir: ck, log_dir: log}}
model: {{name: MNIST}}
data: {{name: mnist, root: {root}, global_batch_size: 32}}
optimizer: {{name: Adam, lr: 0.003}}
trainer: {{epochs: 1, max_steps: 25, log_every: 50}}
"""
WEIGHTS = "ck/mnist_step25"


class Result(NamedTuple):
    code: int
    out: str
    err: str


def command(capsys: pytest.CaptureFixture[str], *arguments: object) -> Result:
    """Run one command of the command line in this process."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as end:
        main([*map(str, arguments)])
    captured = capsys.readouterr()
    assert isinstance(end.value.code, int)
    return Result(end.value.code, captured.out, captured.err)


def train_digits(folder: Path) -> None:
    """Train 25 steps in `folder`, on the small digits as MNIST files in its `data`, and export the weights."""
    digits = load_digits()
    scans = (digits.images.astype(np.int64) * 255 // 16).astype(np.uint8)
    images = np.pad(scans.repeat(3, axis=1).repeat(3, axis=2), ((0, 0), (2, 2), (2, 2)))
    labels = digits.labels.astype(np.uint8)
    (folder / "data").mkdir()
    for stem, part in (("train", slice(0, 1200)), ("t10k", slice(1200, 1400))):
        (folder / "data" / f"{stem}-images-idx3-ubyte").write_bytes(idx(images[part]))
        (folder / "data" / f"{stem}-labels-idx1-ubyte").write_bytes(idx(labels[part]))
    (folder / "c.yaml").write_text(CONFIG.format(root=folder / "data"))
    here = Path.cwd()
    os.chdir(folder)
    try:
        for arguments in (["train", "-q"], ["export", "--weights", WEIGHTS]):
            with pytest.raises(SystemExit) as end:
                main([arguments[0], "-c", "c.yaml", *arguments[1:]])
            assert end.value.code == 0
    finally:
        os.chdir(here)
