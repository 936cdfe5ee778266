"""Auxiliary heads: hazards, their likelihood and the probability that they make."""

import math

import pytest
import torch
from torch import Tensor

from rllib_seq.config import AuxiliaryHead
from rllib_seq.nn.heads.auxiliary import AuxiliaryHeads, event_loss, event_probability


def _logits(*probabilities: float) -> Tensor:
    return torch.tensor([[math.log(p / (1 - p)) for p in probabilities]])


def test_probability_is_that_of_a_tree() -> None:
    # Now .2; else over with .5; else .3; else over with .1; else .4.
    wanted = 0.2 + 0.8 * 0.5 * (0.3 + 0.7 * 0.9 * 0.4)
    assert event_probability(_logits(0.2, 0.3, 0.4, 0.5, 0.1)).item() == pytest.approx(wanted)
    assert event_probability(_logits(0.2)).item() == pytest.approx(0.2)


def test_probability_stays_exact_at_the_ends() -> None:
    logits = torch.tensor([[-30.0, -30.0, 0.0], [40.0, 40.0, -40.0], [-200.0, -200.0, -200.0]])
    small, one, none = event_probability(logits).tolist()
    assert small == pytest.approx(1.5 * math.exp(-30), rel=1e-5)
    assert (one, none) == (1.0, 0.0)


@pytest.mark.parametrize(
    ("what_came", "chances"),
    [
        (["event"], [0.2]),
        (["end"], [0.8, 0.5]),
        (["on", "event"], [0.8, 0.5, 0.3]),
        # At the last step of the horizon an end is as good as none.
        (["on", "end"], [0.8, 0.5, 0.7]),
        (["on", "on"], [0.8, 0.5, 0.7]),
        (["on"], [0.8, 0.5]),  # cut
        ([], []),
    ],
)
def test_loss_is_the_surprise_of_what_was_seen(what_came: list, chances: list) -> None:
    logits = _logits(0.2, 0.3, 0.5)  # event now, event next, end in between
    labels = torch.zeros(1, 2, 3)
    for step, what in enumerate(what_came):
        labels[0, step, ["event", "end", "on"].index(what)] = 1.0
    loss = event_loss(logits, labels).item()
    assert loss == pytest.approx(-math.log(math.prod(chances)), abs=1e-6)


def test_least_loss_is_at_the_shares_of_the_labels() -> None:
    """Also of labels that are probabilities."""
    labels = torch.tensor(
        [[[0.1, 0.3, 0.4], [0.3, 0.05, 0.05]], [[0.2, 0.0, 0.6], [0.1, 0.1, 0.4]]]
    )
    logits = torch.zeros(1, 3, requires_grad=True)
    optimizer = torch.optim.LBFGS([logits], max_iter=100)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = event_loss(logits.expand(2, 3), labels)
        loss.backward()
        return loss

    optimizer.step(closure)
    happened, ended, went_on = labels.sum(0).unbind(1)
    wanted = torch.cat([happened / labels.sum((0, 2)), (ended / (ended + went_on))[:1]])
    assert torch.allclose(torch.sigmoid(logits[0]), wanted, atol=1e-4)


@pytest.mark.parametrize("horizon", [1, 5])
def test_heads_are_given_the_action_if_they_ask(horizon: int) -> None:
    torch.manual_seed(0)
    specs = {"won": AuxiliaryHead(horizon, given_action=True), "bought": AuxiliaryHead(horizon)}
    heads = AuxiliaryHeads(specs, width=6, action_dim=3, hidden=8)
    features, actions = torch.randn(4, 6), torch.eye(3)[[0, 1, 2, 0]]
    logits = heads(features, actions)
    assert {name: rows.shape for name, rows in logits.items()} == dict.fromkeys(
        specs, (4, 2 * horizon - 1)
    )
    other = heads(features, actions.roll(1, 1))
    assert not torch.allclose(other["won"], logits["won"])
    assert torch.equal(other["bought"], logits["bought"])
    assert heads.need_action
    alone = AuxiliaryHeads({"bought": AuxiliaryHead(horizon)}, 6, 0, 8)
    assert not alone.need_action and alone(features)["bought"].shape == (4, 2 * horizon - 1)


def test_no_heads_have_no_weights() -> None:
    heads = AuxiliaryHeads({}, 6, 3, 8)
    assert not heads.state_dict() and heads(torch.zeros(2, 6)) == {}
