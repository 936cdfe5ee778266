"""The graph of an export, run by ONNX Runtime: no torch, no Ray, no pickle.

- `StreamModel`: one step of N streams
- `load_stream_model`: reads, verifies and tests one
- `finite_rows`: of what a step gave
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from rllib_seq.errors import UserError
from rllib_seq.serving.exported.policy import check_selftest, open_session
from rllib_seq.serving.streams.spec import NEXT, STATE, StreamSpec

__all__ = ["StreamModel", "finite_rows", "load_stream_model"]

Arrays = Mapping[str, NDArray[Any]]


class StreamModel:
    """A verified graph.

    Args:
        spec: what it is.
        session: of ONNX Runtime.
    """

    def __init__(self, spec: StreamSpec, session: onnxruntime.InferenceSession) -> None:
        self.spec = spec
        self._session = session
        self._outputs = [each.name for each in session.get_outputs()]

    def run(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        """The graph's outputs, of its inputs, by name."""
        return dict(zip(self._outputs, self._session.run(None, dict(inputs)), strict=True))

    def new_state(self, streams: int) -> dict[str, NDArray[Any]]:
        """The state of streams without steps."""
        return {
            name: np.zeros((streams, *part["shape"]), part["dtype"])
            for name, part in self.spec.state.items()
        }

    def step(
        self, inputs: Arrays, state: Arrays
    ) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]]]:
        """Answers and the state afterwards, `[N, ...]` by name.

        Args:
            inputs: what the spec names beside the state, `[N, ...]`.
            state: of the streams.
        """
        said = self.run({**inputs, **{STATE + name: part for name, part in state.items()}})
        return said, {name: said.pop(NEXT + name) for name in state}


def load_stream_model(folder: Path, spec: StreamSpec | None = None) -> StreamModel:
    """Loads an export, after it has passed its self-test.

    Args:
        folder: of the export.
        spec: to take instead of the one in the folder.

    Raises:
        UserError: it is damaged, or does not do here what it did where it was exported.
    """
    spec = spec or StreamSpec.read(folder)
    session = open_session(folder, spec.model)
    given = {each.name for each in session.get_inputs()}
    if given != spec.inputs.keys():
        raise UserError(
            f"the model of {str(folder)!r} reads {', '.join(sorted(given))}, and its spec names "
            f"{', '.join(sorted(spec.inputs))}; export it again"
        )
    model = StreamModel(spec, session)
    check_selftest(folder, spec.selftest, list(spec.inputs), model.run)
    return model


def finite_rows(arrays: Sequence[NDArray[Any]]) -> NDArray[np.bool_]:
    """Which streams have finite numbers alone, `[N]`.

    Args:
        arrays: `[N, ...]` each.
    """
    return np.logical_and.reduce(
        [np.isfinite(array).reshape(len(array), -1).all(axis=1) for array in arrays]
    )
