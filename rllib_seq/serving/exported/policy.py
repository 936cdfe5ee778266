"""The policy of an export, run by ONNX Runtime: no torch, no Ray, no pickle.

- `Policy`: windows, or steps and memories, to actions.
- `load_policy`: reads, verifies and tests one.
- `open_session`, `check_selftest`, `agree`: what exports of all kinds share.
- `window_inputs`: the step inputs of windows, as `rllib_seq.models.step_inputs` joins them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state

from rllib_seq.errors import UserError
from rllib_seq.journeys.store import StoredWindow
from rllib_seq.serving.exported.spec import File, Spec, file_sha256

Floats32 = NDArray[np.float32]
Ints = NDArray[np.int64]

# Of files, and of ONNX Runtime, whose errors have no base in common but `Exception`.
_BAD_MODEL: tuple[type[Exception], ...] = (
    *(OSError, ValueError, KeyError, BadZipFile),
    *(
        each
        for each in vars(onnxruntime_pybind11_state).values()
        if isinstance(each, type) and issubclass(each, Exception)
    ),
)
_FORBIDDEN = -1e8  # outputs below are those of actions that are not allowed
TOLERANCE = 1e-5
"""Between ONNX Runtime and torch, relative to the largest output of the test (at least 1)."""


class Policy:
    """A verified policy.

    Args:
        spec: what it is.
        session: of ONNX Runtime.
    """

    def __init__(self, spec: Spec, session: onnxruntime.InferenceSession) -> None:
        self.spec = spec
        self._session = session

    @property
    def input_names(self) -> list[str]:
        """What `run` takes, see `Spec.memory_size`."""
        return [each.name for each in self._session.get_inputs()]

    @property
    def output_names(self) -> list[str]:
        """What `run` returns."""
        return [each.name for each in self._session.get_outputs()]

    @property
    def widths(self) -> dict[str, Any]:
        """Last dimensions of inputs and outputs, by name."""
        ends = [*self._session.get_inputs(), *self._session.get_outputs()]
        return {each.name: each.shape[-1] for each in ends}

    def run(self, **inputs: NDArray[Any]) -> list[Floats32]:
        """The graph's outputs, of its inputs by name."""
        return list(self._session.run(None, inputs))

    def act(
        self,
        observation: Floats32,
        past: StoredWindow,
        memory: Floats32,
        allowed: NDArray[np.bool_] | None = None,
    ) -> tuple[Ints, Floats32]:
        """The greedy actions, flat (see `join_parts`), `[N]`, and the memories afterwards.

        Args:
            observation: `[N, D]`, now.
            past: the steps before, `Spec.steps_kept` of them.
            memory: `[N, M]`, see `Spec.memory_size`.
            allowed: flat actions that may be taken, `[N, A]`; None: all.
        """
        inputs, valid = window_inputs(self.spec, observation, past)
        if self.spec.memory_size:
            outputs, memory = self.run(inputs=inputs[:, 0], memory=memory)
        else:
            (outputs,) = self.run(inputs=inputs, valid=valid)
        return self._largest(outputs, allowed), memory

    def _largest(self, outputs: Floats32, allowed: NDArray[np.bool_] | None) -> Ints:
        """Of every block of outputs, as one number."""
        sizes = self.spec.action_sizes
        if allowed is not None:
            outputs = np.where(blocks_of(allowed, sizes), outputs, -np.inf)
        if len(sizes) == 1:
            return outputs.argmax(axis=1)
        blocks = np.split(outputs, np.cumsum(sizes)[:-1], axis=1)
        return join_parts([block.argmax(axis=1) for block in blocks], sizes)


def window_inputs(
    spec: Spec, observation: Floats32, past: StoredWindow
) -> tuple[Floats32, NDArray[np.bool_]]:
    """Step inputs `[N, S, width]`, zero where not valid, and the mask `[N, S]`.

    A step input is the observation, the one-hot action and the reward of the step before; both are
    zero at the first step of a stream.

    Args:
        spec: which parts there are.
        observation: `[N, D]`, now.
        past: the S steps before, `Spec.steps_kept`.
    """
    rows, dim = observation.shape
    length, sizes = spec.steps_kept, spec.action_sizes
    inputs = np.zeros((rows, length, spec.input_width), np.float32)
    inputs[:, :-1, :dim] = past.states[:, 1:]
    inputs[:, -1, :dim] = observation
    valid = np.ones((rows, length), np.bool_)
    valid[:, :-1] = past.valid[:, 1:]
    if spec.prev_action:
        # The step before that of slot i is step i of the past.
        row, slot = np.nonzero(past.valid)
        offset = dim
        for part, size in zip(split_parts(past.actions[row, slot], sizes), sizes, strict=True):
            inputs[row, slot, offset + part] = 1.0
            offset += size
    if spec.prev_reward:
        inputs[:, :, -1] = past.rewards
    return inputs, valid


