"""A checkpoint as files that a bid server runs without torch, Ray and pickle.

- `export_checkpoint`: ONNX, `spec.json` and a self-test, of any policy.
- `export_network`: the same of a bidder's network in memory, see `rllib_seq.serving.exported.spec`.
"""

from __future__ import annotations

import dataclasses
import inspect
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium.spaces import Discrete, MultiDiscrete
from ray.rllib.algorithms.algorithm import Algorithm
from torch import nn

from rllib_seq.config import SequenceConfig
from rllib_seq.envs.ad_auction.worlds.presets import AuctionConfig
from rllib_seq.errors import UserError
from rllib_seq.models import LSTMTransformerModel
from rllib_seq.models.rl_module.sequence_module import SequenceRLModule
from rllib_seq.models.rl_module.windowed_module import WindowedRLModule
from rllib_seq.nn.step_graph import PolicyStep, policy_graph
from rllib_seq.serving.exported.policy import TOLERANCE, load_policy
from rllib_seq.serving.exported.spec import FORMAT, Spec, world_facts
from rllib_seq.training.acting.loading import load_policy as load_trained
from rllib_seq.training.acting.policy import TrainedPolicy
from rllib_seq.training.config.checks import auction_config, plays_one_stream, training_signal
from rllib_seq.training.exporting.files import (
    arrays_of,
    export_folder,
    onnx_of,
    remove_older,
    versions,
    written,
)
from rllib_seq.training.exporting.policy import export_policy
from rllib_seq.training.run.trainer import resumed_config
from rllib_seq.training.storage.run_folder import find_checkpoint

_TEST_ROWS = 16
_Names = tuple[tuple[str, ...], tuple[str, ...]]  # of inputs and outputs


def export_checkpoint(
    checkpoint: Path, folder: Path, policy_id: str | None = None
) -> dict[str, Any]:
    """Writes an export, over an older one if there is one.

    Args:
        checkpoint: whatever `rllib_seq.load_policy` reads, in a folder.
        folder: is made.
        policy_id: which, if there are several policies.

    Returns:
        The content of `spec.json`: of a sequence model that bids in the ad auction that of
        `serving.exported.spec`, of all others that of `serving.streams.spec`.

    Raises:
        UserError: the checkpoint cannot be read, the network cannot be traced, or ONNX Runtime does
            not agree with torch.
    """
    checkpoint = find_checkpoint(checkpoint)
    policy = load_trained(checkpoint, policy_id)
    config = resumed_config(checkpoint) if _has_config(checkpoint) else None
    source = {"checkpoint": checkpoint.name}
    world = None
    if config is not None:
        source |= {"algorithm": config.algo_class.__name__, "signal": training_signal(config)}
        world = auction_config(config)
    bidder = _bidder(policy)
    if config is None or world is None or bidder is None:
        return export_policy(policy, folder, source)
    return export_network(*bidder, world, plays_one_stream(config), folder, source)


def _has_config(checkpoint: Path) -> bool:
    names = ("algorithm_state.pkl", Algorithm.CLASS_AND_CTOR_ARGS_FILE_NAME)
    return any((checkpoint / name).is_file() for name in names)


