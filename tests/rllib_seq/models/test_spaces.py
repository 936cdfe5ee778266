"""Spaces on both API stacks: what trains recomputes what it recorded, the rest is refused."""

import re
import time
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Sequence, Text, Tuple
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.algorithms.appo import APPOConfig
from ray.rllib.algorithms.impala import IMPALAConfig
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.columns import Columns
from ray.rllib.env.multi_agent_env import MultiAgentEnv
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner
from ray.rllib.policy.rnn_sequencing import pad_batch_to_sequences_of_same_size
from ray.rllib.policy.sample_batch import SampleBatch
from torch import Tensor

import rllib_seq  # names the model
from rllib_seq.config import SequenceConfig
from rllib_seq.errors import UserError
from rllib_seq.models import use_sequence_module
from rllib_seq.models.step_inputs import StepInputs
from rllib_seq.rollouts import FaultReportingWorker

SMALL: dict[str, Any] = {
    "window_length": 4,
    "d_model": 8,
    "num_heads": 2,
    "feedforward_dim": 8,
    "head_hidden": 8,
    "lstm_layers": 1,
    "transformer_layers": 1,
    "dropout": 0.3,
}
SPACES: dict[str, tuple[gym.Space, gym.Space]] = {
    "discrete-to-box": (Discrete(5), Box(-1, 1, (2,))),
    "nested-to-multidiscrete": (
        Dict({"user": Discrete(3), "page": Dict({"size": Box(0, 1, (2, 2))})}),
        MultiDiscrete([2, 3]),
    ),
    "multibinary-to-discrete": (MultiBinary(3), Discrete(2)),
    "matrix-to-discrete": (Box(-1, 1, (2, 3)), Discrete(4)),
    "frame-to-discrete": (Box(0, 255, (8, 9, 1), np.uint8), Discrete(2)),
    "masked-to-multidiscrete": (
        Dict({"observations": Box(-1, 1, (2,)), "action_mask": Box(0, 1, (5,), np.float32)}),
        MultiDiscrete([2, 3]),
    ),
    "masked-frame-and-numbers-to-discrete": (
        Dict(
            {
                "action_mask": MultiBinary(4),
                "observations": Tuple((Box(0, 1, (9, 8, 2)), Discrete(1000))),
                "others": MultiDiscrete([3, 100]),
            }
        ),
        Discrete(4),
    ),
}

AGENTS = [name for name in SPACES if name not in ("frame-to-discrete", "masked-to-multidiscrete")]


def _sample(observations: gym.Space, actions: gym.Space) -> Any:
    """An observation; masks allow something, and are of 0 and 1 alone."""
    drawn = observations.sample()
    if isinstance(drawn, dict) and "action_mask" in drawn:
        cuts = [2] if isinstance(actions, MultiDiscrete) else []
        mask = np.round(drawn["action_mask"])
        for part in np.split(mask, cuts):
            part[np.random.default_rng(int(mask.sum())).integers(len(part))] = 1
        drawn["action_mask"] = mask.astype(observations["action_mask"].dtype)
    return drawn


def _allowed(observation: Any, action: Any) -> bool:
    if not isinstance(observation, dict) or "action_mask" not in observation:
        return True
    mask = observation["action_mask"]
    if np.ndim(action):
        return bool(mask[action[0]] and mask[2 + action[1]])
    return bool(mask[action])


