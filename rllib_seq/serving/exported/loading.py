"""Exports of every kind.

- `load_export`: a bidder, or a model of streams, verified
"""

from __future__ import annotations

from pathlib import Path

from rllib_seq.serving.exported.policy import Policy, load_policy
from rllib_seq.serving.streams.model import StreamModel, load_stream_model
from rllib_seq.serving.streams.spec import stream_kind


def load_export(folder: Path) -> Policy | StreamModel:
    """Loads an export, after it has passed its self-test.

    Raises:
        UserError: it is damaged, or does not do here what it did where it was exported.
    """
    return load_policy(folder) if stream_kind(folder) is None else load_stream_model(folder)
