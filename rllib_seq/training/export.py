"""A checkpoint as files that a bid server runs without torch, Ray and pickle.

- `export_checkpoint`: ONNX, `spec.json` and a self-test, see `rllib_seq.serving.exported.spec`.
- `export_network`: the same of a network in memory.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import logging
import os
import platform
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium.spaces import Discrete, MultiDiscrete
from torch import nn

from rllib_seq.config import SequenceConfig
from rllib_seq.envs.ad_auction.worlds.presets import AuctionConfig
from rllib_seq.errors import UserError
from rllib_seq.models import LSTMTransformerModel
from rllib_seq.models.rl_module.sequence_module import SequenceRLModule
from rllib_seq.models.rl_module.windowed_module import WindowedRLModule
from rllib_seq.nn.step_graph import PolicyStep, policy_graph
from rllib_seq.serving.exported.policy import TOLERANCE, load_policy
from rllib_seq.serving.exported.spec import FORMAT, File, Spec, world_facts
from rllib_seq.training.acting.loading import load_policy as load_trained
from rllib_seq.training.config.checks import auction_config, plays_one_stream, training_signal
from rllib_seq.training.run.trainer import resumed_config
from rllib_seq.training.storage.run_folder import find_checkpoint

__all__ = ["export_checkpoint", "export_network"]

_TEST_ROWS = 16
_Names = tuple[tuple[str, ...], tuple[str, ...]]  # of inputs and outputs


def export_checkpoint(checkpoint: Path, folder: Path) -> dict[str, Any]:
    """Writes an export, over an older one if there is one.

    Args:
        checkpoint: checkpoint or run folder, of either API stack.
        folder: is made.

    Returns:
        The content of `spec.json`.

    Raises:
        UserError: it is no checkpoint of a sequence model in the ad auction, or ONNX Runtime does
            not agree with torch.
    """
    checkpoint = find_checkpoint(checkpoint)
    config = resumed_config(checkpoint)
    world = auction_config(config)
    if world is None:
        raise UserError(f"{str(checkpoint)!r} was not trained in the ad auction; nothing to serve")
    if config.observation_filter != "NoFilter":
        raise UserError(
            f"observation_filter={config.observation_filter!r} changes with every observation and "
            "is not exported; train without it (observations are normalised already)"
        )
    network, settings = _network(load_trained(checkpoint).network.model, checkpoint)
    source = {
        "checkpoint": checkpoint.name,
        "algorithm": config.algo_class.__name__,
        "signal": training_signal(config),
    }
    return export_network(network, settings, world, plays_one_stream(config), folder, source)


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
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{str(folder)!r} is a file; give a folder for the export")
    folder.mkdir(parents=True, exist_ok=True)
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
    arrays = io.BytesIO()
    np.savez(arrays, **_answers(network, test, names))
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
        model=_written(folder, "model", ".onnx", _onnx(network, test, names)),
        selftest=_written(folder, "selftest", ".npz", arrays.getvalue()),
        source=source,
        versions={
            "python": platform.python_version(),
            **{name: version(name) for name in ("rllib-seq", "torch", "onnx", "onnxruntime")},
        },
    )
    try:
        load_policy(folder, spec)
    except UserError as error:
        raise UserError(
            f"ONNX Runtime and torch do not agree to {TOLERANCE:g}; nothing is exported ({error})"
        ) from error
    spec.write(folder)
    for old in [*folder.glob("model-*.onnx"), *folder.glob("selftest-*.npz")]:
        if old.name not in (spec.model.name, spec.selftest.name):
            old.unlink()
    return dataclasses.asdict(spec)


def _network(model: Any, checkpoint: Path) -> tuple[nn.Module, SequenceConfig]:
    """What maps windows, or steps and memories, to outputs, and its settings.

    Q networks read windows whatever their encoder is, see docs/guides/encoders.md.
    """
    if isinstance(model, LSTMTransformerModel):
        return policy_graph(model.policy.eval()), model.config
    if isinstance(model, SequenceRLModule):
        return policy_graph(model.policy.eval()), model.config_of_sequence
    if isinstance(model, WindowedRLModule):
        return model.acting_network.eval(), model.config_of_sequence
    raise UserError(
        f"{str(checkpoint)!r} holds a {type(model).__name__}; the sequence models alone can be "
        "exported (lstm_transformer, use_sequence_module, use_sequence_q_learning)"
    )


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
    batch = torch.export.Dim("batch", min=1)
    # What the exporter says of itself is not for the user.
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            network,
            test,
            dynamo=True,
            dynamic_shapes=({0: batch}, {0: batch}),
            input_names=names[0],
            output_names=names[1],
            verbose=False,
        )
    assert program is not None
    return bytes(program.model_proto.SerializeToString(deterministic=True))


def _written(folder: Path, name: str, ending: str, content: bytes) -> File:
    sha256 = hashlib.sha256(content).hexdigest()
    path = folder / f"{name}-{sha256[:12]}{ending}"
    aside = folder / f".{path.name}.part"
    aside.write_bytes(content)
    os.replace(aside, path)
    return File(path.name, sha256)
