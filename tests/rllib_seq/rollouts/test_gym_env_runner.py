"""The array runner plays single-agent environments as RLlib's runner does, chunk by chunk."""

import gymnasium as gym
import numpy as np
import pytest
import tree
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from ray.rllib.algorithms.dqn import DQNConfig
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.connectors.connector_v2 import ConnectorV2
from ray.rllib.connectors.env_to_module import FlattenObservations
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig

import rllib_seq
from rllib_seq.errors import UserError
from rllib_seq.models import use_sequence_module
from rllib_seq.q_learning import EpsilonLadder, use_sequence_q_learning
from rllib_seq.rollouts import ArrayEnvRunner, FaultReportingSingleAgentEnvRunner
from rllib_seq.rollouts.gym_arrays import InfoArrays
from rllib_seq.rollouts.sampler import ActionBatch, VectorSampler

SMALL = {"window_length": 4, "d_model": 8, "num_heads": 2, "feedforward_dim": 8, "head_hidden": 8}
SMALL |= {"lstm_layers": 1, "transformer_layers": 1}


class Corridor(gym.Env):
    """A sign, then steps that look alike; ends by chance, cut off after seven steps."""

    def __init__(self, context=None):
        self.observation_space = spaces.Dict(
            {"sign": spaces.Discrete(3), "place": spaces.Box(-9, 9, (1,), np.float32)}
        )
        continuous = (context or {}).get("continuous")
        self.action_space = (
            spaces.Box(-2.0, 2.0, (1,), np.float32) if continuous else spaces.Discrete(2)
        )

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self._steps, self._sign = 0, int(self.np_random.integers(1, 3))
        return self._observe(), {"sign": self._sign}

    def step(self, action):
        assert self.action_space.contains(action)
        self._steps += 1
        reward = float(np.sum(action)) * (self._sign - 1.5)
        ended = self._steps >= 2 and self.np_random.random() < 0.2
        return self._observe(), reward, bool(ended), self._steps >= 7, {"at": self._steps}

    def _observe(self):
        sign = self._sign if self._steps == 0 else 0
        place = self._steps + self.np_random.normal()
        return {"sign": sign, "place": np.array([place], np.float32)}


def config_of(model, continuous=False, **runners):
    config = PPOConfig().environment(Corridor, env_config={"continuous": continuous})
    config.env_runners(num_env_runners=0, num_envs_per_env_runner=4, **runners)
    config.training(train_batch_size_per_learner=60, minibatch_size=30, num_epochs=1)
    config.debugging(seed=3)
    if model in ("mlp", "use_lstm"):
        settings = {"fcnet_hiddens": [8], "use_lstm": model == "use_lstm", "lstm_cell_size": 8}
        config.rl_module(model_config=DefaultModelConfig(max_seq_len=5, **settings))
        return config.env_runners(env_to_module_connector=lambda env, *_: FlattenObservations())
    config.rl_module(model_config={"max_seq_len": 5})
    return use_sequence_module(config, **SMALL, encoder=model)


def content(chunk):
    """What a learner can see of a chunk."""
    kept = dict(chunk.custom_data.get("carried_states", {}))
    if chunk.is_terminated:
        kept.pop("now", None)  # nothing follows
    before = chunk.observations.lookback
    outputs = {
        name: tree.map_structure(np.asarray, chunk.get_extra_model_outputs(name))
        for name in chunk.extra_model_outputs
    }
    return {
        "started": chunk.t_started,
        "ended": (chunk.is_terminated, chunk.is_truncated),
        "lookbacks": [before, chunk.actions.lookback, chunk.rewards.lookback, chunk.infos.lookback],
        "observations": np.asarray(chunk.observations.data),
        "actions": np.asarray(chunk.actions.data),
        "rewards": np.asarray(chunk.rewards.data),
        "infos": [{k: float(v) for k, v in info.items()} for info in chunk.infos.data],
        "outputs": {name: found for name, found in outputs.items() if name != "action_logp"},
        "states": kept,
    }


def in_order(chunks):
    return sorted(map(content, chunks), key=lambda c: (c["started"], c["observations"].tolist()))


def alike(one, other):
    assert tree.map_structure(lambda _: 0, one) == tree.map_structure(lambda _: 0, other)
    for left, right in zip(tree.flatten(one), tree.flatten(other), strict=True):
        np.testing.assert_allclose(left, right, atol=1e-5)


@pytest.mark.usefixtures("ray_session")
@pytest.mark.parametrize("continuous", [False, True])
@pytest.mark.parametrize("model", ["window", "causal", "lstm", "mlp", "use_lstm"])
def test_chunks_are_those_of_rllibs_runner(model, continuous):
    runners = [
        kind(config=config_of(model, continuous), worker_index=0)
        for kind in (ArrayEnvRunner, FaultReportingSingleAgentEnvRunner)
    ]
    runners[0].module.load_state_dict(runners[1].module.state_dict())
    going = 0
    for wanted in (9, 30, 7):  # chunks go on in the next sample, and look back
        arrays, stock = (r.sample(num_timesteps=wanted, explore=False) for r in runners)
        alike(in_order(arrays), in_order(stock))
        assert sum(map(len, arrays)) >= wanted
        going += sum(chunk.t_started > 0 for chunk in arrays)
    assert going
    arrays, stock = (runner.get_metrics()["episode_return_mean"].peek() for runner in runners)
    assert arrays == pytest.approx(stock)
    for runner in runners:
        whole = runner.sample(num_episodes=5, explore=False)
        assert len(whole) >= 5 and all(c.is_done and c.t_started == 0 for c in whole)
    played = runners[0].sample(num_timesteps=20, explore=True)
    assert all("action_logp" in chunk.extra_model_outputs for chunk in played)
    assert all(chunk.t_started == 0 for chunk in played)  # after whole episodes all begin


