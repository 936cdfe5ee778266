"""What every registered encoder owes: a stream read whole equals its steps, none looks ahead."""

import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from rllib_seq.config import SequenceConfig
from rllib_seq.errors import UserError
from rllib_seq.nn import (
    LENGTH,
    SequenceEncoder,
    SequentialPolicyNetwork,
    SequentialQNetwork,
    SequentialValueNetwork,
    StreamEncoder,
    build_actor_critic,
    encoder_names,
    make_encoder,
)
from rllib_seq.nn.encoders.padding import GROUP

modest = settings(deadline=None, max_examples=12)
every_encoder = pytest.mark.parametrize("name", encoder_names())
every_variant = pytest.mark.parametrize("for_values", [False, True], ids=["policy", "value"])
SMALL: dict[str, Any] = {
    "d_model": 8,
    "num_heads": 2,
    "transformer_layers": 2,
    "feedforward_dim": 16,
    "head_hidden": 8,
    "dropout": 0.0,
}
WINDOW = 4


def _encoder(name: str, for_values: bool = False, **config: Any) -> StreamEncoder:
    torch.manual_seed(0)
    settings = SequenceConfig(encoder=name, **{"window_length": WINDOW, **SMALL, **config})
    encoder = make_encoder(3, settings, for_values=for_values)
    with torch.no_grad():  # as if learned: some parameters start at zero, or alike
        for parameter in encoder.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return encoder.eval()


def _pieces(encoder: StreamEncoder, stream: Tensor, lengths: list[int]) -> tuple[Tensor, Any]:
    state, parts = encoder.initial_state(len(stream)), []
    for piece in stream.split(lengths, dim=1):
        part, state = encoder.sequence(state, piece)
        parts.append(part)
    return torch.cat(parts, dim=1), state


def _same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.allclose(a[k], b[k], atol=1e-5) for k in a)


