"""A response model as an ONNX graph that reads one step of each user.

- `ResponseStep`: fields of a step, news since the last one, and a state, to a probability.
- `export_response`: writes it as an export, and checks that with ONNX Runtime.

`rllib_seq.serving.exported.response` runs the two files without PyTorch.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rllib_seq.errors import UserError
from rllib_seq.serving.streams.model import StreamModel, load_stream_model
from rllib_seq.serving.streams.spec import (
    FORMAT,
    MEMORY,
    NEXT,
    PROBABILITY,
    RESPONSE,
    STATE,
    STEP,
    StreamSpec,
)
from rllib_seq.training.exporting.files import (
    arrays_of,
    export_folder,
    onnx_of,
    port_of,
    remove_older,
    versions,
    written,
)
from rllib_seq.training.response.history import COUNTED, DECAYS, TRACED
from rllib_seq.training.response.model import ResponseModel

_COUNTERS = 4 + 2 * len(DECAYS)  # steps, answers, time and steps since the last answer; traces
_PRIOR = 2.0  # see `history`
_TOLERANCE = 1e-4
_TEST_STEPS, _TEST_USERS = 12, 16


class ResponseStep(nn.Module):
    """One step of B users.

    Its input is the step's static features, then the time since the user's last step, how many
    answers became known since, and how long ago the latest of them did. Its state is counters
    and the encoders' states, flat; zeros for a new user.
    """

    mean: Tensor
    spread: Tensor

    def __init__(self, model: ResponseModel) -> None:
        """Take the network and the constants of the features."""
        super().__init__()
        features = model.features
        self.network = model.network.eval()
        self.rate, self.unit = features.rate, features.unit
        self.register_buffer("mean", torch.tensor(features.mean, dtype=torch.float32))
        self.register_buffer("spread", torch.tensor(features.spread, dtype=torch.float32))
        self.static = len(features.names)
        self.shapes = {
            name: tuple(shape) for name, shape in sorted(self.network.state_shapes.items())
        }
        sizes = [int(np.prod(shape)) for shape in self.shapes.values()]
        self.sizes = sizes
        self.state_size = _COUNTERS + sum(sizes)

    def forward(self, step: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Read one step of each user.

        Args:
            step: `[B, S + 3]`.
            state: `[B, M]`, of the users before it.

        Returns:
            Probabilities `[B]` and the state after it `[B, M]`.
        """
        static, (pause, news, since_news) = step[:, : self.static], step[:, self.static :].T
        steps, answers, since, steps_since = state[:, :4].T
        first = (steps == 0)[:, None]
        trace = state[:, 4:_COUNTERS]
        decay = torch.tensor(DECAYS, dtype=step.dtype)
        trace_answers = torch.where(first, 0.0, decay * trace[:, : len(DECAYS)] + news[:, None])
        trace_steps = torch.where(first, 0.0, decay * trace[:, len(DECAYS) :] + 1)
        answers = answers + news
        had = answers > 0
        zero = torch.zeros_like(pause)
        since = torch.where(news > 0, since_news, torch.where(had, since + pause, zero))
        steps_since = torch.where(
            news > 0, torch.ones_like(pause), torch.where(had, steps_since + 1, zero)
        )
        own = ((answers + _PRIOR * self.rate) / (steps + _PRIOR)).clamp(1e-4, 1 - 1e-4)
        counted = torch.stack(
            [
                torch.log1p(steps),
                torch.log1p(answers),
                torch.log(own / (1 - own)),
                torch.log1p(pause / self.unit),
                torch.log1p(since.clamp(min=0) / self.unit),
                (~had).to(step.dtype),
                torch.log1p(steps_since),
                news.clamp(max=3),
            ],
            dim=1,
        )
        fading = ((trace_answers + self.rate) / (trace_steps + 1)).clamp(1e-3, 1 - 1e-3)
        counted = torch.cat([counted, torch.log(fading / (1 - fading))], dim=1)
        counted = ((counted - self.mean) / self.spread).clamp(-5, 5)
        inputs = torch.cat([static, counted], dim=1)[:, None]
        parts = torch.split(state[:, _COUNTERS:], self.sizes, dim=1)
        before = {
            name: part.reshape(-1, *shape)
            for (name, shape), part in zip(self.shapes.items(), parts, strict=True)
        }
        odds, after = self.network.read(before, inputs)
        counters = torch.stack([steps + 1, answers, since, steps_since], dim=1)
        counters = torch.cat([counters, trace_answers, trace_steps], dim=1)
        flat = [after[name].flatten(1) for name in self.shapes]
        return torch.sigmoid(odds[:, 0]), torch.cat([counters, *flat], dim=1)


