"""DQN with the structure of an auction: what it knows of an outcome, and what it learns."""

import numpy as np
import pytest
import torch

from rllib_seq.envs.ad_auction.journey.features import fields
from rllib_seq.envs.ad_auction.worlds.presets import PRESETS, AuctionConfig
from rllib_seq.envs.ad_auction.worlds.values import expected_auction
from rllib_seq.errors import UserError
from rllib_seq.lift.dqn import payments_of
from rllib_seq.lift.worker import OutcomeArrays
from rllib_seq.models.rl_module.configure import change_sequence_settings
from rllib_seq.rollouts.sampler import ActionBatch, VectorSampler
from rllib_seq.tune_configs.dqn_outcomes import config as shipped
from tests.rllib_seq.lift.two_steps import PRESET


def test_payments_are_seen_afterwards():
    """What a bidder paid follows from what they saw next and, at the end, from what they got."""
    world = AuctionConfig(preset="journey", num_users=200, shadow_price=0.3)
    arrays = OutcomeArrays(world, 1, 0)
    preset, rng = arrays.simulator.preset, np.random.default_rng(0)
    sampler = VectorSampler(arrays)
    sampler.with_infos = True
    levels = len(preset.bid_levels)
    journeys = sampler.sample_campaigns(
        lambda rows, *_: ActionBatch(rng.integers(0, levels, len(rows)), {})
    )
    observations, ends = journeys.columns["obs"], np.cumsum(journeys.lengths) - 1
    after = np.concatenate([observations[1:], observations[-1:]])
    ended = np.zeros(len(after), np.bool_)
    ended[ends] = True
    profit = [field.name for field in fields(world.build_layout(preset))].index("last_profit")
    found = payments_of(
        torch.from_numpy(after[:, profit]),
        torch.from_numpy(journeys.columns["rewards"]),
        torch.from_numpy(ended),
        preset.value,
    )
    assert journeys.infos["won"][ends].any()  # the last steps are not seen by anyone
    np.testing.assert_allclose(found, 1.3 * journeys.infos["paid"], atol=1e-6)
    np.testing.assert_array_equal(found > 0, journeys.infos["won"])


def tiny(preset="journey", users=60, **training):
    """The shipped experiment with a small network, one campaign at a time."""
    config = shipped.copy(copy_frozen=False)
    config.environment(env_config={"preset": preset, "num_users": users})
    config.env_runners(num_envs_per_env_runner=1, rollout_fragment_length=users)
    config.training(
        train_batch_size=256,
        training_intensity=8,
        num_steps_sampled_before_learning_starts=100,
        tau=0.05,
        **training,
    )
    config.debugging(seed=3)
    change_sequence_settings(
        config,
        window_length=2,
        d_model=16,
        num_heads=2,
        lstm_layers=1,
        transformer_layers=1,
        head_hidden=16,
        feedforward_dim=16,
    )
    return config


def test_prices_are_counted_and_the_values_follow_them(ray_session, monkeypatch):
    """Of the world with a closed form; runner and learner know the same prices."""
    monkeypatch.setitem(PRESETS, "two_steps", PRESET)
    algorithm = tiny("two_steps", users=500).build_algo()
    try:
        for _ in range(8):
            result = algorithm.train()
        assert np.isfinite(result["learners"]["bidder"]["qf_loss"])
        learned = algorithm.learner_group._learner.module["bidder"].unwrapped()
        acting = algorithm.env_runner.module["bidder"].unwrapped()
        win, payment = expected_auction(PRESET, PRESET.bid_levels)
        np.testing.assert_allclose(learned.q.head.win[0], win, atol=0.05)
        np.testing.assert_allclose(learned.q.head.payment[0], payment, atol=0.02)
        torch.testing.assert_close(acting.q.head.win, learned.q.head.win)
        windows = torch.rand(3, 2, learned.step_inputs.width), torch.ones(3, 2, dtype=torch.bool)
        with torch.no_grad():
            lost, lift = learned.q.head.lost_and_lift(learned.q.encoder.windows(*windows))
            expected = lost[:, None] + learned.q.head.win * lift[:, None] - learned.q.head.payment
            torch.testing.assert_close(learned.q(*windows), expected)
    finally:
        algorithm.stop()


def test_conversions_of_several_values_are_refused():
    config = shipped.copy(copy_frozen=False).environment(env_config={"preset": "display"})
    with pytest.raises(UserError, match="'display' are worth more for some users.*use Lift"):
        config.validate()


@pytest.mark.parametrize(
    ("training", "named"),
    [
        ({"dueling": True}, "dueling=False"),
        ({"replay_buffer_config": {"type": "PrioritizedEpisodeReplayBuffer"}}, "prioritized"),
        ({"gamma": 0.9}, "gamma"),
    ],
)
def test_what_it_cannot_learn_with_is_refused(training, named):
    """In one line that names the setting, before any worker starts."""
    with pytest.raises(UserError, match=named):
        tiny(**training).validate()
