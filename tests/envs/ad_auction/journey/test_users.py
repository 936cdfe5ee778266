import numpy as np
import pytest

from rllib_seq.envs.ad_auction.journey.users import Draws, advance
from rllib_seq.envs.ad_auction.worlds.presets import PRESETS

MODEL = PRESETS["journey"].users
N = 200_000


def reactions(stage, channel, won, seed=0):
    uniforms = np.random.default_rng(seed).random((len(Draws._fields), N))
    fixed = [np.full(N, value) for value in (stage, channel)]
    return advance(MODEL, *fixed, np.full(N, won), Draws(*uniforms))


@pytest.mark.parametrize("stage", range(4))
@pytest.mark.parametrize("channel", range(3))
def test_a_won_impression_has_the_declared_probabilities(stage, channel):
    reaction = reactions(stage, channel, True)
    stays = ~reaction.converted & ~reaction.churned
    moved = reaction.stage[stays] - stage
    near = {"abs": 0.005}
    assert reaction.clicked.mean() == pytest.approx(MODEL.click[stage, channel], **near)
    assert reaction.converted.mean() == pytest.approx(MODEL.hazard_won[stage], **near)
    churned = reaction.churned[~reaction.converted]
    assert churned.mean() == pytest.approx(MODEL.churn[stage], **near)
    assert set(np.unique(moved)) <= {0, 1}
    assert moved.mean() == pytest.approx(MODEL.move_up[stage, channel], **near)
    for after in np.unique(reaction.stage[stays]):
        visited = reaction.visited[stays & (reaction.stage == after)]
        assert visited.mean() == pytest.approx(MODEL.visit[after], abs=0.02)


@pytest.mark.parametrize("stage", range(4))
def test_without_impression_the_stage_decays_and_nobody_clicks_or_churns(stage):
    reaction = reactions(stage, 0, False)
    assert not reaction.clicked.any()
    assert not reaction.churned.any()
    assert reaction.converted.mean() == pytest.approx(MODEL.hazard_lost[stage], abs=0.003)
    moved = reaction.stage[~reaction.converted] - stage
    assert -moved.mean() == pytest.approx(MODEL.move_down[stage], abs=0.003)


def test_conversion_and_churn_come_before_the_move():
    reaction = reactions(3, 2, True)
    over = reaction.converted | reaction.churned
    assert (reaction.stage[over] == 3).all()
    assert not reaction.visited[over].any()
    assert not (reaction.converted & reaction.churned).any()


def test_conversion_delays_have_the_published_quantiles():
    delay = PRESETS["display"].users.delay
    hours = delay.ppf(np.random.default_rng(0).random(N))
    assert np.mean(hours <= 1) == pytest.approx(0.35, abs=0.005)
    assert np.mean(hours <= 24) == pytest.approx(0.50, abs=0.005)
    assert 29 * 24 < hours.max() <= 30 * 24
    np.testing.assert_allclose(delay.cdf(delay.ppf([0.1, 0.4, 0.7])), [0.1, 0.4, 0.7])
