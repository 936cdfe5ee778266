"""Sequence networks in pure PyTorch; nothing here imports Ray.

- `windows`: windows of a stream, as pure functions
- `encoder`: LSTM and Transformer over a window
- `networks`: Q, policy and value networks
"""

from rllib_seq.nn.encoder import SequenceEncoder, initialise
from rllib_seq.nn.networks import (
    SequentialPolicyNetwork,
    SequentialQNetwork,
    SequentialValueNetwork,
)
from rllib_seq.nn.windows import next_state, sequence_windows

__all__ = [
    "SequenceEncoder",
    "SequentialPolicyNetwork",
    "SequentialQNetwork",
    "SequentialValueNetwork",
    "initialise",
    "next_state",
    "sequence_windows",
]