class OneStream(gym.Env):
    """Random observations and rewards; episodes of seven steps."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.observation_space, self.action_space = config["spaces"]
        self.rng = np.random.default_rng(0)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        self.steps = 0
        self.shown = _sample(self.observation_space, self.action_space)
        return self.shown, {}

    def step(self, action: Any) -> Any:
        assert self.action_space.contains(action), action
        assert _allowed(self.shown, action), (self.shown, action)
        self.steps += 1
        self.shown = _sample(self.observation_space, self.action_space)
        return self.shown, self.rng.normal(), self.steps == 7, False, {}


class ManyStreams(MultiAgentEnv):
    """One agent for each pair of spaces; in a step only some of them act."""

    def __init__(self, config: Any = None) -> None:
        super().__init__()
        self.agents = self.possible_agents = AGENTS
        self.observation_spaces = {name: SPACES[name][0] for name in AGENTS}
        self.action_spaces = {name: SPACES[name][1] for name in AGENTS}
        self.rng = np.random.default_rng(0)

    def _some(self) -> list[str]:
        return list(self.rng.choice(self.agents, self.rng.integers(1, 4), replace=False))

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        self.steps = 0
        self.shown = self._samples(self._some())
        return self.shown, {}

    def _samples(self, names: list[str]) -> dict[str, Any]:
        return {
            name: _sample(self.observation_spaces[name], self.action_spaces[name]) for name in names
        }

    def step(self, action_dict: dict[str, Any]) -> Any:
        assert all(_allowed(self.shown[name], action) for name, action in action_dict.items())
        self.steps += 1
        done = self.steps == 15
        self.shown = self._samples(self.agents if done else self._some())
        rewards = {name: self.rng.normal() for name in self.shown}
        return self.shown, rewards, {"__all__": done}, {"__all__": False}, {}


def _config(
    config: AlgorithmConfig, stack: str, pair: str | None, **settings: Any
) -> AlgorithmConfig:
    """A config for one pair of spaces, or for all of them, each with its policy."""
    sequence_config = SMALL | settings
    if pair is None:
        config.environment(ManyStreams)
        specs = {name: (None, *SPACES[name], {}) for name in AGENTS}
        config.multi_agent(
            policies=specs if stack == "old" else set(AGENTS),
            policy_mapping_fn=lambda agent_id, *args, **kwargs: agent_id,
        )
    else:
        config.environment(OneStream, env_config={"spaces": SPACES[pair]})
    # RLlib's own check takes random actions, and these environments refuse forbidden ones.
    config.environment(disable_env_checking=True)
    config.env_runners(num_env_runners=0, rollout_fragment_length=30).debugging(seed=0)
    config.reporting(min_time_s_per_iteration=0)
    if stack == "new":
        config.training(train_batch_size_per_learner=60).learners(num_learners=0)
        use_sequence_module(config, **sequence_config)
    else:
        rllib_seq.register()
        config.api_stack(
            enable_rl_module_and_learner=False, enable_env_runner_and_connector_v2=False
        )
        config.resources(num_gpus=0)  # IMPALA asks for one
        config.training(
            train_batch_size=60,
            model={
                "custom_model": "lstm_transformer",
                "custom_model_config": sequence_config,
                "max_seq_len": 5,
            },
        )
    if isinstance(config, PPOConfig):
        config.training(minibatch_size=20, num_epochs=1)
    return config


def _old_stack_logps(algo: Any, names: set[str]) -> dict[str, tuple[Tensor, Tensor]]:
    """Of a fresh sample, by policy: recorded, and recomputed as the loss does."""
    for name in names:
        with torch.no_grad():
            algo.get_policy(name).model.policy.head.weight.mul_(100.0)
    batch = algo.env_runner.sample()
    logps = {}
    for name in names:
        policy = algo.get_policy(name)
        rows = getattr(batch, "policy_batches", {name: batch})[name]
        pad_batch_to_sequences_of_same_size(
            rows, max_seq_len=5, view_requirements=policy.view_requirements
        )
        real = (np.arange(5) < rows[SampleBatch.SEQ_LENS][:, None]).flatten()
        train_batch = policy._lazy_tensor_dict(rows)
        policy.model.train()
        logits, _ = policy.model(train_batch)
        logp = policy.dist_class(logits, policy.model).logp(train_batch[SampleBatch.ACTIONS])
        logps[name] = train_batch[SampleBatch.ACTION_LOGP][real], logp[real]
    return logps


def _new_stack_logps(algo: Any, names: set[str]) -> dict[str, tuple[Tensor, Tensor]]:
    """The same for modules."""
    learner, acting = algo.learner_group._learner, algo.env_runner.module
    for name in names:
        module = learner.module[name]
        with torch.no_grad():
            module.policy.head.weight.mul_(100.0)
        copy = acting if name == "default_policy" else acting[name]
        copy.set_state(module.get_state(inference_only=True))
    batches = learner._learner_connector(
        rl_module=learner.module, batch={}, episodes=algo.env_runner.sample(), shared_data={}
    )
    logps = {}
    for name in names:
        module, batch = learner.module[name], batches[name]
        outputs = module.forward_train(batch)[Columns.ACTION_DIST_INPUTS]
        distribution = module.get_train_action_dist_cls().from_logits(outputs)
        real = batch[Columns.LOSS_MASK]
        recorded = batch[Columns.ACTION_LOGP][real]
        logps[name] = recorded, distribution.logp(batch[Columns.ACTIONS])[real]
    return logps


def _losses(algo: Any, stack: str, names: set[str]) -> dict[str, float]:
    """The first losses of all policies; iterations of some algorithms end without any."""
    losses: dict[str, float] = {}
    deadline = time.monotonic() + 600
    while losses.keys() != names:
        assert time.monotonic() < deadline, f"learner results of {set(losses)} only"
        result = algo.train()
        for name in names:
            if stack == "new":
                learned = result.get("learners", {}).get(name, {})
            else:
                learned = result["info"]["learner"].get(name, {}).get("learner_stats", {})
            if "total_loss" in learned:
                losses[name] = float(learned["total_loss"])
    return losses


def _train(config: AlgorithmConfig, stack: str, names: set[str]) -> None:
    algo = config.build_algo()
    try:
        if isinstance(config, PPOConfig) and not isinstance(config, IMPALAConfig):
            logps = (_new_stack_logps if stack == "new" else _old_stack_logps)(algo, names)
            for name, (recorded, recomputed) in logps.items():
                assert recorded.std() > 0.01, name
                assert torch.allclose(recomputed, recorded, atol=1e-4), name
        assert np.isfinite(list(_losses(algo, stack, names).values())).all()
    finally:
        algo.stop()


@pytest.mark.usefixtures("ray_session")
@pytest.mark.parametrize("pair", SPACES)
@pytest.mark.parametrize("stack", ["old", "new"])
def test_one_agent(stack: str, pair: str) -> None:
    """Before the first update PPO's ratio is 1."""
    _train(_config(PPOConfig(), stack, pair), stack, {"default_policy"})


