"""`rllib-seq export` writes any policy as one graph that does what `load_policy` does."""

import json
import sys
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from ray.rllib.algorithms.dqn import DQNConfig
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.connectors.env_to_module import FlattenObservations, MeanStdFilter
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig

sys.path.insert(0, str(Path(__file__).parents[1] / "acting"))
from acting_envs import ACTIONS, OBSERVATIONS, STEPS, Follows

import rllib_seq
from rllib_seq.errors import UserError
from rllib_seq.models import use_sequence_module
from rllib_seq.q_learning import use_sequence_q_learning
from rllib_seq.serving.streams.model import load_stream_model
from rllib_seq.serving.streams.spaces import json_of, read_parts, space_json, space_of
from rllib_seq.training.export import export_checkpoint

SMALL = {
    **{"window_length": 3, "d_model": 4, "num_heads": 1, "lstm_layers": 1},
    **{"transformer_layers": 1, "feedforward_dim": 4, "head_hidden": 4},
}
MLP = {"fcnet_hiddens": [4], "post_fcnet_hiddens": [4]}
GTRXL = {
    **{"use_attention": True, "attention_dim": 4, "attention_num_transformer_units": 1},
    **{"attention_num_heads": 1, "attention_head_dim": 4, "attention_position_wise_mlp_dim": 4},
    **{"attention_memory_inference": 3, "attention_memory_training": 3},
}


def played_in(config, observation, action):
    config.environment(Follows, env_config={"observation": observation, "action": action})
    return config.env_runners(num_env_runners=0, rollout_fragment_length=STEPS).debugging(seed=3)


def old(observation, action, observation_filter="NoFilter", **model):
    config = played_in(PPOConfig(), observation, action).api_stack(
        enable_rl_module_and_learner=False, enable_env_runner_and_connector_v2=False
    )
    config.env_runners(observation_filter=observation_filter)
    return config.training(model=model, train_batch_size=32, minibatch_size=32)


def ours(**settings):
    return {"custom_model": "lstm_transformer", "custom_model_config": {**SMALL, **settings}}


def own_lstm():
    config = played_in(PPOConfig(), "nested", "box")
    lstm = DefaultModelConfig(fcnet_hiddens=[4], use_lstm=True, lstm_cell_size=4, max_seq_len=4)
    filters = [FlattenObservations, MeanStdFilter]
    config.env_runners(env_to_module_connector=lambda *_, **__: [each() for each in filters])
    return config.rl_module(model_config=lstm)


def new(observation, action, **settings):
    return use_sequence_module(played_in(PPOConfig(), observation, action), **SMALL, **settings)


def q_learning():
    return use_sequence_q_learning(played_in(DQNConfig(), "flat", "discrete"), **SMALL)


HEADS = {"won": {"given_action": True}}
CONFIGS = {
    "old stack, nested actions, window": lambda: old("nested", "tuple", **ours(prev_action=False)),
    "old stack, filter, RLlib's MLP": lambda: old(
        "square", "box", "MeanStdFilter", vf_share_layers=True
    ),
    "old stack, RLlib's GTrXL": lambda: old("nested", "discrete", **GTRXL),
    "new stack, filter, RLlib's LSTM": own_lstm,
    "new stack, causal, heads": lambda: new("binary", "multi", encoder="causal", auxiliary=HEADS),
    "new stack, mask, frame, number": lambda: new("masked", "discrete", encoder="lstm"),
    "new stack, DQN": q_learning,
}


@pytest.fixture(params=CONFIGS, scope="module")
def checkpoint(request, ray_session, tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint")
    algorithm = CONFIGS[request.param]().build_algo()
    try:
        algorithm.env_runner.sample()  # so that filters have seen something
        algorithm.save_checkpoint(str(folder))
    finally:
        algorithm.stop()
    return folder


def test_streams_are_played_alike(checkpoint, tmp_path):
    """Whole episodes, one stream alone: the batch of the export was another one."""
    spec = export_checkpoint(checkpoint, tmp_path)
    policy, model = rllib_seq.load_policy(checkpoint), load_stream_model(tmp_path)
    assert spec["kind"] == "policy"
    assert space_of(spec["facts"]["observation_space"]) == policy.observation_space
    env = Follows({})
    env.observation_space, env.action_space = policy.observation_space, policy.action_space
    observation, _ = env.reset()
    state, memory, reward, done = None, model.new_state(1), 0.0, False
    while not done:
        said = policy.step(observation, state, reward=reward)
        parts = read_parts(policy.observation_space, as_json(observation), "observation")
        inputs = {name: as_graph(part)[None] for name, part in parts.items()}
        if "reward" in model.spec.inputs:
            inputs["reward"] = np.array([reward], np.float32)
        answer, memory = model.step(inputs, memory)
        np.testing.assert_allclose(answer["outputs"], said.outputs, rtol=1e-5, atol=1e-5)
        action = json_of(policy.action_space, answer, 0, "action")
        wanted = gym.spaces.flatten(policy.action_space, said.actions)
        got = gym.spaces.flatten(policy.action_space, of_json(policy.action_space, action))
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5)
        assert model.spec.forecasts == list(said.forecasts)
        for name, rows in said.forecasts.items():
            np.testing.assert_allclose(answer[f"forecast.{name}"], rows, atol=1e-5)
        if isinstance(observation, dict) and "action_mask" in observation:
            assert observation["action_mask"][action]
        state = said.state
        observation, reward, done, _, _ = env.step(said.actions)


def as_json(value):
    def plain(part):
        if isinstance(part, dict):
            return {name: plain(each) for name, each in part.items()}
        return np.asarray(part).tolist()

    return json.loads(json.dumps(plain(value)))


def as_graph(part):
    return part.astype(np.float32) if part.dtype == np.float64 else part


def of_json(space, value):
    if isinstance(space, gym.spaces.Tuple):
        return tuple(of_json(part, each) for part, each in zip(space, value, strict=True))
    return np.asarray(value, space.dtype)


@pytest.mark.parametrize("space", [*OBSERVATIONS.values(), *ACTIONS.values()], ids=str)
def test_spaces_come_back_from_json(space):
    assert space_of(json.loads(json.dumps(space_json(space)))) == space
    half = gym.spaces.Box(np.array([-np.inf, 0.0]), np.array([1.0, np.inf]), dtype=np.float64)
    assert space_of(json.loads(json.dumps(space_json(half)))) == half


def test_what_has_no_fixed_shape_is_one_line():
    with pytest.raises(UserError, match="a Text space cannot be exported"):
        space_json(gym.spaces.Dict({"words": gym.spaces.Text(5)}))
