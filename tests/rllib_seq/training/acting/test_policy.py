"""`load_policy(...).predict(...)` is what RLlib's workers do without exploration."""

import sys
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import tree
from ray.rllib.algorithms.dqn import DQNConfig
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.connectors.env_to_module import FlattenObservations, PrevActionsPrevRewards
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
from ray.util.debug import reset_log_once

sys.path.insert(0, str(Path(__file__).parent))
from acting_envs import STEPS, Follows

import rllib_seq
from rllib_seq.errors import UserError
from rllib_seq.models import use_sequence_module
from rllib_seq.q_learning import use_sequence_q_learning

SMALL = {
    "window_length": 3,
    "d_model": 8,
    "num_heads": 2,
    "lstm_layers": 1,
    "transformer_layers": 1,
    "feedforward_dim": 8,
    "head_hidden": 8,
}
pytestmark = pytest.mark.usefixtures("ray_session")


def old(observation="flat", action="discrete", model=None, **sequence):
    config = PPOConfig().api_stack(
        enable_rl_module_and_learner=False, enable_env_runner_and_connector_v2=False
    )
    ours = {"custom_model": "lstm_transformer", "custom_model_config": {**SMALL, **sequence}}
    config.training(model=model or ours, train_batch_size=32, minibatch_size=32)
    return common(config, observation, action)


def new(observation="flat", action="discrete", **sequence):
    config = common(PPOConfig(), observation, action)
    return use_sequence_module(config, **SMALL, **sequence)


def common(config, observation="flat", action="discrete"):
    config.environment(Follows, env_config={"observation": observation, "action": action})
    return config.env_runners(
        num_env_runners=0, explore=False, rollout_fragment_length=STEPS
    ).debugging(seed=3)


def recorded(config, folder):
    """Saves an algorithm as built, and what its worker does in its first episode."""
    algorithm = config.build_algo()
    if config.enable_rl_module_and_learner:
        (episode,) = algorithm.env_runner.sample(num_episodes=1, explore=False)
        algorithm.save_to_path(str(folder))
        logits = episode.extra_model_outputs.get("action_dist_inputs")
        actions = episode.get_actions()
    else:
        batch = algorithm.env_runner.sample().policy_batches["default_policy"]
        algorithm.save_checkpoint(str(folder))
        logits, actions = batch["action_dist_inputs"], batch["actions"]
    algorithm.stop()
    return actions, None if logits is None else np.asarray(logits)


def played(policy, env):
    """The same episode by `predict`: raw actions and what they were taken from."""
    observation, _ = env.reset()
    state, reward, done, outputs, actions = None, None, False, [], []
    while not done:
        said = policy.step(observation, state, reward=reward)
        state = said.state
        assert env.action_space.contains(
            tree.map_structure(np.asarray, said.actions)
            if isinstance(env.action_space, gym.spaces.Dict | gym.spaces.Tuple)
            else said.actions
        )
        outputs.append(said.outputs[0])
        actions.append(said.actions)
        observation, reward, done, _, _ = env.step(said.actions)
    return actions, np.stack(outputs)


