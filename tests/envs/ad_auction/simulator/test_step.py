import copy
import dataclasses
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rllib_seq.envs.ad_auction import PRESETS, AuctionConfig, AuctionSimulator, play
from rllib_seq.envs.ad_auction.journey import users
from rllib_seq.envs.ad_auction.references.baselines import RandomBids, SignalBids


def fixed(bid):
    return SignalBids("fixed", np.full((2, 2, 2, 3), bid))


def transcript(simulator, policy, seed):
    """Every observation and outcome of a campaign, in order."""
    simulator.reset(seed)
    policy.start(simulator)
    steps = []
    while not simulator.done:
        who, hour = simulator.pending, simulator.hour
        observation = simulator.observe(who)
        outcome = simulator.step(policy.bids(who))
        steps.append((hour, who, observation, outcome))
    return steps


@pytest.mark.parametrize("preset", PRESETS)
def test_identical_seeds_give_identical_campaigns_and_others_differ(preset):
    config = AuctionConfig(preset=preset, num_users=20)
    first, again, other = (
        transcript(AuctionSimulator(config), RandomBids(), seed) for seed in (5, 5, 6)
    )
    assert len(first) == len(again)
    for a, b in zip(first, again, strict=True):
        assert a[0] == b[0]
        np.testing.assert_array_equal(a[1], b[1])
        np.testing.assert_array_equal(a[2], b[2])
        for x, y in zip(a[3], b[3], strict=True):
            np.testing.assert_array_equal(x, y)
    assert [len(step[1]) for step in first] != [len(step[1]) for step in other]


def test_a_seed_sequence_can_be_used_twice():
    simulator, seed = AuctionSimulator(AuctionConfig(num_users=50)), np.random.SeedSequence(3)
    assert play(simulator, fixed(0.05), seed) == play(simulator, fixed(0.05), seed)


@pytest.mark.slow
@pytest.mark.parametrize("auction", ["first_price", "second_price"])
@pytest.mark.parametrize("preset", PRESETS)
def test_win_rate_rises_with_the_bid(preset, auction):
    config = AuctionConfig(preset=preset, num_users=400, auction=auction, budget=1e9)
    simulator = AuctionSimulator(config)
    rates = []
    for bid in simulator.preset.bid_levels[[1, 4, 8, 12, -1]]:
        ledger = play(simulator, fixed(bid), seed=1)
        rates.append(ledger.wins / ledger.requests)
    assert (np.diff(rates) > -1e-12).all()
    assert rates[-1] > 0.9
    assert rates[0] < 0.1


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 2**32), raised=st.integers(0, 19))
def test_raising_one_users_bid_changes_nobody_elses_journey(seed, raised):
    """Others meet the same prices and draw the same clicks, conversions and moves."""
    simulator = AuctionSimulator(AuctionConfig(num_users=20))

    class OneBidsMore:
        name = "one bids more"

        def __init__(self, bid):
            self.bid = bid

        def start(self, simulator):
            self.outcomes = {user: [] for user in range(20)}

        def bids(self, users):
            return np.where(users == raised, self.bid, 0.05)

        def update(self, users, outcome):
            for i, user in enumerate(users):
                self.outcomes[int(user)].append([float(column[i]) for column in outcome])

    low, high = OneBidsMore(0.01), OneBidsMore(0.2)
    for policy in (low, high):
        play(simulator, policy, seed)
    for user in range(20):
        if user != raised:
            assert low.outcomes[user] == high.outcomes[user]
    shared = min(len(low.outcomes[raised]), len(high.outcomes[raised]))
    wins = [[row[0] for row in policy.outcomes[raised][:shared]] for policy in (low, high)]
    assert all(h >= lo for lo, h in zip(*wins, strict=True))


@pytest.mark.slow
@settings(deadline=None, max_examples=20)
@given(
    seed=st.integers(0, 2**32),
    budget=st.floats(0, 3),
    reward=st.sampled_from(["sampled", "expected"]),
)
def test_spend_never_exceeds_the_budget(seed, budget, reward):
    config = AuctionConfig("display", num_users=30, budget=budget, reward=reward)
    simulator = AuctionSimulator(config)
    assert play(simulator, fixed(0.2), seed).spend <= budget + 1e-12


@pytest.mark.parametrize("preset", PRESETS)
def test_rewards_add_up_to_the_profit_of_the_ledger(preset):
    simulator = AuctionSimulator(AuctionConfig(preset, num_users=200, shadow_price=0.25))
    ledger = play(simulator, fixed(0.08), seed=2)
    total = simulator.take_rewards(np.arange(200)).sum()
    assert total == pytest.approx(ledger.profit(0.25))
    assert simulator.take_rewards(np.arange(200)).sum() == 0


