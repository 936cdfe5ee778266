"""Encoders from outside the package."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rllib_seq.config import SequenceConfig
from rllib_seq.errors import UserError
from rllib_seq.nn import (
    LENGTH,
    SequentialQNetwork,
    SequentialValueNetwork,
    StreamEncoder,
    count_steps,
    encoder_class,
    make_encoder,
    register_encoder,
)


class Average(StreamEncoder):
    """The mean of all steps so far, as features."""

    defaults = {"scale": 1.0}

    def __init__(self, input_dim: int, config: SequenceConfig) -> None:
        super().__init__(input_dim, config)
        self.output_dim = input_dim
        self.weight = nn.Parameter(torch.full((), self.settings["scale"]))
        self.state_shapes = {"total": (input_dim,), LENGTH: (1,)}

    def sequence(
        self, state: Mapping[str, Tensor], inputs: Tensor, seq_lens: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        self.check_sequence(state, inputs, seq_lens)
        if seq_lens is not None:
            real = torch.arange(inputs.shape[1]) < seq_lens[:, None]
            inputs = inputs.masked_fill(~real[..., None], 0.0)
        totals = state["total"][:, None] + inputs.cumsum(1)
        steps = state[LENGTH] + torch.arange(1, inputs.shape[1] + 1)  # (B, T)
        features = self.weight * totals / steps[..., None]
        if seq_lens is not None:
            features = features.masked_fill(~real[..., None], 0.0)
        return features, {"total": totals[:, -1], LENGTH: count_steps(state, inputs, seq_lens)}


@pytest.fixture
def average(monkeypatch: pytest.MonkeyPatch) -> str:
    """Registers it; the name is the test's own, because registrations stay."""
    register_encoder("average_of_test", Average)
    return "average_of_test"


def test_an_encoder_of_ones_own_is_in_every_network(average: str) -> None:
    windows = torch.tensor([[[1.0], [5.0], [3.0]], [[9.0], [2.0], [9.0]]])
    valid = torch.tensor([[True, False, True], [False, True, False]])
    encoder = make_encoder(1, SequenceConfig(encoder=average, encoder_config={"scale": 10.0}))
    assert encoder.windows(windows, valid).tolist() == [[20.0], [20.0]]
    for network in (
        SequentialQNetwork(1, 3, encoder=average),
        SequentialValueNetwork(1, encoder=average),
    ):
        first, second = network.eval()(windows, valid)
        assert torch.allclose(first, second)  # 2 is the mean of both


def test_settings_of_its_own_are_checked(average: str) -> None:
    settings: dict[str, Any] = {"encoder": average, "encoder_config": {"scales": 2.0}}
    with pytest.raises(UserError, match="unknown key 'scales'.*did you mean 'scale'"):
        SequentialQNetwork(1, 3, **settings)


def test_what_is_no_encoder_is_refused() -> None:
    with pytest.raises(UserError, match="must be a subclass of rllib_seq.nn.StreamEncoder"):
        register_encoder("linear", nn.Linear)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="encoder name 'my encoder' must be letters"):
        register_encoder("my encoder", Average)
    with pytest.raises(UserError, match=r"encoder='averge' is unknown; .*Choose one of: window, "):
        encoder_class("averge")


def test_an_encoder_has_to_say_what_it_carries() -> None:
    class Forgetful(Average):
        def __init__(self, input_dim: int, config: SequenceConfig) -> None:
            super().__init__(input_dim, config)
            del self.state_shapes[LENGTH]

    class Short(Average):
        @classmethod
        def reach(cls, config: SequenceConfig) -> int:
            return 5

    register_encoder("forgetful_of_test", Forgetful)
    with pytest.raises(TypeError, match=r"Forgetful must set .* 'length': \(1,\)"):
        make_encoder(1, SequenceConfig(encoder="forgetful_of_test"))
    register_encoder("short_of_test", Short)
    with pytest.raises(TypeError, match=r"reach of 5, so its state_shapes must be .*\(4, 1\)"):
        make_encoder(1, SequenceConfig(encoder="short_of_test"))