GTRXL = {
    "use_attention": True,
    "attention_dim": 8,
    "attention_num_transformer_units": 2,
    "attention_num_heads": 1,
    "attention_head_dim": 8,
    "attention_memory_inference": 3,
    "attention_memory_training": 3,
}
SPACES = [
    ("square", "discrete"),
    ("discrete", "multi"),
    ("binary", "box"),
    ("nested", "box"),
]
CONFIGS = {
    **{f"old {o} {a}": (old, (o, a), {}) for o, a in SPACES},
    "old number without a dimension": (old, ("number", "discrete"), {}),
    "old table of numbers": (old, ("table", "discrete"), {"encoder": "lstm"}),
    "old nested actions": (old, ("nested", "nested"), {"prev_action": False}),
    "old causal": (old, ("nested", "discrete"), {"encoder": "causal"}),
    "old lstm encoder": (old, ("discrete", "box"), {"encoder": "lstm"}),
    "old mlp": (old, ("nested", "box"), {"model": {"fcnet_hiddens": [8]}}),
    "old lstm": (old, (), {"model": {"use_lstm": True, "lstm_cell_size": 8}}),
    "old gtrxl": (old, (), {"model": GTRXL}),
    **{f"new {o} {a}": (new, (o, a), {}) for o, a in SPACES},
    "new lstm encoder": (new, ("discrete", "box"), {"encoder": "lstm"}),
    "new causal": (new, ("nested", "multi"), {"encoder": "causal"}),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_predict_says_what_rllibs_worker_says(name, tmp_path):
    make, spaces, options = CONFIGS[name]
    config = make(*spaces, **options)
    _, logits = recorded(config, tmp_path)
    policy = rllib_seq.load_policy(tmp_path)
    env = Follows(config.env_config)
    assert policy.observation_space == env.observation_space
    assert policy.action_space == env.action_space
    _, outputs = played(policy, env)
    assert len(outputs) == STEPS
    np.testing.assert_allclose(outputs, logits[:STEPS], atol=1e-6)
    assert np.ptp(outputs, axis=0).max() > 1e-6  # or nothing would have been compared


@pytest.mark.parametrize("kind", ["mlp", "lstm"])
def test_rllibs_own_modules_act_too(kind, tmp_path):
    config = common(PPOConfig(), "nested", "box")
    options = {"use_lstm": True, "lstm_cell_size": 8, "max_seq_len": 4} if kind == "lstm" else {}
    config.rl_module(model_config=DefaultModelConfig(fcnet_hiddens=[8], **options))
    config.env_runners(env_to_module_connector=lambda *_, **__: FlattenObservations())
    _, logits = recorded(config, tmp_path)
    _, outputs = played(rllib_seq.load_policy(tmp_path), Follows(config.env_config))
    np.testing.assert_allclose(outputs, logits, atol=1e-6)


def test_q_networks_act(tmp_path, monkeypatch):
    config = use_sequence_q_learning(common(DQNConfig()), **SMALL)
    actions, _ = recorded(config, tmp_path)
    reset_log_once()  # as in a new process
    warnings = []
    warn = "ray._common.deprecation.deprecation_warning"
    monkeypatch.setattr(warn, lambda **said: warnings.append(said))
    policy = rllib_seq.load_policy(tmp_path)
    assert not warnings
    taken, values = played(policy, Follows({}))
    assert list(taken) == list(actions)
    assert values.shape == (STEPS, 3)
    assert (values.argmax(1) == taken).all()


@pytest.fixture(scope="module")
def policy(ray_session, tmp_path_factory):
    folder = tmp_path_factory.mktemp("policy")
    recorded(new("nested", "box"), folder)
    return rllib_seq.load_policy(folder)


def test_many_streams_are_what_each_of_them_is_alone(policy):
    """Streams that begin and end at different steps, in one batch."""
    rng = np.random.default_rng(0)
    steps, streams = 9, 3
    seen = gym.vector.utils.batch_space(policy.observation_space, steps * streams).sample()
    rewards = rng.normal(size=(steps, streams))
    starts = rng.random((steps, streams)) < 0.3
    starts[0] = True

    def at(step, stream):
        return tree.map_structure(lambda rows: rows[step * streams + stream], seen)

    together, state = [], None
    for step in range(steps):
        batch = tree.map_structure(lambda rows: rows.reshape(steps, streams, *rows.shape[1:]), seen)
        now = tree.map_structure(lambda rows, step=step: rows[step], batch)
        actions, state = policy.predict(now, state, starts[step], reward=rewards[step])
        together.append(actions)
    for stream in range(streams):
        state = None
        for step in range(steps):
            state = None if starts[step, stream] else state
            action, state = policy.predict(at(step, stream), state, reward=rewards[step, stream])
            np.testing.assert_allclose(action, together[step][stream], atol=1e-5)


def test_actions_are_drawn_if_asked_for(policy):
    observation = policy.observation_space.sample()
    likeliest = {policy.predict(observation)[0].tobytes() for _ in range(3)}
    drawn = {policy.predict(observation, deterministic=False)[0].tobytes() for _ in range(3)}
    assert len(likeliest) == 1
    assert len(drawn) == 3


def test_what_does_not_fit_is_one_line(policy, tmp_path):
    observation = policy.observation_space.sample()
    _, state = policy.predict(observation)
    batch = gym.vector.utils.batch_space(policy.observation_space, 4).sample()
    wrong = {**observation, "b": {"c": np.zeros(3, np.float32)}}
    for words, call in {
        "reads the previous reward": lambda: policy.predict(observation, state),
        "state is of 1 streams and observations are of 4": lambda: policy.predict(batch, state),
        r"observations\['b'\]\['c'\] have shape \(3,\)": lambda: policy.predict(wrong),
        "a dict with keys": lambda: policy.predict({"a": 0}),
        "reward has shape": lambda: policy.predict(observation, state, reward=[1.0, 2.0]),
        "state is tuple of another kind": lambda: policy.predict(observation, (np.zeros(3),)),
        "state is dict of another kind": lambda: policy.predict(observation, {}),
        "observations are of 0 streams": lambda: policy.predict(
            tree.map_structure(lambda rows: rows[:0], batch)
        ),
        "does not exist": lambda: rllib_seq.load_policy(tmp_path / "nothing"),
    }.items():
        with pytest.raises(UserError, match=words) as error:
            call()
        assert "\n" not in str(error.value)


def test_connectors_that_cannot_be_repeated_are_named(tmp_path):
    config = common(PPOConfig())
    config.env_runners(
        env_to_module_connector=lambda *_, **__: [PrevActionsPrevRewards(), FlattenObservations()]
    )
    config.rl_module(model_config=DefaultModelConfig(fcnet_hiddens=[8]))
    config.build_algo().save_to_path(str(tmp_path))
    with pytest.raises(UserError, match="connector PrevActionsPrevRewards"):
        rllib_seq.load_policy(tmp_path)


def test_one_of_several_policies_is_named(tmp_path):
    config = PPOConfig().environment("multi_user_ad_auction", env_config={"num_users": 3})
    config.env_runners(num_env_runners=0)
    config.multi_agent(policies={"a", "b"}, policy_mapping_fn=lambda agent, *_, **__: "a")
    use_sequence_module(config, **SMALL)
    config.build_algo().save_to_path(str(tmp_path))
    with pytest.raises(UserError, match="holds the policies a, b; name one"):
        rllib_seq.load_policy(tmp_path)
    policy = rllib_seq.load_policy(tmp_path, "b")
    action, _ = policy.predict(policy.observation_space.sample())
    assert policy.action_space.contains(action)
