"""What environments must not return, refused by the name of the stream and its step.

- `CheckedArrays`: an `ArrayEnv` that is watched
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from rllib_seq.envs.array_env import ArrayEnv
from rllib_seq.models.observations import refuse_empty_mask
from rllib_seq.models.step_inputs import StepInputs, refuse_bad_step

Array = NDArray[Any]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class CheckedArrays:
    """An `ArrayEnv` whose observations and rewards are finite, and whose masks allow something.

    Args:
        env: what is played.
        agents: names of the streams of an episode; one without a name is a whole environment.
        step_inputs: of the model that acts, if it is one of this package.
    """

    def __init__(
        self, env: ArrayEnv, agents: Sequence[Any], step_inputs: StepInputs | None
    ) -> None:
        self._env, self._agents = env, agents
        self._masks = step_inputs if step_inputs is not None and step_inputs.mask else None
        self._steps = np.zeros(env.num_episodes * env.slots, np.int64)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._env, name)

    def observe(self, rows: Ints) -> Array:
        """See `ArrayEnv`.

        Raises:
            NonFiniteInputError: an observation is NaN or infinite.
            UserError: a mask allows no action in a step that ends nothing.
        """
        seen = self._env.observe(rows)
        if seen.dtype.kind == "f" and not np.isfinite(seen).all():
            bad = int(np.flatnonzero(~np.isfinite(seen.reshape(len(rows), -1)).all(1))[0])
            refuse_bad_step(*self._named(rows[bad]), seen[bad].ravel())
        if self._masks is not None:
            nothing = self._masks.allow_nothing(torch.from_numpy(seen)).numpy()
            empty = rows[nothing & ~self._env.ended[rows]]
            if len(empty):
                refuse_empty_mask(*self._named(empty[0]))
        return seen

    def take_rewards(self, rows: Ints) -> Floats:
        """See `ArrayEnv`.

        Raises:
            NonFiniteInputError: a reward is NaN or infinite.
        """
        rewards = self._env.take_rewards(rows)
        bad = np.flatnonzero(~np.isfinite(rewards))
        if len(bad):
            refuse_bad_step(*self._named(rows[bad[0]]), np.zeros(1), float(rewards[bad[0]]))
        return rewards

    def serve(self, rows: Ints, actions: Array) -> dict[str, Array]:
        """See `ArrayEnv`."""
        self._steps[rows] += 1
        return self._env.serve(rows, actions)

    def begin(self, episodes: Ints) -> None:
        """See `ArrayEnv`."""
        self._env.begin(episodes)
        self._steps.reshape(self._env.num_episodes, -1)[episodes] = 0

    def _named(self, row: int) -> tuple[str, int]:
        episode, stream = divmod(int(row), self._env.slots)
        agent = self._agents[stream]
        name = f"environment {episode}" if agent is None else f"agent {agent!r} of {episode}"
        return name, int(self._steps[row])
