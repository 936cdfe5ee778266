"""The critic learns from whole journeys: what a request was worth, whether it was won or lost.

- `CriticLearner`: updates a network with an `AuctionHead`, and keeps its average up to date
- `scale_inputs`: before the first update
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from rllib_seq.lift.forecasts import OutcomeForecasts
from rllib_seq.lift.informed import InformedHead
from rllib_seq.lift.prices import PriceModel
from rllib_seq.lift.targets import outcome_targets, win_ratio
from rllib_seq.models.averaged_weights import follow
from rllib_seq.models.step_inputs import StepInputs
from rllib_seq.nn import StreamEncoder

__all__ = ["CriticLearner", "scale_inputs"]

Array = NDArray[Any]


class CriticLearner:
    """Learns the weights of a network; `average` follows them, and is what acts.

    The average is the target network, too: a policy and the values that it bootstraps from. With
    `hidden_stages`, an `InformedHead` gives the values instead; the policy is as it would be.

    Args:
        average: encoder and `AuctionHead`; is changed in place.
        step_inputs: how its inputs are made.
        unit: what worths are learned in: the highest bid, currency units.
        lambda_: of the targets, see `outcome_targets`.
        grad_clip: norm that gradients are cut to.
        hidden_stages: how many there are, for a critic that sees them while it trains; 0: it sees
            what a bidder sees.
        signals: places of what is forecast, see `OutcomeForecasts`.
        forecast_weight: of the forecasts' loss; 0: there are none.
    """

    def __init__(
        self,
        average: Any,
        step_inputs: StepInputs,
        *,
        unit: float,
        lambda_: float,
        grad_clip: float,
        hidden_stages: int = 0,
        signals: Sequence[int] = (),
        forecast_weight: float = 0.0,
    ) -> None:
        average.head.unit.fill_(unit)
        self._average = average
        self._learned = copy.deepcopy(average)
        width = average.encoder.output_dim
        # Without hidden stages or forecasts, there are no such heads.
        self._informed = nn.ModuleList(
            [InformedHead(width, hidden_stages, unit)] if hidden_stages else []
        )
        self._informed_average = copy.deepcopy(self._informed)
        self._forecasts = nn.ModuleList(
            [OutcomeForecasts(width, signals, unit)] if forecast_weight else []
        )
        self._forecast_weight = forecast_weight
        self._step_inputs = step_inputs
        self._unit, self._lambda, self._grad_clip = unit, lambda_, grad_clip
        # The learning rate comes with each update.
        weights = [
            *self._learned.parameters(),
            *self._informed.parameters(),
            *self._forecasts.parameters(),
        ]
        self._optimizer = torch.optim.Adam(weights, fused=True)
        self._updates = 0

    def scale_inputs(self, columns: dict[str, Array]) -> None:
        """See `scale_inputs`; to be called once, with the first steps, before the first update."""
        for network in (self._average, self._learned):
            scale_inputs(network.encoder, columns["obs"])

    def set_prices(self, prices: PriceModel, cost: float) -> None:
        """Set what bids win and pay, `[K, A]`, with `cost` what a unit of spend counts."""
        win, payment = (torch.as_tensor(part, dtype=torch.float32) for part in prices)
        for network in (self._average, self._learned):
            network.head.set_prices(win, payment * cost)

    def update(
        self, columns: dict[str, Array], lengths: Array, lr: float, tau: float
    ) -> dict[str, float]:
        """Take one step of the optimizer on B journeys.

        Args:
            columns: as of `JourneyReplay.sample`, `[B, T, ...]`.
            lengths: `[B]`.
            lr: learning rate.
            tau: share of the learned weights that enters the average; early on, all updates count
                the same.

        Returns:
            what to report.
        """
        batch = {name: torch.as_tensor(column) for name, column in columns.items()}
        lens = torch.as_tensor(lengths)
        real = (torch.arange(batch["won"].shape[1]) < lens[:, None]).float()  # (B, T)
        inputs = self._inputs(batch)
        won, payment = batch["won"].float(), batch["payment"] * real
        with torch.no_grad():
            features = self._features(self._average, inputs, lens)
            targets = self._targets(batch, features, real)

        def mean_square(lost: Tensor, lift: Tensor) -> Tensor:
            error = (lost + won * lift - targets) * real / self._unit
            return error.square().sum() / real.sum()

        history = self._features(self._learned, inputs, lens)
        lost, lift = self._learned.head.lost_and_lift(history)
        loss = mean_square(lost, lift)
        # An informed head learns by itself: no gradient of its loss reaches another weight.
        aside = [mean_square(*head(features, batch["stage"])) for head in self._informed]
        forecasts = [self._forecast_weight * head(history, batch, real) for head in self._forecasts]
        self._optimizer.zero_grad()
        # Errors are about a third of the unit: Adam's epsilon then makes no difference.
        sum(forecasts, 9 * sum(aside, loss)).backward()
        norm = nn.utils.clip_grad_norm_(self._learned.parameters(), self._grad_clip)
        for group in self._optimizer.param_groups:
            group["lr"] = lr
        self._optimizer.step()
        self._updates += 1
        follow(
            nn.ModuleList([self._average, *self._informed_average]),
            nn.ModuleList([self._learned, *self._informed]),
            max(tau, 1 / (self._updates + 1)),
        )
        spread = (targets / self._unit)[real > 0].var(unbiased=False).item()
        return {
            "vf_loss": loss.item(),
            "vf_explained_var": 1.0 - loss.item() / max(spread, 1e-12),
            "grad_gnorm": float(norm),
            "lift": ((lift * real).sum() / real.sum()).item(),
            "payment": (payment.sum() / real.sum()).item(),
            "cur_lr": lr,
        }

    def get_state(self) -> dict[str, Any]:
        """Return what `set_state` takes, without the average."""
        return {
            "learned": _numbers(self._learned),
            "informed": [_numbers(heads) for heads in (self._informed, self._informed_average)],
            "forecasts": _numbers(self._forecasts),
            "optimizer": copy.deepcopy(self._optimizer.state_dict()),
            "updates": self._updates,
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on where `get_state` was called."""
        parts = self._learned, self._forecasts, self._informed, self._informed_average
        kept = [state["learned"], state["forecasts"], *state["informed"]]
        for part, numbers in zip(parts, kept, strict=True):
            part.load_state_dict({k: torch.as_tensor(np.array(v)) for k, v in numbers.items()})
        self._optimizer.load_state_dict(copy.deepcopy(state["optimizer"]))
        self._updates = state["updates"]

    def _inputs(self, batch: dict[str, Tensor]) -> Tensor:
        """Step inputs `[B, T, W]` of whole journeys."""
        size, steps = batch["won"].shape
        first = torch.zeros(size, steps, dtype=torch.bool)
        first[:, 0] = True
        actions, rewards = batch["actions"].roll(1, 1), batch["rewards"].roll(1, 1)
        joined = self._step_inputs.join(
            batch["obs"].flatten(0, 1), actions.flatten(), rewards.flatten(), first.flatten()
        )
        return joined.view(size, steps, -1)

    def _targets(self, batch: dict[str, Tensor], features: Tensor, real: Tensor) -> Tensor:
        """Targets `[B, T]`, from the average's features of the same steps."""
        head, won = self._average.head, batch["won"].float()
        best = head(features).argmax(-1)
        win, payment = (part.expand(*won.shape, -1) for part in head.prices(features))
        lost, lift = head.lost_and_lift(features)
        for informed in self._informed_average:
            lost, lift = informed(features, batch["stage"])
        chance = _at(win, best)
        return outcome_targets(
            reward=batch["rewards"],
            payment=batch["payment"],
            value=lost + chance * lift - _at(payment, best),
            taken=lost + won * lift - batch["payment"],
            trace=self._lambda * win_ratio(won, chance, _at(win, batch["actions"])),
            real=real,
        )

    def _features(self, network: Any, inputs: Tensor, lens: Tensor) -> Tensor:
        encoder = network.encoder
        return encoder.features(encoder.initial_state(len(inputs)), inputs, lens)


