"""What a policy does with the steps of sessions: observations in, actions and forecasts out.

- `ActingSteps`: see `service.Stepper`
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rllib_seq.serving.streams.model import StreamModel, finite_rows
from rllib_seq.serving.streams.spaces import finite_number, json_of, read_parts, space_of
from rllib_seq.serving.streams.spec import (
    ACTION,
    FORECAST,
    OBSERVATION,
    REWARD,
    STATE,
    StreamSpec,
)

__all__ = ["ActingSteps"]


class _Step(NamedTuple):
    parts: dict[str, NDArray[Any]]
    reward: float | None


class ActingSteps:
    """Steps of a policy.

    Args:
        spec: of its export.
    """

    path = "/act"

    def __init__(self, spec: StreamSpec) -> None:
        self._observations = space_of(spec.facts["observation_space"])
        self._actions = space_of(spec.facts["action_space"])
        self._inputs, self._forecasts = spec.inputs, spec.forecasts
        self._reads_reward = REWARD in spec.inputs
        self.fields: Mapping[str, Any] = {
            f"state.{name}": part for name, part in spec.state.items()
        }

    def read(self, item: Mapping[str, Any]) -> _Step:
        """See `Stepper.read`."""
        unknown = sorted(item.keys() - {OBSERVATION, REWARD})
        if unknown:
            raise ValueError(
                f"{unknown[0]}: is unknown; give session, observation, reward and reset"
            )
        if OBSERVATION not in item:
            raise ValueError("observation: is missing")
        reward = item.get(REWARD)
        if reward is not None:
            reward = finite_number(reward, REWARD)
        return _Step(read_parts(self._observations, item[OBSERVATION], OBSERVATION), reward)

    def refusal(self, content: _Step, kept: Mapping[str, Any]) -> str:
        """See `Stepper.refusal`."""
        if self._reads_reward and kept["steps"] and content.reward is None:
            return (
                "reward: is missing, which this policy reads; give the reward of the session's "
                "last action, or reset"
            )
        return ""

    def step(
        self, model: StreamModel, contents: Sequence[_Step], kept: Mapping[str, NDArray[Any]]
    ) -> tuple[list[dict[str, Any] | None], Mapping[str, NDArray[Any]]]:
        """See `Stepper.step`."""
        inputs = {
            name: np.stack([each.parts[name] for each in contents]).astype(port["dtype"])
            for name, port in self._inputs.items()
            if name in contents[0].parts
        }
        if self._reads_reward:
            inputs[REWARD] = np.array([each.reward or 0.0 for each in contents], np.float32)
        state = {name.removeprefix(STATE): kept[name] for name in self.fields}
        said, after = model.step(inputs, state)
        finite = finite_rows([*said.values(), *after.values()])
        answers: list[dict[str, Any] | None] = []
        for row in range(len(contents)):
            if not finite[row]:
                answers.append(None)
                continue
            answer: dict[str, Any] = {"action": json_of(self._actions, said, row, ACTION)}
            if self._forecasts:
                answer["forecasts"] = {
                    name: float(said[FORECAST + name][row]) for name in self._forecasts
                }
            answers.append(answer)
        kept_after = {STATE + name: rows for name, rows in after.items()}
        return answers, {**kept_after, "steps": kept["steps"] + 1}
