"""Owner of what each process's copy of a model holds by itself, such as the statistics of its batch norms."""

from __future__ import annotations

from typing import Any

from paddle_resume.owners.tensor_views import fill, view
from paddle_resume.parallel.batch_norm import per_process_statistics


class OwnStatistics:
    """The model's file has those of rank 0; where several processes train, each gets its own back."""

    def __init__(self, model: Any) -> None:
        self._tensors = per_process_statistics(model)

    def state_dict(self) -> dict[str, Any]:
        return {str(number): view(tensor).copy() for number, tensor in enumerate(self._tensors)}

    def set_state_dict(self, state: dict[str, Any]) -> None:
        for number, tensor in enumerate(self._tensors):
            fill(tensor, state[str(number)])

    def differences(self, state: dict[str, Any]) -> list[Any]:
        """Nothing: the model's owner tells."""
        return []
