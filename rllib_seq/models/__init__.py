"""Adapters that put the networks of `rllib_seq.nn` under RLlib.

- `torch_model`: `LSTMTransformerModel` for the old API stack, registered as "lstm_transformer"
- `rl_module/`: `SequenceRLModule` for the new API stack, and `use_sequence_module`
- `step_inputs`: what both see of one step
- `spaces`: what RLlib cannot serve
- `averaged_weights`: policies that act with an average of what was learned
- `own_encoders`: encoders that a driver registered, in its workers
- `event_labels`, `auxiliary`, `auxiliary_learners`: what auxiliary heads learn from, and how
"""

import torch

from rllib_seq.models.auxiliary import AuxiliaryLabels
from rllib_seq.models.auxiliary_learners import AuxiliaryLossMixin
from rllib_seq.models.own_encoders import share_encoders
from rllib_seq.models.rl_module.sequence_module import SequenceRLModule
from rllib_seq.models.rl_module.setup import use_sequence_module
from rllib_seq.models.torch_model import LSTMTransformerModel

# With a seed RLlib asks PyTorch for deterministic algorithms, which also fills all new memory with
# NaN. That finds bugs, decides nothing, and costs a twelfth of an update.
torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]

share_encoders()

__all__ = [
    "AuxiliaryLabels",
    "AuxiliaryLossMixin",
    "LSTMTransformerModel",
    "SequenceRLModule",
    "use_sequence_module",
]
