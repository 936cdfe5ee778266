"""Attention sees a band of ages, and nothing else of where a token stands."""

import math

import torch
from torch import nn

from rllib_seq.nn.encoders.banded_attention import BandedAttention, age_bias


def test_a_token_reads_the_same_wherever_in_the_stream_it_stands() -> None:
    attention = BandedAttention(8, 2, 4)
    tokens = torch.randn(1, 20, 8)
    keys = torch.cat([torch.zeros(1, 3, 16), attention.key_value(tokens)], dim=1)
    found = attention(attention.ask(tokens), keys, None)
    shifted = attention(attention.ask(tokens[:, 7:]), keys[:, 7:], None)
    assert torch.allclose(found[:, 7:], shifted, atol=1e-6)


def test_banded_attention_is_attention_with_a_band_as_its_mask() -> None:
    torch.manual_seed(0)
    for window_length, steps in ((2, 1), (3, 17), (20, 33), (5, 65), (20, 70)):
        attention, before = BandedAttention(8, 2, window_length), window_length - 1
        queries, keys = torch.randn(2, steps, 8), torch.randn(2, before + steps, 16)
        age = torch.arange(steps)[:, None] + before - torch.arange(before + steps)
        seen = (age >= 0) & (age < window_length)
        mask = attention.age_biases[:, age.clamp(0, before)].masked_fill(~seen, -math.inf)
        parts = (
            part.unflatten(2, (2, 4)).transpose(1, 2) for part in (queries, *keys.chunk(2, dim=2))
        )
        expected = nn.functional.scaled_dot_product_attention(*parts, attn_mask=mask, scale=1.0)
        found = attention(queries, keys, None)
        assert torch.allclose(found, expected.transpose(1, 2).flatten(2), atol=1e-6)


def test_picture_of_the_ages() -> None:
    bias = torch.tensor([[10.0, 11.0, 12.0]])  # of ages 0, 1, 2
    hidden = -math.inf
    assert age_bias(bias, 2, 2).tolist() == [[[12, 11, 10, hidden], [hidden, 12, 11, 10]]]
    assert age_bias(bias, 0, 2).tolist() == [[[10, hidden], [11, 10]]]
    assert age_bias(bias, 4, 1).tolist() == [[[hidden, hidden, 12, 11, 10]]]
