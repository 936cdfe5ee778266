"""Write an encoder: a GRU as the memory, registered under a name, trained on `Recall`.

    python examples/tutorials/write_encoder.py

An encoder maps a state and step inputs to features and a state. Zeros are the state of a new
stream, the features of a step must not depend on later steps, and padding must change nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from own_environment import config, train
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from rllib_seq.config import SequenceConfig
from rllib_seq.models import use_sequence_module
from rllib_seq.nn import (
    LENGTH,
    StreamEncoder,
    count_steps,
    make_encoder,
    register_encoder,
)


class GRUEncoder(StreamEncoder):
    """A GRU over the raw step inputs."""

    defaults = {"cells": 32}  # what `encoder_config` may set

    def __init__(self, input_dim: int, config: SequenceConfig) -> None:
        super().__init__(input_dim, config)
        self.output_dim = self.settings["cells"]
        self.cell = nn.GRUCell(input_dim, self.output_dim)
        self.state_shapes = {"hidden": (self.output_dim,), LENGTH: (1,)}

    def sequence(
        self,
        state: Mapping[str, Tensor],
        inputs: Tensor,
        seq_lens: Tensor | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Read the steps one by one; see `StreamEncoder.sequence`."""
        self.check_sequence(state, inputs, seq_lens)
        hidden, features = state["hidden"], []
        for step in range(inputs.shape[1]):
            read = self.cell(inputs[:, step], hidden)  # (batch, cells)
            if seq_lens is not None:
                real = (step < seq_lens)[:, None]
                hidden = torch.where(real, read, hidden)
                read = torch.where(real, read, torch.zeros_like(read))
            else:
                hidden = read
            features.append(read)
        length = count_steps(state, inputs, seq_lens)
        return torch.stack(features, 1), {"hidden": hidden, LENGTH: length}


register_encoder("gru", GRUEncoder)


def check(cuts: int = 3) -> float:
    """Read a stream whole and in pieces; return the largest difference."""
    encoder = make_encoder(5, SequenceConfig(encoder="gru"))
    inputs = torch.randn(2, 12, 5)
    with torch.no_grad():
        whole, _ = encoder.sequence(encoder.initial_state(2), inputs)
        state, pieces = encoder.initial_state(2), []
        for piece in inputs.chunk(cuts, dim=1):
            features, state = encoder.sequence(state, piece)
            pieces.append(features)
    return float((whole - torch.cat(pieces, 1)).abs().max())


def main(steps: int = 20_000, folder: Path = Path("gru-policy")) -> dict[str, Any]:
    """Check the encoder, train with it, print a table."""
    mine = config.copy(copy_frozen=False)
    use_sequence_module(mine, encoder="gru", encoder_config={"cells": 32})
    result = {
        "difference of whole and pieces": check(),
        "mean return": train(mine, steps, folder),
    }
    table = Table("encoder gru", "")
    for name, value in result.items():
        table.add_row(name, f"{value:.3g}")
    Console().print(table)
    return result


if __name__ == "__main__":
    main()
