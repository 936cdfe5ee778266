"""Shapes, gradients and first outputs of the three networks."""

import pytest
import torch
from torch import Tensor, nn

from rllib_seq.nn import SequentialPolicyNetwork, SequentialQNetwork, SequentialValueNetwork

SMALL = {"d_model": 16, "feedforward_dim": 32, "head_hidden": 16}


def _windows(batch: int = 6) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    valid = torch.rand(batch, 8, generator=generator) < 0.6
    valid[:, -1] = True
    return torch.randn(batch, 8, 5, generator=generator), valid


def _networks() -> list[nn.Module]:
    torch.manual_seed(0)
    return [
        SequentialQNetwork(5, 3, **SMALL),
        SequentialPolicyNetwork(5, 4, **SMALL),
        SequentialValueNetwork(5, **SMALL),
    ]


@pytest.mark.parametrize(("index", "outputs"), [(0, 3), (1, 4), (2, 1)])
def test_shapes_and_padding(index: int, outputs: int) -> None:
    network = _networks()[index].eval()
    states, valid = _windows()
    output = network(states, valid)
    assert output.shape == (6, outputs)
    dirty = states.masked_fill(~valid[..., None], 1e6)
    assert (network(dirty, valid) - output).abs().max() < 1e-6


@pytest.mark.parametrize("index", [0, 1, 2])
def test_gradient_reaches_every_parameter(index: int) -> None:
    network = _networks()[index].eval()
    network(*_windows()).square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_value_depends_on_the_oldest_step_and_on_order() -> None:
    value = SequentialValueNetwork(5, **SMALL).eval()
    states, valid = torch.randn(4, 8, 5), torch.ones(4, 8, dtype=torch.bool)
    output = value(states, valid)
    older = states.clone()
    older[:, 0] += 1.0
    assert (value(older, valid) - output).abs().min() > 1e-5
    assert (value(states[:, [1, 0, *range(2, 8)]], valid) - output).abs().min() > 1e-7


@pytest.mark.parametrize("width", [32, 64])
def test_initial_scale_of_values(width: int) -> None:
    """Of less than unit size, and with gradients of one size from every step of the window."""
    torch.manual_seed(0)
    value = SequentialValueNetwork(20, d_model=width).eval()
    states = torch.randn(256, 8, 20, requires_grad=True)
    values = value(states, torch.ones(256, 8, dtype=torch.bool))
    assert 0.05 < values.std() < 1.0
    values.sum().backward()
    assert states.grad is not None
    steps = states.grad.norm(dim=2).mean(0)  # (L,)
    assert 0.01 < steps.min() and steps.max() < 1.0
    assert steps.min() > 0.5 * steps.max()


def test_first_policy_is_near_uniform_and_first_q_near_zero() -> None:
    q_network, policy, value = (network.eval() for network in _networks())
    windows = _windows(200)
    assert torch.softmax(policy(*windows), 1).sub(0.25).abs().max() < 0.02
    assert q_network(*windows).abs().max() < 1.0
    assert 1e-3 < value(*windows).std() < 2.0


@pytest.mark.slow
def test_q_network_learns_what_only_memory_knows() -> None:
    """The target is the first feature of the oldest step; a network of now alone stays at 1."""
    torch.manual_seed(0)
    network = SequentialQNetwork(2, 1, d_model=16, transformer_layers=1, dropout=0.0)
    optimiser = torch.optim.Adam(network.parameters(), lr=3e-3)
    valid = torch.ones(128, 4, dtype=torch.bool)
    for _ in range(150):
        states = torch.randn(128, 4, 2)
        loss = (network(states, valid)[:, 0] - states[:, 0, 0]).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss.item() < 0.2


def test_construction_errors() -> None:
    with pytest.raises(ValueError, match="action_dim must be an int of at least 1"):
        SequentialQNetwork(5, 0)
    with pytest.raises(ValueError, match="num_outputs"):
        SequentialPolicyNetwork(5, True)
    with pytest.raises(ValueError, match="input width"):
        SequentialValueNetwork(-1)
    with pytest.raises(ValueError, match="unknown key 'heads'"):
        SequentialValueNetwork(5, heads=4)
