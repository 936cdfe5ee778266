"""The encoder reads what it should, in order, and nothing else."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from rllib_seq.config import SequenceConfig
from rllib_seq.errors import UserError
from rllib_seq.nn import SequenceEncoder
from rllib_seq.nn.encoders import WindowEncoder
from rllib_seq.nn.encoders.attention import Attention, Packing, TransformerBlock
from rllib_seq.nn.encoders.bilstm import MaskedBiLSTM, age_encoding
from rllib_seq.nn.layers import initialise

modest = settings(deadline=None, max_examples=25)
rows = st.lists(st.booleans(), min_size=6, max_size=6).filter(any)
masks = st.lists(rows, min_size=1, max_size=5)


def _encoder(input_dim: int = 5, **config: Any) -> WindowEncoder:
    return WindowEncoder(input_dim, SequenceConfig(**config))


@pytest.fixture(scope="module")
def encoder() -> WindowEncoder:
    torch.manual_seed(0)
    return _encoder(d_model=16, feedforward_dim=32, head_hidden=16).eval()


def _full(batch: int, slots: int) -> Tensor:
    return torch.ones(batch, slots, dtype=torch.bool)


@modest
@given(mask=masks, garbage=st.sampled_from([1e6, -1e6, math.nan, math.inf]))
def test_slots_that_are_not_valid_change_nothing(
    encoder: WindowEncoder, mask: list[list[bool]], garbage: float
) -> None:
    valid = torch.tensor(mask)
    inputs = torch.randn(*valid.shape, 5)
    dirty = inputs.masked_fill(~valid[..., None], garbage)
    assert (encoder(inputs, valid) - encoder(dirty, valid)).abs().max() < 1e-6


def test_no_gradient_reaches_slots_that_are_not_valid(encoder: WindowEncoder) -> None:
    inputs = torch.randn(2, 6, 5, requires_grad=True)
    valid = torch.tensor([[False, True, False, True, True, True], [False] * 5 + [True]])
    encoder(inputs, valid).square().sum().backward()
    assert inputs.grad is not None
    assert torch.equal(inputs.grad.abs().sum(-1) > 0, valid)


@modest
@given(mask=masks)
def test_lstm_reads_the_valid_slots_as_if_they_were_all(mask: list[list[bool]]) -> None:
    """Against nn.LSTM on each row without its holes: exact, also for masks with holes."""
    torch.manual_seed(0)
    ours, theirs = MaskedBiLSTM(8, 2, 0.0), nn.LSTM(8, 4, 2, batch_first=True, bidirectional=True)
    for layer in range(2):
        for suffix, cells in (("", ours.forwards), ("_reverse", ours.backwards)):
            for name, weight in cells[layer].named_parameters():
                getattr(theirs, name.replace("l0", f"l{layer}") + suffix).data.copy_(weight)
    valid = torch.tensor(mask)
    tokens = torch.randn(*valid.shape, 8)
    output = ours(tokens, valid)
    for row, keep in enumerate(valid):
        alone = theirs(tokens[row, keep][None])[0][0]
        assert torch.allclose(output[row, keep], alone, atol=1e-6)


@pytest.mark.parametrize("full", [True, False])
def test_the_whole_encoder_is_that_of_plain_modules(full: bool) -> None:
    """Against nn.LSTM, nn.TransformerEncoderLayer and nn.MultiheadAttention, one by one."""
    torch.manual_seed(0)
    encoder = _encoder(d_model=16, feedforward_dim=32, head_hidden=16).eval()
    valid = torch.ones(300, 8, dtype=torch.bool)
    if not full:
        valid = torch.arange(8) >= torch.randint(0, 8, (300, 1))
    inputs = torch.randn(300, 8, 5)
    config = encoder.config
    with torch.no_grad():
        for layer in encoder.modules():  # biases start at zero: as if learned
            if isinstance(layer, nn.Linear | nn.LayerNorm):
                layer.bias.normal_(std=0.1)
        expected = []
        for window, keep in zip(inputs, valid, strict=True):
            tokens = encoder.stem.project(window[keep])
            tokens = tokens + age_encoding(len(tokens), config.d_model, tokens)
            read = tokens
            for forwards, backwards in zip(
                encoder.stem.lstm.forwards, encoder.stem.lstm.backwards, strict=True
            ):
                read = torch.cat([forwards(read)[0], backwards(read.flip(0))[0].flip(0)], dim=1)
            tokens = (tokens + read)[None]
            for block in encoder.blocks:
                plain = nn.TransformerEncoderLayer(
                    config.d_model, config.num_heads, config.feedforward_dim, 0.0, norm_first=True
                )
                plain = plain.eval()
                _take_over(plain.self_attn, block.attention)
                for theirs, ours in (
                    (plain.norm1, block.attention_norm),
                    (plain.norm2, block.feedforward_norm),
                    (plain.linear1, block.expand),
                    (plain.linear2, block.contract),
                ):
                    theirs.load_state_dict(ours.state_dict())
                tokens = plain(tokens.transpose(0, 1)).transpose(0, 1)
            tokens = encoder.token_norm(tokens)
            pool = nn.MultiheadAttention(config.d_model, config.num_heads, batch_first=True)
            _take_over(pool, encoder.pool)
            current = tokens[:, -1:]
            answer, _ = pool(current + encoder.pool_query, tokens, tokens)
            expected.append(encoder.head(encoder.pool_norm(current + answer))[0, 0])
        assert torch.allclose(encoder(inputs, valid), torch.stack(expected), atol=1e-5)


def test_blocks_of_packed_tokens_are_those_of_windows():
    """Also of a window without a valid slot."""
    torch.manual_seed(0)
    config = SequenceConfig(window_length=6, d_model=8, num_heads=2)
    block = TransformerBlock(config).eval()
    tokens = torch.randn(5, 6, 8)
    valid = torch.rand(5, 6) < 0.5
    valid[0], valid[1] = True, False
    bias = torch.zeros(5, 6).masked_fill(~valid, -math.inf)
    packing = Packing(valid)
    packed = block(packing.pack(tokens), bias, packing)
    assert packed.shape == (int(valid.sum()), 8)
    torch.testing.assert_close(packed, block(tokens, bias)[valid])
    torch.testing.assert_close(packing.unpack(packed)[valid], packed)


def _take_over(theirs: nn.MultiheadAttention, ours: Attention) -> None:
    """Give PyTorch's attention the weights of ours."""
    weight = torch.cat([ours.query.weight, ours.key_value.weight])
    bias = torch.cat([ours.query.bias, ours.key_value.bias])
    output = {f"out_proj.{name}": value for name, value in ours.output.state_dict().items()}
    theirs.load_state_dict({"in_proj_weight": weight, "in_proj_bias": bias, **output})


