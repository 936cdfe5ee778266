"""The tasks of `rllib-seq bench memory`, who competes in each, and with which settings.

- `TASKS`: by name; every one has its environment, its PPO settings and its contenders
- `Task`, `Contender`

All settings were found with seeds 0 to 99, and every contender of a task trains with the same ones.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.wrappers import (
    DtypeObservation,
    FlattenObservation,
    RecordEpisodeStatistics,
    TransformObservation,
    TransformReward,
)

from rllib_seq.errors import UserError

MLP: dict[str, Any] = {"fcnet_hiddens": [64, 64], "fcnet_activation": "tanh"}
LSTM: dict[str, Any] = {
    "fcnet_hiddens": [64],
    "fcnet_activation": "tanh",
    "use_lstm": True,
    "lstm_cell_size": 64,
    "max_seq_len": 32,
}


@dataclasses.dataclass(frozen=True)
class Contender:
    """A model in a task."""

    model: str
    """`"sequence"`, or RLlib's own: `"lstm"`, `"mlp"`."""
    settings: dict[str, Any]
    """Fields of `SequenceConfig`, or of RLlib's `DefaultModelConfig`."""
    at_least: float = -math.inf
    """What the mean return after training must reach, on every seed."""
    at_most: float = math.inf
    """What it must not pass: proof that the task needs what the contender lacks."""


@dataclasses.dataclass(frozen=True)
class Task:
    """A task that pays for memory."""

    about: str
    goal: float
    """Return that counts as solved."""
    steps: int
    """Steps of the environment to train on; those of evaluations are not among them."""
    every: int
    """Steps between the points of the learning curve."""
    training: dict[str, Any]
    """For `PPOConfig.training`."""
    contenders: dict[str, Contender]
    reward_scale: float = 1.0
    """Learning sees rewards times this; what is reported does not."""
    units: tuple[float, ...] = ()
    """Learning sees observations divided by these; nothing means as they are."""


def make_env(name: str) -> gym.Env:
    """Returns the environment of a task; its `episode` info holds the unscaled return.

    Raises:
        UserError: it comes from popgym, which is not installed.
    """
    if name == "cartpole":
        env: gym.Env = RecordEpisodeStatistics(gym.make("CartPole-v1"))
        box = gym.spaces.Box(-np.inf, np.inf, (2,), np.float32)
        env = TransformObservation(env, lambda seen: seen[[0, 2]], box)
    else:
        try:
            from popgym import envs
        except ImportError as error:
            raise UserError(
                f"task {name!r} needs popgym; install it with: pip install -c constraints.txt "
                "'rllib-seq[bench]'"
            ) from error
        words = [word.capitalize() for word in name.split("-")]
        env = RecordEpisodeStatistics(getattr(envs, "".join(words) + "Easy")())
        if not isinstance(env.observation_space, gym.spaces.Box):
            env = DtypeObservation(FlattenObservation(env), np.float32)
    if TASKS[name].units:
        units = np.array(TASKS[name].units, np.float32)
        box = gym.spaces.Box(-np.inf, np.inf, units.shape, np.float32)
        env = TransformObservation(env, lambda seen: seen / units, box)
    return TransformReward(env, lambda reward: float(reward) * TASKS[name].reward_scale)


def _ppo(steps: int, **settings: float) -> dict[str, Any]:
    """Settings of `PPOConfig.training` that all tasks share, and what differs."""
    lr = settings.pop("lr")
    return {
        "train_batch_size_per_learner": 1024,
        "minibatch_size": 256,
        "num_epochs": 10,
        "lr": [[0, lr], [steps, lr / 1000]],
        "vf_loss_coeff": 0.5,
        "vf_clip_param": 100.0,  # never reached: values of all tasks are below 5
        "use_kl_loss": False,
        "grad_clip": 0.5,
        **settings,
    }


# An answer is paid at once and changes nothing: what lies further ahead is noise.
_CARDS: dict[str, Any] = {"gamma": 0.9, "lambda_": 0.9}
# A cart that drifts leaves the track hundreds of steps later: less foresight balanced the pole and
# lost the cart. Small batches, because the policy must change often within so few steps.
_POLE: dict[str, Any] = {"gamma": 0.995, "lambda_": 0.98, "train_batch_size_per_learner": 512}
# Metres and radians, so that what a balanced pole shows is of size one.
_POLE_UNITS = (0.5, 0.05)

# The whole stack of layers, half as wide as the default.
_SEQUENCE: dict[str, Any] = {
    "window_length": 8,
    "d_model": 32,
    "feedforward_dim": 64,
    "head_hidden": 64,
    "dropout": 0.0,
}
_CARRIED = {
    "causal": _SEQUENCE | {"encoder": "causal"},
    "our-lstm": _SEQUENCE | {"encoder": "lstm"},
}
# Answers and what they earned would be a memory of their own.
_BLIND = {"prev_action": False, "prev_reward": False}

TASKS = {
    "cartpole": Task(
        about="CartPole-v1, position and angle alone: balance without seeing velocities",
        goal=450.0,
        steps=48_000,
        every=6_000,
        training=_ppo(48_000, lr=1e-3, **_POLE),
        reward_scale=0.02,
        units=_POLE_UNITS,
        contenders={
            "sequence": Contender("sequence", _SEQUENCE, at_least=450.0),
            "lstm": Contender("lstm", LSTM),
            "mlp": Contender("mlp", MLP, at_most=100.0),
        },
    ),
    "repeat-previous": Task(
        about="popgym RepeatPreviousEasy: name the suit of the card of three steps ago",
        goal=0.9,
        steps=30_000,
        every=2_000,
        training=_ppo(30_000, lr=1e-3, **_CARDS),
        contenders={
            "sequence": Contender("sequence", _SEQUENCE, at_least=0.9),
            **{name: Contender("sequence", each, at_least=0.9) for name, each in _CARRIED.items()},
            "window-3": Contender(
                "sequence", _SEQUENCE | _BLIND | {"window_length": 3}, at_most=-0.3
            ),
            "lstm": Contender("lstm", LSTM),
            "mlp": Contender("mlp", MLP, at_most=-0.4),
        },
    ),
    "repeat-first": Task(
        about="popgym RepeatFirstEasy: name the suit of the first of 52 cards, again and again",
        goal=0.9,
        steps=30_000,
        every=2_000,
        training=_ppo(30_000, lr=1e-3, **_CARDS),
        reward_scale=20.0,
        contenders={
            "sequence": Contender("sequence", _SEQUENCE),
            "blind": Contender("sequence", _SEQUENCE | _BLIND),
            "lstm": Contender("lstm", LSTM),
            "mlp": Contender("mlp", MLP),
        },
    ),
    "noisy-position-only-cart-pole": Task(
        about="popgym NoisyPositionOnlyCartPoleEasy: the same, 200 steps long, seen through noise",
        goal=0.9,
        steps=40_000,
        every=4_000,
        training=_ppo(40_000, lr=1e-3, **_POLE),
        reward_scale=4.0,
        units=_POLE_UNITS,
        contenders={
            "sequence": Contender("sequence", _SEQUENCE),
            **{name: Contender("sequence", each) for name, each in _CARRIED.items()},
            "lstm": Contender("lstm", LSTM),
            "mlp": Contender("mlp", MLP),
        },
    ),
}
