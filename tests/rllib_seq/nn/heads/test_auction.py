"""Q values of bids from worth, lift and prices; and the encoder around the encoder."""

import pytest
import torch

from rllib_seq.config import SequenceConfig
from rllib_seq.errors import UserError
from rllib_seq.nn import SequentialPolicyNetwork, make_encoder
from rllib_seq.nn.encoders.outcomes import OutcomeEncoder
from rllib_seq.nn.heads.auction import AuctionHead

SETTINGS = {"d_model": 8, "num_heads": 2, "head_hidden": 8, "window_length": 6, "dropout": 0.0}


class TestAuctionHead:
    """The head alone."""

    def test_q_is_worth_and_what_a_bid_gains(self):
        """L + F D - payment, with the prices of the context that the features tell."""
        head = AuctionHead(5, 3, contexts=2)
        win = torch.tensor([[0.0, 0.5, 1.0], [0.0, 0.1, 0.2]])
        head.set_prices(win, win**2)
        features = torch.randn(4, 7, 5)
        features[..., 3:] = torch.tensor([0.0, 1.0])
        lost, lift = head.lost_and_lift(features)
        expected = lost[..., None] + lift[..., None] * win[1] - win[1] ** 2
        torch.testing.assert_close(head(features), expected)

    def test_the_context_does_not_change_worth_and_lift(self):
        """Channels have prices of their own; what a user is worth is for the memory to say."""
        head = AuctionHead(4, 3, contexts=1)
        features = torch.randn(5, 4)
        other = features.clone()
        other[:, 3] = 7.0
        for a, b in zip(head.lost_and_lift(features), head.lost_and_lift(other), strict=True):
            assert torch.equal(a, b)

    def test_in_second_price_the_best_bid_is_the_lift(self):
        """Prices are uniform, levels fine: the highest Q is where the bid is D."""
        levels = torch.linspace(0, 1, 101)
        head = AuctionHead(4, 101)
        head.set_prices(levels[None], levels[None] ** 2 / 2)
        features = torch.randn(50, 4) * 3
        _, lift = head.lost_and_lift(features)
        best = levels[head(features).argmax(-1)]
        torch.testing.assert_close(best, lift.clamp(0, 1), atol=0.0051, rtol=0)

    def test_units_scale_what_is_learned_and_not_the_prices(self):
        """A world with other money."""
        head = AuctionHead(4, 3)
        features = torch.randn(5, 4)
        before = head.lost_and_lift(features)
        head.unit.fill_(1000.0)
        for a, b in zip(before, head.lost_and_lift(features), strict=True):
            torch.testing.assert_close(1000 * a, b)


@pytest.mark.parametrize("name", ["lstm", "causal", "window"])
class TestOutcomeEncoder:
    """Around every encoder."""

    def make(self, name):
        """Reads 5 inputs, of which the last is flagged and the first two are passed on."""
        torch.manual_seed(0)
        inside = make_encoder(5, SequenceConfig(encoder=name, **SETTINGS))
        return OutcomeEncoder(inside, flagged=[4], passed=[0, 1]).eval()

    def test_flags_hide_the_amount(self, name):
        """Of what is flagged, only whether it is 0 is read."""
        encoder = self.make(name)
        inputs = torch.randn(3, 4, 5)
        inputs[..., 4] = torch.tensor([0.0, -0.1, -0.2, 0.0])
        other = inputs.clone()
        other[..., 4] *= 5
        assert torch.equal(
            *(encoder.features(encoder.initial_state(3), x) for x in (inputs, other))
        )
        other[..., 4] = 0
        assert not torch.equal(
            *(encoder.features(encoder.initial_state(3), x) for x in (inputs, other))
        )

    def test_steps_windows_and_sequences_agree(self, name):
        """However a stream is read; the newest step's own parts stand at the end."""
        encoder = self.make(name)
        inputs = torch.randn(3, 4, 5)
        whole = encoder.features(encoder.initial_state(3), inputs)
        torch.testing.assert_close(whole[..., -2:], inputs[..., :2])
        state = encoder.initial_state(3)
        for step in range(4):
            features, state = encoder.sequence(state, inputs[:, step : step + 1])
            torch.testing.assert_close(features[:, 0], whole[:, step], atol=1e-5, rtol=1e-5)
        windows = torch.cat([torch.full((3, 2, 5), float("nan")), inputs], 1)
        valid = torch.tensor([False, False, True, True, True, True]).expand(3, -1)
        newest = encoder.windows(windows, valid)
        torch.testing.assert_close(newest, whole[:, -1], atol=1e-5, rtol=1e-5)


def test_a_policy_network_with_this_head():
    """By its settings alone; what is wrong is named."""
    network = SequentialPolicyNetwork(
        6, 4, encoder="lstm", head="auction", price_context=[0, 1], flagged_inputs=[5], **SETTINGS
    )
    assert network(torch.zeros(2, 3, 6), torch.ones(2, 3, dtype=torch.bool)).shape == (2, 4)
    with pytest.raises(UserError, match="head='auktion'"):
        SequenceConfig(head="auktion")
    with pytest.raises(UserError, match="price_context"):
        SequenceConfig(price_context=[-1])
