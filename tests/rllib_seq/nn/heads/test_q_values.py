"""Q heads against their formulas."""

import pytest
import torch

from rllib_seq.nn import SequentialQNetwork
from rllib_seq.nn.heads.q_values import NoisyLinear, QHead


def test_factorised_noise_is_a_disturbed_weight_matrix() -> None:
    torch.manual_seed(0)
    layer = NoisyLinear(3, 2, 0.5)
    inputs, noise = torch.randn(4, 3), torch.randn(4, 5)
    assert torch.equal(layer(inputs), torch.nn.Linear.forward(layer, inputs))
    scaled = noise.sign() * noise.abs().sqrt()
    for row in range(4):
        into, out = scaled[row, :3], scaled[row, 3:]
        weight = layer.weight + layer.sigma_weight * out[:, None] * into
        bias = layer.bias + layer.sigma_bias * out
        assert torch.allclose(layer(inputs, noise)[row], weight @ inputs[row] + bias, atol=1e-6)
    # Fortunato et al.: sigma / sqrt(inputs) at the start.
    assert torch.allclose(layer.sigma_weight, torch.tensor(0.5 / 3**0.5))


@pytest.mark.parametrize("atoms", [1, 5])
def test_dueling_adds_what_is_above_the_mean_action(atoms: int) -> None:
    torch.manual_seed(0)
    head = QHead(6, 3, dueling=True, atoms=atoms, noise_scale=0.0)
    features = torch.randn(7, 6)
    outputs = head(features)
    assert outputs.shape == (7, 3, atoms)
    assert torch.allclose(outputs.mean(1), head.value(features), atol=1e-6)
    with torch.no_grad():
        head.advantage.bias += 1.0  # all actions alike: no advantage
    assert torch.allclose(head(features), outputs, atol=1e-6)


def test_each_noisy_layer_gets_its_share_of_the_noise() -> None:
    head = QHead(6, 3, dueling=True, atoms=2, noise_scale=0.5)
    assert head.noise_widths == [6 + 6, 6 + 2]
    features, noise = torch.randn(4, 6), torch.randn(4, 20)
    advantage = head.advantage(features, noise[:, :12]).view(4, 3, 2)
    value = head.value(features, noise[:, 12:])
    expected = value[:, None] + advantage - advantage.mean(1, keepdim=True)
    assert torch.allclose(head(features, noise), expected, atol=1e-6)
    assert QHead(6, 3, dueling=True, atoms=2, noise_scale=0.0).noise_widths == []


def test_q_is_the_mean_of_the_distribution() -> None:
    torch.manual_seed(0)
    network = SequentialQNetwork(4, 3, support=(-1.0, 3.0, 5), d_model=8, num_heads=2).eval()
    windows, valid = torch.randn(6, 2, 4), torch.ones(6, 2, dtype=torch.bool)
    probabilities = network.logits(windows, valid).softmax(-1)
    assert probabilities.shape == (6, 3, 5)
    expected = (probabilities * torch.tensor([-1.0, 0.0, 1.0, 2.0, 3.0])).sum(-1)
    assert torch.allclose(network(windows, valid), expected, atol=1e-6)
    assert "atoms" not in network.state_dict()
