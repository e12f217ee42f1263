"""The gradients of an elastic step: share by share, each from the same start, added up in one tree.

Whoever holds a share makes of it the same: it goes through the model by itself, from the buffers as they were when the
step began, with generators that are seeded by (seed, step, share). After the step they are seeded by the step alone, so
that no process has randomness of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any, Optional

import paddle
import xxhash

from paddle_resume.data.batch import Batch, share, shares_of
from paddle_resume.differences import within
from paddle_resume.errors import ConfigError, StateError
from paddle_resume.owners.optimizer import parameters_of
from paddle_resume.parallel.exchange import Exchange, Tree
from paddle_resume.parallel.fused_buffer import FusedBuffer, Sums
from paddle_resume.parallel.shares import Shares
from paddle_resume.parallel.step_agreement import StepAgreement
from paddle_resume.rng import RandomStreams, derive_seed, seed_everything
from paddle_resume.training.batch_digest import batch_digest
from paddle_resume.training.made_again import MadeAgain
from paddle_resume.training.precision import Precision
from paddle_resume.training.step_result import MicroBatchResult, StepResult

OFFER = "A run that begins with parallel.elastic: 4 may go on with 1, 2 or 4 processes and keep its bits."
Forward = Callable[[Batch], tuple[paddle.Tensor, Any]]
ChangedBy = Callable[[Callable[[], None]], Sequence[str]]


@dataclass(frozen=True)
class _Passes:
    """What this process does for one gradient: the passes of its own shares."""

    fused: FusedBuffer
    groups: list[list[MicroBatchResult]]
    samples: int
    part: Optional[list[paddle.Tensor]]
    """What its shares add; None if it has none."""
    shares: int
    """How many of all have samples."""

    def result(self, sums: Sums) -> StepResult:
        return StepResult([one for group in self.groups for one in group], sums.loss, self.samples, groups=self.groups)


class ElasticGradients:
    """Makes the gradients of a step over all shares, the same in every process that updates the weights.

    Args:
        model: whose parameters and buffers they are.
        forward: gives (mean loss, output) of a batch.
        shares: those of the run, and this process's.
        agreement: of the processes on each step, which goes with what is added up.
        exchange: makes what adds up over the processes, in all of them together.
        step: gives the number of the step under way.
        seed: of the run.
        made_again: gives what is to know the fingerprints of the step.
        of_share: what is entered for each share, so that what is logged in it is logged as that share's.
    """

    def __init__(
        self,
        model: paddle.nn.Layer,
        forward: Forward,
        precision: Precision,
        shares: Shares,
        random: RandomStreams,
        *,
        agreement: StepAgreement,
        exchange: Callable[[], Exchange],
        step: Callable[[], int],
        seed: int,
        made_again: Callable[[], MadeAgain],
        of_share: Callable[[int], AbstractContextManager[None]],
    ) -> None:
        self.shares = shares
        self._model = model
        self._forward = forward
        self._precision = precision
        self._agreement = agreement
        self._make_exchange = exchange
        self._exchange: Optional[Exchange] = None
        self._random = random
        self._step = step
        self._seed = seed
        self._made_again = made_again
        self._of_share = of_share
        self._changed_by: Optional[ChangedBy] = None
        self._passes = 0
        self._prints = (0, 0)
        self._to_hand_out: Optional[tuple[FusedBuffer, Sums]] = None

    def begin(self, changed_by: ChangedBy) -> None:
        """A run begins or goes on; `changed_by` gives the paths of what a call changes that no owner saves.

        All processes call this together. Raises StateError for a model that cannot be trained so.
        """
        require_elastic_model(self._model)
        self._exchange = self._exchange or self._make_exchange()
        self._changed_by, self._passes = changed_by, 0

    def last_prints(self) -> tuple[int, int]:
        """Of the last step: what its data are, and where the generators stood after each share."""
        return self._prints

    @property
    def updates_here(self) -> bool:
        """Whether this process updates the weights; else it is to `follow` the one that does."""
        assert self._exchange is not None
        return self._exchange.updates_here

    def backward(self, optimizer: paddle.optimizer.Optimizer, batches: Sequence[Batch]) -> StepResult:
        """The mean gradient over all samples of `batches`, in the optimizer's parameters."""
        assert self._exchange is not None
        passes, sums = self._sum_up(optimizer, batches)
        assert sums is not None
        self._to_hand_out = (passes.fused, sums) if self._exchange.hands_out else None
        self._end(sums)
        return passes.result(sums)

    def hand_out(self, applied: bool) -> None:
        """Where one process updates for all: give the others what it has made of the last `backward`, if `applied`."""
        if self._to_hand_out is not None:
            assert self._exchange is not None
            fused, sums = self._to_hand_out
            with paddle.no_grad():
                fused.hand_out(self._exchange, sums, applied)
            self._to_hand_out = None

    def follow(self, optimizer: paddle.optimizer.Optimizer, batches: Sequence[Batch]) -> StepResult:
        """The step where another process updates: push the gradients of this one's shares, and take what comes."""
        assert self._exchange is not None
        passes, _ = self._sum_up(optimizer, batches)
        with paddle.no_grad():
            sums, applied = passes.fused.hand_out(self._exchange)
        self._end(sums)
        return replace(passes.result(sums), applied=applied)

    def _end(self, sums: Sums) -> None:
        self._agreement.hear(sums.told.tolist())
        self._prints = (_digest(sums.prints[:, 0]), _digest(sums.prints[:, 1]))
        seed_everything(derive_seed(self._seed, self._step(), self.shares.count))

    def _sum_up(
        self, optimizer: paddle.optimizer.Optimizer, batches: Sequence[Batch]
    ) -> tuple[_Passes, Optional[Sums]]:
        """Take this process's shares through the model, and add up; only one that updates learns the sums."""
        assert self._exchange is not None
        passes = self._of_own_shares(optimizer, batches)
        fused, total = passes.fused, passes.part
        with paddle.no_grad():
            if self._exchange.is_needed:
                flat = self._exchange.sum(fused.empty() if total is None else fused.flat(total))
                total = None if flat is None else fused.parted(flat)
            sums = None if total is None else fused.take(total, passes.shares)
        told = self._agreement.told()
        if sums is not None and passes.part is None and told is not None:  # A parameter server pushes nothing itself.
            sums = replace(sums, told=sums.told + told)
        return passes, sums

    def _of_own_shares(self, optimizer: paddle.optimizer.Optimizer, batches: Sequence[Batch]) -> _Passes:
        step, count = self._step(), self.shares.count
        total = sum(batch.global_size for batch in batches)
        with_samples = [i for i in range(count) if any(_length(batch, i, count) for batch in batches)]
        cut = [shares_of(batch, self.shares.mine, count) for batch in batches]
        groups: list[list[MicroBatchResult]] = [[] for _ in batches]
        fused, tree, is_clean = self._fused(optimizer), Tree(), True
        for index in self.shares.mine:
            if index not in with_samples:
                tree.add(fused.nothing())
                continue
            if not is_clean:
                fused.buffers.begin_share()
            is_clean = False
            seed_everything(derive_seed(self._seed, step, index))
            pieces = [shares[index] for shares in cut]
            with self._of_share(index):
                loss = self._checked(lambda: self._pass(pieces, groups, total))  # noqa: B023 (called at once)
            with paddle.no_grad():
                first, only = index == with_samples[0], len(with_samples) == 1
                tree.add(fused.part(loss, index, self._prints_of(pieces), first=first, only=only))
            fused.drop_gradients()
        fused.buffers.require_in_place()
        return _Passes(fused, groups, total, tree.sum() if self.shares.mine else None, len(with_samples))

    def _fused(self, optimizer: paddle.optimizer.Optimizer) -> FusedBuffer:
        parameters = [p for p in parameters_of(optimizer) if not p.stop_gradient]
        own = {id(parameter) for parameter in parameters}
        others = [p for p in self._model.parameters() if not p.stop_gradient and id(p) not in own]
        with paddle.no_grad():
            return FusedBuffer(self._model, parameters, others, self.shares.count, self._agreement.told())

    def _pass(self, pieces: Sequence[Batch], groups: list[list[MicroBatchResult]], total: int) -> paddle.Tensor:
        """Forward and backward of a share's part of each batch; its part of the mean loss."""
        losses = []
        for piece, group in zip(pieces, groups):
            if not piece.local_size:
                continue
            with self._precision.autocast():
                loss, output = self._forward(piece)
            weight = piece.local_size / total
            self._precision.scaled(loss * weight).backward()
            losses.append(loss.detach().astype("float32") * weight)
            group.append(MicroBatchResult(piece, loss, output))
        return paddle.add_n(losses) if len(losses) > 1 else losses[0]

    def _checked(self, share_pass: Callable[[], paddle.Tensor]) -> paddle.Tensor:
        """In the first passes of a start, raise StateError for what they change that no rule brings together.

        Layers of Paddle's own may settle something in the first, such as a batch norm its layout.
        """
        if self._changed_by is None:
            return share_pass()
        self._passes += 1
        found: list[paddle.Tensor] = []
        before = {name for name, _ in self._model.named_buffers()}
        changed = self._changed_by(lambda: found.append(share_pass()))
        if self._passes == 1:
            changed = [path for path in changed if not self._is_of_paddle(path)]
        else:
            self._changed_by = None
        new = sorted({name for name, _ in self._model.named_buffers()} - before)
        if changed or new:
            what = f"{changed[0]} is changed" if changed else f"The buffer {new[0]} is registered"
            raise StateError(
                f"{what} by a forward pass. With parallel.elastic every share of a batch makes such a pass, in "
                "whichever process holds it, so that what it leaves would depend on the number of processes. Draw from "
                "the global generators of Python, NumPy or Paddle, which are seeded for each share; keep running "
                "values in buffers that are registered before training, and change them in place (set_value); change "
                "anything else in a callback."
            )
        return found[0]

    def _is_of_paddle(self, path: str) -> bool:
        layers = dict(self._model.named_sublayers(prefix="model", include_self=True))
        holder = max((name for name in layers if within(path, name)), key=len, default="")
        return bool(holder) and type(layers[holder]).__module__.startswith("paddle.")

    def _prints_of(self, pieces: Sequence[Batch]) -> Optional[tuple[int, int]]:
        if not self._made_again().kept.wanted:
            return None
        on_cpu = paddle.device.get_device() == "cpu"
        return batch_digest(pieces, on_cpu), self._random.fingerprint()


