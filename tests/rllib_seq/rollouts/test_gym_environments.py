"""The array worker plays any Gymnasium environment, and its batches are right."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.evaluation.postprocessing import compute_advantages
from ray.rllib.policy.sample_batch import SampleBatch

import rllib_seq  # noqa: F401, registers the model
from rllib_seq.envs.array_env import GymArrays
from rllib_seq.errors import UserError
from rllib_seq.rollouts import ArrayRolloutWorker


class Corridor(gym.Env):
    """A sign, then steps that look alike; cut off after seven steps."""

    def __init__(self, context=None):
        continuous = bool((context or {}).get("continuous"))
        self.observation_space = spaces.Dict(
            {"sign": spaces.Discrete(3), "place": spaces.Box(0, 1, (1,), np.float32)}
        )
        self.action_space = (
            spaces.Box(-2.0, 2.0, (1,), np.float32) if continuous else spaces.Discrete(2)
        )

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self._steps, self._sign = 0, int(self.np_random.integers(1, 3))
        return self._observe(), {}

    def step(self, action):
        assert self.action_space.contains(action)
        self._steps += 1
        reward = float(np.sum(action)) * (self._sign - 1.5)
        ended = self._steps >= 2 and self.np_random.random() < 0.2
        return self._observe(), reward, bool(ended), self._steps >= 7, {}

    def _observe(self):
        sign = self._sign if self._steps == 0 else 0
        return {"sign": sign, "place": np.array([self._steps / 7], np.float32)}


def config_of(encoder, continuous=False, **runners):
    settings = {"encoder": encoder, "window_length": 4, "d_model": 8, "num_heads": 2}
    settings |= {"lstm_layers": 1, "transformer_layers": 1, "feedforward_dim": 8, "head_hidden": 8}
    return (
        PPOConfig()
        .api_stack(enable_rl_module_and_learner=False, enable_env_runner_and_connector_v2=False)
        .environment(Corridor, env_config={"continuous": continuous})
        .env_runners(
            env_runner_cls=ArrayRolloutWorker,
            num_env_runners=0,
            num_envs_per_env_runner=5,
            rollout_fragment_length=16,
            **runners,
        )
        .training(
            model={
                "custom_model": "lstm_transformer",
                "custom_model_config": settings,
                "max_seq_len": 7,
            },
            train_batch_size=80,
            minibatch_size=40,
            num_epochs=1,
        )
        .debugging(seed=3)
    )


@pytest.mark.usefixtures("ray_session")
@pytest.mark.parametrize("continuous", [False, True])
@pytest.mark.parametrize("encoder", ["window", "causal", "lstm"])
def test_batches_are_those_that_rllib_would_make(encoder, continuous):
    algo = config_of(encoder, continuous).build_algo()
    try:
        worker = algo.env_runner
        policy = worker.policy_map["default_policy"]
        batches = [worker.sample().policy_batches["default_policy"] for _ in range(3)]
        algo.train()  # RLlib's learner takes such batches
    finally:
        algo.stop()
    checked = 0
    for batch in batches:
        policy_batches = batch.split_by_episode()
        for piece in policy_batches:
            steps = len(piece["rewards"])
            if piece["t"][0] != 0:
                continue
            expected = compute_advantages(
                SampleBatch(
                    {"rewards": piece["rewards"], "vf_preds": piece["vf_preds"]},
                ),
                0.0,
                policy.config["gamma"],
                policy.config["lambda"],
            )
            if piece["terminateds"][-1]:
                np.testing.assert_allclose(piece["advantages"], expected["advantages"], atol=1e-5)
                checked += 1
            assert piece["t"].tolist() == list(range(steps))
            assert not piece["terminateds"][:-1].any() and not piece["truncateds"][:-1].any()
            assert piece["obs"][0][1] == 0 and (piece["obs"][1:, 1] == 1).all()
    assert checked > 3


@pytest.mark.usefixtures("ray_session")
def test_a_cut_off_stream_is_valued_by_its_last_observation():
    config = config_of("lstm").training(gamma=0.9, lambda_=1.0)
    algo = config.build_algo()
    try:
        worker = algo.env_runner
        policy, model = worker.policy_map["default_policy"], algo.get_policy().model
        batch = worker.sample().policy_batches["default_policy"]
    finally:
        algo.stop()
    cut = [piece for piece in batch.split_by_episode() if piece["truncateds"][-1]]
    cut = [piece for piece in cut if piece["t"][0] == 0]
    assert cut
    for piece in cut:
        last = np.array([[1.0, 1, 0, 0]], np.float32)  # at the end of the corridor, no sign
        observations = torch.from_numpy(np.concatenate([piece["obs"], last]))
        actions = np.concatenate([[0], piece["actions"]])
        rewards = np.concatenate([[0.0], piece["rewards"]]).astype(np.float32)
        model.eval()
        with torch.no_grad():
            state = [part[None] for part in model.get_initial_state()]
            model.forward(
                {
                    "obs_flat": observations,
                    "prev_actions": torch.from_numpy(actions),
                    "prev_rewards": torch.from_numpy(rewards),
                },
                state,
                torch.tensor([len(observations)]),
            )
            values = model.value_function().numpy()
        np.testing.assert_allclose(piece["vf_preds"], values[:-1], atol=1e-5)
        returns = values[-1]
        for step in reversed(range(len(piece["rewards"]))):
            returns = piece["rewards"][step] + policy.config["gamma"] * returns
        assert piece["value_targets"][0] == pytest.approx(returns, abs=1e-4)


@pytest.mark.usefixtures("ray_session")
def test_observations_are_normalised_by_rllibs_filter():
    algo = config_of("lstm", observation_filter="MeanStdFilter").build_algo()
    try:
        for _ in range(2):
            algo.train()
        batch = algo.env_runner.sample().policy_batches["default_policy"]
        seen = algo.env_runner.filters["default_policy"].running_stats
    finally:
        algo.stop()
    assert seen.num_pushes > 160
    assert abs(batch["obs"][:, 0].mean()) < 0.5
    assert batch["obs"][:, 0].std() == pytest.approx(1, abs=0.3)


def test_vector_entry_points_are_played():
    envs = gym.make_vec("CartPole-v1", num_envs=4, vectorization_mode="vector_entry_point")
    arrays = GymArrays(envs, seed=0)
    arrays.begin(np.arange(4))
    for _ in range(300):
        rows = arrays.pending
        assert arrays.observe(rows).shape == (len(rows), 4)
        arrays.serve(rows, np.zeros(len(rows), np.int64))
        arrays.begin(np.flatnonzero(arrays.over))
    envs.close()


@pytest.mark.usefixtures("ray_session")
@pytest.mark.parametrize("recurrent", [False, True])
def test_models_of_rllib_are_played(recurrent):
    """From the states of sequences their models compute again what was recorded."""
    model = {"fcnet_hiddens": [8], "use_lstm": recurrent, "lstm_cell_size": 8, "max_seq_len": 4}
    config = config_of("lstm")
    config.model.pop("custom_model")
    algo = config.training(model={**model, "custom_model_config": {}}).build_algo()
    try:
        worker = algo.env_runner
        policy = worker.policy_map["default_policy"]
        algo.train()  # fragments after the first start within episodes
        batch = worker.sample().policy_batches["default_policy"].copy()
    finally:
        algo.stop()
    assert ("seq_lens" in batch) == recurrent and len(batch["rewards"]) >= 80
    lengths = np.array(batch["seq_lens"]) if recurrent else np.ones(len(batch["rewards"]), int)
    ends = np.cumsum(lengths)
    for number, end in enumerate(ends):
        steps = slice(end - lengths[number], end)
        state = [torch.tensor(batch[f"state_in_{i}"][number])[None] for i in range(2 * recurrent)]
        with torch.no_grad():
            outputs, _ = policy.model(
                {"obs": torch.from_numpy(batch["obs"][steps])},
                state,
                torch.tensor([lengths[number]]),
            )
            values = policy.model.value_function()
        np.testing.assert_allclose(outputs, batch["action_dist_inputs"][steps], atol=1e-5)
        np.testing.assert_allclose(values, batch["vf_preds"][steps], atol=1e-5)


@pytest.mark.usefixtures("ray_session")
def test_attention_of_rllib_is_refused():
    config = config_of("lstm")
    config.model.pop("custom_model")
    config.training(model={"use_attention": True, "custom_model_config": {}, "max_seq_len": 4})
    with pytest.raises(UserError, match="reads the states of several steps before.*causal"):
        config.build_algo()
