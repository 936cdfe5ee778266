"""Heads: from the features of an encoder to what a step is asked for.

- `policy`: inputs of an action distribution
- `value`: the value of a step
- `q_values`: values of every action
- `auxiliary`: how likely events are
"""

from rllib_seq.nn.heads.auxiliary import AuxiliaryHeads
from rllib_seq.nn.heads.policy import PolicyHead
from rllib_seq.nn.heads.q_values import QHead
from rllib_seq.nn.heads.value import ValueHead

__all__ = ["AuxiliaryHeads", "PolicyHead", "QHead", "ValueHead"]
