"""How the data that are fed differ from those that a checkpoint tells of, and what decides each part of it."""

from __future__ import annotations

from typing import Any

from paddle_resume.differences import ConfigScope, Difference, compare_fields

# What in a config decides each field of a feed's identity; all else follows from the data themselves.
_SCOPES = {
    "global_batch_size": ConfigScope(("data.global_batch_size",)),
    "seed": ConfigScope(("run.seed",)),
    "shuffle": ConfigScope(("data.shuffle",)),
    "drop_last": ConfigScope(("data.drop_last",)),
    "limit_batches": ConfigScope(("trainer.limit_batches",)),
    # The samples' transforms are keyed by the seed.
    "digest": ConfigScope(("data", "run.seed"), without=("data.global_batch_size", "data.shuffle", "data.drop_last")),
}
_DATA = ConfigScope(("data",), without=("data.global_batch_size", "data.shuffle", "data.drop_last"))
_ARGUMENTS = {
    "global_batch_size": "Trainer.train(global_batch_size=)",
    "seed": "Trainer(seed=)",
    "shuffle": "Trainer.train(shuffle=)",
    "drop_last": "Trainer.train(drop_last=)",
    "limit_batches": "Trainer.train(limit_batches=)",
}


def identity_differences(what: str, before: dict[str, Any], after: dict[str, Any]) -> list[Difference]:
    """How the data that are fed differ from those that a checkpoint tells of."""
    data = f"Trainer.train({what.partition(' ')[0] if ' ' in what else 'train'}_data=)"
    return [
        one
        for key in dict.fromkeys([*before, *after])
        for one in compare_fields(
            f"{what} {{}}", before, after, keys=[key], scope=_SCOPES.get(key, _DATA), argument=_ARGUMENTS.get(key, data)
        )
    ]
