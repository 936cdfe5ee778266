"""One pass over a stream equals its steps, however it is cut, and never looks ahead."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from rllib_seq.errors import UserError
from rllib_seq.nn import (
    CausalEncoder,
    CausalState,
    SequenceEncoder,
    SequentialPolicyNetwork,
    SequentialQNetwork,
    SequentialValueNetwork,
)
from rllib_seq.nn.causal import _GROUP

modest = settings(deadline=None, max_examples=15)
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
    encoder = SequenceEncoder(3, window_length=window_length, **{**SMALL, **config}).causal
    with torch.no_grad():
        for name, parameter in encoder.named_parameters():
            if name.endswith(".bias") and parameter.dim() == 2:  # of ages: as if learned
                parameter.normal_()
    return encoder.eval()


def _steps(encoder: CausalEncoder, state: CausalState, inputs: Tensor) -> tuple[Tensor, Any]:
    outputs = []
    for step in range(inputs.shape[1]):
        output, state = encoder.sequence(state, inputs[:, step : step + 1])
        outputs.append(output)
    return torch.cat(outputs, dim=1), state


def _same(a: CausalState, b: CausalState) -> bool:
    return all(torch.allclose(x, y, atol=1e-5) for x, y in zip(a, b, strict=True))


@modest
@given(
    window_length=st.integers(2, 24),
    fragments=st.lists(st.integers(1, 40) | st.just(70), min_size=1, max_size=4),
    blocks=st.integers(0, 2),
    seed=st.integers(0, 99),
)
def test_steps_and_fragments_equal_one_sequence(
    window_length: int, fragments: list[int], blocks: int, seed: int
) -> None:
    encoder = _encoder(window_length)
    encoder.blocks = encoder.blocks[:blocks]
    stream = torch.randn(2, sum(fragments), 3, generator=torch.Generator().manual_seed(seed))
    whole, after = encoder.sequence(encoder.initial_state(2), stream)
    one_by_one, end = _steps(encoder, encoder.initial_state(2), stream)
    assert torch.allclose(one_by_one, whole, atol=1e-5) and _same(end, after)
    state, parts = encoder.initial_state(2), []
    for piece in stream.split(fragments, dim=1):
        part, state = encoder.sequence(state, piece)
        parts.append(part)
    assert torch.allclose(torch.cat(parts, dim=1), whole, atol=1e-5) and _same(state, after)


def test_a_window_of_256_steps() -> None:
    encoder = _encoder(256, transformer_layers=1)
    stream = torch.randn(1, 300, 3)
    whole, after = encoder.sequence(encoder.initial_state(1), stream)
    one_by_one, end = _steps(encoder, encoder.initial_state(1), stream)
    assert torch.allclose(one_by_one, whole, atol=1e-5) and _same(end, after)


@modest
@given(
    lens=st.lists(st.integers(0, 9), min_size=1, max_size=5),
    before=st.integers(0, 5),
    garbage=st.sampled_from([math.nan, math.inf, 1e6]),
)
def test_padding_leaves_no_trace(lens: list[int], before: int, garbage: float) -> None:
    encoder, batch = _encoder(), len(lens)
    torch.manual_seed(sum(lens))
    state = encoder.initial_state(batch)
    if before:
        _, state = encoder.sequence(state, torch.randn(batch, before, 3))
    inputs = torch.randn(batch, 9, 3)
    for row, real in enumerate(lens):
        inputs[row, real:] = garbage
    outputs, after = encoder.sequence(state, inputs, torch.tensor(lens))
    alone = encoder.outputs(state, inputs, torch.tensor(lens))
    assert torch.allclose(alone, outputs, atol=1e-5)
    for row, real in enumerate(lens):
        one = CausalState(*(part[row : row + 1] for part in state))
        end = one
        if real:
            expected, end = encoder.sequence(one, inputs[row : row + 1, :real])
            assert torch.allclose(outputs[row, :real], expected[0], atol=1e-5)
        assert not outputs[row, real:].any()
        assert _same(CausalState(*(part[row : row + 1] for part in after)), end)


def test_sequences_read_in_groups_are_those_read_one_by_one() -> None:
    encoder = _encoder()
    torch.manual_seed(1)
    lens = torch.randint(0, 12, (3 * _GROUP // 12,))
    inputs = torch.randn(len(lens), 12, 3)
    with torch.no_grad():
        _, state = encoder.sequence(encoder.initial_state(len(lens)), torch.randn(len(lens), 2, 3))
    outputs = encoder.outputs(state, inputs, lens)
    assert torch.allclose(outputs, encoder.sequence(state, inputs, lens)[0], atol=1e-5)
    gradients = []
    for read in (encoder.outputs, lambda *streams: encoder.sequence(*streams)[0]):
        encoder.zero_grad()
        read(state, inputs, lens).square().sum().backward()
        gradients.append([parameter.grad.clone() for parameter in encoder.parameters()])
    for ours, theirs in zip(*gradients, strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-4, atol=1e-4)


def test_what_stands_in_the_state_of_a_new_stream_changes_nothing() -> None:
    encoder, inputs = _encoder(), torch.randn(2, 6, 3)
    dirty = CausalState(*(part + math.nan for part in encoder.initial_state(2)[:3]), torch.zeros(2))
    dirty = dirty._replace(length=torch.zeros(2, dtype=torch.long))
    fresh, _ = encoder.sequence(encoder.initial_state(2), inputs)
    assert torch.equal(encoder.sequence(dirty, inputs)[0], fresh)


def test_no_step_sees_the_future() -> None:
    encoder = _encoder(6)
    inputs = torch.randn(1, 40, 3, requires_grad=True)
    outputs, _ = encoder.sequence(encoder.initial_state(1), inputs)
    for step in (0, 5, 17, 31, 39):
        (grad,) = torch.autograd.grad(outputs[0, step].sum(), inputs, retain_graph=True)
        seen = grad[0].abs().sum(1) > 0
        assert not seen[step + 1 :].any() and bool(seen[: step + 1].all())


def test_attention_reaches_the_window_and_no_further_and_the_lstm_beyond() -> None:
    encoder = _encoder(4, transformer_layers=1)
    inputs = torch.randn(1, 30, 3, requires_grad=True)
    state = encoder.initial_state(1)
    outputs, _ = encoder.sequence(state, inputs)
    (grad,) = torch.autograd.grad(outputs[0, -1].sum(), inputs)
    assert grad[0, 0].abs().sum() > 0
    with torch.no_grad():
        for name, weight in encoder.lstm.named_parameters():
            if name.startswith("weight_hh"):
                weight.zero_()
            elif name.startswith("bias_ih"):
                weight.chunk(4)[1].fill_(-1e3)  # the forget gate: it forgets all
    outputs, _ = encoder.sequence(state, inputs)
    (grad,) = torch.autograd.grad(outputs[0, -1].sum(), inputs)
    reach = grad[0].abs().sum(1) > 0
    assert reach.tolist() == [False] * 23 + [True] * 7  # 2 attentions, 3 steps back each


def _networks() -> list[nn.Module]:
    torch.manual_seed(0)
    return [
        SequentialQNetwork(3, 2, dueling=True, **SMALL),
        SequentialPolicyNetwork(3, 4, **SMALL),
        SequentialValueNetwork(3, **SMALL),
    ]


@pytest.mark.parametrize("index", [0, 1, 2])
def test_gradient_reaches_every_parameter(index: int) -> None:
    network = _networks()[index]
    network(torch.randn(4, 8, 3), torch.ones(4, 8, dtype=torch.bool)).square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


@modest
@given(
    mask=st.lists(
        st.lists(st.booleans(), min_size=6, max_size=6).filter(any), min_size=1, max_size=4
    ),
    garbage=st.sampled_from([1e6, math.nan, math.inf]),
)
def test_windows_are_streams_of_their_valid_slots(mask: list[list[bool]], garbage: float) -> None:
    valid = torch.tensor(mask)
    states = torch.randn(*valid.shape, 3)
    dirty = states.masked_fill(~valid[..., None], garbage)
    for network, outputs in zip(_networks(), (2, 4, 1), strict=True):
        output = network(dirty, valid)
        assert output.shape == (len(mask), outputs)
        for row, keep in enumerate(valid):
            alone = network(states[row, keep][None], keep[keep][None])
            assert torch.allclose(output[row], alone[0], atol=1e-5)


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
    encoder = CausalEncoder(1, SequenceEncoder(1, **SMALL).config, blocks=1, outputs=1)
    optimiser = torch.optim.Adam(encoder.parameters(), lr=1e-2)
    for _ in range(150):
        inputs = torch.randn(16, 24, 1)
        outputs, _ = encoder.sequence(encoder.initial_state(16), inputs)
        loss = (outputs[:, 5:] - inputs[:, :-5]).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss.item() < 0.2


def test_errors() -> None:
    encoder = _encoder()
    state = encoder.initial_state(2)
    with pytest.raises(ValueError, match=r"inputs must be \[B, T, 3\]; got \[2, 5, 4\]"):
        encoder.sequence(state, torch.zeros(2, 5, 4))
    with pytest.raises(ValueError, match=r"cache of the state must be \[3, 3, 64\]; got \[2, "):
        encoder.sequence(
            CausalState(*(part[[0, 1, 1]] for part in state))._replace(cache=state.cache),
            torch.zeros(3, 5, 3),
        )
    with pytest.raises(ValueError, match=r"seq_lens must be \[2\].*not \[1\]"):
        encoder.sequence(state, torch.zeros(2, 5, 3), torch.tensor([5]))
    with pytest.raises(ValueError, match="window 0 has no valid slot"):
        encoder(torch.zeros(1, 5, 3), torch.zeros(1, 5, dtype=torch.bool))
    with pytest.raises(UserError, match="encoder='casual' is unknown; did you mean 'causal'"):
        SequenceEncoder(3, encoder="casual")
    with pytest.raises(UserError, match="window_length=1 .* give at least 2, or encoder='window'"):
        SequenceEncoder(3, encoder="causal", window_length=1)
