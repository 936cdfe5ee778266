import numpy as np
import pytest

from rllib_seq.envs.ad_auction.market.pacing import PID, Constant, OnlineDual
from rllib_seq.envs.ad_auction.tick.baselines import (
    ChannelMultipliers,
    DualBids,
    FixedBid,
    HindsightMultipliers,
    PacedMultipliers,
    RandomMultipliers,
    best_constant,
    best_multipliers,
    tick_baselines,
)
from rllib_seq.envs.ad_auction.tick.simulator import TickSimulator, play_ticks
from rllib_seq.envs.ad_auction.tick.worlds import TickConfig

SEEDS = (21, 22)


def simulator(world="steady", requests_per_tick=300, **changes):
    config = {"requests_per_tick": requests_per_tick, "conversions": "expected", **changes}
    return TickSimulator(TickConfig(world=world, **config))


def hindsight(sim, seed):
    play_ticks(sim, FixedBid(0.0), seed)
    return sim.hindsight()


def share_of_hindsight(sim, policy):
    shares = []
    for seed in SEEDS:
        best = hindsight(sim, seed).score
        play_ticks(sim, policy, seed)
        shares.append(sim.score / best)
    return float(np.mean(shares))


@pytest.mark.parametrize("world", ["steady", "mixed", "slots"])
def test_hindsight_buys_its_plan_where_competitors_have_no_memory(world):
    """What it misses of the relaxation is less than the dearest request."""
    sim = simulator(world)
    for seed in SEEDS:
        best = hindsight(sim, seed)
        dearest = sim.past()[0].max()
        play_ticks(sim, HindsightMultipliers(), seed)
        assert best.score - dearest <= sim.score <= best.score * (1 + 1e-12)
        assert sim.ledger.wins == (best.slot >= 0).sum()


def test_a_constant_of_one_over_lambda_is_hindsight_in_second_price():
    sim = simulator(requests_per_tick=1000)
    for seed in SEEDS:
        best = hindsight(sim, seed)
        play_ticks(sim, PacedMultipliers("linear", Constant(1 / best.shadow_price)), seed)
        # At the very end a bid that the budget could not pay in full is not made.
        assert sim.score / best.score == pytest.approx(1.0, abs=5e-3)


@pytest.mark.slow
def test_the_constant_fitted_to_past_flights_is_their_one_over_lambda():
    sim = simulator(requests_per_tick=1000)
    lambdas = [hindsight(sim, seed).shadow_price for seed in SEEDS]
    fitted = best_constant(
        lambda m: PacedMultipliers("linear", Constant(m)), sim, SEEDS, 1 / 8, 8.0
    )
    assert fitted == pytest.approx(np.mean(1 / np.array(lambdas)), rel=0.04)


def test_baselines_rank_as_they_know():
    share = {
        policy.name: share_of_hindsight(simulator(), policy)
        for policy in [
            RandomMultipliers(),
            FixedBid(0.1),
            PacedMultipliers("until_broke", Constant()),
            PacedMultipliers("pid", PID(1.0, 8.0)),
            PacedMultipliers("online_dual", OnlineDual(1.0, 8.0)),
            HindsightMultipliers(),
        ]
    }
    assert max(share["random"], share["fixed"]) < share["until_broke"] < 0.75
    assert 0.93 < min(share["pid"], share["online_dual"])
    assert max(share["pid"], share["online_dual"]) < share["hindsight"] <= 1.0


def test_dual_descent_on_the_target_keeps_it_and_on_the_budget_alone_does_not():
    """A target CPA of 12 binds before the budget."""
    sim = simulator("slots", requests_per_tick=1000, target_cpa=12.0)
    cpa = {}
    for policy in (DualBids(), PacedMultipliers("budget alone", OnlineDual(1.0, 8.0))):
        play_ticks(sim, policy, seed=21)
        cpa[policy.name] = sim.ledger.spend / sim.ledger.conversions
    assert cpa["online_dual"] == pytest.approx(12.0, rel=0.2)
    assert cpa["budget alone"] > 18.0


def test_dual_descent_without_a_target_paces_the_budget():
    sim = simulator()
    play_ticks(sim, DualBids(), seed=21)
    mine = sim.score
    play_ticks(sim, PacedMultipliers("online_dual", OnlineDual(1.0, 1e9)), seed=21)
    assert mine == pytest.approx(sim.score, rel=0.02)
    assert sim.ledger.spend / sim.ledger.budget == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize("world", ["steady", "slots"])
def test_all_baselines_of_a_world(world):
    config = TickConfig(world=world, requests_per_tick=20)
    policies = tick_baselines(config, past_seeds=[1])
    names = ["random", "fixed", "until_broke", "linear", "pid", "online_dual", "hindsight"]
    assert [policy.name for policy in policies] == names
    sim = TickSimulator(config)
    for policy in policies:
        ledger = play_ticks(sim, policy, seed=2)
        assert 0 <= ledger.spend <= ledger.budget


@pytest.mark.slow
def test_the_best_multipliers_of_a_flight_beat_its_best_constant():
    """In `mixed`, display is first price: bids there are shaded more than elsewhere."""
    sim = TickSimulator(TickConfig(world="mixed", requests_per_tick=200, conversions="expected"))
    seed = 7
    constant = best_constant(lambda m: PacedMultipliers("c", Constant(m)), sim, [seed], 0.2, 2.0)
    play_ticks(sim, PacedMultipliers("c", Constant(constant)), seed)
    of_constant = sim.score
    best = best_multipliers(sim, seed, constant, evaluations=60)
    play_ticks(sim, ChannelMultipliers(best), seed)
    assert sim.score > 1.002 * of_constant
    assert best[0] < best[1]
