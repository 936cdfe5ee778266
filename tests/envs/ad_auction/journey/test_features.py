"""Observations against a recomputation, by hand and event by event, from the recorded log."""

import math

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rllib_seq.envs.ad_auction import PRESETS, AuctionConfig, AuctionSimulator
from rllib_seq.envs.ad_auction.journey.features import KINDS, build, fields, observation_space
from rllib_seq.envs.ad_auction.journey.signals import Layout, Signals
from rllib_seq.envs.ad_auction.simulator.events import EVENTS

RAW = Layout("raw", ("display", "video"))


def raw(channel=1, last_profit=-0.25):
    one = np.array([True])
    return Signals(
        np.array([channel]), one, ~one, np.array([last_profit]), np.array([0.5]), np.array([0.75])
    )


def test_every_raw_field_stands_where_it_is_declared():
    row = build(RAW, raw())[0]
    assert dict(zip([field.name for field in fields(RAW)], row.tolist(), strict=True)) == {
        "channel_display": 0,
        "channel_video": 1,
        "clicked": 1,
        "visited": 0,
        "last_profit": -0.25,
        "budget_left": 0.5,
        "flight_left": 0.75,
    }
    assert observation_space(RAW).contains(row)


def test_an_ended_journey_has_no_channel_and_profits_stay_in_range():
    assert build(RAW, raw(channel=-1, last_profit=-3.0))[0].tolist() == [0, 0, 1, 0, -1, 0.5, 0.75]


@pytest.mark.parametrize("preset", PRESETS)
def test_full_begins_with_raw_has_ten_groups_and_names_everything_once(preset):
    config = AuctionConfig(preset, observation="full")
    layout = config.build_layout(config.build_preset())
    full = fields(layout)
    assert [f.name for f in full[: len(layout.channels) + 5]] == [
        f.name for f in fields(layout._replace(kind="raw"))
    ]
    assert len({f.name for f in full}) == len(full)
    assert len({f.group for f in full}) == 10
    assert all(f.low < f.high and f.meaning for f in full)


@pytest.mark.parametrize("kind", ["full", "user"])
def test_of_a_user_alone_it_is_the_same_however_others_are_bid_for(kind):
    seen = {}
    for others in (0.0, 0.5):
        sim = AuctionSimulator(AuctionConfig("display", num_users=40, observation=kind, budget=0.5))
        sim.reset(2)
        seen[others] = []
        while not sim.done:
            rows = sim.pending
            seen[others].append(sim.observe(rows[rows < 8]))
            sim.step(np.where(rows < 8, 0.01, others))
    same = np.array_equal(*(np.concatenate(rows) for rows in seen.values()))
    assert same == (kind == "user")


def log1p(x, most):
    return min(math.log1p(x) / math.log1p(most), 1.0)


def recomputed(events, user, hour, channel, simulator):
    """All fields of one request from the events before it, in plain Python."""
    preset, model = simulator.preset, simulator.preset.users
    mine = [e for e in events if e["user"] == user]

    def of(kind, rows=mine):
        return [e for e in rows if e["event"] == EVENTS.index(kind)]

    def since(rows):
        return log1p(hour - rows[-1]["hour"], 720) if rows else 1.0

    def paid(e):  # second price
        return max(e["market_price"], preset.floor)

    requests, shown = of("request"), of("impression")
    clicks, visits = of("click"), of("visit")
    everything, wins = of("request", events), of("impression", events)
    conversions = of("conversion", events)
    spend = sum(paid(e) for e in everything if e["won"])
    budget = preset.budget_per_user * simulator.num_users
    last = requests[-1] if requests else None
    after_last = mine[mine.index(last) :] if last else []
    session = 0
    for later, earlier in zip(
        [hour] + [e["hour"] for e in requests[::-1]], requests[::-1], strict=False
    ):
        if later - earlier["hour"] > 0.5:
            break
        session += 1
    repeats = 0
    for e in shown[::-1]:
        if e["creative"] != shown[-1]["creative"]:
            break
        repeats += 1

    def halved(rows, half_life, amount=lambda e: 1.0):
        return sum(amount(e) * 2 ** ((e["hour"] - hour) / half_life) for e in rows)

    recent_wins = halved([e for e in everything if e["won"]], 6)
    budget_left = 1.0 if math.isinf(budget) else (budget - spend) / budget
    flight_left = 1.0 if math.isinf(budget) else max(0.0, 1 - hour / preset.flight_hours)
    value, price = preset.value, preset.value * preset.highest_bid
    out = {
        "clicked": bool(of("click", after_last)),
        "visited": bool(of("visit", after_last)),
        "last_profit": max(
            -(1 + preset.shadow_price) * paid(last) / value if last and last["won"] else 0.0, -1.0
        ),
        "budget_left": budget_left,
        "flight_left": flight_left,
        "requests": log1p(len(requests), 100),
        "impressions": log1p(len(shown), 100),
        "clicks": log1p(len(clicks), 100),
        "visits": log1p(len(visits), 100),
        "won": bool(last and last["won"]),
        "since_impression": since(shown),
        "since_click": since(clicks),
        "since_visit": since(visits),
        "since_request": since(requests),
        "repeats": log1p(repeats, 100),
        "hour_sin": math.sin(2 * math.pi * hour / 24),
        "hour_cos": math.cos(2 * math.pi * hour / 24),
        "week_sin": math.sin(2 * math.pi * hour / 168),
        "week_cos": math.cos(2 * math.pi * hour / 168),
        "session": log1p(session, 100),
        "win_rate": recent_wins / halved(everything, 6) if everything else 0.0,
        "mean_paid": min(
            halved([e for e in everything if e["won"]], 6, paid) / recent_wins / price
            if recent_wins
            else 0.0,
            1.0,
        ),
        "last_paid": min(([paid(e) for e in requests if e["won"]] or [0.0])[-1] / price, 1.0),
        "floor": preset.floor / price,
        "ahead": flight_left - budget_left,
        "spent": min(sum(paid(e) for e in requests if e["won"]) / value, 1.0),
        "shadow_price": preset.shadow_price / (1 + preset.shadow_price),
        "new": not requests,
        "age": log1p(hour - requests[0]["hour"], 720) if requests else 0.0,
        "exposure": log1p(halved(shown, 24), 100),
        "conversions": log1p(len(conversions), 10_000),
        "conversion_rate": min(len(conversions) / max(len(wins), 1), 1.0),
        "immature": halved(wins, 24) / max(len(wins), 1),
        "since_conversion": since(conversions),
    }
    for i in range(4):
        out[f"bit_{i}"] = ((int(user) * 0x9E3779B97F4A7C15) % 2**64 >> (60 + i)) & 1
    for i, name in enumerate(model.channels):
        out[f"channel_{name}"] = channel == i
        touched = sum(e["channel"] == i for e in shown)
        out[f"touches_{name}"] = touched / max(len(shown), 1)
        credits = []
        for e in conversions:
            before = [w for w in wins if w["user"] == e["user"]]
            credits += [before[-1]["channel"]] if before else []
        out[f"credit_{name}"] = credits.count(i) / max(len(credits), 1)
    row = int(np.flatnonzero(simulator.state.number == user)[0])
    for prefix, names, index in (
        ("segment", model.audience.segments, simulator.state.segment[row]),
        ("device", model.audience.devices, simulator.state.device[row]),
        ("creative", model.creatives.names, shown[-1]["creative"] if shown else -1),
    ):
        out.update({f"{prefix}_{name}": index == i for i, name in enumerate(names)})
    return out