def test_code_of_a_step_is_its_age_whatever_the_fill(encoder: WindowEncoder) -> None:
    """Two steps in a window of two slots read the same as two steps at the end of six."""
    inputs = torch.randn(3, 6, 5)
    valid = torch.tensor([[False] * 4 + [True] * 2] * 3)
    short = encoder(inputs[:, 4:], _full(3, 2))
    assert torch.allclose(encoder(inputs, valid), short, atol=1e-6)
    codes = age_encoding(6, 16, inputs)
    assert torch.equal(codes[-2:], age_encoding(2, 16, inputs))
    assert codes[-1].tolist() == [0.0, 1.0] * 8


def test_order_matters_and_nothing_is_forgotten(encoder: WindowEncoder) -> None:
    inputs, valid = torch.randn(4, 8, 5), _full(4, 8)
    output = encoder(inputs, valid)
    swapped = inputs[:, [1, 0, 2, 3, 4, 5, 6, 7]]
    assert (encoder(swapped, valid) - output).abs().amax(1).min() > 1e-4
    for slot in range(8):
        changed = inputs.clone()
        changed[:, slot] += 1.0
        assert (encoder(changed, valid) - output).abs().amax(1).min() > 1e-3, slot


def test_current_step_is_salient(encoder: WindowEncoder) -> None:
    inputs = torch.randn(64, 8, 5, requires_grad=True)
    encoder(inputs, _full(64, 8)).square().sum().backward()
    assert inputs.grad is not None
    share = inputs.grad.norm(dim=2).mean(0)  # (L,)
    assert share[-1] > 2 * share[:-1].max()


@pytest.mark.parametrize("slots", [1, 2, 20])
def test_any_window_length(encoder: WindowEncoder, slots: int) -> None:
    assert encoder(torch.randn(3, slots, 5), _full(3, slots)).shape == (3, 16)


