"""A T-maze: the sign at the start says where to turn at the end of the corridor.

The classic test of memory (Bakker, 2002). Between the sign and the junction all steps look alike,
so an agent needs a memory of `corridor + 1` steps. Turning the wrong way ends the episode without a
reward; a policy without memory earns 0 on average.

    import examples.t_maze  # registers "TMaze-v0"
    env = gymnasium.make("TMaze-v0", corridor=5)

    python examples/t_maze.py --corridor 50 --encoder causal   # PPO, on one core

A window of 8 steps holds the sign along a corridor of 5 and cannot along one of 50; the state of
`encoder="lstm"`, and attention that reaches the sign (`encoder="causal"`), can. Why these settings:
docs/guides/encoders.md, "Long memories". What they earn: docs/results/memory.md.
"""

from __future__ import annotations

import argparse
import os
import time
from typing import Any

import gymnasium as gym
import numpy as np
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.ppo import PPOConfig

from rllib_seq.models import use_sequence_module
from rllib_seq.rollouts import ArrayEnvRunner

__all__ = ["TMazeEnv", "build", "train"]

FORWARD, UP, DOWN = range(3)


class TMazeEnv(gym.Env[dict[str, Any], int]):
    """Walk along a corridor, then turn where the sign pointed.

    Observation: `sign` (`Discrete(3)`: 0 none, 1 up, 2 down; shown at the first step alone) and
    `junction` (`Box(0, 1, (1,))`: 1 at the end of the corridor). Action: 0 forward, 1 up, 2 down.
    Reward: +1 for the right turn, -1 for the wrong one, -0.1 for a turn in the corridor or a step
    into the wall. The episode terminates with a turn at the junction, and is truncated after
    twice the shortest way.

    Args:
        corridor: steps from the start to the junction, at least 1.

    Examples:
        >>> env = TMazeEnv(corridor=2)
        >>> observation, _ = env.reset(seed=0)
        >>> int(observation["sign"]) in (1, 2)
        True
    """

    metadata = {"render_modes": []}

    def __init__(self, corridor: int = 5) -> None:
        if corridor < 1:
            raise ValueError(f"corridor is {corridor}; give a whole number of at least 1")
        self.corridor = corridor
        self.observation_space = gym.spaces.Dict(
            {
                "sign": gym.spaces.Discrete(3),
                "junction": gym.spaces.Box(0.0, 1.0, (1,), np.float32),
            }
        )
        self.action_space = gym.spaces.Discrete(3)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Start at the sign."""
        super().reset(seed=seed)
        self._place, self._steps = 0, 0
        self._right_turn = int(self.np_random.integers(UP, DOWN + 1))
        return self._observe(), {}

    def step(self, action: int) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Go forward or turn."""
        self._steps += 1
        reward, terminated = 0.0, False
        if self._place == self.corridor and action != FORWARD:
            reward, terminated = (1.0 if action == self._right_turn else -1.0), True
        elif self._place < self.corridor and action == FORWARD:
            self._place += 1
        else:
            reward = -0.1
        truncated = not terminated and self._steps >= 2 * (self.corridor + 1)
        return self._observe(), reward, terminated, truncated, {}

    def _observe(self) -> dict[str, Any]:
        return {
            "sign": self._right_turn if self._place == 0 else 0,
            "junction": np.array([self._place == self.corridor], np.float32),
        }


if "TMaze-v0" not in gym.registry:
    gym.register("TMaze-v0", entry_point=TMazeEnv)


def build(encoder: str = "lstm", corridor: int = 5, seed: int = 0, **sequence: Any) -> Algorithm:
    """Build PPO of the new API stack in 64 mazes, stepped as arrays.

    Args:
        encoder: a registered encoder.
        corridor: of the maze.
        seed: of training.
        **sequence: more fields of `SequenceConfig`.
    """
    longest = 2 * (corridor + 1)  # steps of an episode
    config = PPOConfig().environment("TMaze-v0", env_config={"corridor": corridor})
    config.env_runners(
        env_runner_cls=ArrayEnvRunner,
        num_env_runners=0,
        num_envs_per_env_runner=64,
        # A memory learns only from sequences that hold both the sign and the junction.
        batch_mode="complete_episodes",
    )
    # An episode holds one decision that needs the memory: many episodes to a minibatch.
    batch = max(512, 128 * corridor)
    config.training(
        train_batch_size_per_learner=batch,
        minibatch_size=batch // 2,
        num_epochs=8,
        lr=2e-3,
        gamma=0.995,
        lambda_=0.95,
        entropy_coeff=0.003,
        use_kl_loss=False,
        grad_clip=0.5,
        vf_loss_coeff=0.5,
    )
    config.debugging(seed=seed, log_level="ERROR")
    config.rl_module(model_config={"max_seq_len": longest + 1})
    settings: dict[str, Any] = {"d_model": 32, "feedforward_dim": 64, "head_hidden": 32}
    settings |= {"lstm_layers": 1, "transformer_layers": 1, "dropout": 0.0}
    # They say nothing of the sign, and 50 steps of them drown its trace in the state of an LSTM.
    settings |= {"prev_action": False, "prev_reward": False}
    if encoder == "lstm":  # a new LSTM would forget long before the junction
        settings["encoder_config"] = {"timescale": longest}
    if encoder == "causal":  # attention reaches the sign, even after some wrong turns
        settings["window_length"] = corridor + 14
    settings |= sequence
    use_sequence_module(config, encoder=encoder, **settings)
    return config.build_algo()


def train(algorithm: Algorithm, steps: int, goal: float = 0.9) -> dict[str, float]:
    """Train until the mean return of the last 100 episodes, which explore, reaches a goal.

    Args:
        algorithm: from `build`.
        steps: of all environments, at most.
        goal: return; 1 is the best.

    Returns:
        steps, the last mean return, and seconds of processor time.
    """
    began, done, mean = time.process_time(), 0, float("-inf")
    while done < steps and not mean >= goal:
        found = algorithm.train()["env_runners"]
        done = int(found["num_env_steps_sampled_lifetime"])
        mean = float(found.get("episode_return_mean", mean))
    return {"steps": done, "return": mean, "cpu_seconds": time.process_time() - began}


def main() -> None:
    """Train from the command line."""
    parser = argparse.ArgumentParser(description="Train PPO with a memory in a T-maze.")
    parser.add_argument("--corridor", type=int, default=5)
    parser.add_argument("--encoder", default="lstm", help="lstm, causal or window")
    parser.add_argument("--steps", type=int, default=600_000, help="at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--save", help="folder for a checkpoint")
    given = parser.parse_args()
    algorithm = build(given.encoder, given.corridor, given.seed)
    result = train(algorithm, given.steps)
    print(
        f"{given.encoder}, corridor {given.corridor}: return {result['return']:.2f} after "
        f"{result['steps']:,} steps, {result['cpu_seconds']:.0f} s of processor time"
    )
    if given.save:
        algorithm.save_to_path(os.path.abspath(given.save))
    algorithm.stop()


if __name__ == "__main__":
    main()
