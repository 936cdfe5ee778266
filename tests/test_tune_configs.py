"""Every module of tune_configs is ready to run."""

import copy
import importlib
import pkgutil
import time
from pathlib import Path

import pytest
from ray import tune
from ray.rllib.utils.metrics import NUM_AGENT_STEPS_TRAINED

from rllib_seq import tune_configs
from rllib_seq.training.config.experiment import Options, prepare
from rllib_seq.training.config.modules import load_config
from rllib_seq.training.run.iterations import START, Iterations
from rllib_seq.training.run.trainer import build_algorithm
from rllib_seq.training.sweeps.search_space import default_point
from rllib_seq.training.sweeps.sweep import SweepOptions, load_sweep
from rllib_seq.training.sweeps.trial import TrialSetup, trial_resources

MODULES = [f"tune_configs.{m.name}" for m in pkgutil.iter_modules(tune_configs.__path__)]
# The preset log needs a file, see training/test_auction_logs.py.
READY = [m for m in MODULES if not m.endswith((".cluster", ".ppo_log"))]
EXAMPLE = str(Path(__file__).parents[1] / "examples" / "auxiliary_heads.py")
SWEEPS = ["tune_configs.ppo_asha", "tune_configs.ppo_pbt", "tune_configs.ppo_optuna"]


@pytest.mark.parametrize("module", READY)
def test_it_is_documented(module):
    assert importlib.import_module(f"rllib_seq.{module}").__doc__


@pytest.mark.parametrize("module", [*READY, EXAMPLE])
def test_it_is_valid(module):
    prepare(load_config(module), Options(seed=1)).validate()


@pytest.mark.parametrize("module", SWEEPS)
def test_every_sample_of_a_sweep_is_valid(module):
    sweep = load_sweep(module)
    assert sweep.tune_config.metric == "validation_profit"
    setup = TrialSetup(sweep.config)
    default = default_point(sweep.config, sweep.search_space)
    for _ in range(5):
        sample = drawn(sweep.search_space)
        assert drawn(default).keys() == sample.keys()
        setup.config(sample).validate()
    assert trial_resources(setup, default).required_resources == {"CPU": 1}


def drawn(space):
    return {
        name: drawn(value)
        if isinstance(value, dict)
        else value.sample()
        if isinstance(value, tune.search.sample.Domain)
        else value
        for name, value in space.items()
    }


def test_resources_of_a_trial_are_shared_by_its_processes():
    sweep = load_sweep("tune_configs.ppo_asha")
    options = Options(num_env_runners=2)
    setup = TrialSetup(sweep.config, options, cpus=1.0, gpus=0.25)
    request = trial_resources(setup, {})
    assert request.bundles[0] == {"CPU": 0.3333, "GPU": 0.25}
    assert len(request.bundles) == 3
    assert request.required_resources["CPU"] <= 1.0
    learners = load_config("tune_configs.dqn").learners(num_learners=2, num_gpus_per_learner=0.5)
    bundles = trial_resources(TrialSetup(learners), {}).bundles
    assert sum(bundle.get("GPU", 0) for bundle in bundles) == 1.0
    with pytest.raises(ValueError, match="cpus-per-trial is 0"):
        SweepOptions(cpus_per_trial=0)


@pytest.mark.parametrize("module", ["tune_configs.appo", "tune_configs.impala"])
def test_asynchronous_algorithms_learn(module, ray_session):
    config = prepare(load_config(module), Options(num_env_runners=1, seed=1))
    config.environment(env_config={"num_users": 24})
    config.env_runners(num_envs_per_env_runner=1)
    config.reporting(min_time_s_per_iteration=0)
    algorithm = build_algorithm(config)
    try:
        # Copies: on CPUs, the weights that one gets are those that are trained.
        before = copy.deepcopy(algorithm.get_policy("bidder").get_weights())
        iterations, deadline = Iterations(algorithm, START, None), time.monotonic() + 600
        while iterations.row.get("grad_norm") is None:
            assert time.monotonic() < deadline
            iterations.advance()
        after = algorithm.get_policy("bidder").get_weights()
        moved = [abs(after[name] - before[name]).max() for name in before]
        assert 0 < max(moved) < 0.1
        # A batch is a fragment. Where RLlib waits for more, an update takes gigabytes, and they are
        # few.
        updates = algorithm._learner_thread.num_steps
        assert 0 < algorithm._counters[NUM_AGENT_STEPS_TRAINED] < 200 * updates
    finally:
        algorithm.stop()
