"""Train on an environment of your own: name a symbol that was shown some steps ago.

    python examples/tutorials/own_environment.py                                  # a minute or two
    rllib-seq train examples/tutorials/own_environment.py --stop-steps 20000      # the same config

Four symbols are equally likely, so an agent without memory earns 0.25 per episode on average.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from ray.rllib.algorithms.ppo import PPOConfig
from rich.console import Console
from rich.table import Table

import rllib_seq
from rllib_seq.models import use_sequence_module

SYMBOLS = 4


class Recall(gym.Env[np.ndarray, int]):
    """A symbol is shown at the first step; after `delay` blank steps the agent names it.

    Observation: the symbol one-hot (zeros later), and 1 at the step that asks for it.
    """

    def __init__(self, env_config: dict[str, Any] | None = None) -> None:
        self.delay = (env_config or {}).get("delay", 4)
        self.observation_space = gym.spaces.Box(0.0, 1.0, (SYMBOLS + 1,), np.float32)
        self.action_space = gym.spaces.Discrete(SYMBOLS)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict]:
        """Show a new symbol."""
        super().reset(seed=seed)
        self.time, self.symbol = 0, int(self.np_random.integers(SYMBOLS))
        return np.eye(SYMBOLS + 1, dtype=np.float32)[self.symbol], {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict]:
        """Wait, or judge the answer."""
        if self.time == self.delay:
            return (
                np.zeros(SYMBOLS + 1, np.float32),
                float(action == self.symbol),
                True,
                False,
                {},
            )
        self.time += 1
        observation = np.zeros(SYMBOLS + 1, np.float32)
        observation[-1] = self.time == self.delay
        return observation, 0.0, False, False, {}


config = (
    PPOConfig()
    .environment(Recall, env_config={"delay": 4})
    .env_runners(num_env_runners=0, num_envs_per_env_runner=16)
    .training(train_batch_size_per_learner=1024, minibatch_size=256, num_epochs=8, lr=2e-3)
    .debugging(seed=0)
)
# The one line that adds memory; call it last.
use_sequence_module(config, encoder="lstm", d_model=32, lstm_layers=1)


def train(config: PPOConfig, steps: int, folder: Path) -> float:
    """Train, save the policy, print a learning curve; return the mean return of 100 episodes."""
    algorithm = config.copy(copy_frozen=False).build_algo()
    table = Table("steps", "mean return")
    done = 0
    while done < steps:
        runners = algorithm.train()["env_runners"]
        done = int(runners["num_env_steps_sampled_lifetime"])
        table.add_row(f"{done:,}", f"{runners['episode_return_mean']:.2f}")
    algorithm.save_to_path(folder.resolve())
    algorithm.stop()
    policy = rllib_seq.load_policy(folder)
    result = rllib_seq.evaluate_policy(policy, Recall(config.env_config), episodes=100)
    table.add_row("evaluation", str(result))
    Console().print(table)
    return result.mean


if __name__ == "__main__":
    train(config, int(sys.argv[1]) if len(sys.argv) > 1 else 20_000, Path("recall-policy"))
