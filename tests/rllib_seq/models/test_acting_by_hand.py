"""RLlib's own ways to act: what it leaves optional, and what is missing in one line."""

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete
from ray.rllib.core.rl_module.multi_rl_module import MultiRLModule
from ray.rllib.core.rl_module.rl_module import RLModuleSpec

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
    with pytest.raises(UserError, match="got dict"):
        module(encoder).forward_inference({"obs": {"a": torch.rand(2, 4)}})


def test_the_step_after_a_nan_is_not_blamed():
    obs = torch.rand(2, 3, 4)
    obs[1, 2, 0] = torch.nan
    net = module("window", prev_action=False, prev_reward=False)
    with pytest.raises(UserError, match=r"feature 0 is nan \(row 1, step 2\)"):
        net.forward_inference({"obs": obs})
