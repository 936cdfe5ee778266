"""Sequence networks in pure PyTorch; nothing here imports Ray.

- `encoders`: memories, all of one interface: `StreamEncoder`, `register_encoder`
- `heads`: policy, value, Q values, auxiliary predictions
- `networks`: an encoder and a head
- `actor_critic`: policy and value over the same streams
- `step_reader`: pixels and large numbers in a step input
"""

from rllib_seq.nn.actor_critic import ActorCritic, Reading, build_actor_critic
from rllib_seq.nn.encoders import (
    LENGTH,
    StreamEncoder,
    count_steps,
    encoder_class,
    encoder_names,
    make_encoder,
    register_encoder,
)
from rllib_seq.nn.layers import initialise
from rllib_seq.nn.networks import (
    SequenceEncoder,
    SequentialPolicyNetwork,
    SequentialQNetwork,
    SequentialValueNetwork,
)
from rllib_seq.nn.step_reader import StepParts

__all__ = [
    "LENGTH",
    "ActorCritic",
    "Reading",
    "SequenceEncoder",
    "SequentialPolicyNetwork",
    "SequentialQNetwork",
    "SequentialValueNetwork",
    "StepParts",
    "StreamEncoder",
    "build_actor_critic",
    "count_steps",
    "encoder_class",
    "encoder_names",
    "initialise",
    "make_encoder",
    "register_encoder",
]
