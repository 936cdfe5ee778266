"""A policy of `tune_configs.campaign` beside the baselines: it starts as the pacing rule."""

import pytest

from rllib_seq.envs.ad_auction.tick.baselines import PacedMultipliers
from rllib_seq.envs.ad_auction.tick.simulator import TickSimulator, play_ticks
from rllib_seq.envs.ad_auction.tick.worlds import TickConfig
from rllib_seq.errors import UserError
from rllib_seq.training.acting.loading import acting_policy
from rllib_seq.training.config.checks import training_signal
from rllib_seq.training.config.experiment import Options, prepare
from rllib_seq.training.config.modules import load_config
from rllib_seq.training.evaluation.learned_multipliers import LearnedMultipliers

pytestmark = pytest.mark.usefixtures("ray_session")


@pytest.fixture(scope="module")
def algorithm(ray_session):
    config = load_config("campaign")
    config.environment(env_config={"flights": 2, "requests_per_tick": 20})
    config.training(train_batch_size=96, minibatch_size=48, num_epochs=1)
    built = prepare(config, Options(preset="mixed", seed=0)).build_algo()
    yield built
    built.stop()


def simulator(**changes):
    config = {"world": "mixed", "requests_per_tick": 50, "conversions": "expected", **changes}
    return TickSimulator(TickConfig(**config))


def test_it_trains_on_outcomes_and_starts_as_the_pacing_rule(algorithm):
    assert algorithm.config.env_config["world"] == "mixed"
    assert training_signal(algorithm.config) == "outcomes"
    sim = simulator(actions="around_pacing")
    play_ticks(sim, LearnedMultipliers(acting_policy(algorithm.get_policy())), seed=5)
    learned = sim.score
    play_ticks(sim, PacedMultipliers("pacing", sim.world.pacing), seed=5)
    assert learned == pytest.approx(sim.score, rel=0.02)
    assert learned != sim.score
    row = algorithm.train()
    assert row["num_env_steps_sampled_lifetime"] == 96


def test_it_remembers_within_a_flight_alone(algorithm):
    bidder = LearnedMultipliers(acting_policy(algorithm.get_policy()))
    sim = simulator(actions="around_pacing")
    scores = []
    for _ in range(2):
        play_ticks(sim, bidder, seed=6)
        scores.append(sim.score)
    assert scores[0] == scores[1]


def test_other_observations_are_refused(algorithm):
    bidder = LearnedMultipliers(acting_policy(algorithm.get_policy()))
    with pytest.raises(UserError, match=r"trained on observations \(25,\).*this campaign has \(24"):
        play_ticks(simulator(), bidder, seed=1)


def test_unknown_worlds_are_refused():
    with pytest.raises(UserError, match="unknown world 'stedy'; did you mean 'steady'"):
        prepare(load_config("campaign"), Options(preset="stedy"))
