"""The new-stack adapter: equal to the old one, and training recomputes what acting recorded."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Dict, Discrete
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.algorithms.dqn import DQNConfig
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.algorithms.sac import SACConfig
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.apis import TARGET_NETWORK_ACTION_DIST_INPUTS
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
from ray.rllib.core.rl_module.rl_module import RLModule
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.policy.sample_batch import SampleBatch
from torch import Tensor

import rllib_seq  # noqa: F401, names the environment
from rllib_seq.config import SequenceConfig
from rllib_seq.errors import NonFiniteInputError, UserError
from rllib_seq.models import LSTMTransformerModel, SequenceRLModule, use_sequence_module
from rllib_seq.models.rl_module.windows import (
    PREVIOUS_ACTIONS,
    PREVIOUS_REWARDS,
    windows_of,
)

OBS = Box(-np.inf, np.inf, (3,), np.float32)
ACTIONS = Discrete(4)
SMALL: dict[str, Any] = {
    "window_length": 4,
    "d_model": 8,
    "num_heads": 2,
    "feedforward_dim": 8,
    "head_hidden": 8,
}


def _module(action_space: gym.Space = ACTIONS, **config: Any) -> SequenceRLModule:
    torch.manual_seed(0)
    settings = {**SMALL, "dropout": 0.0, **config}
    module = SequenceRLModule(
        observation_space=OBS, action_space=action_space, model_config={"sequence_config": settings}
    )
    with torch.no_grad():
        module.policy.head.weight.mul_(100.0)  # so that outputs differ visibly from step to step
    return module


def _episode(steps: int, seed: int = 0) -> SingleAgentEpisode:
    """The first `steps` of twelve steps of a stream, as lists."""
    rng = np.random.default_rng(seed)
    return SingleAgentEpisode(
        observations=list(rng.normal(size=(13, 3)).astype(np.float32)[: steps + 1]),
        actions=list(rng.integers(4, size=12)[:steps]),
        rewards=list(rng.normal(size=12)[:steps]),
        observation_space=OBS,
        action_space=ACTIONS,
        len_lookback_buffer=0,
    )


def _batch(episode: SingleAgentEpisode, start: int, stop: int, **config: Any) -> dict[str, Tensor]:
    columns = windows_of(episode, start, stop, SequenceConfig(**{**SMALL, **config}))
    return {key: torch.as_tensor(value.copy()) for key, value in columns.items()}


def _outputs(module: SequenceRLModule, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    outputs = module.forward_inference(batch)[Columns.ACTION_DIST_INPUTS]
    return outputs, module.compute_values(batch)


@pytest.mark.parametrize("window_length", [1, 4])
@pytest.mark.parametrize("previous", [True, False])
def test_both_stacks_give_the_same_and_share_weights(window_length: int, previous: bool) -> None:
    config = {"window_length": window_length, "prev_action": previous, "prev_reward": previous}
    module = _module(**config)
    custom = {**SMALL, "dropout": 0.0, **config}
    model = LSTMTransformerModel(OBS, ACTIONS, 4, {}, "model", **custom).eval()
    model.load_state_dict(module.state_dict())

    episode = _episode(10).to_numpy()
    inputs = {
        "obs": torch.as_tensor(episode.get_observations(slice(0, 10))),
        SampleBatch.PREV_ACTIONS: torch.as_tensor(np.r_[0, episode.get_actions()[:-1]]),
        SampleBatch.PREV_REWARDS: torch.as_tensor(np.r_[0, episode.get_rewards()[:-1]]),
    }
    state = [part[None] for part in model.get_initial_state()]
    with torch.no_grad():
        old, _ = model(inputs, state, torch.tensor([10]))
        old_values = model.value_function()
    outputs, values = _outputs(module, _batch(episode, 0, 10, **config))
    assert outputs.std(0).min() > 1e-3
    assert torch.allclose(outputs, old, atol=1e-6)
    assert torch.allclose(values, old_values, atol=1e-6)

    back = _module(**config)
    back.load_state_dict(model.state_dict())
    assert torch.equal(_outputs(back, _batch(episode, 0, 10, **config))[0], outputs)


@pytest.mark.parametrize("cut", [1, 3, 4, 9])
def test_windows_of_a_cut_episode_are_those_of_the_whole(cut: int) -> None:
    settings = SequenceConfig(**SMALL)
    whole = windows_of(_episode(12).to_numpy(), 0, 12, settings)
    source, chunk = _episode(12), _episode(cut).cut(len_lookback_buffer=settings.window_length)
    for step in range(cut, 12):  # acting, one step after the other, from lists
        now = windows_of(chunk, step - cut, step - cut + 1, settings)
        chunk.add_env_step(
            source.get_observations(step + 1), source.get_actions(step), source.get_rewards(step)
        )
        for column, rows in now.items():
            assert np.array_equal(rows[0], whole[column][step]), (column, step)
    training = windows_of(chunk.to_numpy(), 0, 12 - cut, settings)
    for column, rows in training.items():
        assert np.array_equal(rows, whole[column][cut:]), column


def test_an_episode_cut_too_short_is_refused() -> None:
    """Acting would go on with half a memory, and no one would notice."""
    chunk = _episode(9).cut(len_lookback_buffer=3)
    with pytest.raises(UserError, match="cut at step 9 and looks back 3 .*complete_episodes"):
        windows_of(chunk, 0, 1, SequenceConfig(**SMALL))


def test_empty_slots_and_what_came_before_a_stream_change_nothing() -> None:
    module, batch = _module(), _batch(_episode(8), 0, 8)
    outputs = _outputs(module, batch)
    for row in range(3):
        batch[Columns.OBS][row, : 3 - row] = torch.nan
        batch[PREVIOUS_ACTIONS][row, : 4 - row] = 3
        batch[PREVIOUS_REWARDS][row, : 4 - row] = torch.inf
    again = _outputs(module, batch)
    assert torch.equal(outputs[0], again[0]) and torch.equal(outputs[1], again[1])


def test_previous_action_and_reward_are_read() -> None:
    module, batch = _module(), _batch(_episode(8), 5, 8)
    outputs, _ = _outputs(module, batch)
    for column in (PREVIOUS_ACTIONS, PREVIOUS_REWARDS):
        changed = {**batch, column: (batch[column] + 1) % 4}
        assert not torch.allclose(_outputs(module, changed)[0], outputs)


def test_policy_never_drops_out_and_value_does_only_in_the_loss() -> None:
    module, batch = _module(dropout=0.5), _batch(_episode(8), 0, 8)
    acting, values = _outputs(module, batch)
    training = module.forward_train(batch)
    assert module.value.training and not module.policy.training
    assert torch.equal(training[Columns.ACTION_DIST_INPUTS], acting)
    in_loss = module.compute_values(batch, training[Columns.EMBEDDINGS])
    assert in_loss.requires_grad and not torch.equal(in_loss, values)
    assert torch.equal(module.compute_values(batch), values)
    assert module.value.training


@pytest.mark.parametrize(
    ("column", "message"),
    [(Columns.OBS, r"observation feature \d is inf"), (PREVIOUS_REWARDS, "previous reward is inf")],
)
def test_non_finite_inputs_are_named(column: str, message: str) -> None:
    module, batch = _module(), _batch(_episode(8), 5, 8)
    batch[column][1, 2] = torch.inf
    with pytest.raises(NonFiniteInputError, match=message):
        module.forward_inference(batch)


@pytest.mark.parametrize(
    ("observations", "actions", "message"),
    [
        (Discrete(3), ACTIONS, "use_sequence_module, which flattens"),
        (OBS, Dict({"bid": Discrete(2)}), "cannot act in Dict"),
    ],
)
def test_construction_errors(observations: gym.Space, actions: gym.Space, message: str) -> None:
    with pytest.raises(UserError, match=message):
        SequenceRLModule(observation_space=observations, action_space=actions, model_config={})


def test_the_target_network_is_a_copy_and_does_not_leave_the_learner() -> None:
    module, batch = _module(dropout=0.5), _batch(_episode(8), 0, 8)
    module.make_target_networks()
    outputs = module.forward_train(batch)[Columns.ACTION_DIST_INPUTS]
    assert torch.equal(module.forward_target(batch)[TARGET_NETWORK_ACTION_DIST_INPUTS], outputs)
    with torch.no_grad():
        module.policy.head.weight.zero_()
    assert module.forward_target(batch)[TARGET_NETWORK_ACTION_DIST_INPUTS].any()
    assert {key.split(".")[0] for key in module.get_state(inference_only=True)} == {"policy"}


def test_a_checkpoint_restores_the_module(tmp_path: Any) -> None:
    module, batch = _module(), _batch(_episode(8), 0, 8)
    module.save_to_path(tmp_path)
    restored = RLModule.from_checkpoint(tmp_path)
    assert type(restored) is SequenceRLModule
    assert torch.equal(_outputs(restored, batch)[0], _outputs(module, batch)[0])


def _old_stack(config: AlgorithmConfig) -> AlgorithmConfig:
    return config.api_stack(
        enable_rl_module_and_learner=False, enable_env_runner_and_connector_v2=False
    )


@pytest.mark.parametrize(
    ("config", "settings", "message"),
    [
        (_old_stack(PPOConfig()), {}, "lstm_transformer"),
        (SACConfig(), {}, "SACConfig cannot train .* use PPOConfig, APPOConfig or IMPALAConfig"),
        (DQNConfig(), {}, "DQNConfig cannot train"),
        (PPOConfig(), {"widow_length": 3}, "did you mean 'window_length'"),
        (
            PPOConfig().rl_module(model_config=DefaultModelConfig(use_lstm=True)),
            {},
            "remove use_lstm",
        ),
        (PPOConfig().training(model={"use_attention": True}), {}, "remove use_attention"),
        (
            PPOConfig().env_runners(env_to_module_connector=lambda *_: []),
            {},
            "connectors of its own",
        ),
    ],
)
def test_what_cannot_work_is_refused(
    config: AlgorithmConfig, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message) as caught:
        use_sequence_module(config, **settings)
    assert "\n" not in str(caught.value)
