"""A patterns.json sets what the user leaves open, and nothing else."""

import dataclasses
from pathlib import Path

import pytest

from rllib_seq.envs.ad_auction.worlds.presets import AuctionConfig
from rllib_seq.errors import UserError
from rllib_seq.journeys.event_log import load_events
from rllib_seq.journeys.patterns import Patterns, discover
from rllib_seq.training.config.experiment import Options, prepare
from rllib_seq.training.config.from_patterns import credits, observed, with_patterns
from rllib_seq.training.config.modules import load_config

DATA = Path(__file__).parents[3] / "data/mta/journeys.csv.gz"


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("patterns") / "patterns.json"
    discover(load_events(DATA)).write(path)
    return path


def test_the_window_length_reaches_the_model(path):
    options, reported = with_patterns(Options(seed=3), path)
    assert (options.window_length, options.seed) == (11, 3)
    assert "window length 11" in reported
    config = prepare(load_config("tune_configs.ppo"), options)
    assert config.model["custom_model_config"]["window_length"] == 11
    assert with_patterns(Options(window_length=5), path)[0].window_length == 5
    assert with_patterns(Options(), None) == (Options(), "")


def test_the_world_is_the_logs_as_far_as_it_tells(path):
    options, reported = with_patterns(Options(), path)
    assert reported.endswith(
        "not given, so as in the preset: segments, hour curve, pauses, conversion delay"
    )
    config = prepare(load_config("tune_configs.ppo"), options)
    users = AuctionConfig.from_dict(config.env_config).build_preset().users
    patterns = Patterns.read(path)
    assert set(users.channels) == set(patterns.attribution["linear"])
    assert users.return_probability.tolist() == patterns.journeys["return_probability"]
    base = AuctionConfig().build_preset().users
    assert users.traffic == base.traffic and users.delay is base.delay


def test_a_log_that_is_replayed_is_its_own_world(path):
    options, _ = with_patterns(Options(preset="log"), path)
    assert options == Options(preset="log")
    assert with_patterns(Options("log", stream="user"), path)[0].window_length == 11


def test_credits_of_all_touchpoints_are_all_the_value(path):
    patterns = Patterns.read(path)
    touched = list(patterns.mix["touchpoints"].values())
    for model in ("shapley", "linear"):
        paid = sum(c * n for c, n in zip(credits(patterns, model), touched, strict=True))
        assert paid == pytest.approx(patterns.journeys["converted"])
    with pytest.raises(UserError, match="unknown attribution 'best'"):
        credits(patterns, "best")


def test_the_attributed_reward_takes_the_credits(path):
    options = with_patterns(Options(reward="attributed"), path)[0]
    world = prepare(load_config("tune_configs.ppo"), options).env_config
    assert world["credits"] == credits(Patterns.read(path))
    # Nothing hidden is in it: a model may be fed its previous reward.
    config = load_config("tune_configs.ppo")
    settings = {**config.model["custom_model_config"], "prev_reward": True}
    config.training(model={**config.model, "custom_model_config": settings})
    prepare(config, options)
    assert "credits" not in prepare(load_config("tune_configs.ppo"), Options()).env_config


def test_a_log_with_times_tells_hours_and_delays():
    log = load_events(DATA.parents[1] / "ipinyou_discover/rows.txt")
    world = observed(discover(log))
    assert set(world.channels) == {"1", "2", "3"}
    assert len(world.hours) == 24 and sum(world.hours) == pytest.approx(1.0)
    assert world.delay is None and world.return_probability[-1] == 0.0
    AuctionConfig(observed=dataclasses.asdict(world)).build_preset()


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match="cannot read patterns"):
        with_patterns(Options(), tmp_path / "patterns.json")
