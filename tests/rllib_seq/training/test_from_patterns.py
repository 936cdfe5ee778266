"""A patterns.json sets what the user leaves open, and nothing else."""

from pathlib import Path

import pytest

from rllib_seq.errors import UserError
from rllib_seq.journeys.event_log import load_events
from rllib_seq.journeys.patterns import discover
from rllib_seq.training.experiment import Options, load_config, prepare
from rllib_seq.training.from_patterns import with_patterns

DATA = Path(__file__).parents[2] / "data/mta/journeys.csv.gz"


def test_the_window_length_reaches_the_model(tmp_path):
    path = tmp_path / "patterns.json"
    patterns = discover(load_events(DATA))
    patterns.write(path)
    options = with_patterns(Options(seed=3), path)
    assert options == Options(seed=3, window_length=11)
    config = prepare(load_config("tune_configs.ppo"), options)
    assert config.model["custom_model_config"]["window_length"] == patterns.window.length
    assert with_patterns(Options(window_length=5), path) == Options(window_length=5)
    assert with_patterns(Options(), None) == Options()


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match="cannot read patterns"):
        with_patterns(Options(), tmp_path / "patterns.json")
