"""A response model as an ONNX graph that reads one step of each user.

- `ResponseStep`: fields of a step, news since the last one, and a state, to a probability.
- `export_response`: writes `response.onnx` and `response.json`, and checks them with ONNX Runtime.

`rllib_seq.serving.exported.response` runs the two files without PyTorch.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn

from rllib_seq.errors import UserError
from rllib_seq.training.response.history import COUNTED, DECAYS, TRACED
from rllib_seq.training.response.model import ResponseModel

__all__ = ["ResponseStep", "export_response"]

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
        The content of `response.json`.

    Raises:
        UserError: the folder cannot be written, or ONNX Runtime does not agree with PyTorch.
    """
    step = ResponseStep(model).eval()
    features = model.features
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make {str(folder)!r}: {error.strerror}") from error
    spec = {
        "format": 1,
        "numbers": features.numbers,
        "words": features.words,
        "clock": features.clock,
        "static": features.names,
        "counted": [*COUNTED, *TRACED],
        "unit": features.unit,
        "rate": features.rate,
        "state_size": step.state_size,
        "encoder": model.config.encoder,
        "versions": {name: version(name) for name in ("rllib-seq", "torch", "onnxruntime")},
    }
    graph = _onnx(step)
    _check(step, graph)
    (folder / "response.onnx").write_bytes(graph)
    (folder / "response.json").write_text(json.dumps(spec, indent=1) + "\n")
    return spec


def _test_step(step: ResponseStep, random: np.random.Generator) -> Tensor:
    static = random.normal(size=(_TEST_USERS, step.static))
    pause = random.exponential(20 * step.unit, _TEST_USERS)
    news = random.integers(0, 2, _TEST_USERS)
    parts = [static, pause[:, None], news[:, None], (pause * news / 2)[:, None]]
    return torch.from_numpy(np.concatenate(parts, axis=1).astype(np.float32))


def _onnx(step: ResponseStep) -> bytes:
    batch = torch.export.Dim("batch", min=1)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    example = (
        _test_step(step, np.random.default_rng(0)),
        torch.zeros(_TEST_USERS, step.state_size),
    )
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            step,
            example,
            dynamo=True,
            dynamic_shapes=({0: batch}, {0: batch}),
            input_names=("step", "state"),
            output_names=("probability", "state_after"),
            verbose=False,
        )
    assert program is not None
    return bytes(program.model_proto.SerializeToString(deterministic=True))


@torch.no_grad()
def _check(step: ResponseStep, graph: bytes) -> None:
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    random = np.random.default_rng(1)
    state = torch.zeros(_TEST_USERS, step.state_size)
    for _ in range(_TEST_STEPS):
        inputs = _test_step(step, random)
        expected, after = step(inputs, state)
        found = session.run(None, {"step": inputs.numpy(), "state": state.numpy()})[0]
        distance = float(np.abs(found - expected.numpy()).max())
        if not distance <= _TOLERANCE:
            raise UserError(
                f"ONNX Runtime and PyTorch differ by {distance:g}, more than {_TOLERANCE:g}; "
                "nothing is exported"
            )
        state = after