def _at(levels: Tensor, level: Tensor) -> Tensor:
    """Of each step the number of its level, `[B, T]`, from `[B, T, A]`."""
    return levels.gather(-1, level[..., None]).squeeze(-1)


def _numbers(module: nn.Module) -> dict[str, Array]:
    return {name: part.numpy().copy() for name, part in module.state_dict().items()}


def scale_inputs(encoder: StreamEncoder, observations: Array) -> None:
    """Let the first layer see every part of an observation in its own standard deviation.

    Salimans and Kingma (2016) call it data-dependent initialisation. Parts that hardly vary, and
    those that are read as flags, keep their weights.

    Args:
        encoder: is changed in place.
        observations: of the first steps, `[N, ...]`.
    """
    deviation = torch.as_tensor(observations.reshape(len(observations), -1).std(0))
    scale = torch.where(deviation > _HARDLY, 1 / deviation.clamp(min=_LEAST_SCALE), 1.0)
    scale[list(encoder.config.flagged_inputs)] = 1.0
    first = next(
        layer
        for layer in encoder.modules()
        if isinstance(layer, nn.Linear) and layer.in_features == encoder.input_dim
    )
    with torch.no_grad():
        first.weight[:, : len(scale)] *= scale


_HARDLY = 1e-6
_LEAST_SCALE = 0.03
