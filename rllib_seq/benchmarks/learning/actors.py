"""The policy of an algorithm that is still training, as `training.evaluation.policies` plays it.

- `actor_of`: of either API stack, RLlib's own models included
- `MemoryActor`: for RLlib's GTrXL
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from ray.rllib.algorithms.algorithm import Algorithm

from rllib_seq.training.evaluation.policies import Actor, Floats, Ints, NewStackActor, OldStackActor


def actor_of(algorithm: Algorithm) -> Actor:
    """The only policy of an algorithm with a local worker; it learns on as the algorithm does."""
    if algorithm.config.enable_rl_module_and_learner:
        modules = algorithm.learner_group._learner.module
        (name,) = modules.keys()
        module = modules[name]
        module.eval()  # nothing is dropped out
        return NewStackActor(module)
    (policy,) = algorithm.env_runner.policy_map.values()
    attention = policy.config["model"]["use_attention"]
    return MemoryActor(policy) if attention else OldStackActor(policy)


class MemoryActor(OldStackActor):
    """A policy with RLlib's GTrXL: what it said of a step becomes the newest slot of its memory.

    RLlib's own workers cut that memory out of the trajectory, and fill it with zeros before it.
    """

    def start(self, streams: int) -> None:
        """See `Actor.start`."""
        slots = self._policy.config["model"]["attention_memory_inference"]
        self._state = [
            np.zeros((streams, slots, *part.shape), np.float32)
            for part in self._policy.get_initial_state()
        ]

    def act(self, streams: Ints, observations: NDArray[Any], rewards: Floats) -> Ints:
        """See `Actor.act`."""
        actions, new, _ = self._policy.compute_actions(
            observations,
            state_batches=[part[streams] for part in self._state],
            explore=False,
        )
        for part, step in zip(self._state, new, strict=True):
            part[streams] = np.concatenate([part[streams, 1:], step[:, None]], axis=1)
        return np.asarray(actions)