def test_a_spent_budget_stops_bids_only_where_it_is_enforced_as_in_evaluation():
    config = AuctionConfig(
        "display", num_users=30, budget=0.2, reward="regret", enforce_budget=False
    )
    simulator = AuctionSimulator(config)
    free = play(AuctionSimulator(dataclasses.replace(config, budget=1e9)), fixed(0.2), seed=4)
    over = play(simulator, fixed(0.2), seed=4)
    assert over.spend == free.spend > 2 * 0.2
    assert (over.budget_left, simulator.ledgers.budget_left[0]) == (0.0, 0.0)
    judged = AuctionSimulator(config.for_evaluation())
    assert judged.config.reward == "sampled"
    assert play(judged, fixed(0.2), seed=4).spend <= 0.2
    with pytest.raises(ValueError, match="enforce_budget is 'yes'; give true or false"):
        dataclasses.replace(config, enforce_budget="yes")


def test_reward_scale_changes_what_is_paid_and_not_what_is_earned():
    profits, rewards, campaigns = [], [], []
    for scale in (1.0, 300.0):
        simulator = AuctionSimulator(AuctionConfig(num_users=50, reward_scale=scale))
        profits.append(play(simulator, fixed(0.08), seed=2).profit(0.0))
        rewards.append(simulator.take_rewards(np.arange(50)))
        campaigns.append(simulator.take_campaign_rewards())
    assert profits[0] == profits[1]
    assert rewards[1] == pytest.approx(300 * rewards[0])
    assert campaigns[1] == pytest.approx(300 * campaigns[0])


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["journey", "display"])
def test_expected_reward_has_the_same_mean_and_less_variance(preset):
    profits, ledgers = {}, {}
    for reward in ("sampled", "expected"):
        config = AuctionConfig(preset, num_users=40_000, reward=reward, budget=1e9)
        simulator = AuctionSimulator(config)
        ledgers[reward] = ledger = play(simulator, fixed(0.08), seed=3)
        profits[reward] = simulator.take_rewards(np.arange(40_000))
        assert profits[reward].sum() == pytest.approx(ledger.profit(simulator.preset.shadow_price))
    difference = profits["sampled"] - profits["expected"]
    assert abs(difference.mean()) < 4 * difference.std() / 200
    assert profits["expected"].var() < 0.75 * profits["sampled"].var()
    for name, total in vars(ledgers["sampled"]).items():
        chance = 4 * np.sqrt(total)  # of a count; money is no smaller
        assert getattr(ledgers["expected"], name) == pytest.approx(total, abs=chance), name


def test_every_conversion_happens_after_its_delay_or_is_reported_as_censored():
    simulator = AuctionSimulator(AuctionConfig("display", num_users=2000, budget=1e9))
    policy = fixed(0.1)
    simulator.reset(4)
    policy.start(simulator)
    caused, seen = 0, [0]
    while not simulator.done:
        outcome = simulator.step(policy.bids(simulator.pending))
        caused += int(outcome.converted.sum())
        seen.append(simulator.ledger.conversions)
        assert simulator.ledger.conversions <= caused
    ledger = simulator.ledger
    assert ledger.conversions + ledger.censored == caused
    lowest, highest = 0.8 * simulator.preset.value, 1.8 * simulator.preset.value  # by segment
    assert lowest * ledger.conversions < ledger.value < highest * ledger.conversions
    assert ledger.censored > 0
    assert len(set(seen)) > 50  # they trickle in
    share_at_once = np.mean(simulator.preset.users.delay.ppf(np.linspace(0, 1, 999)) <= 1)
    assert share_at_once < 0.4


def test_a_converted_user_waits_for_his_conversion_and_makes_no_more_requests():
    simulator = AuctionSimulator(AuctionConfig("display", num_users=3000, budget=1e9))
    policy = fixed(0.15)
    simulator.reset(1)
    policy.start(simulator)
    converted = np.zeros(3000, bool)
    waited = False
    while not simulator.done:
        who = simulator.pending
        assert not converted[who].any()
        outcome = simulator.step(policy.bids(who))
        converted[who] |= outcome.converted
        waited |= bool((converted & ~simulator.ended).any())
    assert waited
    assert simulator.ended.all()


def test_users_who_behave_alike_are_observed_alike_whatever_their_stage(monkeypatch):
    """Populations that differ in their hidden stage alone, and by chance never react."""

    def nobody_reacts(model, stage, channel, won, draws, response):
        ones = np.ones(len(stage))
        return users.advance(model, stage, channel, won, users.Draws(*[ones] * 5), response)

    monkeypatch.setattr("rllib_seq.envs.ad_auction.simulator.step.advance", nobody_reacts)
    observed = []
    for stage in range(4):
        simulator = AuctionSimulator(AuctionConfig(num_users=200, reward="expected"))
        simulator.reset(0)
        simulator.stage[:] = stage
        rows = []
        while not simulator.done:
            rows.append(simulator.observe(simulator.pending))
            simulator.step(np.full(len(simulator.pending), 0.05))
        observed.append(np.concatenate(rows))
        assert (simulator.stage == stage).all()
    for other in observed[1:]:
        np.testing.assert_array_equal(other, observed[0])


def test_last_profit_is_what_was_paid_and_not_the_expected_reward():
    simulator = AuctionSimulator(AuctionConfig(num_users=100, reward="expected"))
    simulator.reset(0)
    column = len(simulator.preset.users.channels) + 2
    paid = np.zeros(100)
    for _ in range(60):
        who = simulator.pending
        np.testing.assert_allclose(simulator.observe(who)[:, column], -paid[who], rtol=1e-6)
        paid[who] = simulator.step(np.full(len(who), 0.1)).paid


