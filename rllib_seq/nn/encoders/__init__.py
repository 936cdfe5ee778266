"""Encoders of streams; all of them are `StreamEncoder`, and no one outside asks which one it is.

- `base`: the interface; `registry`: encoders by name
- `window`: bidirectional LSTM and Transformer over the last steps; its state is data
- `causal`: one-directional LSTM and banded attention; its state is activations
- `lstm`: one-directional LSTM alone, the cheapest
- `windows`, `chunks`, `padding`: windows of sequences, and how to leave out what is not real
"""

from rllib_seq.nn.encoders.base import LENGTH, State, StreamEncoder, count_steps
from rllib_seq.nn.encoders.causal import CausalEncoder
from rllib_seq.nn.encoders.lstm import LSTMEncoder
from rllib_seq.nn.encoders.registry import (
    encoder_class,
    encoder_names,
    make_encoder,
    register_encoder,
)
from rllib_seq.nn.encoders.window import WindowEncoder

__all__ = [
    "LENGTH",
    "CausalEncoder",
    "LSTMEncoder",
    "State",
    "StreamEncoder",
    "WindowEncoder",
    "count_steps",
    "encoder_class",
    "encoder_names",
    "make_encoder",
    "register_encoder",
]

for _name, _cls in (("window", WindowEncoder), ("causal", CausalEncoder), ("lstm", LSTMEncoder)):
    register_encoder(_name, _cls)