@pytest.mark.usefixtures("ray_session")
def test_nested_actions_of_the_old_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    """They cannot be an input, and train all the same."""
    actions = Dict({"bid": Box(-1, 1, (1,)), "ad": Tuple((Discrete(3), Discrete(2)))})
    monkeypatch.setitem(SPACES, "nested", (Box(-1, 1, (2,)), actions))
    _train(_config(PPOConfig(), "old", "nested", prev_action=False), "old", {"default_policy"})


@pytest.mark.usefixtures("ray_session")
@pytest.mark.parametrize("algorithm", [PPOConfig, APPOConfig, IMPALAConfig])
@pytest.mark.parametrize("stack", ["old", "new"])
def test_many_agents_each_with_spaces_of_his_own(stack: str, algorithm: Any) -> None:
    _train(_config(algorithm(), stack, None), stack, set(AGENTS))


FLAT = Box(-1, 1, (2,))


@pytest.mark.parametrize(
    ("observations", "actions", "message"),
    [
        (FLAT, Discrete(3, start=1), "actions of Discrete.* start at 1, .*TransformAction$"),
        (FLAT, MultiDiscrete([2, 2], start=[0, 2]), r"actions of .* start at \[0 2\]"),
        (Discrete(3, start=2), Discrete(2), "observations of .* at 2, .*TransformObservation$"),
        (
            Dict({"a": Tuple((FLAT, MultiDiscrete([2], start=[1])))}),
            Discrete(2),
            r"observations of MultiDiscrete.* start at \[1\]",
        ),
        (FLAT, Dict({"a": Discrete(2)}), "cannot act in Dict"),
        (FLAT, Tuple((Discrete(2), FLAT)), "cannot act in Tuple"),
        (FLAT, MultiBinary(2), "cannot act in MultiBinary"),
        (FLAT, Box(-1, 1, (2, 2)), r"cannot act in Box\(.*\(2, 2\)"),
        (FLAT, MultiDiscrete([[2, 2], [2, 2]]), "cannot act in MultiDiscrete"),
        (FLAT, Box(0, 5, (2,), np.int64), "cannot act in Box.*a Box of real numbers"),
    ],
)
def test_what_the_new_stack_cannot_serve_is_refused(
    observations: gym.Space, actions: gym.Space, message: str
) -> None:
    """RLlib would fail later, or send the environment actions that it does not know."""
    config = PPOConfig().environment(OneStream, env_config={"spaces": (observations, actions)})
    with pytest.raises(UserError, match=message) as caught:
        SingleAgentEnvRunner(config=use_sequence_module(config, **SMALL))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("observations", "actions", "message"),
    [
        (Text(4), Discrete(2), "observations of Text.* are no vector"),
        (Sequence(Discrete(3)), Discrete(2), "observations of Sequence.* no fixed length"),
        (FLAT, MultiBinary(2), "old API stack cannot act in MultiBinary"),
        (FLAT, Box(-1, 1, ()), "cannot act in Box.*a Box with one dimension"),
        (FLAT, Dict({"a": Box(-1, 1, (2, 2))}), r"old API stack cannot act in Box\(.*\(2, 2\)"),
    ],
)
def test_what_the_old_stack_cannot_serve_is_refused(
    observations: gym.Space, actions: gym.Space, message: str
) -> None:
    """From `rllib-seq`, whose worker sees the environment before RLlib's preprocessors do."""
    config = _config(PPOConfig(), "old", "discrete-to-box")
    config.environment(env_config={"spaces": (observations, actions)})
    with pytest.raises(UserError, match=message) as caught:
        FaultReportingWorker(env_creator=OneStream, config=config)
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("ray_session")
def test_shifted_observations_are_refused_on_the_old_stack_too() -> None:
    config = _config(PPOConfig(), "old", "discrete-to-box")
    config.environment(env_config={"spaces": (Dict({"a": Discrete(3, start=2)}), Discrete(2))})
    with pytest.raises(UserError, match="observations of .* start at 2, .*TransformObservation$"):
        config.build_algo()


@pytest.mark.parametrize("previous", [True, False])
def test_shifted_actions_are_refused_on_the_old_stack_too(previous: bool) -> None:
    settings = SequenceConfig(prev_action=previous)
    with pytest.raises(UserError, match=re.escape("actions of Discrete(3, start=1) start at 1")):
        StepInputs(FLAT, Discrete(3, start=1), settings)