def test_observations_stay_inside_the_declared_space():
    for preset in PRESETS:
        simulator = AuctionSimulator(AuctionConfig(preset, num_users=50))
        for _, _, observations, _ in transcript(simulator, RandomBids(), 0):
            for row in observations:
                assert simulator.observation_space.contains(row)


@pytest.mark.parametrize("bid", [-0.1, np.nan])
def test_a_bid_that_is_no_bid_is_refused(bid):
    simulator = AuctionSimulator(AuctionConfig(num_users=5))
    simulator.reset(0)
    with pytest.raises(ValueError, match=f"a bid is {bid}"):
        simulator.step(np.full(1, bid))


def test_too_many_bids_are_refused():
    simulator = AuctionSimulator(AuctionConfig(num_users=5))
    simulator.reset(0)
    with pytest.raises(ValueError, match="9 bids for"):
        simulator.step(np.zeros(9))


@pytest.mark.slow
def test_users_pass_through_few_slots_as_they_would_through_many():
    config = AuctionConfig("display", num_users=4000, arrival_hours=300.0, budget=1e9)
    few = dataclasses.replace(config, slots=2500)
    everybody, simulator = AuctionSimulator(config), AuctionSimulator(few)
    everywhere, here = (play(world, fixed(0.05), 0) for world in (everybody, simulator))
    for name, total in vars(everywhere).items():  # the order within a tick may differ
        assert getattr(here, name) == pytest.approx(total), name


@pytest.mark.slow
def test_memory_stays_flat_while_users_pass_through():
    config = AuctionConfig(num_users=100_000, slots=1200, arrival_hours=8000.0)
    simulator = AuctionSimulator(config)
    assert simulator.state.bytes_per_user < 160
    simulator.reset(3)
    memory = []
    tracemalloc.start()
    while simulator.hour < 800:
        simulator.step(np.full(len(simulator.pending), 0.05))
        memory.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    assert simulator.state.number.max() > 8000  # users, through 1,200 slots
    assert max(memory[len(memory) // 2 :]) < max(memory[: len(memory) // 2]) + 100_000


def test_too_few_slots_are_named():
    simulator = AuctionSimulator(AuctionConfig(num_users=1000, slots=10))
    with pytest.raises(ValueError, match="slots is 10; at hour .* give more slots"):
        play(simulator, fixed(0.05), 0)


def half_played(preset):
    """A simulator in the middle of its campaign."""
    simulator = AuctionSimulator(AuctionConfig(preset=preset, num_users=60))
    simulator.reset(5)
    for _ in range(12):
        simulator.step(np.full(len(simulator.pending), simulator.preset.bid_levels[12]))
    return simulator


def futures(simulator, seeds):
    """The rest of the campaign, drawn again with every seed."""
    rest = []
    for seed in seeds:
        copied = copy.deepcopy(simulator)
        copied.resample_future(seed)
        bid = copied.preset.bid_levels[12]
        outcomes = [
            copied.step(np.full(len(copied.pending), bid)) for _ in range(30) if not copied.done
        ]
        rest.append([np.concatenate(each) for each in zip(*outcomes, strict=True)])
    return rest


@pytest.mark.parametrize("preset", PRESETS)
def test_resampling_keeps_the_present_and_changes_the_future(preset):
    simulator = half_played(preset)
    resampled = copy.deepcopy(simulator)
    resampled.resample_future(7)
    everyone = np.arange(60)
    np.testing.assert_array_equal(resampled.pending, simulator.pending)
    np.testing.assert_array_equal(resampled.observe(everyone), simulator.observe(everyone))
    np.testing.assert_array_equal(resampled.stage, simulator.stage)
    assert resampled.ledger == simulator.ledger and resampled.hour == simulator.hour
    first, again, other = futures(simulator, (7, 7, 8))
    for one, two in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, two)
    length = min(len(first[0]), len(other[0]))
    assert (first[0][:length] != other[0][:length]).any()  # won


def test_futures_follow_the_worlds_probabilities():
    """Of the pending requests alone, whose stages are the same in every future."""
    simulator = half_played("journey")
    who, model = simulator.pending, simulator.preset.users
    won, converted = np.zeros(len(who)), np.zeros(len(who))
    for seed in range(300):
        copied = copy.deepcopy(simulator)
        copied.resample_future(seed)
        outcome = copied.step(np.full(len(who), 0.05))
        won += outcome.won / 300
        converted += outcome.conversion_probability / 300
    win = float(simulator.preset.prices.cdf(0.05))
    np.testing.assert_allclose(won, win, atol=0.12)  # 4 standard errors of a single user
    assert won.mean() == pytest.approx(win, abs=0.12 / np.sqrt(len(who)))
    stage = simulator.stage[who]
    hazard = win * model.hazard_won[stage] + (1 - win) * model.hazard_lost[stage]
    np.testing.assert_allclose(converted, hazard, atol=0.03)