def export_network(
    network: nn.Module,
    settings: SequenceConfig,
    world: AuctionConfig,
    one_stream: bool,
    folder: Path,
    source: dict[str, str],
) -> dict[str, Any]:
    """Writes an export of a network.

    Args:
        network: windows `[N, L, width]` and masks `[N, L]` to `[N, K]`, in evaluation mode; or a
            `PolicyStep`.
        settings: of its inputs.
        world: that it bids in.
        one_stream: whether a campaign is one stream; else each user is.
        folder: is made.
        source: where it comes from.

    Returns:
        The content of `spec.json`.

    Raises:
        UserError: ONNX Runtime does not agree with torch, or the world's actions are real numbers.
    """
    sizes = _action_sizes(world)
    export_folder(folder)
    facts = world_facts(world)
    width = len(facts["observation"]) + settings.prev_action * sum(sizes) + settings.prev_reward
    if isinstance(network, PolicyStep):
        memory_size = network.memory_size
        names: _Names = ("inputs", "memory"), ("outputs", "memory_after")
        test = _test_steps(network, width)
    else:
        memory_size = 0
        names = ("inputs", "valid"), ("outputs",)
        test = _test_windows(settings.window_length, width)
    spec = Spec(
        format=FORMAT,
        encoder=settings.encoder,
        stream="campaign" if one_stream else "user",
        window_length=settings.window_length,
        memory_size=memory_size,
        prev_action=settings.prev_action,
        prev_reward=settings.prev_reward,
        action_sizes=sizes,
        world=dataclasses.asdict(world),
        facts=facts,
        model=written(folder, "model", ".onnx", _onnx(network, test, names)),
        selftest=written(folder, "selftest", ".npz", arrays_of(_answers(network, test, names))),
        source=source,
        versions=versions(),
    )
    try:
        load_policy(folder, spec)
    except UserError as error:
        raise UserError(
            f"ONNX Runtime and torch do not agree to {TOLERANCE:g}; nothing is exported ({error})"
        ) from error
    spec.write(folder)
    remove_older(folder, spec.model, spec.selftest)
    return dataclasses.asdict(spec)


def _bidder(policy: TrainedPolicy) -> tuple[nn.Module, SequenceConfig] | None:
    """What maps windows, or steps and memories, to outputs, and its settings.

    Q networks read windows whatever their encoder is, see docs/guides/encoders.md. None: it is no
    sequence model of ours, or cannot bid in levels on raw observations.
    """
    if policy.preprocessing.filters or not isinstance(
        policy.action_space, Discrete | MultiDiscrete
    ):
        return None
    model = policy.network.model
    if isinstance(model, LSTMTransformerModel):
        return policy_graph(model.policy.eval()), model.config
    if isinstance(model, SequenceRLModule):
        return policy_graph(model.policy.eval()), model.config_of_sequence
    if isinstance(model, WindowedRLModule):
        return model.acting_network.eval(), model.config_of_sequence
    return None


def _action_sizes(world: AuctionConfig) -> list[int]:
    space = world.build_actions(world.build_preset()).space
    if isinstance(space, Discrete):
        return [int(space.n)]
    if isinstance(space, MultiDiscrete):
        return [int(size) for size in space.nvec]
    raise UserError(
        f"actions={world.actions!r} cannot be exported; train with levels, levels_and_creatives "
        "or multi_discrete"
    )


def _test_windows(length: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Windows `[B, L, width]` of all fill lengths, and their masks `[B, L]`."""
    random = np.random.default_rng(0)
    inputs = random.uniform(-1, 1, (_TEST_ROWS, length, width)).astype(np.float32)
    valid = np.arange(length) >= length - 1 - np.arange(_TEST_ROWS)[:, None] % length
    return torch.from_numpy(inputs * valid[..., None]), torch.from_numpy(valid)


def _test_steps(step: PolicyStep, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Step inputs `[B, width]` and memories `[B, M]` of streams as long as their row's number."""
    random = np.random.default_rng(0)
    shape = (_TEST_ROWS, _TEST_ROWS, width)
    streams = torch.from_numpy(random.uniform(-1, 1, shape).astype(np.float32))
    memory = torch.zeros(_TEST_ROWS, step.memory_size)
    for number in range(1, _TEST_ROWS):
        with torch.no_grad():
            memory[number:] = step(streams[number:, number - 1], memory[number:])[1]
    return streams[:, -1], memory


def _answers(
    network: nn.Module, test: tuple[torch.Tensor, torch.Tensor], names: _Names
) -> dict[str, Any]:
    """What the network makes of a test, by the names of the graph."""
    with torch.no_grad():
        made = network(*test)
    made = made if isinstance(made, tuple) else (made,)
    tensors = [*zip(names[0], test, strict=True), *zip(names[1], made, strict=True)]
    return {name: tensor.numpy() for name, tensor in tensors}


def _onnx(network: nn.Module, test: tuple[torch.Tensor, torch.Tensor], names: _Names) -> bytes:
    arguments = inspect.signature(network.forward).parameters
    return onnx_of(network, dict(zip(arguments, test, strict=False)), *names)
