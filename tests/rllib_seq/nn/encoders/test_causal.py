"""What is particular to the causal encoder: how far attention and LSTM reach."""

import math
from typing import Any

import torch

from rllib_seq.config import SequenceConfig
from rllib_seq.nn.encoders import CausalEncoder

SMALL: dict[str, Any] = {
    "encoder": "causal",
    "d_model": 8,
    "num_heads": 2,
    "feedforward_dim": 16,
    "head_hidden": 8,
    "dropout": 0.0,
}


def _encoder(window_length: int = 4, **config: Any) -> CausalEncoder:
    torch.manual_seed(0)
    settings = SequenceConfig(window_length=window_length, **{**SMALL, **config})
    encoder = CausalEncoder(3, settings)
    with torch.no_grad():
        for name, parameter in encoder.named_parameters():
            if name.endswith(".bias") and parameter.dim() == 2:  # of ages: as if learned
                parameter.normal_()
    return encoder.eval()


def test_what_stands_in_the_state_of_a_new_stream_changes_nothing() -> None:
    encoder, inputs = _encoder(), torch.randn(2, 6, 3)
    dirty = {name: part + math.nan for name, part in encoder.initial_state(2).items()}
    dirty["length"] = torch.zeros(2, 1)
    fresh, _ = encoder.sequence(encoder.initial_state(2), inputs)
    assert torch.equal(encoder.sequence(dirty, inputs)[0], fresh)


def test_attention_reaches_the_window_and_no_further_and_the_lstm_beyond() -> None:
    encoder = _encoder(4, transformer_layers=1)
    inputs = torch.randn(1, 30, 3, requires_grad=True)
    state = encoder.initial_state(1)
    outputs, _ = encoder.sequence(state, inputs)
    (grad,) = torch.autograd.grad(outputs[0, -1].sum(), inputs)
    assert grad[0, 0].abs().sum() > 0
    with torch.no_grad():
        for name, weight in encoder.stem.lstm.named_parameters():
            if name.startswith("weight_hh"):
                weight.zero_()
            elif name.startswith("bias_ih"):
                weight.chunk(4)[1].fill_(-1e3)  # the forget gate: it forgets all
    outputs, _ = encoder.sequence(state, inputs)
    (grad,) = torch.autograd.grad(outputs[0, -1].sum(), inputs)
    reach = grad[0].abs().sum(1) > 0
    assert reach.tolist() == [False] * 23 + [True] * 7  # 2 attentions, 3 steps back each


def test_order_matters_and_nothing_in_the_window_is_forgotten() -> None:
    encoder = _encoder(8)
    inputs, valid = torch.randn(4, 8, 3), torch.ones(4, 8, dtype=torch.bool)
    output = encoder(inputs, valid)
    for slot in range(8):
        changed = inputs.clone()
        changed[:, slot] += 1.0
        assert (encoder(changed, valid) - output).abs().amax(1).min() > 1e-5, slot
    assert (encoder(inputs[:, [1, 0, *range(2, 8)]], valid) - output).abs().amax(1).min() > 1e-5


def test_it_learns_what_attention_alone_can_reach() -> None:
    """The target is the input of five steps ago, at every step of one pass."""
    torch.manual_seed(0)
    encoder = CausalEncoder(1, SequenceConfig(**{**SMALL, "transformer_layers": 1}))
    optimiser = torch.optim.Adam(encoder.parameters(), lr=1e-2)
    for _ in range(150):
        inputs = torch.randn(16, 24, 1)
        outputs, _ = encoder.sequence(encoder.initial_state(16), inputs)
        loss = (outputs[:, 5:, :1] - inputs[:, :-5]).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss.item() < 0.2