def export_response(model: ResponseModel, folder: Path) -> dict[str, Any]:
    """Writes a model for serving, over an older one if there is one.

    Args:
        model: trained.
        folder: is made.

    Returns:
        The content of `spec.json`, see `serving.streams.spec`.

    Raises:
        UserError: the folder cannot be written, or ONNX Runtime does not agree with PyTorch.
    """
    graph, features = ResponseStep(model).eval(), model.features
    step, state = _played(graph, np.random.default_rng(0))
    with torch.no_grad():
        probability, after = graph(step, state)
    inputs = {STEP: step.numpy(), STATE + MEMORY: state.numpy()}
    outputs = {PROBABILITY: probability.numpy(), NEXT + MEMORY: after.numpy()}
    onnx = onnx_of(graph, {"step": step, "state": state}, list(inputs), list(outputs))
    export_folder(folder)
    spec = StreamSpec(
        kind=RESPONSE,
        format=FORMAT,
        inputs={name: port_of(rows) for name, rows in inputs.items()},
        outputs={name: port_of(rows) for name, rows in outputs.items()},
        facts={
            "numbers": features.numbers,
            "words": features.words,
            "clock": features.clock,
            "static": features.names,
            "counted": [*COUNTED, *TRACED],
            "unit": features.unit,
            "rate": features.rate,
        },
        model=written(folder, "model", ".onnx", onnx),
        selftest=written(folder, "selftest", ".npz", arrays_of({**inputs, **outputs})),
        source={"encoder": model.config.encoder},
        versions=versions(),
    )
    _check(graph, load_stream_model(folder, spec))
    spec.write(folder)
    remove_older(folder, spec.model, spec.selftest)
    return dataclasses.asdict(spec)


@torch.no_grad()
def _played(step: ResponseStep, random: np.random.Generator) -> tuple[Tensor, Tensor]:
    """A step of users who have some behind them, and their states."""
    state = torch.zeros(_TEST_USERS, step.state_size)
    for _ in range(_TEST_STEPS):
        state = step(_test_step(step, random), state)[1]
    return _test_step(step, random), state


def _test_step(step: ResponseStep, random: np.random.Generator) -> Tensor:
    static = random.normal(size=(_TEST_USERS, step.static))
    pause = random.exponential(20 * step.unit, _TEST_USERS)
    news = random.integers(0, 2, _TEST_USERS)
    parts = [static, pause[:, None], news[:, None], (pause * news / 2)[:, None]]
    return torch.from_numpy(np.concatenate(parts, axis=1).astype(np.float32))


@torch.no_grad()
def _check(step: ResponseStep, model: StreamModel) -> None:
    random = np.random.default_rng(1)
    state, memory = torch.zeros(_TEST_USERS, step.state_size), model.new_state(_TEST_USERS)
    for _ in range(_TEST_STEPS):
        inputs = _test_step(step, random)
        expected, state = step(inputs, state)
        found, memory = model.step({STEP: inputs.numpy()}, memory)
        distance = float(np.abs(found[PROBABILITY] - expected.numpy()).max())
        if not distance <= _TOLERANCE:
            raise UserError(
                f"ONNX Runtime and PyTorch differ by {distance:g}, more than {_TOLERANCE:g}; "
                "nothing is exported"
            )