def split_parts(flat: NDArray[Any], sizes: list[int]) -> list[Ints]:
    """The parts of flat actions: `join_parts` backwards."""
    if len(sizes) == 1:
        return [flat]
    parts = []
    rest = flat.astype(np.int64)
    for size in reversed(sizes):
        rest, part = np.divmod(rest, size)
        parts.append(part)
    return parts[::-1]


def join_parts(parts: list[Ints], sizes: list[int]) -> Ints:
    """One number for actions of several parts, the last part running fastest."""
    flat = np.zeros_like(parts[0], np.int64)
    for part, size in zip(parts, sizes, strict=True):
        flat = flat * size + part
    return flat


def blocks_of(allowed: NDArray[np.bool_], sizes: list[int]) -> NDArray[np.bool_]:
    """Which parts occur in allowed flat actions `[N, A]`: `[N, sum(sizes)]`."""
    cube = allowed.reshape(len(allowed), *sizes)
    axes = range(1, cube.ndim)
    return np.concatenate(
        [cube.any(axis=tuple(other for other in axes if other != axis)) for axis in axes], axis=1
    )


def load_policy(folder: Path, spec: Spec | None = None) -> Policy:
    """Loads an export, after it has passed its self-test.

    Args:
        folder: of the export.
        spec: to take instead of the one in the folder.

    Raises:
        UserError: it is damaged, or does not do here what it did where it was exported.
    """
    spec = spec or Spec.read(folder)
    policy = Policy(spec, open_session(folder, spec.model))
    if policy.input_names != ["inputs", "memory" if spec.memory_size else "valid"]:
        raise UserError(
            f"{str(folder)!r} has memory_size {spec.memory_size} and a model that reads "
            f"{' and '.join(policy.input_names)}; export it again"
        )

    widths = {"inputs": spec.input_width, "outputs": sum(spec.action_sizes)}
    if spec.memory_size:
        widths["memory"] = spec.memory_size
    found = policy.widths
    for name, width in widths.items():
        if found.get(name) != width:
            raise UserError(
                f"the spec of {str(folder)!r} says {width} {name}, and its model has "
                f"{found.get(name)}; "
                "export it again"
            )

    def run(inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        return dict(zip(policy.output_names, policy.run(**inputs), strict=True))

    check_selftest(folder, spec.selftest, policy.input_names, run)
    return policy


def open_session(folder: Path, model: File) -> onnxruntime.InferenceSession:
    """The graph of an export, on one thread.

    Raises:
        UserError: it is damaged.
    """
    path = _verified(folder, model)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except _BAD_MODEL as error:
        raise UserError(f"cannot run the model of {str(folder)!r}: {error}") from error


def check_selftest(
    folder: Path,
    selftest: File,
    inputs: Sequence[str],
    run: Callable[[Mapping[str, NDArray[Any]]], Mapping[str, NDArray[Any]]],
) -> None:
    """Runs the self-test of an export, in a batch and with its first row alone.

    Args:
        folder: of the export.
        selftest: arrays of all inputs and outputs, by name.
        inputs: names of those that are read.
        run: the graph, from inputs to outputs by name.

    Raises:
        UserError: it does not do here what it did where it was exported.
    """
    path = _verified(folder, selftest)
    try:
        with np.load(path, allow_pickle=False) as file:
            test = {name: file[name] for name in file.files}
        batch = {name: test[name] for name in inputs}
        together, alone = run(batch), run({name: rows[:1] for name, rows in batch.items()})
        wanted = {name: test[name] for name in together}
    except _BAD_MODEL as error:
        raise UserError(f"cannot run the model of {str(folder)!r}: {error}") from error
    for name, rows in wanted.items():
        if not (agree(together[name], rows, rows) and agree(alone[name], rows[:1], rows)):
            raise UserError(
                f"the model of {str(folder)!r} fails its self-test on this machine; export it again"
            )


def agree(got: NDArray[Any], wanted: NDArray[Any], of_all: NDArray[Any]) -> bool:
    """Sums are rounded by their largest terms, so the error goes with the scale of all outputs.

    Actions that are not allowed have an output of -1e9, which is no scale.
    """
    if got.shape != wanted.shape:
        return False
    allowed = of_all[of_all > _FORBIDDEN]
    scale = max(1.0, float(np.abs(allowed).max(initial=0.0)))
    return bool(np.allclose(got, wanted, rtol=0.0, atol=TOLERANCE * scale))


def _verified(folder: Path, file: File) -> Path:
    path = folder / file.name
    if Path(file.name).name != file.name or not path.is_file():
        raise UserError(f"{str(folder)!r} lacks its file {file.name!r}; export it again")
    if file_sha256(path) != file.sha256:
        raise UserError(f"{str(path)!r} is damaged (its SHA-256 differs); export it again")
    return path