@pytest.mark.usefixtures("ray_session")
@pytest.mark.parametrize("model", ["window", "lstm"])
def test_observations_pass_rllibs_filter(model, tmp_path):
    """Normalised in episodes, in the same order; saved with a checkpoint, and acted with."""
    ready = [
        config_of(model, observation_filter="MeanStdFilter", env_runner_cls=kind)
        for kind in (ArrayEnvRunner, FaultReportingSingleAgentEnvRunner)
    ]
    runners = [config.env_runner_cls(config=config, worker_index=0) for config in ready]
    for _ in range(3):
        arrays, stock = (r.sample(num_timesteps=25, explore=False) for r in runners)
        observed = [[c["observations"] for c in in_order(chunks)] for chunks in (arrays, stock)]
        alike(*observed)
    states = [r._env_to_module.get_state()["MeanStdFilter"] for r in runners]
    (left,), (right,) = (state[None]["running_stats"] for state in states)
    assert left["num_pushes"] == right["num_pushes"] > 75
    algo = ready[0].build_algo()
    try:
        assert np.isfinite(algo.train()["learners"]["default_policy"]["total_loss"])
        checkpoint = algo.save_to_path(str(tmp_path / "checkpoint"))
        pushes = algo.env_runner._env_to_module.get_state()["MeanStdFilter"]
        module = algo.env_runner.module
    finally:
        algo.stop()
    again = ready[0].build_algo()
    try:
        again.restore_from_path(checkpoint)
        found = again.env_runner._env_to_module.get_state()["MeanStdFilter"]
        assert found[None]["running_stats"] == pushes[None]["running_stats"]
        again.train()  # goes on from there
        grown = again.env_runner._env_to_module.get_state()["MeanStdFilter"]
    finally:
        again.stop()
    assert (
        grown[None]["running_stats"][0]["num_pushes"]
        > found[None]["running_stats"][0]["num_pushes"]
    )
    policy = rllib_seq.load_policy(checkpoint)
    actions, _ = policy.predict(Corridor().reset(seed=0)[0])
    assert actions in (0, 1) and module is not None


class Always:
    """Acts and values without looking."""

    def __call__(self, rows, new, observations, rewards):
        return ActionBatch(np.zeros(len(rows), np.int64), {"new": new})

    def value_after(self, rows, observations, rewards):
        return np.zeros(len(rows))


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_infos_and_restarts_in_every_autoreset_mode(mode):
    envs = SyncVectorEnv([Corridor] * 3, autoreset_mode=mode)
    sampler = VectorSampler(InfoArrays(envs, 1, flat=True))
    sampler.with_infos = True
    for again in range(2):
        sampler.restart()  # in the middle of episodes
        batch = sampler.sample(40, Always())
        starts = np.cumsum(batch.lengths) - batch.lengths
        for piece, start in enumerate(starts):
            steps = range(start, start + batch.lengths[piece])
            sign = batch.columns["obs"][start][1:]  # place comes first
            assert batch.starts[piece] == 0
            assert dict(batch.infos["info_before"][start]) == {"sign": int(sign.argmax())}
            assert [batch.infos["info"][i]["at"] for i in steps] == list(range(1, len(steps) + 1))
        assert batch.columns["new"].sum() == len(starts) and again < 2


def _end(*, episode, prev_episode_chunks, metrics_logger, **kwargs):
    steps = len(episode) + sum(map(len, prev_episode_chunks))
    assert episode.get_infos(-1)["at"] == steps
    metrics_logger.log_value("steps", steps, reduce="mean", window=100)


@pytest.mark.usefixtures("ray_session")
@pytest.mark.parametrize("learner", ["ppo", "dqn"])
def test_it_trains(learner):
    if learner == "ppo":
        config = config_of("causal", env_runner_cls=ArrayEnvRunner, gym_env_vectorize_mode="async")
        config.env_runners(num_env_runners=1)
    else:
        config = DQNConfig().environment(Corridor).debugging(seed=0)
        config.env_runners(env_runner_cls=ArrayEnvRunner, num_envs_per_env_runner=4)
        config.training(train_batch_size=16, num_steps_sampled_before_learning_starts=20)
        config.reporting(min_sample_timesteps_per_iteration=60, min_time_s_per_iteration=0)
        config = use_sequence_q_learning(config, EpsilonLadder(), **SMALL)
    algo = config.callbacks(on_episode_end=_end).build_algo()
    try:
        for _ in range(2):
            result = algo.train()
    finally:
        algo.stop()
    learned = result["learners"]["default_policy"]
    assert np.isfinite(learned.get("qf_loss", learned.get("total_loss")))
    assert 2 <= result["env_runners"]["steps"] <= 7
    assert result["env_runners"]["steps"] == pytest.approx(
        result["env_runners"]["episode_len_mean"]
    )


class Doubled(ConnectorV2):
    """Does what only the runner that has it knows."""

    def __call__(self, *, batch, **kwargs):
        return batch


@pytest.mark.usefixtures("ray_session")
def test_what_cannot_be_played_is_refused():
    config = config_of("mlp").env_runners(
        env_to_module_connector=lambda env, *_: [
            FlattenObservations(),
            Doubled(),
        ]
    )
    with pytest.raises(UserError, match="cannot apply connector Doubled.*wrapper"):
        ArrayEnvRunner(config=config, worker_index=0)
    config = config_of("window").callbacks(on_episode_step=_end)
    with pytest.raises(UserError, match="never calls on_episode_step"):
        ArrayEnvRunner(config=config, worker_index=0)
