"""A trained policy that acts, in the manner of Stable-Baselines3.

- `TrainedPolicy`: `predict`
"""

from __future__ import annotations

from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import tree

from rllib_seq.errors import UserError
from rllib_seq.training.acting.networks import Network, Outputs
from rllib_seq.training.acting.preprocessing import Preprocessing
from rllib_seq.training.acting.spaces import batched, for_environment

State = dict[str, Any]
"""What N streams have behind them: arrays `[N, ...]` by name. Rows can be taken out or put together
(`tree.map_structure(lambda rows: rows[chosen], state)`)."""

_STEPS, _ACTIONS, _MEMORY = "steps", "previous_actions", "memory"


class Prediction(NamedTuple):
    """All that a policy says of a step."""

    actions: Any
    state: State
    outputs: np.ndarray | None
    """Inputs of the action distribution `[N, K]` (of Discrete actions: logits), or Q values."""
    forecasts: dict[str, np.ndarray]
    """Probabilities of the auxiliary heads' events, `[N]` by name."""


class TrainedPolicy:
    """A policy of a checkpoint; `rllib_seq.load_policy` makes it.

    It keeps nothing of the streams that it acts for: `predict` takes what they have behind them as
    `state` and returns it with the new step added. The previous action is in there.

    Examples:
        >>> import gymnasium as gym, rllib_seq
        >>> policy = rllib_seq.load_policy("runs/RUN")  # doctest: +SKIP
        >>> env, state = gym.make("CartPole-v1"), None
        >>> observation, _ = env.reset(seed=0)
        >>> action, state = policy.predict(observation, state)  # doctest: +SKIP
    """

    def __init__(self, network: Network, preprocessing: Preprocessing) -> None:
        self.network = network
        """What acts, of either API stack."""
        self.preprocessing = preprocessing
        """Between an environment and the network."""

    @property
    def observation_space(self) -> gym.Space[Any]:
        """Of the environment that it was trained in."""
        return self.preprocessing.observation_space

    @property
    def action_space(self) -> gym.Space[Any]:
        """The same."""
        return self.preprocessing.action_space

    @property
    def reads_reward(self) -> bool:
        """Whether `predict` needs `reward` after the first step of a stream."""
        return self.network.reads_reward

    def initial_state(self, streams: int) -> State:
        """Return the state of streams that have no steps."""
        return {
            _STEPS: np.zeros(streams, np.int64),
            _ACTIONS: self._no_actions(streams),
            _MEMORY: self.network.no_memory(streams),
        }

    def predict(
        self,
        observations: Any,
        state: State | None = None,
        episode_start: Any = None,
        deterministic: bool = True,
        reward: Any = None,
    ) -> tuple[Any, State]:
        """Act for one stream or many.

        Args:
            observations: of one stream, as the environment returns them, or of N streams, arrays
                `[N, ...]` in the nesting of the space, as a Gymnasium `VectorEnv` returns them.
            state: what the last call returned for these streams, in this order; None: all begin.
            episode_start: bool, or `[N]`: which streams begin now, whatever their state says.
            deterministic: take the likeliest action instead of drawing one. (A Q network, which has
                nothing to draw from, explores as at the end of its training.)
            reward: of the last action, a number or `[N]`, if the policy reads it (`reads_reward`);
                streams that begin have none.

        Returns:
            actions for the environment, of one stream or `[N, ...]`, and the new state.

        Raises:
            UserError: observations or state do not fit, or the reward is missing.
        """
        actions, new, _ = self.advance(observations, state, episode_start, deterministic, reward)
        return actions, new

    def step(
        self,
        observations: Any,
        state: State | None = None,
        episode_start: Any = None,
        deterministic: bool = True,
        reward: Any = None,
    ) -> Prediction:
        """Act as `predict` does, and return all that the policy says."""
        actions, new, said = self.advance(observations, state, episode_start, deterministic, reward)
        return Prediction(actions, new, said.outputs, said.forecasts())

    def advance(
        self,
        observations: Any,
        state: State | None,
        episode_start: Any,
        deterministic: bool,
        reward: Any,
    ) -> tuple[Any, State, Outputs]:
        """Act as `predict` does, and return what the network said, too."""
        batch, streams, one = batched(self.observation_space, observations)
        state = self._started(state, episode_start, streams)
        steps, previous, memory = state[_STEPS], state[_ACTIONS], state[_MEMORY]
        rewards = self._rewards(reward, steps)
        seen = self.preprocessing.observations(batch, streams)
        said = self.network.act(memory, steps, seen, previous, rewards, deterministic)
        bounds = self.preprocessing
        actions = for_environment(
            said.actions, self.action_space, bounds.normalize_actions, bounds.clip_actions, one
        )
        new = {
            _STEPS: steps + 1,
            _ACTIONS: said.actions if previous is not None else None,
            _MEMORY: said.memory,
        }
        return actions, new, said

    def _no_actions(self, streams: int) -> np.ndarray | None:
        space = self.action_space
        if not self.network.reads_action or space.shape is None:
            return None
        return np.zeros((streams, *space.shape), space.dtype)

    def _started(self, state: State | None, episode_start: Any, streams: int) -> State:
        """The state, with zeros where streams begin."""
        if state is None:
            return self.initial_state(streams)
        if not isinstance(state, dict) or state.keys() != {_STEPS, _ACTIONS, _MEMORY}:
            raise UserError(
                f"state is {type(state).__name__} of another kind; give what the last call of "
                "predict returned for these streams, or None where all begin"
            )
        if len(state[_STEPS]) != streams:
            raise UserError(
                f"state is of {len(state[_STEPS])} streams and observations are of {streams}; give "
                "the state that the last call returned for these streams, or None"
            )
        if episode_start is None:
            return state
        starts = _per_stream("episode_start", episode_start, streams, bool)
        if not starts.any():
            return state

        def restarted(old: np.ndarray, new: np.ndarray) -> np.ndarray:
            return np.where(starts.reshape(-1, *[1] * (old.ndim - 1)), new, old)

        return tree.map_structure(
            lambda old, new: None if old is None else restarted(old, new),
            state,
            self.initial_state(streams),
        )

    def _rewards(self, reward: Any, steps: np.ndarray) -> np.ndarray:
        begin = steps == 0
        if reward is None:
            if self.reads_reward and not begin.all():
                raise UserError(
                    "this policy reads the previous reward; give predict(..., reward=...), the "
                    "reward of the last action of each stream"
                )
            return np.zeros(len(steps), np.float32)
        rewards = _per_stream("reward", reward, len(steps), np.float32)
        return np.where(begin, np.float32(0), self.preprocessing.rewards(rewards))


def _per_stream(name: str, value: Any, streams: int, dtype: Any) -> np.ndarray:
    """A value for each stream, `[N]`; a single one is for all."""
    array = np.asarray(value, dtype)
    if array.shape not in ((), (streams,)):
        raise UserError(f"{name} has shape {array.shape}; give one value, or {streams}: one each")
    return np.broadcast_to(array, (streams,))
