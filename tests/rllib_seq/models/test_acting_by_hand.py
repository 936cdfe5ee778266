"""RLlib's own ways to act: what it leaves optional, and what is missing in one line."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.rl_module.multi_rl_module import MultiRLModule
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.models.preprocessors import get_preprocessor

import rllib_seq
from rllib_seq.errors import UserError
from rllib_seq.models import LSTMTransformerModel, SequenceRLModule
from rllib_seq.q_learning import SequenceQRLModule

SMALL = {
    "window_length": 3,
    "d_model": 8,
    "num_heads": 2,
    "lstm_layers": 1,
    "transformer_layers": 1,
    "feedforward_dim": 8,
    "head_hidden": 8,
}
OBS, ACTIONS = Box(-1, 1, (4,), np.float32), Discrete(3)
ENCODERS = ["window", "causal", "lstm"]


def model(encoder, **settings):
    torch.manual_seed(0)
    settings = {"custom_model_config": {**SMALL, "encoder": encoder, **settings}}
    return LSTMTransformerModel(OBS, ACTIONS, 3, settings, "test").eval()


def module(encoder, kind=SequenceRLModule, **settings):
    torch.manual_seed(0)
    more = {}
    if kind is SequenceQRLModule:
        more = {
            "double_q": True,
            "dueling": True,
            "epsilon": 0.0,
            "num_atoms": 1,
            "v_min": 0.0,
            "v_max": 1.0,
            "noisy": False,
            "std_init": 0.1,
        }
    settings = {**SMALL, "encoder": encoder, **settings}
    return kind(
        observation_space=OBS,
        action_space=ACTIONS,
        model_config={"sequence_config": settings, **more},
    )


@pytest.mark.parametrize("encoder", ENCODERS)
def test_a_first_step_of_the_old_stack_needs_nothing_that_is_optional(encoder):
    net = model(encoder)
    obs = torch.rand(2, 4)
    zeros = {"prev_actions": torch.zeros(2), "prev_rewards": torch.zeros(2)}
    plain, state = net.forward({"obs_flat": obs}, [], torch.ones(2))
    full, _ = net.forward({"obs_flat": obs, **zeros}, [], torch.ones(2))
    assert torch.equal(plain, full)
    with pytest.raises(UserError, match="previous action is missing.*prev_action") as error:
        net.forward({"obs_flat": obs}, state, torch.ones(2))
    assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="previous reward is missing"):
        net.forward({"obs_flat": obs, "prev_actions": torch.zeros(2)}, state, torch.ones(2))
    assert model(encoder, prev_action=False, prev_reward=False).forward({"obs_flat": obs}, [], None)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_forward_inference_goes_on_with_the_state_that_it_returned(encoder):
    """Step by step, with and without a time dimension, and as the old stack does it."""
    old, new = model(encoder), module(encoder)
    new.load_state_dict(old.state_dict())
    obs, actions, rewards = torch.rand(2, 5, 4), torch.randint(3, (2, 5)), torch.rand(2, 5)
    state, theirs = {}, []
    for t in range(5):
        batch = {"obs": obs[:, t]}
        old_batch = {"obs_flat": obs[:, t]}
        if t:
            previous = {"prev_actions": actions[:, t - 1], "prev_rewards": rewards[:, t - 1]}
            batch |= previous
            old_batch |= previous
        out = new.forward_inference({**batch, "state_in": state})
        state = out["state_out"]
        wanted, theirs = old.forward(old_batch, theirs, torch.ones(2))
        torch.testing.assert_close(out["action_dist_inputs"], wanted, atol=1e-6, rtol=0)
    shift = torch.nn.functional.pad
    whole = new.forward_inference(
        {
            "obs": obs,
            "prev_actions": shift(actions, (1, -1)),
            "prev_rewards": shift(rewards, (1, -1)),
        }
    )
    last = whole["action_dist_inputs"][:, -1]
    torch.testing.assert_close(last, out["action_dist_inputs"], atol=1e-5, rtol=0)
    with pytest.raises(UserError, match="previous action is missing"):
        new.forward_inference({"obs": obs[:, 0], "state_in": state})


@pytest.mark.parametrize("encoder", ["window", "causal"])
def test_q_networks_go_on_with_the_state_that_they_returned(encoder):
    net = module(encoder, SequenceQRLModule, prev_action=False, prev_reward=False)
    obs, state = torch.rand(2, 5, 4), None
    for t in range(5):
        out = net.forward_inference({"obs": obs[:, t], "state_in": state})
        state = out["state_out"]
    windows = obs[:, 2:]
    wanted = net.q(windows, torch.ones(2, 3, dtype=torch.bool)).argmax(1)
    assert torch.equal(out["actions"], wanted)


def test_several_modules_act_by_hand():
    spec = RLModuleSpec(
        module_class=SequenceRLModule,
        observation_space=OBS,
        action_space=ACTIONS,
        model_config={"sequence_config": SMALL},
    )
    both = MultiRLModule(rl_module_specs={"a": spec, "b": spec})
    out = both.forward_inference({"a": {"obs": torch.rand(1, 4)}, "b": {"obs": torch.rand(2, 4)}})
    assert out["a"]["action_dist_inputs"].shape == (1, 3)
    assert out["b"]["action_dist_inputs"].shape == (2, 3)


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("shape", [(4,), (2, 5), (2, 1, 5), (2, 2, 2, 1)])
def test_wrong_shapes_are_one_line(encoder, shape):
    with pytest.raises(UserError, match=r"observations must be a tensor \[B, 4\]") as error:
        module(encoder).forward_inference({"obs": torch.rand(shape)})
    assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="observations have shape"):
        model(encoder).forward({"obs_flat": torch.rand(2, 5)}, [], torch.ones(2))
    for found, kind in (({"a": torch.rand(2, 4)}, "dict"), (np.zeros((2, 4)), "ndarray")):
        with pytest.raises(UserError, match=f"got {kind}"):
            module(encoder).forward_inference({"obs": found})
    with pytest.raises(UserError, match="got NoneType"):
        module(encoder).forward_inference({})


def test_the_step_after_a_nan_is_not_blamed():
    obs = torch.rand(2, 3, 4)
    obs[1, 2, 0] = torch.nan
    net = module("window", prev_action=False, prev_reward=False)
    with pytest.raises(UserError, match=r"feature 0 is nan \(row 1, step 2\)"):
        net.forward_inference({"obs": obs})


class Seen(gym.Env):
    """A Dict of observations with a mask of two of three actions; episodes of six steps."""

    observation_space = Dict({"action_mask": MultiBinary(3), "observations": OBS})
    action_space = ACTIONS

    def __init__(self, config=None):
        self.rng = np.random.default_rng(0)

    def _seen(self):
        mask = np.ones(3, np.int8)
        mask[self.rng.integers(3)] = 0
        return {"action_mask": mask, "observations": self.rng.random(4).astype(np.float32)}

    def reset(self, *, seed=None, options=None):
        self.t = 0
        return self._seen(), {}

    def step(self, action):
        self.t += 1
        return self._seen(), float(action) - 1.0, self.t == 6, False, {}


@pytest.mark.parametrize("encoder", ENCODERS)
def test_algorithms_and_policies_of_the_old_stack_act_as_predict_does(
    encoder, tmp_path, ray_session
):
    """`compute_single_action` and `compute_actions`, along an episode, with a Dict and a mask."""
    config = PPOConfig().environment(Seen).env_runners(num_env_runners=0, explore=False)
    config.api_stack(enable_rl_module_and_learner=False, enable_env_runner_and_connector_v2=False)
    own = {**SMALL, "encoder": encoder}
    settings = {"custom_model": "lstm_transformer", "custom_model_config": own}
    config.training(train_batch_size=32, minibatch_size=32, model=settings)
    algorithm = config.build_algo()
    algorithm.save_checkpoint(str(tmp_path))
    policy, trained = algorithm.get_policy(), rllib_seq.load_policy(tmp_path)
    with torch.no_grad():  # so that actions differ
        for each in (policy, trained.network.policy):
            each.model.policy.head.weight.mul_(300.0)
    transform = get_preprocessor(Seen.observation_space)(Seen.observation_space).transform
    with pytest.raises(UserError, match="flat observations; .* and act with .*predict"):
        policy.compute_single_action(Seen().reset()[0])
    env = Seen()
    observation, _ = env.reset()
    ours, theirs, reward, previous, taken = None, policy.get_initial_state(), None, None, []
    batched, over = [np.stack([part] * 2) for part in theirs], False
    while not over:
        said = trained.step(observation, ours, reward=reward)
        more = {} if previous is None else {"prev_action": previous, "prev_reward": reward}
        if not taken:  # the state may be left out, too
            assert algorithm.compute_single_action(observation)[0] == said.actions
        action, theirs, extra = algorithm.compute_single_action(observation, theirs, **more)
        assert action == said.actions and observation["action_mask"][action]
        np.testing.assert_allclose(
            extra["action_dist_inputs"], said.outputs[0], rtol=1e-5, atol=1e-5
        )
        flat = np.stack([transform(observation)] * 2)
        more = {f"{name}_batch": np.array([value] * 2) for name, value in more.items()}
        actions, batched, extra = policy.compute_actions(flat, batched, explore=False, **more)
        assert list(actions) == [action] * 2
        np.testing.assert_allclose(
            extra["action_dist_inputs"][1], said.outputs[0], rtol=1e-5, atol=1e-5
        )
        taken.append(int(action))
        ours, previous = said.state, action
        observation, reward, over, _, _ = env.step(action)
    algorithm.stop()
    assert len(set(taken)) > 1
