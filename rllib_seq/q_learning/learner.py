"""RLlib's DQN learner, fed by the replay that stores each step once.

- `SequenceDQNLearner`
"""

from __future__ import annotations

from typing import Any

from ray.rllib.algorithms.dqn.torch.dqn_torch_learner import DQNTorchLearner
from ray.rllib.connectors.learner import LearnerConnectorPipeline

from rllib_seq.q_learning.replay import SampledStepsToBatch


class SequenceDQNLearner(DQNTorchLearner):
    """DQN whose train batches come ready made, see `SampledSteps`; its losses are RLlib's."""

    def build(self) -> None:
        """Build the learner; RLlib calls this."""
        super().build()
        self._learner_connector: Any = LearnerConnectorPipeline(
            connectors=[SampledStepsToBatch(self._device)]
        )
