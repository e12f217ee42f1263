"""Goes on from what another program saved; it always lacks something."""

from __future__ import annotations

from pathlib import Path

from paddle_resume.checkpoint import owner_states
from paddle_resume.checkpoint.choose import good_checkpoints, not_whole
from paddle_resume.checkpoint.foreign_checkpoint import translate
from paddle_resume.checkpoint.restored import Restored
from paddle_resume.checkpoint.resume_errors import inexact_foreign
from paddle_resume.checkpoint.unreadable import Unreadable
from paddle_resume.stateful import Owners


def restore_foreign(prefix: Path, owners: Owners, allow_inexact: bool, steps_per_epoch: int | None) -> Restored:
    """Bring the owners to where those files stand, with all that differs.

    Raises CheckpointError for files that cannot be used, InexactResumeError unless `allow_inexact` is set.
    """
    try:
        found = translate(prefix, owners, steps_per_epoch)
    except Unreadable as error:
        raise not_whole(prefix, error) from error
    if not allow_inexact:
        raise inexact_foreign(found.prefix, found.differences, good_checkpoints(found.prefix.parent))
    owner_states.restore(owners, found.states, found.tensors)
    return Restored(found.prefix, found.step, [], found.differences)
