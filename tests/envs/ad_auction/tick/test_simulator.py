import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rllib_seq.envs.ad_auction.journey.traffic import load_week
from rllib_seq.envs.ad_auction.market.objective import score
from rllib_seq.envs.ad_auction.tick.baselines import FixedBid
from rllib_seq.envs.ad_auction.tick.simulator import TickSimulator, play_ticks
from rllib_seq.envs.ad_auction.tick.worlds import TICK_WORLDS, TickConfig

MEMORYLESS = ["steady", "mixed", "slots"]


def simulator(world="steady", requests_per_tick=40, **changes):
    return TickSimulator(TickConfig(world=world, requests_per_tick=requests_per_tick, **changes))


def flight(sim, seed, multipliers):
    """Requests, prices and outcomes of a flight that bids these multiples of the worth."""
    sim.reset(seed)
    seen = []
    for multiplier in multipliers:
        requests = sim.requests
        seen.append((requests, sim.step(multiplier * requests.worth)))
    assert sim.done
    return seen


def same(one, other):
    return all((a == b).all() for a, b in zip(one, other, strict=True))


seeds = st.integers(0, 2**32)
multipliers = seeds.map(lambda seed: np.random.default_rng(seed).random(48) * 4)


@settings(max_examples=20, deadline=None)
@given(
    world=st.sampled_from([*TICK_WORLDS]), seed=seeds, play=multipliers, share=st.floats(0.01, 2)
)
def test_spend_never_exceeds_the_budget_and_the_books_add_up(world, seed, play, share):
    budget = share * TICK_WORLDS[world].budget * 48 * 40
    sim = simulator(world, budget=budget)
    seen = flight(sim, seed, play)
    ledger = sim.ledger
    assert ledger.spend <= budget * (1 + 1e-12)
    assert ledger.spend == pytest.approx(sum(outcome.paid.sum() for _, outcome in seen))
    assert ledger.wins == sum(outcome.won.sum() for _, outcome in seen)
    assert ledger.requests == sum(len(requests.worth) for requests, _ in seen)
    assert ledger.conversions == sum(outcome.conversions.sum() for _, outcome in seen)
    value = np.asarray(sim.world.conversion_value)
    earned = sum((out.conversions * value[requests.channel]).sum() for requests, out in seen)
    assert ledger.value == pytest.approx(earned)
    for (requests, outcome), multiplier in zip(seen, play, strict=True):
        bids = multiplier * requests.worth
        assert (outcome.paid <= bids).all()
        assert (outcome.paid[~outcome.won] == 0).all()
        assert (outcome.conversions[~outcome.won] == 0).all()
        assert (bids[outcome.won] >= outcome.to_win[outcome.won]).all()


@settings(max_examples=15, deadline=None)
@given(world=st.sampled_from(MEMORYLESS), seed=seeds, play=multipliers, other=multipliers)
def test_bids_change_no_request_and_no_price(world, seed, play, other):
    sim = simulator(world)
    for (mine, out), (theirs, out_of_theirs) in zip(
        flight(sim, seed, play), flight(sim, seed, other), strict=True
    ):
        assert same(mine, theirs)
        assert (out.to_win == out_of_theirs.to_win).all()


@settings(max_examples=15, deadline=None)
@given(world=st.sampled_from(MEMORYLESS), seed=seeds, play=multipliers, more=st.floats(1, 3))
def test_higher_bids_never_lose_a_win(world, seed, play, more):
    sim = simulator(world, budget=1e9)
    low, high = flight(sim, seed, play), flight(sim, seed, more * play)
    for (_, cheap), (_, dear) in zip(low, high, strict=True):
        assert (dear.won >= cheap.won).all()


def test_the_first_answer_of_rivals_comes_a_tick_later():
    sim = simulator("rivalry", requests_per_tick=200)
    silent, loud = np.zeros(48), np.full(48, 4.0)
    quiet, noisy = flight(sim, 1, silent), flight(sim, 1, loud)
    assert (quiet[0][1].to_win == noisy[0][1].to_win).all()
    assert any((a[1].to_win != b[1].to_win).any() for a, b in zip(quiet, noisy, strict=True))
    for (mine, _), (theirs, _) in zip(quiet, noisy, strict=True):
        assert same(mine, theirs)


@pytest.mark.parametrize("world", TICK_WORLDS)
def test_a_seed_is_a_flight(world):
    play = np.full(48, 0.7)
    one, two = flight(simulator(world), 5, play), flight(simulator(world), 5, play)
    assert all(same(a[0], b[0]) and same(a[1], b[1]) for a, b in zip(one, two, strict=True))
    other = flight(simulator(world), 6, play)
    assert [len(r.worth) for r, _ in one] != [len(r.worth) for r, _ in other]
    sim = simulator(world)
    sequence = np.random.SeedSequence(5)
    assert same(flight(sim, sequence, play)[3][0], flight(sim, sequence, play)[3][0])


