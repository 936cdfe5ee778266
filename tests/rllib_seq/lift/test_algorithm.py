"""Lift as an algorithm of RLlib: it trains, is saved and restored, and outlives its workers."""

import copy
import time

import numpy as np
import pytest
import ray
import torch

from rllib_seq.errors import UserError
from rllib_seq.lift import LiftConfig
from rllib_seq.training.config.checks import training_signal

MODEL = {
    "encoder": "lstm",
    "d_model": 8,
    "num_heads": 2,
    "lstm_layers": 1,
    "head_hidden": 8,
    "dropout": 0.0,
    "prev_reward": False,
}


def tiny(workers=0, encoder="lstm", **env):
    """A config that plays 16 users."""
    world = {"preset": "journey", "num_users": 8, "arrival_hours": 6.0, **env}
    settings = {**MODEL, "encoder": encoder, "window_length": 4, "transformer_layers": 1}
    return (
        LiftConfig()
        .environment("multi_user_ad_auction", env_config=world)
        .env_runners(num_env_runners=workers, num_envs_per_env_runner=2)
        .training(
            minibatch_journeys=8,
            replay_journeys=64,
            model={"custom_model_config": settings},
        )
        .debugging(seed=3)
        .fault_tolerance(restart_failed_env_runners=True, env_runner_health_probe_timeout_s=1)
    )


@pytest.fixture
def build(ray_session):
    """Builds algorithms and stops them."""
    algorithms = []

    def build(config):
        algorithms.append(config.build_algo())
        return algorithms[-1]

    yield build
    for algorithm in algorithms:
        algorithm.stop()


@pytest.mark.parametrize("encoder", ["lstm", "causal", "window"])
def test_plays_and_learns_with_any_encoder(build, encoder):
    """The weights that act move, prices are estimated, and every request is counted."""
    algorithm = build(tiny(encoder=encoder))
    before = copy.deepcopy(algorithm.get_policy("bidder").get_weights())
    algorithm.train()  # nothing has come in before it
    result = algorithm.train()
    stats = result["info"]["learner"]["bidder"]["learner_stats"]
    assert np.isfinite([stats["vf_loss"], stats["grad_gnorm"], stats["lift"]]).all()
    after = algorithm.get_policy("bidder").get_weights()
    changed = {name for name in before if not np.array_equal(before[name], after[name])}
    assert {"policy.head.worth.weight", "policy.head.win", "policy.head.payment"} <= changed
    assert after["policy.head.win"].shape[0] == 3  # a price model for every channel
    assert (
        len(algorithm.local_replay_buffer.steps(["won"])[0])
        == result["num_agent_steps_sampled_lifetime"]
    )


@pytest.mark.parametrize("informed", [False, True])
def test_a_checkpoint_holds_all_that_learning_needs(build, tmp_path, informed):
    """Weights, what learns them, the optimizer, the journeys: the next update is the same."""
    algorithm = build(tiny().training(informed=informed))
    for _ in range(3):
        algorithm.train()
    algorithm.save_checkpoint(str(tmp_path))
    other = build(tiny().training(informed=informed))
    other.restore(str(tmp_path))
    weights = []
    for each in (algorithm, other):
        policy = each.get_policy("bidder")
        for _ in range(3):
            policy.critic.update(*each.local_replay_buffer.sample(8), lr=1e-3, tau=0.01)
        weights.append(policy.get_weights())
    assert len(other.local_replay_buffer) == len(algorithm.local_replay_buffer)
    for name, part in weights[0].items():
        np.testing.assert_array_equal(part, weights[1][name], err_msg=name)
    before = other.train()["num_agent_steps_sampled_lifetime"]
    assert before > len(other.local_replay_buffer.steps(["won"])[0]) / 2


@pytest.mark.slow
def test_outlives_its_workers(build):
    """They bid by what was learned. One of two is killed: the other plays on, then both do."""
    algorithm = build(tiny(workers=2))
    group = algorithm.env_runner_group
    for _ in range(3):
        algorithm.train()
    mine = algorithm.get_policy("bidder").get_weights()
    theirs = group.foreach_env_runner(
        lambda worker: worker.policy_map["bidder"].get_weights(), local_env_runner=False
    )
    for name, part in mine.items():
        for weights in theirs:
            np.testing.assert_array_equal(part, weights[name], err_msg=name)
    ray.kill(group._worker_manager.actors()[1], no_restart=False)
    alone, back, end = 0, False, time.monotonic() + 600
    while not back:
        assert time.monotonic() < end, "the worker is not back within ten minutes"
        before = algorithm._counters["num_agent_steps_sampled"]
        algorithm.train()
        if algorithm._counters["num_agent_steps_sampled"] > before:
            alone += group.num_healthy_remote_workers() == 1
            back = alone > 0 and group.num_healthy_remote_workers() == 2


def test_an_informed_critic_is_privileged_and_leaves_the_policy_as_it_is(build):
    """What acts has the same weights; what learns them is called by its name."""
    blind, informed = tiny(), tiny().training(informed=True)
    assert training_signal(blind) == "outcomes"
    assert training_signal(informed) == "privileged"
    weights = [build(config).get_policy("bidder").get_weights() for config in (blind, informed)]
    assert weights[0].keys() == weights[1].keys()
    assert "stage" not in "".join(weights[1])


def test_its_policy_takes_the_best_level(build):
    """RLlib's own way to act, one step and another: the highest Q of the same history."""
    policy = build(tiny()).get_policy("bidder")
    observations = np.random.default_rng(0).random((2, 5, 8)).astype(np.float32)
    state = [np.tile(part, (5, *[1] * part.ndim)) for part in policy.get_initial_state()]
    taken = np.zeros(5, np.int64)
    seen = []
    for step in range(2):
        previous = taken
        taken, state, _ = policy.compute_actions(
            observations[step],
            state_batches=state,
            prev_action_batch=previous,
            prev_reward_batch=np.zeros(5, np.float32),
            explore=False,
        )
        seen.append(np.asarray(taken))
    model = policy.model
    first = torch.tensor([True, False]).repeat(5)
    inputs = model.step_inputs.join(
        torch.from_numpy(observations.transpose(1, 0, 2).reshape(10, 8)),
        torch.from_numpy(np.stack([np.zeros(5, np.int64), seen[0]], 1)).flatten(),
        None,
        first,
    ).view(5, 2, -1)
    with torch.no_grad():
        encoder = model.policy.encoder
        q = model.policy.head(encoder.features(encoder.initial_state(5), inputs))
    np.testing.assert_array_equal(np.stack(seen, 1), q.argmax(-1).numpy())


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda config: config.environment(env_config={"reward": "regret"}), "reward 'regret'"),
        (lambda config: config.environment(env_config={"reward": "expected"}), "'expected'"),
        (lambda config: config.environment(env_config={"actions": "continuous"}), "continuous"),
        (lambda config: config.environment(env_config={"reward_scale": 3.0}), "reward_scale"),
        (lambda config: config.environment("CartPole-v1"), "CartPole-v1"),
        (lambda config: config.environment(env_config={"budget": 1.0}), "enforce_budget"),
        (lambda config: config.training(gamma=0.9), "gamma"),
        (lambda config: config.training(lambda_=1.5), "lambda_"),
        (lambda config: config.training(tau=0.01), "tau"),
        (lambda config: config.training(passes=0), "passes"),
        (lambda config: config.training(informed="yes"), "informed"),
    ],
)
def test_what_it_cannot_learn_from_is_refused(change, named):
    """In one line that names the setting, before any worker starts."""
    config = tiny()
    change(config)
    with pytest.raises(UserError, match=named):
        config.validate()
