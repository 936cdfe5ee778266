"""What a stream carries with `encoder="causal"`: the states of policy and value, as flat parts.

- `CARRIED`: their names, in the order in which RLlib's old API stack numbers them
- `initial_parts`: of a stream that has no steps
- `read_on`: policy and value read the next steps of streams
- `state_of`: the state of one of them

A part is one tensor per stream, float, because RLlib's old stack carries nothing else. With H =
`lstm_layers`, K = `transformer_layers`, L = `window_length` and d = `d_model`:

    policy_hidden, policy_cell    [H, d] each               value_hidden, value_cell    [H, d] each
    policy_cache                  [L-1, 2 d (K + 1)]        value_cache                 [L-1, 2 d]
    length                        [1]: filled slots of the caches, 0 for a new stream

that is `16 H d + 8 d (K + 2) (L - 1) + 4` bytes: 20 kB with the defaults (L = 8, d = 64), 82 kB at
L = 32. These are activations of the weights that read the stream. Training starts sequences from
recorded ones, so after the first update they are a little stale, as in any LSTM; those of
`encoder="window"` never are.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from rllib_seq.nn import CausalState, SequentialPolicyNetwork, SequentialValueNetwork

CARRIED = (
    "policy_hidden",
    "policy_cell",
    "policy_cache",
    "value_hidden",
    "value_cell",
    "value_cache",
    "length",
)


def initial_parts(
    policy: SequentialPolicyNetwork, value: SequentialValueNetwork
) -> dict[str, Tensor]:
    """Return the parts of a stream that has no steps, without a batch dimension, on the CPU."""
    shapes = [*policy.encoder.causal.state_shapes[:3], *value.causal.state_shapes[:3], (1,)]
    return {name: torch.zeros(shape) for name, shape in zip(CARRIED, shapes, strict=True)}


def read_on(
    policy: SequentialPolicyNetwork,
    value: SequentialValueNetwork,
    parts: Mapping[str, Tensor],
    inputs: Tensor,
    seq_lens: Tensor | None = None,
) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Let policy and value read the next steps of B streams.

    Args:
        policy: with a causal encoder.
        value: likewise.
        parts: as of `initial_parts`, with a batch dimension in front.
        inputs: raw step inputs `[B, T, input_dim]`; padding at the end.
        seq_lens: real steps of each, `[B]`; None means all T.

    Returns:
        features of the policy `[B, T, d_model]` and values `[B, T]`, zero in padding, and the parts
        after the real steps.
    """
    after: dict[str, Tensor] = {}
    read = []
    for name, encoder in (("policy", policy.encoder.causal), ("value", value.causal)):
        state = state_of(name, parts)
        outputs, state = encoder.sequence(state, inputs, seq_lens)
        read.append(outputs)
        after |= zip(_names(name), state[:3], strict=True)
    after["length"] = state.length[:, None].float()
    return read[0], read[1].squeeze(2), after


def state_of(name: str, parts: Mapping[str, Tensor]) -> CausalState:
    """Return the state of one network, "policy" or "value", out of the parts `[B, ...]`."""
    hidden, cell, cache = (parts[part] for part in _names(name))
    return CausalState(hidden, cell, cache, parts["length"].reshape(len(cache)).round().long())


def _names(name: str) -> list[str]:
    return [f"{name}_{part}" for part in ("hidden", "cell", "cache")]
