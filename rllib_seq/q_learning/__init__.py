"""Q-learning with memory: what recurrent DQN needs on RLlib's new API stack.

- `setup`: `use_sequence_q_learning` sets a DQNConfig up
- `module`: the sequential Q network as an RLModule
- `step_memory`, `sum_tree`: each step stored once, windows rebuilt, drawn by priority
- `replay`, `learner`: that memory as RLlib's replay buffer, and its way into the learner
- `exploration`: epsilons and noise that are constant along a journey
"""

from rllib_seq.q_learning.exploration import EpsilonLadder
from rllib_seq.q_learning.module import SequenceQRLModule
from rllib_seq.q_learning.replay import SequenceEpisodeReplayBuffer
from rllib_seq.q_learning.setup import use_sequence_q_learning

__all__ = [
    "EpsilonLadder",
    "SequenceEpisodeReplayBuffer",
    "SequenceQRLModule",
    "use_sequence_q_learning",
]
