"""Flights side by side are bit by bit the flights of the Gymnasium adapter."""

import numpy as np
import pytest

from rllib_seq.envs.ad_auction.tick.campaign_env import AdCampaignEnv
from rllib_seq.envs.ad_auction.tick.flights import TickFlights
from rllib_seq.envs.ad_auction.tick.worlds import TICK_WORLDS, TickConfig

AROUND = {"actions": "around_pacing", "reward": "over_pacing", "conversions": "expected"}


@pytest.mark.parametrize("world", TICK_WORLDS)
def test_each_flight_is_that_of_the_gymnasium_adapter(world):
    config = TickConfig(world=world, requests_per_tick=40, **AROUND)
    seeds = [np.random.SeedSequence(seed) for seed in (4, 5)]
    flights = TickFlights(config, 2)
    observations = flights.reset(seeds)
    envs = [AdCampaignEnv(world=world, requests_per_tick=40, **AROUND) for _ in seeds]
    seen = [env.begin(seed) for env, seed in zip(envs, seeds, strict=True)]
    rng = np.random.default_rng(0)
    while not flights.done:
        np.testing.assert_allclose(observations, np.stack(seen), atol=1e-6)
        actions = rng.uniform(-1, 1, (2, 3)).astype(np.float32)
        observations, rewards = flights.step(actions)
        steps = [env.step(action) for env, action in zip(envs, actions, strict=True)]
        seen = [step[0] for step in steps]
        np.testing.assert_allclose(rewards, [step[1] for step in steps], atol=1e-9)
    assert all(step[2] for step in steps)
    np.testing.assert_allclose(observations, np.stack(seen), atol=1e-6)


def test_other_rewards_are_refused():
    with pytest.raises(ValueError, match="reward 'score'"):
        TickFlights(TickConfig(actions="around_pacing", conversions="expected"), 2)