@every_encoder
@every_variant
@modest
@given(
    window_length=st.integers(2, 24),
    fragments=st.lists(st.integers(1, 40) | st.just(70), min_size=1, max_size=3),
    seed=st.integers(0, 99),
)
def test_steps_and_fragments_equal_one_sequence(
    name: str, for_values: bool, window_length: int, fragments: list[int], seed: int
) -> None:
    encoder = _encoder(name, for_values, window_length=window_length)
    stream = torch.randn(2, sum(fragments), 3, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        whole, after = encoder.sequence(encoder.initial_state(2), stream)
        assert whole.shape == (2, stream.shape[1], encoder.output_dim)
        assert {k: tuple(v.shape[1:]) for k, v in after.items()} == encoder.state_shapes
        assert all(part.dtype == torch.float32 for part in after.values())
        assert bool((after[LENGTH] > 0).all())
        for lengths in (fragments, [1] * stream.shape[1]):
            parts, end = _pieces(encoder, stream, lengths)
            assert torch.allclose(parts, whole, atol=1e-5) and _same(end, after)


@every_encoder
def test_a_window_of_256_steps(name: str) -> None:
    encoder = _encoder(name, window_length=256, transformer_layers=1)
    stream = torch.randn(1, 300, 3)
    with torch.no_grad():
        whole, after = encoder.sequence(encoder.initial_state(1), stream)
        parts, end = _pieces(encoder, stream, [1] * 300)
    assert torch.allclose(parts, whole, atol=1e-5) and _same(end, after)


@every_encoder
@every_variant
@modest
@given(
    lens=st.lists(st.integers(0, 9), min_size=1, max_size=5),
    before=st.integers(0, 5),
    garbage=st.sampled_from([math.nan, math.inf, 1e6]),
)
def test_padding_leaves_no_trace(
    name: str, for_values: bool, lens: list[int], before: int, garbage: float
) -> None:
    encoder, batch = _encoder(name, for_values), len(lens)
    torch.manual_seed(sum(lens))
    state = encoder.initial_state(batch)
    if before:
        _, state = encoder.sequence(state, torch.randn(batch, before, 3))
    inputs = torch.randn(batch, 9, 3)
    for row, real in enumerate(lens):
        inputs[row, real:] = garbage
    features, after = encoder.sequence(state, inputs, torch.tensor(lens))
    assert torch.allclose(encoder.features(state, inputs, torch.tensor(lens)), features, atol=1e-5)
    for row, real in enumerate(lens):
        one = {k: part[row : row + 1] for k, part in state.items()}
        end = one
        if real:
            expected, end = encoder.sequence(one, inputs[row : row + 1, :real])
            assert torch.allclose(features[row, :real], expected[0], atol=1e-5)
        assert not features[row, real:].any()
        assert _same({k: part[row : row + 1] for k, part in after.items()}, end)


@every_encoder
def test_training_reads_many_sequences_as_one_by_one(name: str) -> None:
    encoder = _encoder(name)
    torch.manual_seed(1)
    lens = torch.randint(0, 12, (2 * GROUP // 12,))
    inputs = torch.randn(len(lens), 12, 3)
    with torch.no_grad():
        _, state = encoder.sequence(encoder.initial_state(len(lens)), torch.randn(len(lens), 2, 3))
    gradients = []
    for read in (encoder.features, lambda *streams: encoder.sequence(*streams)[0]):
        encoder.zero_grad()
        read(state, inputs, lens).square().sum().backward()
        gradients.append([parameter.grad.clone() for parameter in encoder.parameters()])
    for ours, theirs in zip(*gradients, strict=True):
        scale = theirs.abs().max() + 1e-6
        assert torch.allclose(ours / scale, theirs / scale, atol=1e-4)


@every_encoder
@every_variant
def test_no_step_sees_the_future(name: str, for_values: bool) -> None:
    encoder = _encoder(name, for_values, window_length=6)
    reach = encoder.reach(encoder.config) or 40
    inputs = torch.randn(1, 40, 3, requires_grad=True)
    features, _ = encoder.sequence(encoder.initial_state(1), inputs)
    for step in (0, 5, 17, 31, 39):
        (grad,) = torch.autograd.grad(features[0, step].sum(), inputs, retain_graph=True)
        seen = grad[0].abs().sum(1) > 0
        assert not seen[step + 1 :].any()
        assert bool(seen[max(0, step + 1 - reach) : step + 1].all())
        assert not seen[: max(0, step + 1 - reach)].any()


@every_encoder
def test_a_state_that_is_data_does_not_know_the_weights(name: str) -> None:
    encoder, stream = _encoder(name), torch.randn(2, 9, 3)
    _, before = encoder.sequence(encoder.initial_state(2), stream)
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.add_(0.1)
    _, after = encoder.sequence(encoder.initial_state(2), stream)
    assert _same(before, after) == (encoder.reach(encoder.config) is not None)


@every_encoder
def test_windows_of_what_an_encoder_reaches_are_its_streams(name: str) -> None:
    encoder, stream = _encoder(name), torch.randn(1, 9, 3)
    reach = encoder.reach(encoder.config) or 9
    features, _ = encoder.sequence(encoder.initial_state(1), stream)
    window = encoder.windows(stream[:, -reach:], torch.ones(1, reach, dtype=torch.bool))
    assert torch.allclose(window, features[:, -1], atol=1e-5)


def _networks(name: str) -> Iterator[tuple[nn.Module, int]]:
    torch.manual_seed(0)
    settings = {"encoder": name, "window_length": WINDOW, **SMALL}
    yield SequenceEncoder(3, **settings), 8
    yield SequentialQNetwork(3, 2, dueling=True, **settings), 2
    yield SequentialPolicyNetwork(3, 4, **settings), 4
    yield SequentialValueNetwork(3, **settings), 1


@every_encoder
def test_gradient_reaches_every_parameter(name: str) -> None:
    for network, _ in _networks(name):
        network(torch.randn(4, 8, 3), torch.ones(4, 8, dtype=torch.bool)).square().sum().backward()
        for each, parameter in network.named_parameters():
            assert parameter.grad is not None and parameter.grad.abs().sum() > 0, each


@every_encoder
@modest
@given(
    mask=st.lists(
        st.lists(st.booleans(), min_size=6, max_size=6).filter(any), min_size=1, max_size=4
    ),
    garbage=st.sampled_from([1e6, math.nan, math.inf]),
)
def test_slots_that_are_not_valid_change_nothing(
    name: str, mask: list[list[bool]], garbage: float
) -> None:
    valid = torch.tensor(mask)
    states = torch.randn(*valid.shape, 3)
    dirty = states.masked_fill(~valid[..., None], garbage)
    for network, outputs in _networks(name):
        network.eval()
        output = network(dirty, valid)
        assert output.shape == (len(mask), outputs)
        assert torch.allclose(output, network(states, valid), atol=1e-5)


@pytest.mark.parametrize("name", [name for name in encoder_names() if name != "window"])
@modest
@given(rows=st.lists(st.lists(st.booleans(), min_size=6, max_size=6).filter(any), max_size=4))
def test_windows_are_streams_of_their_valid_slots(name: str, rows: list[list[bool]]) -> None:
    """(A window that knows the age of its slots has other features where it has holes.)"""
    encoder = _encoder(name)
    for keep in torch.tensor(rows, dtype=torch.bool):
        stream = torch.randn(1, 6, 3)
        window = encoder.windows(stream, keep[None])
        features, _ = encoder.sequence(encoder.initial_state(1), stream[:, keep])
        assert torch.allclose(window, features[:, -1], atol=1e-5)


@every_encoder
def test_order_matters_and_nothing_in_the_window_is_forgotten(name: str) -> None:
    encoder = _encoder(name, window_length=8)
    inputs, valid = torch.randn(4, 8, 3), torch.ones(4, 8, dtype=torch.bool)
    output = encoder.windows(inputs, valid)
    for slot in range(8):
        changed = inputs.clone()
        changed[:, slot] += 1.0
        assert (encoder.windows(changed, valid) - output).abs().amax(1).min() > 1e-5, slot
    swapped = encoder.windows(inputs[:, [1, 0, *range(2, 8)]], valid)
    assert (swapped - output).abs().amax(1).min() > 1e-5


@every_encoder
def test_shapes_that_do_not_fit_are_named(name: str) -> None:
    encoder = _encoder(name)
    state = encoder.initial_state(2)
    with pytest.raises(ValueError, match=r"inputs must be \[B, T, 3\]; got \[2, 5, 4\]"):
        encoder.sequence(state, torch.zeros(2, 5, 4))
    with pytest.raises(ValueError, match=r"of the state must be \[3, .*\]; got \[2, "):
        encoder.sequence(state, torch.zeros(3, 5, 3))
    with pytest.raises(ValueError, match=r"the state has no '"):
        encoder.sequence({LENGTH: state[LENGTH]}, torch.zeros(2, 5, 3))
    with pytest.raises(ValueError, match=r"seq_lens must be \[2\].*not \[1\]"):
        encoder.sequence(state, torch.zeros(2, 5, 3), torch.tensor([5]))
    with pytest.raises(ValueError, match="window 0 has no valid slot"):
        encoder.windows(torch.zeros(1, 5, 3), torch.zeros(1, 5, dtype=torch.bool))


@every_encoder
@pytest.mark.parametrize("share", [False, True], ids=["two", "shared"])
def test_policy_and_value_follow_the_same_streams(name: str, share: bool) -> None:
    torch.manual_seed(0)
    settings = SequenceConfig(encoder=name, window_length=WINDOW, share_encoder=share, **SMALL)
    networks = build_actor_critic(3, 4, settings)
    stream, lens = torch.randn(2, 9, 3), torch.tensor([9, 4])
    state = networks.initial_state(2)
    whole = networks.read(state, stream, lens)
    trained = networks.read(state, stream, lens, carry=False)
    assert torch.allclose(trained.features, whole.features, atol=1e-5)
    assert torch.allclose(trained.value_features(), whole.value_features(), atol=1e-5)
    for step in range(9):
        step_lens = (lens > step).long()
        reading = networks.read(state, stream[:, step : step + 1], step_lens)
        state = reading.state
        for ours, theirs in (
            (reading.features, whole.features),
            (reading.value_features(), whole.value_features()),
        ):
            assert torch.allclose(ours[:, 0], theirs[:, step], atol=1e-5)
    assert _same(state, whole.state)
    assert {k: tuple(v.shape[1:]) for k, v in state.items()} == networks.state_shapes
    same_encoder = whole.features is whole.value_features()
    assert same_encoder == share
    assert networks.value_head(whole.value_features()).shape == (2, 9, 1)


def test_settings_that_make_no_sense_for_an_encoder_are_refused() -> None:
    with pytest.raises(UserError, match="encoder='casual' is unknown; did you mean 'causal'"):
        SequenceEncoder(3, encoder="casual")
    with pytest.raises(UserError, match="window_length=1 .* give at least 2, or encoder='window'"):
        SequenceEncoder(3, encoder="causal", window_length=1)
    for name in ("causal", "lstm"):
        with pytest.raises(UserError, match=f"lstm_layers=0 leaves encoder='{name}' without"):
            SequenceEncoder(3, encoder=name, lstm_layers=0)
        with pytest.raises(UserError, match="pooling='mean' is for encoder='window'"):
            SequenceEncoder(3, encoder=name, pooling="mean")
        with pytest.raises(UserError, match=r"unknown key 'layers' .*; Valid keys: timescale"):
            SequenceEncoder(3, encoder=name, encoder_config={"layers": 2})
    with pytest.raises(UserError, match=r"unknown key 'layers' in encoder_config .*has none"):
        SequenceEncoder(3, encoder="window", encoder_config={"layers": 2})


@pytest.mark.parametrize("encoder", ["lstm", "causal"])
def test_a_timescale_gives_a_new_lstm_long_reaches(encoder: str) -> None:
    """A cell that keeps sigmoid(bias) a step reaches back 1 / (1 - sigmoid(bias)) steps."""
    settings: dict[str, Any] = {"encoder": encoder, "d_model": 64}
    settings["encoder_config"] = {"timescale": 100}
    stem = make_encoder(5, SequenceConfig(**settings)).stem
    for layer in range(stem.lstm.num_layers):
        enter, forget, *_ = stem.lstm.get_parameter(f"bias_ih_l{layer}").detach().chunk(4)
        reach = 1 / (1 - forget.sigmoid())
        assert reach.min() >= 2 and reach.max() <= 101
        assert reach.mean() == pytest.approx(51.5, abs=15)  # uniform in 2..101
        torch.testing.assert_close(enter, -forget)
    settings["encoder_config"] = {"timescale": -1}
    with pytest.raises(UserError, match="timescale=-1 must be an int of at least 0"):
        make_encoder(5, SequenceConfig(**settings))
