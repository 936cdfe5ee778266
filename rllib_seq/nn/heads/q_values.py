"""From features to Q values: plain, dueling, distributional, noisy, in any combination.

- `NoisyLinear`: linear layer whose weights are disturbed by noise that the caller brings
- `QHead`: features -> for every action a value, or logits over a support of values
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from rllib_seq.nn.layers import initialise


class NoisyLinear(nn.Linear):
    """Linear layer with factorised Gaussian noise on its weights (Fortunato et al. 2018).

    The noise is an input, one draw for every row: a stream can keep its own for a whole journey,
    although many streams are in a batch. `y = W x + b + e_out * (S_w (e_in * x) + S_b)`.
    """

    def __init__(self, inputs: int, outputs: int, sigma: float) -> None:
        """Build the layer.

        Args:
            inputs: width.
            outputs: width.
            sigma: scale of the noise at the start, before it is divided by sqrt(inputs).
        """
        super().__init__(inputs, outputs)
        scale = sigma / inputs**0.5
        self.sigma_weight = nn.Parameter(torch.full((outputs, inputs), scale))
        self.sigma_bias = nn.Parameter(torch.full((outputs,), scale))

    def forward(self, inputs: Tensor, noise: Tensor | None = None) -> Tensor:
        """Map `[N, inputs]` to `[N, outputs]`.

        Args:
            inputs: features.
            noise: standard normal draws `[N, inputs + outputs]`; None for the mean weights.
        """
        mean = super().forward(inputs)
        if noise is None:
            return mean
        noise = noise.sign() * noise.abs().sqrt()
        into, out = noise.split([self.in_features, self.out_features], dim=1)
        return mean + out * functional.linear(into * inputs, self.sigma_weight, self.sigma_bias)


class QHead(nn.Module):
    """Values of every action, `[N, actions, atoms]`.

    With one atom they are Q values, with more the logits of a distribution over a support of
    values (Bellemare et al. 2017). Dueling: `v + a - mean over actions of a` (Wang et al. 2016).
    """

    def __init__(
        self, features: int, actions: int, *, dueling: bool, atoms: int, noise_scale: float
    ) -> None:
        """Build the head.

        Args:
            features: width of its input.
            actions: number of actions.
            dueling: learn a value and advantages.
            atoms: points of the support; 1 for plain Q values.
            noise_scale: sigma of `NoisyLinear`; 0 for plain linear layers.
        """
        super().__init__()
        self.shape = (actions, atoms)

        def layer(outputs: int) -> nn.Linear:
            if noise_scale > 0:
                return NoisyLinear(features, outputs, noise_scale)
            return nn.Linear(features, outputs)

        self.advantage = layer(actions * atoms)
        self.value = layer(atoms) if dueling else None
        # Small, so that the first bootstrapped targets are rewards and not noise.
        initialise(self, 0.1)

    @property
    def noise_widths(self) -> list[int]:
        """Draws that each noisy layer needs for one row."""
        layers = [self.advantage, self.value]
        return [
            layer.in_features + layer.out_features
            for layer in layers
            if isinstance(layer, NoisyLinear)
        ]

    def forward(self, features: Tensor, noise: Tensor | None = None) -> Tensor:
        """Map features `[N, features]` to `[N, actions, atoms]`.

        Args:
            features: of the encoder.
            noise: standard normal draws `[N, sum(noise_widths)]`; None for none.
        """
        parts = noise.split(self.noise_widths, dim=1) if noise is not None else ()
        inputs = [(features, *parts[i : i + 1]) for i in range(2)]
        advantage = self.advantage(*inputs[0]).view(-1, *self.shape)  # (N, actions, atoms)
        if self.value is None:
            return advantage
        value = self.value(*inputs[1]).unsqueeze(1)  # (N, 1, atoms)
        return value + advantage - advantage.mean(1, keepdim=True)
