"""The causal encoder on both API stacks: steps equal sequences, training recomputes acting."""

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete
from hypothesis import given, settings
from hypothesis import strategies as st
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.apis import TARGET_NETWORK_ACTION_DIST_INPUTS
from ray.rllib.core.rl_module.rl_module import RLModule
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.policy.sample_batch import SampleBatch
from torch import Tensor

from rllib_seq.config import SequenceConfig
from rllib_seq.errors import NonFiniteInputError, UserError
from rllib_seq.models import LSTMTransformerModel, SequenceRLModule, use_sequence_module
from rllib_seq.models.rl_module.episode_states import SequenceStates
from rllib_seq.models.rl_module.windows import windows_of

OBS, ACTIONS = Box(-np.inf, np.inf, (3,), np.float32), Discrete(4)
SMALL: dict[str, Any] = {
    "encoder": "causal",
    "window_length": 4,
    "d_model": 8,
    "num_heads": 2,
    "feedforward_dim": 8,
    "head_hidden": 8,
    "lstm_layers": 1,
    "transformer_layers": 2,
}

LSTM = {**SMALL, "encoder": "lstm"}


def _model(**config: Any) -> LSTMTransformerModel:
    torch.manual_seed(0)
    custom = {**SMALL, "dropout": 0.0, **config}
    model = LSTMTransformerModel(OBS, ACTIONS, 4, {}, "model", **custom)
    with torch.no_grad():
        model.policy.head.weight.mul_(100.0)  # so that outputs differ visibly from step to step
    return model.eval()


def _inputs(rows: int, seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        "obs": torch.randn(rows, 3, generator=generator),
        SampleBatch.PREV_ACTIONS: torch.randint(0, 4, (rows,), generator=generator),
        SampleBatch.PREV_REWARDS: torch.randn(rows, generator=generator),
    }


def _start(model: LSTMTransformerModel, batch: int) -> list[Tensor]:
    return [part.expand(batch, *part.shape) for part in model.get_initial_state()]


@settings(deadline=None, max_examples=10)
@given(lens=st.lists(st.integers(1, 9), min_size=1, max_size=4), seed=st.integers(0, 99))
def test_steps_equal_one_sequence(lens: list[int], seed: int) -> None:
    model, batch, steps = _model(), len(lens), max(lens)
    inputs = _inputs(batch * steps, seed)
    for row, real in enumerate(lens):  # what stands in padded rows must not matter
        inputs["obs"].view(batch, steps, 3)[row, real:] = torch.nan
    outputs, after = model(inputs, _start(model, batch), torch.tensor(lens))
    outputs, values = outputs.view(batch, steps, 4), model.value_function().view(batch, steps)
    for row, real in enumerate(lens):
        state = _start(model, 1)
        for step in range(real):
            one = {k: v.unflatten(0, (batch, steps))[row, step][None] for k, v in inputs.items()}
            output, state = model(one, state, torch.tensor([1]))
            assert torch.allclose(output[0], outputs[row, step], atol=1e-5)
            assert torch.allclose(model.value_function()[0], values[row, step], atol=1e-5)
        for part, end in zip(after, state, strict=True):
            assert torch.allclose(part[row], end[0], atol=1e-5)
        assert not outputs[row, real:].any() and not values[row, real:].any()


def test_the_state_is_what_is_documented() -> None:
    state = LSTMTransformerModel(OBS, ACTIONS, 4, {}, "m", encoder="causal").get_initial_state()
    assert all(isinstance(part, Tensor) and part.dtype == torch.float32 for part in state)
    assert len(state) == 7
    assert sum(part.nbytes for part in state) == 16 * 2 * 64 + 8 * 64 * 5 * 7 + 4


@pytest.mark.parametrize("lens", [None, [0, 0], [1, 0], [3, 3]])
def test_dummy_batches_survive(lens: list[int] | None) -> None:
    model = _model()
    seq_lens = None if lens is None else torch.tensor(lens)
    outputs, state = model(_inputs(6), _start(model, 2), seq_lens)
    assert outputs.shape == (6, 4) and model.value_function().shape == (6,)
    assert [part.shape[1:] for part in state] == [p.shape for p in model.get_initial_state()]
    assert model(_inputs(6), [], None)[0].shape == (6, 4)


@pytest.mark.parametrize("head", ["policy", "value"])
def test_gradients_reach_their_own_network_alone(head: str) -> None:
    model = _model()
    outputs, _ = model(_inputs(12), _start(model, 2), torch.tensor([6, 4]))
    (outputs if head == "policy" else model.value_function()).square().sum().backward()
    for name, parameter in model.named_parameters():
        reached = parameter.grad is not None and bool(parameter.grad.abs().sum() > 0)
        assert reached == name.startswith(head), name