@pytest.mark.parametrize(("preset", "budget"), [("display", 2.0), ("journey", None)])
def test_every_field_is_what_the_event_log_says(preset, budget):
    config = AuctionConfig(preset, num_users=25, observation="full", budget=budget)
    simulator = AuctionSimulator(config, record=True)
    names = [field.name for field in fields(simulator.layout)]
    rng = np.random.default_rng(0)
    checked = conversions = 0
    for seed in range(5):
        simulator.reset(seed)
        while not simulator.done:
            row = simulator.pending[:1]
            columns = simulator.events.columns()
            events = [
                dict(zip(columns, values, strict=True))
                for values in zip(*(c.tolist() for c in columns.values()), strict=True)
            ]
            for event in events:
                if event["event"] == 0:
                    price = max(event["market_price"], simulator.preset.floor)
                    event["won"] = 0 < event["price"] >= price
            seen = dict(zip(names, simulator.observe(row)[0].tolist(), strict=True))
            user = int(simulator.state.number[row[0]])
            channel = int(simulator.channel(row)[0])
            expected = recomputed(events, user, simulator.hour, channel, simulator)
            assert seen.keys() == expected.keys()
            for name, value in expected.items():
                assert seen[name] == pytest.approx(float(value), abs=2e-6), (name, len(events))
            checked += 1
            bid = rng.choice(simulator.preset.bid_levels, 1)
            creatives = rng.integers(len(simulator.preset.users.creatives.names), size=1)
            simulator.step(bid, creatives)
        conversions += simulator.ledger.conversions
    assert checked > 100
    assert conversions > 2


@settings(deadline=None, max_examples=15)
@given(
    seed=st.integers(0, 2**32),
    preset=st.sampled_from(list(PRESETS)),
    kind=st.sampled_from(KINDS),
    reward=st.sampled_from(["sampled", "expected"]),
    bid=st.floats(0, 5),
)
def test_observations_stay_inside_the_declared_space(seed, preset, kind, reward, bid):
    config = AuctionConfig(preset, num_users=30, observation=kind, reward=reward)
    simulator = AuctionSimulator(config)
    simulator.reset(seed)
    space = simulator.observation_space
    assert isinstance(space, gym.spaces.Box)
    while not simulator.done:
        rows = simulator.observe(np.arange(30))  # also of users who have left or not come
        assert rows.dtype == np.float32
        assert (rows >= space.low).all()
        assert (rows <= space.high).all()
        simulator.step(np.full(len(simulator.pending), bid))


def test_where_nobody_leaves_a_bidder_sees_conversions_and_not_their_chance():
    """The campaign's counts are those of the world in which users leave, while it is the same."""
    counts = {}
    for reward in ("sampled", "regret"):
        config = AuctionConfig("display", 3000, reward=reward, observation="full", budget=1e9)
        simulator = AuctionSimulator(config)
        simulator.reset(0)
        while not simulator.done:
            simulator.step(np.full(len(simulator.pending), 0.1))
        tracker = simulator._accounting.tracker
        counts[reward] = (tracker.conversions[0], tracker.all_impressions[0], *tracker.credit[0])
    assert counts["regret"] == counts["sampled"]
    assert counts["sampled"][0] > 10
