"""The bound: above every exact value, tight where it can be checked, and made of true mixtures."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rllib_seq.envs.ad_auction import PRESETS
from rllib_seq.envs.ad_auction.worlds.beliefs import BeliefGrid, belief_grid, solve
from rllib_seq.envs.ad_auction.worlds.values import (
    best_response,
    expected_auction,
    full_information,
    kernels,
)

JOURNEY = PRESETS["journey"]


def with_users(**changes):
    return dataclasses.replace(JOURNEY, users=dataclasses.replace(JOURNEY.users, **changes))


@settings(max_examples=60, deadline=None)
@given(
    stages=st.integers(1, 5), steps=st.integers(1, 9), seed=st.integers(0, 999), few=st.booleans()
)
def test_every_belief_is_a_mixture_of_its_neighbours(stages, steps, seed, few):
    rng = np.random.default_rng(seed)
    beliefs = rng.dirichlet(np.full(stages, 0.1 if few else 2.0), 50)
    grid = BeliefGrid.of(stages, steps)
    near, weight = grid.mix(np.concatenate([beliefs, grid.points, np.eye(stages)]))
    assert (near[weight > 0] >= 0).all()
    assert (weight > -1e-12).all()
    mixed = (weight[..., None] * grid.points[near]).sum(axis=1)
    np.testing.assert_allclose(mixed[:50], beliefs, atol=1e-12)
    np.testing.assert_allclose(mixed[50:-stages], grid.points, atol=1e-12)
    tails = lambda b: np.cumsum(b[:, ::-1], axis=1)  # noqa: E731
    width = np.diff(grid.axis).max()
    assert (np.abs(tails(grid.points[near[:, 0]]) - tails(mixed)) <= width + 1e-9).all()


def exact(preset, belief, requests):
    """The optimum by all that may be seen, one history after the other."""
    if requests == 0:
        return 0.0
    model, step = preset.users, kernels(preset.users)
    visit, click = model.visit, model.click

    def after(stages):
        worth = 0.0
        for seen in (visit, 1 - visit):
            joint = stages * seen
            if joint.sum() > 1e-12:
                worth += joint.sum() * exact(preset, joint / joint.sum(), requests - 1)
        return worth

    value = 0.0
    lost = belief @ model.hazard_lost * preset.value + after(belief @ step.lost)
    for channel, share in enumerate(model.channel_share):
        won = belief @ model.hazard_won * preset.value
        for seen in (click[:, channel], 1 - click[:, channel]):
            won += after((belief * seen) @ step.won[:, channel])
        win, payment = expected_auction(preset, best_response(preset, np.array(won - lost)))
        value += share * (lost + win * (won - lost) - (1 + preset.shadow_price) * payment)
    return float(value)


@pytest.mark.parametrize("auction", ["second_price", "first_price"])
def test_one_request_has_a_closed_form(auction):
    preset = dataclasses.replace(with_users(requests_per_user=1), auction=auction, shadow_price=0.3)
    model = preset.users
    lift = model.initial_share @ (model.hazard_won - model.hazard_lost)
    win, payment = expected_auction(preset, best_response(preset, np.array(lift)))
    wanted = model.initial_share @ model.hazard_lost + win * lift - 1.3 * payment
    assert solve(preset, belief_grid(preset)).value == pytest.approx(wanted, rel=1e-9)


def test_the_bound_comes_down_to_the_optimum_of_short_journeys():
    """Four requests, from late stages on, so that there is something to learn and to win."""
    share = np.array([0.25, 0.25, 0.25, 0.25])
    for requests in (2, 4):
        preset = with_users(requests_per_user=requests, initial_share=share)
        best = exact(preset, share, requests)
        bounds = [solve(preset, BeliefGrid.of(4, steps)).value for steps in (1, 4, 12, 32)]
        assert bounds == sorted(bounds, reverse=True)
        assert bounds[-1] >= best - 1e-12
        assert bounds[-1] == pytest.approx(best, rel=2e-3)


def test_who_sees_the_stage_earns_as_with_full_information():
    model = JOURNEY.users
    two = slice(2, 4)  # considering and intent, distinguished by the visit after every request
    preset = with_users(
        stages=model.stages[two],
        initial_share=np.array([1.0, 0.0]),
        visit=np.array([0.0, 1.0]),
        move_up=model.move_up[two] * [[1], [0]],
        move_down=np.array([0.0, 0.3]),
        **{name: getattr(model, name)[two] for name in ("hazard_won", "hazard_lost", "churn")},
        click=model.click[two],
    )
    best = solve(preset, BeliefGrid.of(2, 1))
    assert best.value == pytest.approx(full_information(preset).value, rel=1e-9)


def test_worth_is_convex_in_the_belief():
    """Of what is known of a user at first: to know more is worth something."""
    grid, rng = BeliefGrid.of(4, 16), np.random.default_rng(3)

    def worth(belief):
        return solve(with_users(initial_share=belief), grid).value

    gains = []
    for one, other in rng.dirichlet(np.full(4, 0.5), (12, 2)):
        gains.append((worth(one) + worth(other)) / 2 - worth((one + other) / 2))
    assert min(gains) > -2e-4
    assert max(gains) > 0.005


def test_the_uniform_auctions_hide_nothing():
    preset = PRESETS["uniform"]
    best = solve(preset, belief_grid(preset))
    assert best.value == pytest.approx(full_information(preset).value, rel=1e-9)


def test_given_bids_are_never_worth_more_than_the_best():
    grid = belief_grid(JOURNEY)
    best = solve(JOURNEY, grid)
    full = full_information(JOURNEY).advantage

    def bayes(request, beliefs):
        return best_response(JOURNEY, np.einsum("ns,ksc->nkc", beliefs, full[:, request]))

    of_bayes = solve(JOURNEY, grid, bayes)
    nothing = solve(JOURNEY, grid, lambda request, beliefs: np.zeros((len(beliefs), 1, 3)))
    assert nothing.value < of_bayes.value < best.value
    assert (of_bayes.potential <= best.potential + 1e-12).all()
    assert of_bayes.value == pytest.approx(0.1237, abs=0.001)  # of 400,000 users, simulated
