"""Tiny data for PaddleSpeech, drawn from a fixed seed: a dozen sentences of sounds, and the spectra of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

PARTS = {"train": 12, "dev": 4}
SOUNDS, TONES, BANDS = 10, 5, 20


def make(folder: Path) -> None:
    """Write what the preprocessing of PaddleSpeech's examples would have written."""
    random = np.random.default_rng(7)
    (folder / "phones.txt").write_text("".join(f"p{number} {number}\n" for number in range(SOUNDS)))
    (folder / "tones.txt").write_text("".join(f"t{number} {number}\n" for number in range(TONES)))
    for part, count in PARTS.items():
        sentences = [_sentence(random, folder / f"{part}{number}_speech.npy") for number in range(count)]
        (folder / f"{part}_speech.jsonl").write_text("".join(json.dumps(each) + "\n" for each in sentences))


def _sentence(random: np.random.Generator, path: Path) -> dict[str, Any]:
    sounds = int(random.integers(4, 9))
    durations = random.integers(2, 5, sounds)
    np.save(path, random.normal(size=(int(durations.sum()), BANDS)).astype("float32"))
    return {
        "phones": random.integers(1, SOUNDS, sounds).tolist(),
        "tones": random.integers(1, TONES, sounds).tolist(),
        "num_phones": sounds,
        "num_frames": int(durations.sum()),
        "feats": str(path),
        "durations": durations.tolist(),
    }
