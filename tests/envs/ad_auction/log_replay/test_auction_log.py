"""What the training days teach, and that the held-out days teach nothing."""

import dataclasses

import numpy as np
import pytest
from log_market import make_log, make_world

from rllib_seq.envs.ad_auction.log_replay.auction_log import AuctionLog
from rllib_seq.envs.ad_auction.log_replay.click_model import ClickModel
from rllib_seq.envs.ad_auction.log_replay.replay import Replay, fields
from rllib_seq.envs.ad_auction.log_replay.user_past import user_past
from rllib_seq.envs.ad_auction.log_replay.world import ReplayConfig, ReplayWorld


@pytest.mark.parametrize(("held", "days"), [(None, 1), (1, 1), (3, 3)])
def test_days_are_disjoint(held, days):
    train, held_out = make_log().split(held)
    assert len(held_out.days) == days and len(train.days) == 6 - days
    assert train.time.max() < held_out.time.min()
    assert len(train) + len(held_out) == 2400


def test_held_out_days_teach_nothing():
    log = make_log()
    late = log.time >= log.split()[1].time.min()
    other = dataclasses.replace(
        log,
        price=np.where(late, 7.0, log.price),
        clicked=log.clicked ^ late,
    )
    one, two = make_world(log), make_world(other)
    assert (one.base, one.budget) == (two.base, two.budget)
    assert (one.market.worth(one.train) == two.market.worth(two.train)).all()
    assert one.market.worth_of_rest(90.0, 10) == two.market.worth_of_rest(90.0, 10)


def test_few_clicks_stay_near_the_base_rate_and_many_do_not():
    rng = np.random.default_rng(0)
    truth = np.array([0.002, 0.01, 0.05])
    for n, near in ((400, False), (200_000, True)):
        word = rng.integers(3, size=n)
        clicked = rng.random(n) < truth[word]
        model = ClickModel.fit({"word": word}, clicked, {"word": 4})
        found = model.probability({"word": np.arange(4)})
        base = (clicked.sum() + 0.5) / (n + 1)
        assert found[3] == pytest.approx(base)  # a word that was never seen
        if near:
            assert found[:3] == pytest.approx(truth, rel=0.15)
        else:
            assert (found[:3] / base > 0.3).all() and (found[:3] / base < 3).all()
        # Likelihood and prior agree: the mean prediction is the click rate.
        assert model.probability({"word": word}).mean() == pytest.approx(clicked.mean(), rel=0.2)


def test_without_clicks_all_are_alike():
    log = dataclasses.replace(make_log(), clicked=np.zeros(2400, np.bool_))
    world = make_world(log)
    assert np.allclose(world.market.worth(world.held_out), 1.0, atol=0.1)


def test_worth_of_rest_is_the_greedy_purchase():
    world = make_world()
    market, train = world.market, world.train
    worth = market.worth(train)
    order = np.argsort(train.price / worth)
    for budget in (0.0, 300.0, 5_000.0, 1e9):
        bought = np.cumsum(train.price[order]) <= budget
        greedy = worth[order][bought].sum()
        found = market.worth_of_rest(budget, len(train))
        assert greedy - 1e-9 <= found <= greedy + worth.max()
        base = float(market.base_of_rest(np.array(budget), len(train)))
        assert (train.price < base * worth).sum() <= bought.sum() + 1
    assert market.worth_of_rest(10.0, 0) == 0.0


def test_no_other_base_is_better_on_the_training_days():
    world = make_world()
    length = world.episode_requests
    count = len(world.train) // length
    starts = np.linspace(0, len(world.train) - length, count).round().astype(int)

    def gained(base):
        total = 0.0
        for start in starts:
            left = world.budget
            for worth, price in zip(
                world.market.worth(world.train)[start : start + length],
                world.train.price[start : start + length],
                strict=True,
            ):
                if min(base * worth, left) >= price:
                    left, total = left - price, total + worth
        return total

    best = gained(world.base)
    assert all(gained(world.base * factor) <= best * 1.01 for factor in (0.5, 0.8, 1.25, 2.0))


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"budget_ratio": 0.0}, "budget_ratio is 0.0"),
        ({"held_out_days": 6}, "held_out_days is 6 of 6 days"),
        ({"episode_requests": 5000}, "episode_requests is 5000, and the training days have"),
        ({"auction": "third_price"}, "unknown auction 'third_price'"),
        ({"stream": "users"}, "did you mean 'user'"),
        ({"reward": "sampled"}, "unknown reward 'sampled'"),
    ],
)
def test_errors_name_the_value(config, words):
    with pytest.raises(ValueError, match=words):
        ReplayWorld(make_log(), ReplayConfig(**config))


def test_of_a_single_day_the_last_quarter_is_held_out():
    log = make_log(days=1)
    world = make_world(log)
    assert len(world.held_out) == len(log) // 4
    assert world.train.time.max() <= world.held_out.time.min()
    assert "one day" in world.notes[0]
    assert not make_world(make_log()).notes
    with pytest.raises(ValueError, match="held_out_days is 1 of 1 days"):
        ReplayWorld(log, ReplayConfig(held_out_days=1))
    with pytest.raises(ValueError, match="has 1 auction"):
        make_world(log.take(slice(0, 1)))


def test_auctions_that_the_log_lost_are_enough_to_train_on():
    log = make_log(days=1)
    lost = dataclasses.replace(log, won=np.arange(len(log)) >= len(log) - len(log) // 4)
    world = make_world(lost)
    assert "no auction to train on was won" in world.notes[1]
    np.testing.assert_array_equal(world.market.worth(world.train), 1.0)


def test_the_past_of_a_user_is_that_of_a_loop():
    rng = np.random.default_rng(0)
    n = 400
    time = np.sort(rng.integers(0, 40, n)) * 3_600_000_000
    clicked = rng.random(n) < 0.3
    known = time + rng.integers(0, 10, n) * 3_600_000_000
    log = AuctionLog(*(time, rng.integers(0, 9, n), np.ones(n), clicked, {}, {}), gain_time=known)
    past = user_past(log)
    for i in range(n):
        mine = [j for j in range(i) if log.user[j] == log.user[i]]
        gains = sum(
            clicked[j] and known[j] < time[i] for j in range(n) if log.user[j] == log.user[i]
        )
        silence = 2.0 ** -((time[i] - time[mine[-1]]) / (24 * 3_600_000_000)) if mine else 0.0
        expected = [np.log2(1 + len(mine)) / 8, min(np.log2(1 + gains) / 4, 1), silence]
        np.testing.assert_allclose(past[i], expected)


def test_users_are_remembered_across_episodes():
    """The second episode begins with what the first one's users have done."""
    log = make_log()
    world = make_world(log, stream="user")
    names = [name for name, _ in fields(world)]
    replay = Replay(world, world.held_out, 1)
    replay.reset([slice(0, world.episode_requests)])
    seen = replay.observe(replay.pending)[0, names.index("user_requests")]
    user, start = world.held_out.user[0], world.held_out.time[0]
    before = (log.user[log.time < start] == user).sum()
    assert before > 0
    assert seen == pytest.approx(np.log2(1 + before) / 8)
    assert "user_requests" not in [name for name, _ in fields(make_world(log))]
