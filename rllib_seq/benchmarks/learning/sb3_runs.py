"""Stable-Baselines3's RecurrentPPO on the users of a cell: a learner outside Ray.

- `train_sb3`: trains it
- `Sb3Actor`: its policy, as `TrainedBids` plays it

Every user is an environment of its own, a campaign of one. `pip install 'rllib-seq[peers]'`.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rllib_seq.benchmarks.learning.contenders import ENTROPY, JOURNEY, LR, WIDTH, Contender
from rllib_seq.config import AuxiliaryHead
from rllib_seq.envs.ad_auction.sb3_vec_env import sb3_vec_env
from rllib_seq.errors import UserError

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

_USERS = 256  # side by side


def train_sb3(
    contender: Contender,
    preset: str,
    steps: int,
    seed: int,
    reached: Callable[[dict[str, Any], Sb3Actor], None],
) -> tuple[dict[str, Any], Sb3Actor]:
    """Train RecurrentPPO.

    Args:
        contender: who learns.
        preset: of the world.
        steps: bid requests; when the learning rate has come down.
        seed: of all draws.
        reached: is called after every batch, with `steps`, `seconds` and `cpu_seconds` of training.

    Returns:
        the last of these, and the policy.

    Raises:
        UserError: sb3-contrib is not installed.
    """
    try:
        from sb3_contrib import RecurrentPPO
        from stable_baselines3.common.callbacks import BaseCallback
    except ModuleNotFoundError as error:
        raise UserError(
            f"{error.name} is not installed; pip install 'rllib-seq[peers]', or leave out "
            "sb3_recurrent_ppo"
        ) from error
    envs = sb3_vec_env(_USERS, preset=preset, num_users=1, **contender.env)
    model = RecurrentPPO(
        "MlpLstmPolicy",
        envs,
        learning_rate=lambda left: LR[1] + (LR[0] - LR[1]) * left,
        n_steps=JOURNEY,
        batch_size=512,
        n_epochs=2,
        gamma=contender.training["gamma"],
        gae_lambda=0.5,
        vf_coef=0.2,
        policy_kwargs={"lstm_hidden_size": 2 * WIDTH, "net_arch": [2 * WIDTH]},
        max_grad_norm=0.5,
        seed=seed,
        device="cpu",
    )
    actor = Sb3Actor(model)
    row: dict[str, Any] = {}

    class Watch(BaseCallback):
        """Stops the clock while others look, and lets the entropy bonus fall as PPO's does."""

        def _on_training_start(self) -> None:
            self.wall, self.busy = time.monotonic(), time.process_time()

        def _on_step(self) -> bool:
            return True

        def _on_rollout_start(self) -> None:  # the batch before was learned from
            if self.num_timesteps:
                self.look()
            first, last = ENTROPY[preset]
            model.ent_coef = first + (last - first) * min(1.0, self.num_timesteps / steps)

        def _on_training_end(self) -> None:
            self.look()

        def look(self) -> None:
            row.update(
                steps=self.num_timesteps,
                seconds=time.monotonic() - self.wall,
                cpu_seconds=time.process_time() - self.busy,
            )
            reached(dict(row), actor)
            self.wall = time.monotonic() - row["seconds"]
            self.busy = time.process_time() - row["cpu_seconds"]

    model.learn(steps, callback=Watch())
    envs.close()
    return row, actor


class Sb3Actor:
    """A recurrent policy of sb3-contrib for many streams at once, see `Actor`."""

    def __init__(self, model: Any) -> None:
        self._policy = model.policy
        self.observation_space, self.action_space = model.observation_space, model.action_space

    def start(self, streams: int) -> None:
        """See `Actor.start`."""
        _, state = self._policy.predict(np.zeros((1, *self.observation_space.shape), np.float32))
        self._state = [
            np.zeros((part.shape[0], streams, part.shape[2]), np.float32) for part in state
        ]

    def act(self, streams: Ints, observations: NDArray[Any], rewards: Floats) -> Ints:
        """See `Actor.act`."""
        before = tuple(part[:, streams] for part in self._state)
        starts = np.zeros(len(streams), np.bool_)  # new streams have the state of zeros
        actions, after = self._policy.predict(observations, before, starts, deterministic=True)
        for part, new in zip(self._state, after, strict=True):
            part[:, streams] = new
        return np.asarray(actions)

    @property
    def heads(self) -> Mapping[str, AuxiliaryHead]:
        """See `Actor.heads`: it has none."""
        return {}

    def forecasts(self) -> dict[str, Floats]:
        """See `Actor.forecasts`."""
        return {}

    def fork(self) -> Sb3Actor:
        """See `Actor.fork`."""
        other = copy.copy(self)
        other._state = copy.deepcopy(self._state)
        return other
