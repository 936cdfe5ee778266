"""A trained policy of any environment as an export, see `rllib_seq.serving.streams.spec`.

- `export_policy`: traces, compares with torch, writes
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
import tree
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from rllib_seq.errors import UserError
from rllib_seq.models.observations import MASK
from rllib_seq.serving.exported.policy import TOLERANCE, agree
from rllib_seq.serving.streams.model import StreamModel, load_stream_model
from rllib_seq.serving.streams.spaces import part_names, space_json
from rllib_seq.serving.streams.spec import (
    ACTION,
    FORECAST,
    FORMAT,
    NEXT,
    OBSERVATION,
    OUTPUTS,
    POLICY,
    REWARD,
    STATE,
    StreamSpec,
)
from rllib_seq.training.acting.policy import TrainedPolicy
from rllib_seq.training.exporting.files import (
    arrays_of,
    export_folder,
    onnx_of,
    port_of,
    remove_older,
    versions,
    written,
)
from rllib_seq.training.exporting.step_graph import StepGraph

_STREAMS, _STEPS = 8, 6  # of the comparison
Arrays = dict[str, NDArray[Any]]


def export_policy(policy: TrainedPolicy, folder: Path, source: dict[str, Any]) -> dict[str, Any]:
    """Writes an export, over an older one if there is one.

    Args:
        policy: see `rllib_seq.load_policy`.
        folder: is made.
        source: where it comes from.

    Returns:
        The content of `spec.json`.

    Raises:
        UserError: the policy cannot be traced, or ONNX Runtime does not agree with torch.
    """
    facts = {
        "observation_space": space_json(policy.observation_space),
        "action_space": space_json(policy.action_space),
        "preprocessing": _preprocessing(policy),
    }
    graph = StepGraph(policy).eval()
    inputs = _example(policy, graph)
    with torch.no_grad():
        outputs = graph({name: torch.from_numpy(rows) for name, rows in inputs.items()})
    example = {name: torch.from_numpy(rows) for name, rows in inputs.items()}
    model = onnx_of(graph, {"inputs": example}, list(inputs), list(outputs))
    export_folder(folder)
    spec = StreamSpec(
        kind=POLICY,
        format=FORMAT,
        inputs={name: port_of(rows) for name, rows in inputs.items()},
        outputs={name: port_of(rows.numpy()) for name, rows in outputs.items()},
        facts=facts,
        model=written(folder, "model", ".onnx", model),
        selftest=written(folder, "selftest", ".npz", arrays_of({**inputs, **outputs})),
        source=source,
        versions=versions(),
    )
    try:
        _compare(policy, load_stream_model(folder, spec))
    except UserError as error:
        raise UserError(
            f"ONNX Runtime and torch do not agree to {TOLERANCE:g}; nothing is exported ({error})"
        ) from error
    spec.write(folder)
    remove_older(folder, spec.model, spec.selftest)
    return dataclasses.asdict(spec)


def _preprocessing(policy: TrainedPolicy) -> dict[str, Any]:
    """What the graph does around the network, for people."""
    around = policy.preprocessing
    return {
        "flatten": around.flatten,
        "filters": [
            {"mean": np.ravel(each.running_stats.mean).tolist(), "clip": each.clip}
            for each in around.filters
        ],
        "normalize_actions": around.normalize_actions,
        "clip_actions": around.clip_actions,
        "clip_rewards": around.clip_rewards,
    }


def _observations(space: gym.Space[Any], seed: int) -> Any:
    """Some of a space, `[N, ...]`; unbounded numbers are of the size of one."""
    batch = batch_space(space, _STREAMS)
    batch.seed(seed)
    random = np.random.default_rng(seed)

    def tame(rows: NDArray[Any]) -> NDArray[Any]:
        if rows.dtype.kind != "f":
            return rows
        drawn = random.normal(size=rows.shape)
        return np.where(np.abs(rows) < 1e3, rows, drawn).astype(rows.dtype)

    sample = tree.map_structure(tame, batch.sample())
    if isinstance(sample, dict) and MASK in sample:  # of each part of an action one is allowed
        sample[MASK] = np.ones_like(sample[MASK])
        sample[MASK][1::2, -1] = 0
    return sample


def _named(space: gym.Space[Any], values: Any, name: str) -> Arrays:
    """Parts `[N, ...]` by name, as the graph takes them: its real numbers are float32."""
    # In C's order: with another one the size of the batch would be a stride, and constant.
    parts = [np.ascontiguousarray(part) for part in tree.flatten(values)]
    parts = [part.astype(np.float32) if part.dtype == np.float64 else part for part in parts]
    return dict(zip(part_names(space, name), parts, strict=True))


def _rewards(step: int) -> NDArray[np.float32]:
    return np.random.default_rng(1000 + step).normal(size=_STREAMS).astype(np.float32)


def _example(policy: TrainedPolicy, graph: StepGraph) -> Arrays:
    """Inputs of streams that have some steps behind them, as torch itself goes on."""
    state = {
        name: torch.zeros(_STREAMS, *shape, dtype=dtype)
        for name, (shape, dtype) in graph.state.items()
    }
    for step in range(_STEPS):
        seen = _observations(policy.observation_space, step)
        inputs = _named(policy.observation_space, seen, OBSERVATION)
        if graph.reads_reward:
            inputs[REWARD] = _rewards(step)
        inputs |= {STATE + name: part.numpy() for name, part in state.items()}
        if step == _STEPS - 1:
            break
        with torch.no_grad():
            after = graph({name: torch.from_numpy(rows) for name, rows in inputs.items()})
        # Streams of several lengths: number i begins after i steps.
        begun = torch.arange(_STREAMS) <= step
        state = {
            name: torch.where(begun.reshape(-1, *[1] * (part.dim() - 1)), after[NEXT + name], part)
            for name, part in state.items()
        }
    return inputs


def _compare(policy: TrainedPolicy, model: StreamModel) -> None:
    """Plays streams through both, from their beginning.

    Raises:
        UserError: naming what differs.
    """
    ours, theirs = None, model.new_state(_STREAMS)
    for step in range(_STEPS):
        seen, rewards = _observations(policy.observation_space, 100 + step), _rewards(step)
        said = policy.step(seen, ours, reward=rewards)
        inputs = _named(policy.observation_space, seen, OBSERVATION)
        if REWARD in model.spec.inputs:
            inputs[REWARD] = rewards
        got, theirs = model.step(inputs, theirs)
        wanted: Arrays = {}
        if said.outputs is not None:
            wanted[OUTPUTS] = said.outputs
        wanted |= {FORECAST + name: rows for name, rows in said.forecasts.items()}
        wanted |= _named(policy.action_space, said.actions, ACTION)
        for name, rows in wanted.items():
            if not agree(got[name], rows, rows):
                raise UserError(f"{name} differs at step {step}")
        ours = said.state
