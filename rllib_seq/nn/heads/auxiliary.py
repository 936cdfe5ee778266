"""Auxiliary heads: how likely an event is within the next steps of a stream.

- `AuxiliaryHeads`: features of a window (and the action taken) -> hazards
- `event_probability`: hazards -> probability that the event happens within the horizon
- `event_loss`: their likelihood, exact also where a stream is cut before the horizon is over

What comes k steps from now is one of three, and a head with horizon H predicts their hazards, that
is, given that the stream has come so far without the event:

    k = 0 .. H-1     the event happens      with probability e_k
                     else the stream ends   with probability s_k; not asked at the last step
                     else it goes on        to k + 1

    P(event within H) = e_0 + (1 - e_0) (1 - s_0) (e_1 + (1 - e_1) (1 - s_1) (e_2 + ...))

Where a stream is cut after its first n steps, the hazards before n can be judged and the others
cannot, so every step that was seen trains what it tells, and nothing is guessed. That is the
likelihood of competing risks in discrete time (Prentice et al., 1978). One probability per window,
trained where it is known whether the event came, would be biased: near a cut these are the streams
that are over. For H = 1 a head is logistic regression.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from rllib_seq.config import AuxiliaryHead
from rllib_seq.nn.layers import initialise


class AuxiliaryHeads(nn.Module):
    """One small network per event, side by side on the features of one encoder.

    Examples:
        >>> heads = AuxiliaryHeads({"won": AuxiliaryHead(given_action=True)}, 32, 4, hidden=16)
        >>> heads(torch.zeros(5, 32), torch.eye(4)[[0, 1, 2, 3, 0]])["won"].shape
        torch.Size([5, 1])
    """

    def __init__(
        self, heads: Mapping[str, AuxiliaryHead], width: int, action_dim: int, hidden: int
    ) -> None:
        """Build the heads; none is fine.

        Args:
            heads: by name of the event.
            width: of the features.
            action_dim: of an action as numbers; not read if no head is given the action.
            hidden: width of each head's hidden layer.
        """
        super().__init__()
        self.heads = dict(heads)
        for name, head in heads.items():
            inputs = width + action_dim * head.given_action
            last = nn.Linear(hidden, 2 * head.horizon - 1)
            network = nn.Sequential(nn.Linear(inputs, hidden), nn.GELU(), last)
            initialise(network)
            # Starts where one thing is to be expected within the horizon, whatever the window.
            initialise(last, gain=0.01)
            nn.init.constant_(last.bias, -math.log(head.horizon))
            self.add_module(name, network)

    @property
    def need_action(self) -> bool:
        """Whether a head is given the action."""
        return any(head.given_action for head in self.heads.values())

    def forward(self, features: Tensor, action: Tensor | None = None) -> dict[str, Tensor]:
        """Predict.

        Args:
            features: of windows, `[N, width]`.
            action: the actions taken, as numbers, `[N, action_dim]`; not read if no head needs it.

        Returns:
            by name of the event, logits of its hazards e_0..e_(H-1), s_0..s_(H-2), `[N, 2H - 1]`.
        """
        logits = {}
        for name, head in self.heads.items():
            inputs = features
            if head.given_action:
                assert action is not None
                inputs = torch.cat([features, action], dim=1)
            logits[name] = self.get_submodule(name)(inputs)
        return logits


def event_probability(logits: Tensor) -> Tensor:
    """Return the probability that the event happens within the horizon, see the formula above.

    Args:
        logits: of hazards, as `AuxiliaryHeads` returns them, `[N, 2H - 1]`.

    Returns:
        `[N]`, in [0, 1].
    """
    event, end = _split(logits)  # (N, H), (N, H-1)
    goes_on = functional.logsigmoid(-event[:, :-1]) + functional.logsigmoid(-end)  # (N, H-1)
    there = functional.pad(goes_on.cumsum(1), (1, 0))  # (N, H), log, 0 now
    return (there + functional.logsigmoid(event)).exp().sum(1)


def event_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the summed cross-entropy of hazards, in nats, a scalar.

    Args:
        logits: of hazards, as `AuxiliaryHeads` returns them, `[N, 2H - 1]`.
        labels: `[N, H, 3]`: for k steps on, how much of the stream saw the event, ended without
            it, and went on without it. All 0 where that is not known.
    """
    event, end = _split(logits)  # (N, H), (N, H-1)
    happened, ended, went_on = labels.unbind(2)  # (N, H)
    # -log sigmoid(x) = softplus(-x), and -log(1 - sigmoid(x)) = softplus(x)
    surprise = happened * functional.softplus(-event)
    surprise = surprise + (ended + went_on) * functional.softplus(event)
    of_end = ended[:, :-1] * functional.softplus(-end) + went_on[:, :-1] * functional.softplus(end)
    return surprise.sum() + of_end.sum()


def _split(logits: Tensor) -> tuple[Tensor, Tensor]:
    horizon = (logits.shape[1] + 1) // 2
    return logits[:, :horizon], logits[:, horizon:]
