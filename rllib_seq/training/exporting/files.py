"""Torch graphs to ONNX, and files that carry their checksum in their name.

- `onnx_of`: a module as ONNX, with any batch
- `written`, `remove_older`: files of an export
- `export_folder`: where they go
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
import os
import platform
import warnings
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tree
from numpy.typing import NDArray
from torch import Tensor, nn

from rllib_seq.errors import UserError
from rllib_seq.serving.exported.spec import File


def onnx_of(
    graph: nn.Module, arguments: Mapping[str, Any], inputs: Sequence[str], outputs: Sequence[str]
) -> bytes:
    """A module as ONNX.

    Args:
        graph: in evaluation mode.
        arguments: an example by name; tensors `[N, ...]`, in dicts or not.
        inputs: names of the tensors, in order.
        outputs: the same of what it returns.

    Raises:
        UserError: it cannot be traced.
    """
    batch = torch.export.Dim("batch", min=1)
    shapes = tree.map_structure(lambda _: {0: batch}, dict(arguments))
    try:
        with _quiet(), _unchecked():
            program = torch.onnx.export(
                graph,
                kwargs=dict(arguments),
                dynamo=True,
                dynamic_shapes=shapes,
                input_names=inputs,
                output_names=outputs,
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        lines = str(error.__cause__ or error).strip().splitlines() or ["it does not say why"]
        raise UserError(
            f"the network cannot be traced for ONNX ({lines[0]}); act with it in Python, by "
            "rllib_seq.load_policy(checkpoint).predict"
        ) from error
    assert program is not None
    return bytes(program.model_proto.SerializeToString(deterministic=True))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """What the exporter says of itself is not for the user."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


@contextlib.contextmanager
def _unchecked() -> Iterator[None]:
    """Torch's distributions look at values, which a tracer does not have."""
    kind = torch.distributions.Distribution
    checked = kind._validate_args
    kind.set_default_validate_args(False)
    try:
        yield
    finally:
        kind.set_default_validate_args(checked)


def arrays_of(arrays: Mapping[str, NDArray[Any] | Tensor]) -> bytes:
    """Arrays by name, as `np.load` reads them."""
    file = io.BytesIO()
    named: dict[str, Any] = {name: np.asarray(rows) for name, rows in arrays.items()}
    np.savez(file, **named)
    return file.getvalue()


def port_of(rows: NDArray[Any]) -> dict[str, Any]:
    """Shape, without the batch dimension, and type of an input or output."""
    return {"shape": list(rows.shape[1:]), "dtype": str(rows.dtype)}


def export_folder(folder: Path) -> None:
    """Makes the folder of an export.

    Raises:
        UserError: it cannot be made.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{str(folder)!r} is a file; give a folder for the export")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make {str(folder)!r}: {error.strerror}") from error


def written(folder: Path, name: str, ending: str, content: bytes) -> File:
    """Writes a file whose name carries the first letters of its SHA-256."""
    sha256 = hashlib.sha256(content).hexdigest()
    path = folder / f"{name}-{sha256[:12]}{ending}"
    aside = folder / f".{path.name}.part"
    aside.write_bytes(content)
    os.replace(aside, path)
    return File(path.name, sha256)


def remove_older(folder: Path, *kept: File) -> None:
    """Removes the files of earlier exports."""
    names = [file.name for file in kept]
    for old in [*folder.glob("model-*.onnx"), *folder.glob("selftest-*.npz")]:
        if old.name not in names:
            old.unlink()


def versions() -> dict[str, str]:
    """What an export is made with."""
    packages = ("rllib-seq", "torch", "onnx", "onnxruntime")
    return {"python": platform.python_version(), **{name: version(name) for name in packages}}