def test_training_equals_evaluation_without_dropout() -> None:
    network = _encoder(d_model=16, dropout=0.0)
    inputs, valid = torch.randn(4, 8, 5), torch.rand(4, 8) < 0.7
    valid[:, -1] = True
    trained = network.train()(inputs, valid)
    with torch.no_grad():
        assert torch.allclose(network.eval()(inputs, valid), trained, atol=1e-6)


def test_dropout_acts_only_in_training() -> None:
    network = _encoder(d_model=16, dropout=0.5)
    inputs, valid = torch.randn(4, 8, 5), _full(4, 8)
    assert not torch.equal(network(inputs, valid), network(inputs, valid))
    network.eval()
    assert torch.equal(network(inputs, valid), network(inputs, valid))


@pytest.mark.parametrize("width", [32, 64])
def test_initial_scale(width: int) -> None:
    """Nothing vanishes or explodes: features near unit size, gradients alive in every block."""
    torch.manual_seed(0)
    network = _encoder(20, d_model=width).eval()
    inputs = torch.randn(256, 8, 20, requires_grad=True)
    features = network(inputs, _full(256, 8))
    assert 0.2 < features.std() < 2.0
    features.square().mean(1).sum().backward()
    assert inputs.grad is not None
    steps = inputs.grad.norm(dim=2).mean(0)  # (L,)
    assert 0.01 < steps[-1] < 10.0
    assert steps.min() > 0.1 * steps.max()  # the oldest step is heard from the start
    norms = [
        parameter.grad.norm().item()
        for name, parameter in network.blocks.named_parameters()
        if name.endswith("expand.weight") and parameter.grad is not None
    ]
    assert len(norms) == 3
    assert max(norms) < 10 * min(norms)


def test_initialise_by_kind_of_layer() -> None:
    lstm, linear = nn.LSTM(6, 4), nn.Linear(6, 4)
    initialise(nn.ModuleList([lstm, linear]))
    weights = dict(lstm.named_parameters())
    for gate in weights["weight_hh_l0"].chunk(4):
        assert torch.allclose(gate @ gate.T, torch.eye(4), atol=1e-5)
    bias = (weights["bias_ih_l0"] + weights["bias_hh_l0"]).tolist()
    assert bias == [0.0] * 4 + [1.0] * 4 + [0.0] * 8
    assert linear.bias.tolist() == [0.0] * 4


def test_input_errors(encoder: WindowEncoder) -> None:
    inputs = torch.randn(2, 8, 5)
    with pytest.raises(ValueError, match=r"\[B, L, 5\].*\[2, 8, 4\].*\[2, 8\]"):
        encoder(inputs[..., :4], _full(2, 8))
    with pytest.raises(ValueError, match=r"\[2, 8, 5\] and \[2, 7\]"):
        encoder(inputs, _full(2, 7))
    for dtype in (torch.float32, torch.int64):
        with pytest.raises(ValueError, match="bool mask, not torch"):
            encoder(inputs, _full(2, 8).to(dtype))
    empty = _full(2, 8)
    empty[1] = False
    with pytest.raises(ValueError, match="window 1 has no valid slot"):
        encoder(inputs, empty)


def test_construction_errors() -> None:
    with pytest.raises(ValueError, match="actual value: 0"):
        SequenceEncoder(0)
    with pytest.raises(UserError, match="unknown key 'd_modle'.*did you mean 'd_model'"):
        SequenceEncoder(5, d_modle=32)


def test_mean_pooling_takes_the_valid_slots_and_nothing_else() -> None:
    torch.manual_seed(0)
    encoder = _encoder(3, d_model=8, num_heads=2, dropout=0.0, pooling="mean")
    inputs, valid = torch.randn(2, 4, 3), torch.tensor([[False, False, True, True], [True] * 4])
    seen: list[Tensor] = []
    encoder.pool_norm.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    tokens: list[Tensor] = []
    encoder.token_norm.register_forward_hook(lambda module, args, out: tokens.append(out))
    encoder(inputs, valid)
    rows = tokens[0]
    means = torch.stack([rows[0, 2:].mean(0), rows[1].mean(0)])
    assert torch.allclose(seen[0], rows[:, -1] + means, atol=1e-6)
    assert not any(name.startswith("pool.") for name in encoder.state_dict())