def elastic_gradients(
    shares: Optional[Shares],
    model: paddle.nn.Layer,
    forward: Forward,
    precision: Precision,
    random: RandomStreams,
    **options: Any,
) -> Optional[ElasticGradients]:
    """Those of a run that has shares, else None."""
    return None if shares is None else ElasticGradients(model, forward, precision, shares, random, **options)


def require_elastic_model(model: paddle.nn.Layer) -> None:
    """Raise ConfigError for layers that cannot be trained share by share."""
    for name, layer in model.named_sublayers(include_self=True):
        if isinstance(layer, paddle.nn.SyncBatchNorm):
            raise ConfigError(
                f"{name} is a SyncBatchNorm, whose statistics are those of all processes, and with parallel.elastic "
                "each share of a batch goes through the model by itself. Use a plain batch norm: the mean of the "
                "shares' statistics is kept."
            )
        if getattr(layer, "_sparse", False):
            raise ConfigError(
                f"{name} has sparse gradients ({type(layer).__name__}(sparse=True)), which parallel.elastic does not "
                "add up. Give it sparse=False."
            )


def _length(batch: Batch, index: int, count: int) -> int:
    part = share(batch.global_size, index, count)
    return part.stop - part.start


def _digest(numbers: Any) -> int:
    return xxhash.xxh3_64_intdigest(numbers.tobytes())
