"""What happens when training diverges: a loss, a gradient or a weight that is NaN or infinite."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Callable, Optional

import paddle

from paddle_resume.checked_arguments import AT_LEAST_ONE, BETWEEN, checked_class, one_of
from paddle_resume.differences import ConfigScope, Difference, compare_fields
from paddle_resume.errors import NonFiniteLossError
from paddle_resume.metrics import RunningMetrics
from paddle_resume.owners.tensor_views import first_non_finite

STOP, IGNORE, SKIP, ROLL_BACK = "stop", "ignore", "skip", "rollback"
POLICIES = (STOP, IGNORE, SKIP, ROLL_BACK)


@checked_class(policy=one_of(*POLICIES), lr_factor=BETWEEN, max_rollbacks=AT_LEAST_ONE)
class Divergence:
    """Owner of what was done about divergence: how many updates were left out, and by how much the rate was lowered.

    Args:
        policy: `stop` ends the run with an error before anything of it is saved; `skip` leaves the update out;
            `rollback` goes back to the last checkpoint and on from there with a lower learning rate; `ignore`
            trains on.
        lr_factor: what each rollback multiplies the learning rate of every parameter with.
        max_rollbacks: after this many rollbacks the run stops.
    """

    def __init__(self, policy: str = STOP, *, lr_factor: float = 0.5, max_rollbacks: int = 3) -> None:
        self.policy = policy
        self.lr_factor = lr_factor
        self.max_rollbacks = max_rollbacks
        self.skipped = 0
        self.rollbacks = 0
        self.checks_each_loss = paddle.device.get_device() == "cpu"
        """Reading a loss waits for a GPU, but costs nothing on the CPU."""
        self.target = ""
        """The name of the checkpoint to go back to; empty before the first."""
        self.where: Callable[[int], str] = "step {} (counted from 0)".format
        """What a step is called."""
        self._parameters: list[paddle.Tensor] = []
        self._given: list[float] = []

    def watch(self, parameters: Sequence[paddle.Tensor]) -> None:
        """The parameters whose learning rates are lowered."""
        self._parameters = list(parameters)
        self._given = [p.optimize_attr["learning_rate"] for p in self._parameters]

    @property
    def lr_scale(self) -> float:
        """What the learning rate is multiplied with after the rollbacks so far."""
        return self.lr_factor**self.rollbacks

    @property
    def may_roll_back(self) -> bool:
        """Whether there is a checkpoint to go back to, and leave to do so."""
        return self.policy == ROLL_BACK and self.rollbacks < self.max_rollbacks and bool(self.target)

    @property
    def protected(self) -> Optional[str]:
        """The name of the checkpoint that has to stay, since a rollback would go back to it; None if none would."""
        return self.target if self.policy == ROLL_BACK and self.target else None

    @property
    def advice(self) -> str:
        """What a user can still try where going back is the policy; empty where it is not."""
        if self.policy != ROLL_BACK:
            return ""
        if not self.target:
            return "there was no checkpoint of every_steps or every_epochs to go back to, so save sooner"
        return f"it has gone back {self.rollbacks} times, and trainer.max_rollbacks allows no more"

    def check_losses(self, metrics: RunningMetrics) -> None:
        """Raise NonFiniteLossError if a loss was NaN or infinite, and that is not to be ignored."""
        found = metrics.non_finite() if self.policy != IGNORE else None
        if found is not None:
            raise NonFiniteLossError(f"The loss became {found[1]} in {self.where(found[0])}")

    def would_stop(self, metrics: RunningMetrics) -> bool:
        """Whether a loss is known to be NaN or infinite, and that is not to be ignored."""
        return self.policy != IGNORE and metrics.non_finite() is not None

    def check_all(self, metrics: RunningMetrics, model: paddle.nn.Layer, step: int) -> None:
        """Before a save: also the last update must not have ruined the weights, of which no loss tells yet."""
        self.check_losses(metrics)
        name = first_non_finite(model) if self.policy != IGNORE else None
        if name is not None:
            raise NonFiniteLossError(f"The weights {name} became NaN or infinite by {self.where(step - 1)}")

    def roll_back(self, restore: Callable[[], Any]) -> None:
        """Go back by `restore`, which also restores this object, and on with a lower rate."""
        rollbacks = self.rollbacks + 1
        restore()
        factor, self.rollbacks = self.lr_factor ** (rollbacks - self.rollbacks), rollbacks
        # Through the parameters and not the scheduler: this works for every optimizer, with a schedule or a number.
        for parameter in self._parameters:
            parameter.optimize_attr["learning_rate"] *= factor

    def state_dict(self) -> dict[str, Any]:
        return {
            "skipped": self.skipped,
            "rollbacks": self.rollbacks,
            "target": self.target,
            "rule": {"policy": self.policy, "lr_factor": self.lr_factor},
        }

    def set_state_dict(self, state: dict[str, Any]) -> None:
        self.skipped, self.rollbacks, self.target = state["skipped"], state["rollbacks"], state["target"]
        # The parameters' own rates are found state; checkpoints of the first version did not have them.
        for parameter, given in zip(self._parameters, self._given):
            if parameter.optimize_attr["learning_rate"] == given:
                parameter.optimize_attr["learning_rate"] = given * self.lr_scale

    def differences(self, state: dict[str, Any]) -> list[Difference]:
        if SKIP not in (self.policy, state["rule"]["policy"]) and ROLL_BACK not in (
            self.policy,
            state["rule"]["policy"],
        ):
            return []  # To stop or not makes no other bits.
        scope = ConfigScope(("trainer.on_nan", "trainer.rollback_lr", "trainer.max_rollbacks"))
        now = self.state_dict()["rule"]
        return compare_fields("on_nan {}", state["rule"], now, scope=scope, argument="Divergence({}=)")
