"""Sequence networks in pure PyTorch; nothing here imports Ray.

- `windows`: windows of a stream, as pure functions
- `encoder`: LSTM and Transformer over a window
- `causal`: LSTM and Transformer that read a stream once, and what they carry
- `networks`: Q, policy and value networks
"""

from rllib_seq.nn.causal import CausalEncoder, CausalState
from rllib_seq.nn.encoder import SequenceEncoder
from rllib_seq.nn.layers import initialise
from rllib_seq.nn.networks import (
    SequentialPolicyNetwork,
    SequentialQNetwork,
    SequentialValueNetwork,
)
from rllib_seq.nn.windows import next_state, sequence_windows

__all__ = [
    "CausalEncoder",
    "CausalState",
    "SequenceEncoder",
    "SequentialPolicyNetwork",
    "SequentialQNetwork",
    "SequentialValueNetwork",
    "initialise",
    "next_state",
    "sequence_windows",
]
