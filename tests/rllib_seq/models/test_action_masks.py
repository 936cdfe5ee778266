"""Action masks: never a forbidden action, and nothing else changes."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Tuple
from ray.rllib.algorithms.dqn import DQNConfig
from ray.rllib.algorithms.dqn.dqn_learner import QF_NEXT_PREDS, QF_TARGET_NEXT_PREDS
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.models.preprocessors import get_preprocessor
from ray.rllib.models.torch.torch_action_dist import TorchCategorical

import rllib_seq
from rllib_seq.errors import UserError
from rllib_seq.models import LSTMTransformerModel, SequenceRLModule, use_sequence_module
from rllib_seq.models.observations import StepSpace
from rllib_seq.models.rl_module.connectors import FlattenSteps
from rllib_seq.models.step_inputs import FORBIDDEN
from rllib_seq.q_learning import SequenceQRLModule, use_sequence_q_learning
from rllib_seq.q_learning.exploration import EPSILON
from rllib_seq.rollouts import (
    ArrayEnvRunner,
    ArrayRolloutWorker,
    FaultReportingSingleAgentEnvRunner,
)

ACTIONS = Discrete(4)
SPACE = Dict({"observations": Box(-1, 1, (3,), np.float32), "action_mask": MultiBinary(4)})
SMALL = {
    "window_length": 3,
    "d_model": 8,
    "num_heads": 2,
    "lstm_layers": 1,
    "transformer_layers": 1,
    "feedforward_dim": 8,
    "head_hidden": 8,
}
Q_OPTIONS = {
    "double_q": False,
    "dueling": True,
    "epsilon": 0.0,
    "num_atoms": 1,
    "v_min": 0.0,
    "v_max": 1.0,
    "noisy": False,
    "std_init": 0.1,
}
ENCODERS = ["window", "causal", "lstm"]


def model(encoder="window", space=SPACE, actions=ACTIONS, outputs=4, scale=1.0):
    torch.manual_seed(0)
    flat = get_preprocessor(space)(space).observation_space
    settings = {**SMALL, "encoder": encoder, "prev_action": False, "prev_reward": False}
    net = LSTMTransformerModel(flat, actions, outputs, {}, "test", **settings).eval()
    with torch.no_grad():
        net.policy.head.weight.mul_(scale)
    return net


def module(kind=SequenceRLModule, space=SPACE, actions=ACTIONS, **settings):
    torch.manual_seed(0)
    settings = {**SMALL, "prev_action": False, "prev_reward": False, **settings}
    return kind(
        observation_space=StepSpace(space, 64),
        action_space=actions,
        model_config={"sequence_config": settings, **Q_OPTIONS},
    )


def flat(masks, seen=None):
    """Flat observations: keys in sorted order, so the mask comes first."""
    masks = torch.as_tensor(masks, dtype=torch.float32)
    return torch.cat([masks, torch.rand(len(masks), 3) if seen is None else seen], dim=1)


def some_masks(rows):
    rng = np.random.default_rng(0)
    masks = rng.random((rows, 4)) < 0.4
    masks[np.arange(rows), rng.integers(4, size=rows)] = True
    return torch.as_tensor(masks)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_no_forbidden_action_is_ever_drawn(encoder):
    masks = some_masks(4000)
    old = model(encoder, scale=100.0)
    new = module(encoder=encoder)
    new.load_state_dict(old.state_dict())
    obs = flat(masks)
    with torch.no_grad():
        outputs, _ = old.forward({"obs_flat": obs}, [], None)
        same = new.forward_inference({"obs": obs})["action_dist_inputs"]
    torch.testing.assert_close(outputs, same)
    for seed in range(3):
        torch.manual_seed(seed)
        drawn = TorchCategorical(outputs, old).sample()
        assert masks.gather(1, drawn[:, None]).all()
    assert masks.gather(1, outputs.argmax(1, keepdim=True)).all()
    # The mask is no input: what it allows is worth the same, whatever else it allows.
    free, _ = old.forward({"obs_flat": flat(torch.ones(4000, 4), obs[:, 4:])}, [], None)
    assert torch.equal(outputs[masks], free[masks])


def test_entropy_and_divergence_are_those_of_the_allowed_actions():
    masks, net = some_masks(200), model(scale=0.0)
    with torch.no_grad():
        net.policy.head.bias.zero_()
        outputs, _ = net.forward({"obs_flat": flat(masks)}, [], None)
    uniform = TorchCategorical(outputs, net)
    torch.testing.assert_close(uniform.entropy(), masks.sum(1).float().log())
    shifted = TorchCategorical((outputs + torch.rand(200, 4)).requires_grad_(), net)
    divergence = uniform.kl(shifted)
    assert torch.isfinite(divergence).all() and divergence.max() > 0.01
    loss = (divergence + shifted.entropy()).sum()
    (gradient,) = torch.autograd.grad(loss, shifted.inputs)
    assert torch.isfinite(gradient).all() and not gradient[~masks].any()


def test_a_mask_of_several_choices_is_one_after_the_other():
    actions = MultiDiscrete([2, 3])
    space = Dict({"observations": Box(-1, 1, (3,), np.float32), "action_mask": MultiBinary(5)})
    masks = torch.tensor([[0, 1, 1, 0, 1], [1, 0, 0, 1, 0]])
    net = model(space=space, actions=actions, outputs=5)
    outputs, _ = net.forward({"obs_flat": flat(masks)}, [], None)
    assert torch.equal(outputs == FORBIDDEN, masks == 0)
    with pytest.raises(UserError, match="allows no action"):
        net.forward({"obs_flat": flat([[0, 0, 1, 1, 1]])}, [], None)


def test_q_learning_takes_and_expects_allowed_actions_alone():
    net, rows = module(SequenceQRLModule), 600
    net.make_target_networks()
    now, later = some_masks(rows), some_masks(rows).flip(0)
    batch = {EPSILON: torch.ones(rows)}
    for prefix, masks in (("", now), ("next_", later)):
        windows = torch.rand(rows, 3, 7)
        windows[:, -1, :4] = masks.float()
        windows[:, :-1, :4] = 1.0
        batch |= {prefix + "obs": windows, prefix + "steps_before": torch.full((rows,), 3)}
    batch |= {"actions": torch.zeros(rows)}
    drawn = torch.stack([net.forward_exploration(batch, t=0)["actions"] for _ in range(20)])
    assert now.expand(20, -1, -1).gather(2, drawn[..., None]).all()
    both = now.sum(1) == 2  # each of two is as likely
    first = (drawn[:, both] == now[both].float().argmax(1)).float().mean()
    assert abs(first - 0.5) < 4 * (0.25 / (20 * int(both.sum()))) ** 0.5
    best = net.forward_inference(batch)["actions"]
    assert now.gather(1, best[:, None]).all()
    said = net.forward_train(batch)
    for name in (QF_NEXT_PREDS, QF_TARGET_NEXT_PREDS):
        assert torch.equal(said[name] == FORBIDDEN, ~later), name


@pytest.mark.parametrize(
    ("space", "actions", "words"),
    [
        (Dict({"observations": ACTIONS, "action_mask": MultiBinary(3)}), ACTIONS, "3 entries"),
        (Dict({"action_mask": MultiDiscrete([2] * 4)}), ACTIONS, "make it a MultiBinary or a Box"),
        (SPACE, Box(-1, 1, (4,)), "masks are for Discrete and MultiDiscrete"),
    ],
)
def test_a_mask_that_does_not_fit_is_one_line(space, actions, words):
    for build in (model, module):
        with pytest.raises(UserError, match=words) as error:
            build(space=space, actions=actions)
        assert "\n" not in str(error.value)


def test_a_step_without_any_action_is_named():
    empty = flat([[1, 1, 1, 1], [0, 0, 0, 0]])
    with pytest.raises(UserError, match="row 1, step 0: 'action_mask' allows no action"):
        model().forward({"obs_flat": empty}, [], None)
    with pytest.raises(UserError, match="row 1, step 0: 'action_mask' allows no action"):
        module().forward_inference({"obs": empty})
    with pytest.raises(UserError, match="holds 0.5, and 1 allows an action, 0 forbids it"):
        model().forward({"obs_flat": flat([[1, 0.5, 0, 0]])}, [], None)

    def seen(*mask):
        return {"observations": np.zeros(3, np.float32), "action_mask": np.array(mask, np.int8)}

    episode = SingleAgentEpisode(observation_space=SPACE, action_space=ACTIONS)
    connector = FlattenSteps(SPACE, ACTIONS, multi_agent=False, embed_above=64)
    episode.add_env_reset(seen(0, 1, 0, 0))
    connector(batch={}, episodes=[episode])
    episode.add_env_step(seen(0, 0, 0, 0), 1, 0.0)
    with pytest.raises(UserError, match=f"^episode {episode.id_}, step 1: 'action_mask' allows"):
        connector(batch={}, episodes=[episode])
    episode.is_terminated = True  # nothing is to be done after the end
    connector(batch={}, episodes=[episode])
    # Keys come sorted, whatever the order of the space.
    swapped = Dict([("observations", SPACE["observations"]), ("action_mask", MultiBinary(4))])
    assert StepSpace(swapped, 64).rows(seen(0, 0, 1, 1), 1).tolist() == [[0, 0, 1, 1, 0, 0, 0]]
    with pytest.raises(UserError, match="order observations, action_mask"):
        model(space=swapped)


class Masked(gym.Env):
    """Two of four actions are allowed, others in each step; the smaller one pays."""

    action_space = ACTIONS
    steps = 0

    def __init__(self, config=None):
        self.rng = np.random.default_rng(0)
        seen = SPACE["observations"]
        if config and config.get("frames"):
            seen = Tuple((Box(0, 255, (8, 8, 1), np.uint8), Discrete(100)))
        self.observation_space = Dict({**SPACE, "observations": seen})

    def _seen(self):
        self.mask = np.zeros(4, np.int8)
        self.mask[self.rng.choice(4, 2, replace=False)] = 1
        seen = np.full(3, self.t / 10, np.float32)
        if isinstance(self.observation_space["observations"], Tuple):
            seen = (np.full((8, 8, 1), self.t, np.uint8), 10 * self.t)
        return {"action_mask": self.mask, "observations": seen}

    def reset(self, *, seed=None, options=None):
        self.t = 0
        return self._seen(), {}

    def step(self, action):
        assert self.mask[action], f"{action} is forbidden: {self.mask}"
        self.t += 1
        Masked.steps += 1
        pay = float(action == np.flatnonzero(self.mask)[0])
        seen = self._seen()
        if self.t == 9:
            seen["action_mask"] = np.zeros(4, np.int8)  # as games say that they are over
        return seen, pay, self.t == 9, False, {}


@pytest.mark.usefixtures("ray_session")
@pytest.mark.parametrize("how", ["old arrays", "old", "new arrays", "new", "dqn"])
def test_training_and_acting_keep_to_the_masks(how, tmp_path):
    """The environment refuses forbidden actions; one that ends may allow none."""
    config = (DQNConfig if how == "dqn" else PPOConfig)().environment(Masked)
    config.env_runners(num_env_runners=0, num_envs_per_env_runner=4, rollout_fragment_length=64)
    config.debugging(seed=1)
    if how == "dqn":
        config.environment(env_config={"frames": True})
        config.training(num_steps_sampled_before_learning_starts=50, train_batch_size=16)
        use_sequence_q_learning(config, **SMALL)
    elif how.startswith("new"):
        config.training(train_batch_size_per_learner=256, minibatch_size=128, num_epochs=1)
        use_sequence_module(config, encoder="lstm", **SMALL)
    else:
        model = {"custom_model": "lstm_transformer", "custom_model_config": SMALL}
        config.api_stack(
            enable_rl_module_and_learner=False, enable_env_runner_and_connector_v2=False
        )
        config.training(model=model, train_batch_size=256, minibatch_size=128, num_epochs=1)
    if how.endswith("arrays"):
        kind = ArrayRolloutWorker if how.startswith("old") else ArrayEnvRunner
        config.env_runners(env_runner_cls=kind)
    algorithm, before = config.build_algo(), Masked.steps
    while Masked.steps < before + (150 if how == "dqn" else 500):
        algorithm.train()
    save = algorithm.save_checkpoint if how.startswith("old") else algorithm.save_to_path
    save(str(tmp_path))
    algorithm.stop()
    policy = rllib_seq.load_policy(tmp_path)
    for deterministic in (True, False):
        env = Masked(config.env_config)
        result = rllib_seq.evaluate_policy(policy, env, 5, deterministic=deterministic)
        assert result.lengths == (9,) * 5


@pytest.mark.parametrize("kind", [FaultReportingSingleAgentEnvRunner, ArrayEnvRunner])
def test_a_mask_of_a_wrong_length_is_named(kind):
    class Short(Masked):
        def _seen(self):
            seen = super()._seen()
            return {**seen, "action_mask": seen["action_mask"][:3]} if self.t == 2 else seen

    config = use_sequence_module(PPOConfig().environment(Short), **SMALL)
    runner = kind(config=config)
    words = r"environment 0, step 2 of the episode: 'action_mask' has shape \(3,\), and the obs"
    with pytest.raises((UserError, RuntimeError)) as error:
        runner.sample(num_timesteps=9)
    raised = error.value  # RLlib wraps what environments raise
    with pytest.raises(UserError, match=words):
        raise raised if isinstance(raised, UserError) else raised.__cause__
