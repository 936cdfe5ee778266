"""A trial that takes over another's checkpoint trains with its own settings."""

from pathlib import Path

import pytest
from ray import tune

from rllib_seq.training.config.modules import load_config
from rllib_seq.training.sweeps.trial import Trial, TrialSetup

HERE = Path(__file__).parents[1]
DONOR = {
    "clip_param": 0.1,
    "lambda": 0.9,
    "gamma": 0.9,
    "vf_loss_coeff": 0.5,
    "grad_clip": 0.5,
    "entropy_coeff": 0.1,
    "lr": 1e-3,
}
OWN = {
    "clip_param": 0.3,
    "lambda": 0.5,
    "gamma": 0.5,
    "vf_loss_coeff": 2.0,
    "grad_clip": 5.0,
    "entropy_coeff": 0.7,
    "lr": 5e-4,
}


def made(base, settings):
    return tune.with_parameters(Trial, setup=TrialSetup(base=base))(config=settings)


@pytest.fixture(params=["tiny.py", "tiny_new_stack.py"])
def exploited(request, ray_session, tmp_path):
    """The algorithm of a trial that has taken the checkpoint of another."""
    base = load_config(str(HERE / request.param))
    if not base.enable_rl_module_and_learner:
        base.training(lr_schedule=None, entropy_coeff_schedule=None)
    remote = 0 if base.enable_rl_module_and_learner else 1  # whose settings are looked at below
    trial = made(base.copy(copy_frozen=False).env_runners(num_env_runners=remote), OWN)
    donor = made(base.env_runners(num_env_runners=0), DONOR)
    donor.train()
    donor.save_checkpoint(str(tmp_path))
    donor.stop()
    trial.load_checkpoint(str(tmp_path))
    yield trial._algorithm
    trial.stop()


def test_all_settings_are_its_own(exploited):
    if exploited.config.enable_rl_module_and_learner:
        (found,) = exploited.learner_group.foreach_learner(_of_the_learner)
        assert found.get() == pytest.approx(OWN)
        return
    for found in exploited.env_runner_group.foreach_env_runner(_of_the_policy):
        assert found == pytest.approx({**OWN, "optimizer": OWN["lr"]})


def _of_the_policy(worker):
    policy = worker.policy_map["bidder"]
    (optimizer,) = policy._optimizers
    return {name: policy.config[name] for name in OWN} | {
        "lr": policy.cur_lr,
        "entropy_coeff": float(policy.entropy_coeff),
        "optimizer": optimizer.param_groups[0]["lr"],
    }


def _of_the_learner(learner, **_):
    config = learner.config.get_config_for_module("bidder")
    ((_, optimizer),) = learner.get_optimizers_for_module("bidder")
    found = {name: getattr(config, {"lambda": "lambda_"}.get(name, name)) for name in OWN}
    return found | {"lr": float(optimizer.param_groups[0]["lr"])}
