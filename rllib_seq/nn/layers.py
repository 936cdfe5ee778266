"""What all networks here share, whatever they read.

- `initialise`: how every kind of layer starts
- `mlp_head`: what stands behind a memory
- `check_size`, `check_windows`: what cannot be built or read
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rllib_seq.config import SequenceConfig


def initialise(module: nn.Module, gain: float = 1.0) -> None:
    """Start every layer inside `module` by its kind; normalisation keeps PyTorch's start.

    - Linear: Xavier uniform with `gain`, zero bias
    - LSTM: Xavier input weights and orthogonal recurrent weights gate by gate, forget bias 1 (so
      that a new cell remembers), the other biases 0

    Args:
        module: changed in place, with all its children.
        gain: of linear layers; a head whose first outputs should be near zero asks for less than 1.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight, gain)
            nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.LSTM):
            for name, weight in layer.named_parameters():
                for gate in weight.detach().chunk(4):  # input, forget, cell, output
                    if name.startswith("weight_ih"):
                        nn.init.xavier_uniform_(gate)
                    elif name.startswith("weight_hh"):
                        nn.init.orthogonal_(gate)
                    else:
                        nn.init.zeros_(gate)
                if name.startswith("bias_ih"):
                    nn.init.ones_(weight.detach().chunk(4)[1])


def mlp_head(config: SequenceConfig, inputs: int, outputs: int) -> nn.Sequential:
    """Return a temporal head, the layers behind a memory: `[..., inputs]` to `[..., outputs]`."""
    return nn.Sequential(
        nn.Linear(inputs, config.head_hidden),
        nn.GELU(),
        nn.Dropout(config.dropout),
        nn.Linear(config.head_hidden, outputs),
    )


def check_size(name: str, value: int) -> int:
    """Return `value` if it is an int of at least 1, else raise a ValueError that names it."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{name} must be an int of at least 1, actual value: {value!r}")
    return value


def check_windows(inputs: Tensor, valid: Tensor, input_dim: int) -> None:
    """Refuse windows that cannot be read.

    Raises:
        ValueError: shapes or the type of the mask are wrong, or a window has no valid slot.
    """
    if inputs.dim() != 3 or inputs.shape[2] != input_dim or valid.shape != inputs.shape[:2]:
        raise ValueError(
            f"windows must be [B, L, {input_dim}] and valid [B, L]; got {list(inputs.shape)} and "
            f"{list(valid.shape)}"
        )
    if valid.dtype != torch.bool:
        raise ValueError(f"valid must be a bool mask, not {valid.dtype}; use `valid != 0`")
    # Looking at values would break tracing, for export, where they do not exist yet.
    if not torch.compiler.is_compiling() and not bool(valid.any(1).all()):
        row = int((~valid.any(1)).nonzero()[0])
        raise ValueError(
            f"window {row} has no valid slot; the current step is always valid: set valid[:, -1]"
        )
