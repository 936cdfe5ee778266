"""Act with a trained policy, one step at a time and for many streams at once.

python examples/tutorials/own_environment.py      # trains the policy
python examples/tutorials/act.py recall-policy
"""

from __future__ import annotations

import sys
from pathlib import Path

import gymnasium as gym
import numpy as np
from own_environment import Recall, config
from rich.console import Console
from rich.table import Table

import rllib_seq


def one_episode(policy: rllib_seq.TrainedPolicy) -> float:
    """Play one episode and print it step by step; return what it earned."""
    env = Recall(config.env_config)
    observation, _ = env.reset(seed=3)
    state, reward, done, total = None, None, False, 0.0
    table = Table("step", "observation", "action", "reward", title=f"symbol {env.symbol}")
    while not done:
        shown = " ".join(f"{value:.0f}" for value in observation)
        # `state` is all that the policy remembers. None starts a new stream.
        action, state = policy.predict(observation, state, reward=reward)
        observation, reward, terminated, truncated, _ = env.step(action)
        done = terminated or truncated
        total += reward
        table.add_row(str(len(table.rows)), shown, str(action), f"{reward:.0f}")
    Console().print(table)
    return total


def many_streams(policy: rllib_seq.TrainedPolicy, streams: int = 64, steps: int = 200) -> float:
    """Play a vector of environments; return the mean return of the episodes that ended."""
    envs = gym.vector.SyncVectorEnv(
        [lambda: Recall(config.env_config)] * streams,
        autoreset_mode=gym.vector.AutoresetMode.SAME_STEP,
    )
    observations, _ = envs.reset(seed=0)
    state, rewards, starts = None, np.zeros(streams), np.ones(streams, bool)
    earned, episodes = 0.0, 0
    for _ in range(steps):
        actions, state = policy.predict(observations, state, starts, reward=rewards)
        observations, rewards, terminated, truncated, _ = envs.step(actions)
        starts = terminated | truncated
        earned, episodes = earned + rewards.sum(), episodes + starts.sum()
    return float(earned / episodes)


def main(folder: Path) -> None:
    """Load a policy and act."""
    policy = rllib_seq.load_policy(folder)
    one_episode(policy)
    print(f"64 streams side by side: {many_streams(policy):.2f} per episode")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "recall-policy"))
