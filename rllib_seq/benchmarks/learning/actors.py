"""The policy of an algorithm that is still training, as `TrainedBids` plays it.

- `actor_of`: of either API stack, RLlib's own models included
"""

from __future__ import annotations

from ray.rllib.algorithms.algorithm import Algorithm

from rllib_seq.training.acting.actor import PolicyActor
from rllib_seq.training.acting.loading import acting_policy


def actor_of(algorithm: Algorithm) -> PolicyActor:
    """The only policy of an algorithm with a local worker; it learns on as the algorithm does."""
    if not algorithm.config.enable_rl_module_and_learner:
        (policy,) = algorithm.env_runner.policy_map.values()
        return PolicyActor(acting_policy(policy))
    modules = algorithm.learner_group._learner.module
    (name,) = modules.keys()
    module = modules[name]
    module.eval()  # nothing is dropped out
    return PolicyActor(acting_policy(module))
