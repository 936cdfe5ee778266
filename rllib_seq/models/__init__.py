"""Adapters that put the networks of `rllib_seq.nn` under RLlib.

- `torch_model`: `LSTMTransformerModel` for the old API stack, registered as "lstm_transformer"
"""

from rllib_seq.models.torch_model import LSTMTransformerModel

__all__ = ["LSTMTransformerModel"]
