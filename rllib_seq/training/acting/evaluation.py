"""How good a policy is, in any Gymnasium environment.

- `evaluate_policy`: plays episodes
- `PolicyEvaluation`: mean, 95 % interval, returns and lengths
- `environment_of`: the environment that a run was trained in
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.env.env_context import EnvContext
from ray.tune.registry import ENV_CREATOR, _global_registry
from scipy import stats

from rllib_seq.errors import UserError
from rllib_seq.training.acting.policy import TrainedPolicy
from rllib_seq.training.config.checks import CAMPAIGN_ENV


@dataclass(frozen=True)
class PolicyEvaluation:
    """Returns of episodes, undiscounted, as the environment pays them."""

    returns: tuple[float, ...]
    lengths: tuple[int, ...]
    """Steps of each episode."""

    @property
    def mean(self) -> float:
        """Mean return of an episode."""
        return float(np.mean(self.returns))

    @property
    def half_width(self) -> float:
        """Half of the 95 % interval of the mean (Student's t); infinite for a single episode."""
        count = len(self.returns)
        if count < 2:
            return float("inf")
        error = np.std(self.returns, ddof=1) / np.sqrt(count)
        return float(stats.t.ppf(0.975, count - 1) * error)

    @property
    def mean_length(self) -> float:
        """Mean number of steps of an episode."""
        return float(np.mean(self.lengths))

    def to_json(self) -> dict[str, Any]:
        """Return all of it as plain numbers."""
        width = self.half_width
        return {
            "mean": self.mean,
            "half_width": width if np.isfinite(width) else None,
            "mean_length": self.mean_length,
            "returns": list(self.returns),
            "lengths": list(self.lengths),
        }

    def __str__(self) -> str:
        return (
            f"return {self.mean:.4g} ± {self.half_width:.2g} (95 %), length "
            f"{self.mean_length:.4g}, {len(self.returns)} episodes"
        )


def evaluate_policy(
    policy: TrainedPolicy,
    env: gym.Env[Any, Any] | VectorEnv[Any, Any, Any] | str,
    episodes: int = 20,
    seed: int | None = 0,
    deterministic: bool = True,
) -> PolicyEvaluation:
    """Play whole episodes.

    Every environment of a vector plays its share of the episodes, so that short episodes do not
    count more than long ones.

    Args:
        policy: see `rllib_seq.load_policy`.
        env: an environment, a vector of them (in any autoreset mode), or a Gymnasium id. One that
            is given is not closed.
        episodes: how many, at least 1.
        seed: of the environment's first reset.
        deterministic: take the likeliest actions.

    Raises:
        UserError: a value is wrong, or the environment has other spaces than the policy.

    Examples:
        >>> import rllib_seq
        >>> policy = rllib_seq.load_policy("runs/RUN")  # doctest: +SKIP
        >>> print(rllib_seq.evaluate_policy(policy, "CartPole-v1"))  # doctest: +SKIP
        return 193.4 ± 21 (95 %), length 193.4, 20 episodes
    """
    if isinstance(episodes, bool) or not isinstance(episodes, int | np.integer) or episodes < 1:
        raise UserError(f"episodes is {episodes}; give a whole number of at least 1")
    if isinstance(env, str):
        try:
            made = gym.make(env)
        except gym.error.Error as error:
            raise UserError(f"cannot build environment {env!r}: {error}") from error
        try:
            return evaluate_policy(policy, made, episodes, seed, deterministic)
        finally:
            made.close()
    if not isinstance(env, VectorEnv | gym.Env):
        raise UserError(
            f"env is {env!r}; give an environment that is built, a vector of them, or an id"
        )
    if not isinstance(env, VectorEnv):
        single = env
        env = SyncVectorEnv([lambda: single], autoreset_mode=AutoresetMode.SAME_STEP)
    for what in ("observation", "action"):
        there = getattr(env, f"single_{what}_space")
        trained = getattr(policy, f"{what}_space")
        if there != trained:
            raise UserError(f"the policy was trained on {what}s {trained}; {env} has {there}")
    return _play(policy, env, episodes, seed, deterministic)


def _play(
    policy: TrainedPolicy,
    env: VectorEnv[Any, Any, Any],
    episodes: int,
    seed: int | None,
    deterministic: bool,
) -> PolicyEvaluation:
    mode = env.metadata.get("autoreset_mode", AutoresetMode.NEXT_STEP)
    streams = env.num_envs
    left = np.array([len(share) for share in np.array_split(np.arange(episodes), streams)])
    total, length = np.zeros(streams), np.zeros(streams, np.int64)
    returns: list[float] = []
    lengths: list[int] = []
    observations, _ = env.reset(seed=seed)
    state, rewards, starts = None, np.zeros(streams), np.ones(streams, bool)
    ended = np.zeros(streams, bool)
    while left.any():
        actions, state = policy.predict(observations, state, starts, deterministic, rewards)
        observations, rewards, terminated, truncated, _ = env.step(actions)
        # A vector that resets in the step after an end ignores that step's action.
        resets = ended if mode == AutoresetMode.NEXT_STEP else np.zeros(streams, bool)
        ended = (terminated | truncated) & ~resets
        total += np.where(resets, 0.0, rewards)
        length += ~resets
        for row in np.flatnonzero(ended):
            if left[row]:
                left[row] -= 1
                returns.append(float(total[row]))
                lengths.append(int(length[row]))
        total[ended], length[ended] = 0.0, 0
        starts = resets if mode == AutoresetMode.NEXT_STEP else ended
        if mode == AutoresetMode.DISABLED and ended.any():
            observations, _ = env.reset(options={"reset_mask": ended})
    return PolicyEvaluation(tuple(returns), tuple(lengths))


def environment_of(config: AlgorithmConfig) -> gym.Env[Any, Any]:
    """Build the environment that a config trains in; of flights side by side, one of them.

    Raises:
        UserError: it has several agents, cannot be found, or is none of Gymnasium.
    """
    if config.is_multi_agent:
        raise UserError(
            f"environment {config.env!r} has several agents, and episodes are played with one; act "
            "with rllib_seq.load_policy(checkpoint).predict in a loop of your own"
        )
    settings = EnvContext(config.env_config, worker_index=0)
    if config.env == CAMPAIGN_ENV:
        settings.pop("flights", None)
        return gym.make("rllib_seq.envs.ad_auction:AdCampaign-v0", **settings)
    env = _built(config, settings)
    if not isinstance(env, gym.Env):
        raise UserError(
            f"environment {config.env!r} is of type {type(env).__name__}, and episodes are played "
            "in a gymnasium.Env; act with rllib_seq.load_policy(checkpoint).predict in a loop of "
            "your own"
        )
    return env


def _built(config: AlgorithmConfig, settings: EnvContext) -> Any:
    if not isinstance(config.env, str):
        return config.env(settings)
    if _global_registry.contains(ENV_CREATOR, config.env):
        return _global_registry.get(ENV_CREATOR, config.env)(settings)
    try:
        return gym.make(config.env, **settings)
    except gym.error.Error as error:
        raise UserError(f"cannot build environment {config.env!r}: {error}") from error
