"""PPO, APPO and IMPALA from outcomes: what they learn from, and what they keep."""

import numpy as np
import pytest
import torch

from rllib_seq.envs.ad_auction.simulator.step import AuctionSimulator
from rllib_seq.envs.ad_auction.worlds.presets import PRESETS
from rllib_seq.envs.ad_auction.worlds.values import expected_auction
from rllib_seq.errors import UserError
from rllib_seq.lift import OutcomeAPPOConfig, OutcomeIMPALAConfig, OutcomePPOConfig
from rllib_seq.nn.heads.auction import AuctionHead
from rllib_seq.training.acting.loading import acting_policy, load_policy
from tests.rllib_seq.lift.two_steps import PRESET, exact

MODEL = {
    "encoder": "lstm",
    "d_model": 16,
    "lstm_layers": 1,
    "head_hidden": 16,
    "dropout": 0.0,
    "share_encoder": True,
    "prev_action": False,
    "prev_reward": False,
}


def tiny(users=8, preset="journey", workers=0, epochs=2, lr=1e-3, batch=240, **settings):
    """A config that plays two campaigns of some users."""
    config = small(OutcomePPOConfig(), users, preset, workers, epochs, lr, **settings)
    return config.training(train_batch_size=batch, minibatch_size=batch)


def small(config, users=8, preset="journey", workers=0, epochs=2, lr=1e-3, **settings):
    """The same of any of the three."""
    return (
        config.environment(
            "multi_user_ad_auction", env_config={"preset": preset, "num_users": users}
        )
        .env_runners(num_env_runners=workers, num_envs_per_env_runner=2)
        .training(
            num_epochs=epochs,
            lr=lr,
            entropy_coeff=0.1,
            model={"custom_model_config": {**MODEL, **settings}},
        )
        .debugging(seed=3)
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


@pytest.mark.parametrize(
    "settings",
    [
        {"encoder": "causal", "num_heads": 2, "transformer_layers": 1},
        {"encoder": "window", "num_heads": 2, "transformer_layers": 1, "share_encoder": False},
    ],
    ids=["causal, shared", "window, apart"],
)
def test_learns_with_any_encoder_and_goes_on_from_a_checkpoint(build, tmp_path, settings):
    """Policy and critic move; a restored one makes the same update of the same batch."""
    algorithm = build(tiny(**settings))
    before = algorithm.get_policy("bidder").get_weights()
    before = {name: part.copy() for name, part in before.items()}
    result = algorithm.train()
    stats = result["info"]["learner"]["bidder"]["learner_stats"]
    assert np.isfinite([stats["vf_loss"], stats["policy_loss"], stats["entropy"]]).all()
    after = algorithm.get_policy("bidder").get_weights()
    moved = {name for name in before if not np.array_equal(before[name], after[name])}
    critic = "value." if "value.worth.weight" in before else "value.head."
    assert {"policy.head.weight", f"{critic}worth.weight", f"{critic}win"} <= moved
    algorithm.save_checkpoint(str(tmp_path))
    other = build(tiny(**settings))
    other.restore(str(tmp_path))
    batch = algorithm.env_runner.sample().policy_batches["bidder"]
    weights = []
    for each in (algorithm, other):
        policy = each.get_policy("bidder")
        policy.load_batch_into_buffer(batch.copy())
        policy.learn_on_loaded_batch()
        weights.append(policy.get_weights())
    for name, part in weights[0].items():
        np.testing.assert_allclose(part, weights[1][name], atol=1e-6, err_msg=name)


def test_the_average_of_what_was_learned_acts(build, tmp_path, monkeypatch):
    """Early on all updates count the same; a checkpoint has the average, and learns on without."""
    algorithm = build(tiny())
    policy = algorithm.get_policy("bidder")
    learned, apply = [], policy.apply_gradients

    def applied(gradients):
        apply(gradients)
        learned.append({name: part.copy() for name, part in policy.get_weights().items()})

    monkeypatch.setattr(policy, "apply_gradients", applied)
    for _ in range(2):
        algorithm.train()
    assert len(learned) > 2
    algorithm.save_checkpoint(str(tmp_path))
    actors = [acting_policy(policy), load_policy(tmp_path)]
    for name, part in policy.model.named_parameters():
        mean = np.mean([weights[name] for weights in learned], axis=0)
        for actor in actors:
            acts = actor.network.model.state_dict()[name]
            np.testing.assert_allclose(acts, mean, atol=1e-6, err_msg=name)
        np.testing.assert_array_equal(part.detach(), learned[-1][name], err_msg=name)
    observation = np.zeros((2, *policy.observation_space.shape), np.float32)
    said = [actor.step(observation).outputs for actor in actors]
    np.testing.assert_array_equal(*said)


def test_remote_workers_bid_by_what_was_learned(build):
    """Their weights are those of the driver, prices included."""
    algorithm = build(tiny(workers=1))
    algorithm.train()
    theirs = algorithm.env_runner_group.foreach_env_runner(
        lambda worker: worker.policy_map["bidder"].get_weights(), local_env_runner=False
    )[0]
    for name, part in algorithm.get_policy("bidder").get_weights().items():
        np.testing.assert_array_equal(part, theirs[name], err_msg=name)


@pytest.mark.parametrize("config", [OutcomeAPPOConfig, OutcomeIMPALAConfig])
def test_asynchronous_ones_learn_from_whole_batches(build, config):
    """What a worker plays in one go is a batch, and is learned from as often as asked for."""
    algorithm = build(small(config(), workers=1, epochs=3).reporting(min_time_s_per_iteration=0))
    policy, lengths = algorithm.get_policy("bidder"), []
    before, learn = policy.get_weights()["policy.head.weight"].copy(), policy.learn_on_batch

    def noting(batch):
        lengths.append(np.asarray(batch["seq_lens"]))
        return learn(batch)

    policy.learn_on_batch = noting
    while len(lengths) < 6:
        result = algorithm.train()
    assert [len(part[part > 0]) for part in lengths[:6]] == [2 * 8] * 6  # of two campaigns
    # RLlib begins with one pass and adds one with each batch.
    for first, last in ((1, 2), (3, 5)):
        np.testing.assert_array_equal(lengths[first], lengths[last])
    stats = result["info"]["learner"]["bidder"]["learner_stats"]
    assert np.isfinite([stats["vf_loss"], stats["policy_loss"], stats["entropy"]]).all()
    assert not np.array_equal(before, policy.get_weights()["policy.head.weight"])


@pytest.fixture
def two_steps(monkeypatch):
    """The preset with a closed form."""
    monkeypatch.setitem(PRESETS, "two_steps", PRESET)


def weights(build, monkeypatch, noise):
    """What is learned if all that a bidder cannot know is noise, or left as it is."""
    with monkeypatch.context() as patch:
        if noise:
            rng, step = np.random.default_rng(1), AuctionSimulator.step

            def noisy(self, *args, **kwargs):
                outcome = step(self, *args, **kwargs)
                size = len(outcome.won)
                return outcome._replace(
                    converted=rng.random(size) < 0.5,
                    churned=rng.random(size) < 0.5,
                    conversion_probability=rng.random(size),
                    departure_probability=rng.random(size),
                    survival=rng.random(size),
                )

            patch.setattr(AuctionSimulator, "step", noisy)
            patch.setattr(
                AuctionSimulator,
                "stage",
                property(lambda self: rng.integers(0, 2, len(self.state.stage))),
            )
        algorithm = build(tiny(100, "two_steps"))
        for _ in range(2):
            algorithm.train()
        return algorithm.get_policy("bidder").get_weights()


def test_nothing_hidden_reaches_the_weights(build, two_steps, monkeypatch):
    """Stages, probabilities and conversions that are yet to come, replaced by noise."""
    plain = weights(build, monkeypatch, noise=False)
    noisy = weights(build, monkeypatch, noise=True)
    for name, part in plain.items():
        np.testing.assert_array_equal(part, noisy[name], err_msg=name)


@pytest.mark.slow
def test_worth_lift_and_prices_are_nearly_the_exact_ones(build, two_steps):
    """Of the policy's own future, which still explores: within .04 of a conversion."""
    algorithm = build(tiny(500, "two_steps", epochs=10, lr=3e-3, batch=1000))
    for _ in range(25):
        algorithm.train()
    policy = algorithm.get_policy("bidder")
    batch = algorithm.env_runner.sample().policy_batches["bidder"]
    lens = np.asarray(batch["seq_lens"])
    policy.load_batch_into_buffer(batch)
    loaded = policy._loaded_batches[0][0]
    model = policy.model
    with torch.no_grad():
        model(loaded)
        features = model.value_features()
        head = model.networks.value_head
        assert isinstance(head, AuctionHead)
        lost, lift = head.lost_and_lift(features)
    warm = loaded["obs"].view(len(lens), -1, loaded["obs"].shape[-1])[:, 1, 2] > 0
    both = torch.as_tensor(lens == 2)
    found = [
        [part[:, 0].mean(), part[both & ~warm, 1].mean(), part[both & warm, 1].mean()]
        for part in (lost, lift)
    ]
    expected = exact("second_price", 0.0)
    np.testing.assert_allclose(found, [expected.lost, expected.lift], atol=0.04)
    win, payment = expected_auction(PRESET, PRESET.bid_levels)
    np.testing.assert_allclose(head.win[0], win, atol=0.03)
    np.testing.assert_allclose(head.payment[0], payment, atol=0.005)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda config: config.environment(env_config={"reward": "regret"}), "reward 'regret'"),
        (lambda config: config.environment(env_config={"actions": "continuous"}), "continuous"),
        (lambda config: config.training(gamma=0.9), "gamma"),
    ],
)
def test_what_it_cannot_learn_from_is_refused(change, named):
    """In one line that names the setting, before any worker starts."""
    config = tiny()
    change(config)
    with pytest.raises(UserError, match=named):
        config.validate()