def _module(**config: Any) -> SequenceRLModule:
    torch.manual_seed(0)
    return SequenceRLModule(
        observation_space=OBS,
        action_space=ACTIONS,
        model_config={"sequence_config": {**SMALL, "dropout": 0.0, **config}, "max_seq_len": 5},
    )


def _episode(steps: int) -> SingleAgentEpisode:
    rng = np.random.default_rng(0)
    return SingleAgentEpisode(
        observations=list(rng.normal(size=(steps + 1, 3)).astype(np.float32)),
        actions=list(rng.integers(4, size=steps)),
        rewards=list(rng.normal(size=steps)),
        observation_space=OBS,
        action_space=ACTIONS,
        len_lookback_buffer=0,
    )


def _batch(module: SequenceRLModule, episode: SingleAgentEpisode, steps: int) -> dict[str, Any]:
    """The first steps of a stream, `[1, steps, ...]`."""
    columns = windows_of(episode, 0, steps, module.window_layout(SequenceConfig(**SMALL)))
    batch: dict[str, Any] = {k: torch.as_tensor(v.copy())[None] for k, v in columns.items()}
    batch[Columns.STATE_IN] = {k: v[None] for k, v in module.get_initial_state().items()}
    return batch


def test_both_stacks_give_the_same_and_share_weights() -> None:
    module, model = _module(), _model()
    module.load_state_dict(model.state_dict())
    episode = _episode(10).to_numpy()
    inputs = {
        "obs": torch.as_tensor(episode.get_observations(slice(0, 10))),
        SampleBatch.PREV_ACTIONS: torch.as_tensor(np.r_[0, episode.get_actions()[:-1]]),
        SampleBatch.PREV_REWARDS: torch.as_tensor(np.r_[0, episode.get_rewards()[:-1]]),
    }
    with torch.no_grad():
        old, after = model(inputs, _start(model, 1), torch.tensor([10]))
        old_values = model.value_function()
        batch = _batch(module, episode, 10)
        outputs = module.forward_inference(batch)
    assert old.std(0).min() > 1e-2
    assert torch.allclose(outputs[Columns.ACTION_DIST_INPUTS][0], old, atol=1e-5)
    assert torch.allclose(module.compute_values(batch)[0], old_values, atol=1e-5)
    for name, part in zip(module.networks.state_shapes, after, strict=True):
        assert torch.allclose(outputs[Columns.STATE_OUT][name], part, atol=1e-5)
    back = _model()
    back.load_state_dict(module.state_dict())


def test_the_target_network_is_a_copy_and_does_not_leave_the_learner(tmp_path: Any) -> None:
    module = _module(dropout=0.5)
    batch = _batch(module, _episode(8).to_numpy(), 8)
    module.make_target_networks()
    training = module.forward_train(batch)
    outputs = training[Columns.ACTION_DIST_INPUTS]
    assert torch.equal(module.forward_target(batch)[TARGET_NETWORK_ACTION_DIST_INPUTS], outputs)
    in_loss = module.compute_values(batch, training[Columns.EMBEDDINGS])
    assert in_loss.requires_grad and not torch.equal(in_loss, module.compute_values(batch))
    acting = module.get_state(inference_only=True)
    assert {key.split(".")[0] for key in acting} == {"policy", "value"}  # values carry a state
    module.save_to_path(tmp_path)
    restored = RLModule.from_checkpoint(tmp_path)
    assert type(restored) is SequenceRLModule
    again = restored.forward_inference(batch)[Columns.ACTION_DIST_INPUTS]
    assert torch.allclose(again, outputs, atol=1e-6)


def test_non_finite_inputs_are_named() -> None:
    module = _module()
    batch = _batch(module, _episode(8).to_numpy(), 8)
    batch[Columns.OBS][0, 2] = torch.inf
    with pytest.raises(NonFiniteInputError, match=r"observation feature \d is inf"):
        module.forward_inference(batch)


def test_an_episode_cut_anew_is_refused() -> None:
    connector = SequenceStates(max_seq_len=5)
    with pytest.raises(UserError, match="cut again .* num_learners=0 or 1, or encoder='window'"):
        connector(batch={}, episodes=[_episode(7)], shared_data={})


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (PPOConfig().learners(num_learners=2), "num_learners=2.*num_learners=1"),
        (PPOConfig().env_runners(module_to_env_connector=lambda *_: []), "module_to_env_connector"),
        (PPOConfig().rl_module(model_config={"max_seq_len": 0}), "max_seq_len=0 must be"),
    ],
)
def test_what_cannot_work_is_refused(config: Any, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        use_sequence_module(config, encoder="causal")
    assert "\n" not in str(caught.value)
