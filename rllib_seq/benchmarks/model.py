"""What a window costs: the networks alone, without RLlib.

    rllib-seq bench model --json model.json
    rllib-seq bench model sizes parts            # some parts of it

Policy and value network of the ad auction (33 inputs, 17 outputs), one thread, windows as full as
in journeys of 24 steps, processor time, medians of five rounds. Parts:

- `sizes`: window length and width, acting (forward) and learning (forward and backward)
- `parts`: what the layers cost, full windows, width 64
- `bfloat16`: the same under torch.autocast, which the code does not use
- `compile`: the Transformer blocks under torch.compile, which the code does not use either; it
  takes a C++ compiler and minutes
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from rllib_seq.benchmarks.result import Result, Row, chosen
from rllib_seq.benchmarks.speed import JOURNEY, in_turn, machine, one_thread, ours
from rllib_seq.nn import SequentialPolicyNetwork, SequentialValueNetwork

INPUTS, OUTPUTS, BATCH = 33, 17, 1024


def run(only: Sequence[str] = ()) -> Result:
    """Measures the parts that `only` names; all, if it names none."""
    parts = chosen(PARTS, only)
    torch.manual_seed(0)
    with one_thread():
        tables = {name: PARTS[name]() for name in parts}
        return Result(tables, tables, machine=machine())


def _networks(**changes: Any) -> tuple[nn.Module, nn.Module]:
    settings = ours(**changes)
    return (
        SequentialPolicyNetwork(INPUTS, OUTPUTS, **settings),
        SequentialValueNetwork(INPUTS, **settings),
    )


def _windows(length: int) -> tuple[Tensor, Tensor]:
    step = torch.arange(BATCH) % JOURNEY
    valid = torch.arange(length) >= length - 1 - step[:, None]
    return torch.randn(BATCH, length, INPUTS), valid


def _learn(function: Callable[..., Tensor], *inputs: Any) -> Callable[[], float]:
    def job() -> float:
        function(*inputs).square().mean().backward()
        return float(len(inputs[0]))

    return job


def _act(function: Callable[..., Tensor], *inputs: Any) -> Callable[[], float]:
    def job() -> float:
        with torch.inference_mode():
            function(*inputs)
        return float(len(inputs[0]))

    return job


def _sizes() -> list[Row]:
    rows = []
    for width in (32, 64):
        for length in (4, 8, 16, 32):
            networks = _networks(d_model=width, feedforward_dim=2 * width, head_hidden=2 * width)
            windows = _windows(length)
            jobs = {
                f"{what}, {name}": make(network, *windows)
                for what, make in (("act", _act), ("learn", _learn))
                for name, network in zip(("policy", "value"), networks, strict=True)
            }
            costs = {name: found["us"] for name, found in in_turn(jobs).items()}
            learned = costs["learn, policy"] + costs["learn, value"]
            rows.append(
                {
                    "d_model": width,
                    "window": length,
                    **{f"{name}, µs": cost for name, cost in costs.items()},
                    "learned windows/s": round(1e6 / learned),
                }
            )
    return rows


def _layers() -> dict[str, tuple[Callable[..., Tensor], Tensor]]:
    """Layers of the policy and full windows for them."""
    policy, value = _networks()
    raw, tokens = torch.randn(256, 8, INPUTS), torch.randn(256, 8, 64, requires_grad=True)
    encoder: Any = policy.encoder
    block = encoder.blocks[0]

    def blocks(inputs: Tensor) -> Tensor:
        for layer in encoder.blocks:
            inputs = layer(inputs, None)
        return inputs

    return {
        "policy": (lambda x: policy(x, torch.ones(256, 8, dtype=torch.bool)), raw),
        "value": (lambda x: value(x, torch.ones(256, 8, dtype=torch.bool)), raw),
        "reader": (lambda x: encoder.stem(x, None), raw),
        "LSTM": (lambda x: encoder.stem.lstm(x, None), tokens),
        "blocks": (blocks, tokens),
        "attention of a block": (lambda x: block.attention(x, None), tokens),
        "pooling": (lambda x: encoder.pool.look(x[:, -1], x, None), tokens),
    }


def _parts() -> list[Row]:
    layers = _layers()
    act = in_turn({name: _act(*layer) for name, layer in layers.items()})
    learn = in_turn({name: _learn(*layer) for name, layer in layers.items()})
    return [
        {"part": name, "act, µs": act[name]["us"], "learn, µs": learn[name]["us"]}
        for name in layers
    ]


def _bfloat16() -> list[Row]:
    layers = {name: layer for name, layer in _layers().items() if name in ("policy", "value")}
    jobs = {}
    for name, layer in layers.items():
        jobs[name] = _learn(*layer)

        def in_bfloat16(job: Callable[[], float] = jobs[name]) -> float:
            with torch.autocast("cpu", torch.bfloat16):
                return job()

        jobs[f"{name}, bfloat16"] = in_bfloat16
    return [{"network": name, "learn, µs": cost["us"]} for name, cost in in_turn(jobs).items()]


def _compile() -> list[Row]:
    blocks, tokens = _layers()["blocks"]
    compiled = torch.compile(blocks)
    began = time.perf_counter()
    _learn(compiled, tokens)()
    seconds = time.perf_counter() - began
    jobs = {"blocks": _learn(blocks, tokens), "blocks, compiled": _learn(compiled, tokens)}
    return [
        {
            "network": name,
            "learn, µs": cost["us"],
            "seconds to compile": round(seconds, 1) if "compiled" in name else 0.0,
        }
        for name, cost in in_turn(jobs).items()
    ]


PARTS = {"sizes": _sizes, "parts": _parts, "bfloat16": _bfloat16, "compile": _compile}
