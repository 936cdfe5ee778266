"""Acting with an average of the weights that were learned.

- `AveragedWeights`: a mixin for policies of RLlib's old API stack
- `follow`: a step of the average
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from ray.rllib.policy.policy import Policy
from torch import nn

__all__ = ["AveragedWeights", "follow"]

_SHARE = 0.01


@torch.no_grad()
def follow(average: nn.Module, learned: nn.Module, share: float) -> None:
    """Let a share of the learned weights enter their average."""
    torch._foreach_lerp_(list(average.parameters()), list(learned.parameters()), share)
    # What is counted, and not learned, is as it is now.
    for old, new in zip(average.buffers(), learned.buffers(), strict=True):
        old.copy_(new)


class AveragedWeights:
    """Keeps a moving average of a policy's weights, the first among the bases of its class.

    The learned weights explore, learn and reach the workers. The average is what is evaluated,
    exported and served: it has less of the noise of single updates (Polyak and Juditsky 1992). Each
    update enters it with 1 %; early on, all updates count the same.

    Attributes:
        average: a model like the policy's.
    """

    average: Any
    _averaged = 0

    def acting(self) -> Policy:
        """Return the same policy with the average for a model; it follows what is learned on."""
        acting: Any = copy.copy(self)
        acting.model = self.average.to(acting.device)
        return acting

    def apply_gradients(self, gradients: Any) -> None:
        """Take a step of the optimizer, and let the average follow; RLlib calls this."""
        super().apply_gradients(gradients)  # type: ignore[misc]
        self._averaged += 1
        share = max(_SHARE, 1 / self._averaged)
        follow(self.average.to(self.device), self.model, share)  # type: ignore[attr-defined]

    def get_state(self) -> dict[str, Any]:
        """See RLlib's Policy."""
        weights = {name: part.cpu().numpy() for name, part in self.average.state_dict().items()}
        state = super().get_state()  # type: ignore[misc]
        return {**state, "average": weights, "averaged": self._averaged}

    def set_state(self, state: dict[str, Any]) -> None:
        """See RLlib's Policy."""
        weights = {name: torch.as_tensor(part) for name, part in state["average"].items()}
        self.average.load_state_dict(weights)
        self._averaged = state["averaged"]
        super().set_state(state)  # type: ignore[misc]

    def _init_model_and_dist_class(self) -> tuple[Any, Any]:
        """Build the model, and a copy of it before anything has passed through it."""
        model, kind = super()._init_model_and_dist_class()  # type: ignore[misc]
        self.average = copy.deepcopy(model)
        return model, kind
