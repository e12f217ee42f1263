"""How a dataset is cut into training, validation and test data."""

from __future__ import annotations

from typing import Union

from paddle_resume.errors import ConfigError

SPLITS = ("train", "valid", "test")
Share = Union[int, float, str]


def check_split(split: str) -> None:
    """Raise ConfigError unless `split` is one of SPLITS."""
    if split not in SPLITS:
        raise ConfigError(f"mode is {split!r}; expected {', '.join(SPLITS[:-1])} or {SPLITS[-1]}.")


def held_out(share: Share, total: int, key: str) -> int:
    """How many of `total` samples `share` is: "auto" one sixth, an int a count, a float in (0, 1) a fraction.

    Raises ConfigError, naming the config key, unless at least one sample is held out and one is left.
    """
    is_number = isinstance(share, (int, float)) and not isinstance(share, bool)
    if share != "auto" and not is_number:
        raise ConfigError(f"{key} is {share!r}; expected auto, a count, or a fraction between 0.0 and 1.0.")
    count = total // 6 if share == "auto" else int(share * total) if isinstance(share, float) else int(share)
    if not 0 < count < total:
        raise ConfigError(
            f"{key}: {share} of {total} samples is {count}, which leaves {max(0, total - count)} to train on; both "
            f"parts need at least one. Give {'more data' if total < 2 else f'a count from 1 to {total - 1}'}."
        )
    return count