def test_traffic_follows_the_plan():
    sim = simulator(requests_per_tick=400, days=2)
    counts = np.array(
        [
            [len(requests.worth) for requests, _ in flight(sim, seed, np.zeros(96))]
            for seed in range(12)
        ]
    )
    expected = np.diff(sim.planned) * sim.config.requests
    assert sim.planned[-1] == pytest.approx(1.0)
    assert counts.sum() == pytest.approx(12 * sim.config.requests, rel=0.03)
    assert np.corrcoef(counts.mean(axis=0), expected)[0, 1] > 0.98
    by_hour = load_week()[:48] / load_week()[:48].sum()
    assert expected.reshape(48, 2).sum(axis=1) == pytest.approx(by_hour * sim.config.requests)


@pytest.mark.parametrize("world", MEMORYLESS)
def test_sampled_conversions_have_the_mean_of_expected_ones(world):
    changes = {"world": world, "requests_per_tick": 2000, "budget": 1e9}
    play = np.full(48, 1.0)
    sampled, expected = (
        simulator(conversions=conversions, **changes) for conversions in ("sampled", "expected")
    )
    totals = []
    for seed in range(3):
        flight(sampled, seed, play), flight(expected, seed, play)
        assert sampled.ledger.spend == expected.ledger.spend  # the same wins
        totals.append((sampled.ledger.conversions, expected.ledger.conversions))
    happened, mean = np.sum(totals, axis=0)
    assert abs(happened - mean) < 4 * np.sqrt(mean)


@pytest.mark.parametrize("world", MEMORYLESS)
def test_no_play_beats_hindsight_and_hindsight_does_not_depend_on_the_play(world):
    sim = simulator(world, requests_per_tick=200, conversions="expected")
    bounds = []
    for multiplier in (0.0, 0.6, 1.0, 2.0):
        flight(sim, 3, np.full(48, multiplier))
        best = sim.hindsight()
        bounds.append(best.score)
        assert sim.score <= best.score
        assert best.spend <= sim.ledger.budget
    assert bounds == pytest.approx([bounds[0]] * 4)


def test_score_is_that_of_the_ledger():
    sim = simulator("slots", requests_per_tick=400, target_cpa=5.0, conversions="expected")
    flight(sim, 2, np.full(48, 4.0))
    ledger = sim.ledger
    assert ledger.spend / ledger.conversions > 5.0
    expected = ledger.conversions * (5.0 / (ledger.spend / ledger.conversions)) ** 2
    assert sim.score == pytest.approx(expected)
    assert sim.score == pytest.approx(float(score(ledger.conversions, ledger.spend, 5.0)))


def test_worth_is_what_an_impression_may_cost():
    for changes, of_value in (({}, 1.0), ({"target_roas": 4.0}, 0.25)):
        sim = simulator(requests_per_tick=4000, **changes)
        sim.reset(0)
        requests = sim.requests
        value = requests.probability * np.asarray(sim.world.conversion_value)[requests.channel]
        assert requests.worth == pytest.approx(of_value * value)
        median = [np.median(requests.worth[requests.channel == c]) for c in range(3)]
        assert median == pytest.approx(sim.world.typical_worth, rel=0.2)
    sim = simulator(target_cpa=20.0)
    sim.reset(0)
    assert sim.requests.worth == pytest.approx(20.0 * sim.requests.probability)
    assert sim.world.typical_worth == pytest.approx(20.0 * np.array([0.001, 0.002, 0.006]))


def test_play_asks_for_every_tick():
    sim = simulator()
    ledger = play_ticks(sim, FixedBid(0.1), seed=4)
    assert ledger is sim.ledger
    assert sim.done and sim.tick == 48 and len(sim.requests.worth) == 0
    with pytest.raises(ValueError, match="the flight is over; reset it first"):
        sim.step(np.zeros(0))
    sim.reset(4)
    assert (sim.hindsight().score, sim.hindsight().spend) == (0.0, 0.0)  # nothing happened yet


def test_bad_bids_are_named():
    sim = simulator()
    sim.reset(0)
    n = len(sim.requests.worth)
    with pytest.raises(ValueError, match=f"shape .{n + 1},. for {n} requests"):
        sim.step(np.zeros(n + 1))
    for bad in (-1.0, np.nan):
        with pytest.raises(ValueError, match=f"a bid is {bad}"):
            sim.step(np.full(n, bad))


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"world": "stedy"}, "unknown world 'stedy'; did you mean 'steady'"),
        ({"requests": 5}, "unknown env config key 'requests'; did you mean 'requests_per_tick'"),
        ({"days": 0}, "days is 0; give a whole number of at least 1"),
        ({"requests_per_tick": 1.5}, "requests_per_tick is 1.5"),
        ({"budget": -1}, "budget is -1; give a number above 0"),
        ({"target_cpa": "x"}, "target_cpa is 'x'"),
        ({"target_cpa": 1.0, "target_roas": 1.0}, "give one"),
        ({"conversions": "real"}, "unknown conversions 'real'"),
    ],
)
def test_bad_configs_are_named(config, words):
    with pytest.raises(ValueError, match=words):
        TickConfig.from_dict(config)
