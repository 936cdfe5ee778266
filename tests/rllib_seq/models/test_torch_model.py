"""The old-stack adapter: steps equal sequences, and training recomputes what acting recorded."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Dict, Discrete, MultiDiscrete
from hypothesis import given, settings
from hypothesis import strategies as st
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.models import ModelCatalog
from ray.rllib.policy.rnn_sequencing import pad_batch_to_sequences_of_same_size
from ray.rllib.policy.sample_batch import SampleBatch
from torch import Tensor

from rllib_seq.errors import NonFiniteInputError, UserError
from rllib_seq.models import LSTMTransformerModel
from rllib_seq.models.step_inputs import action_width, encode_action

OBS = Box(-np.inf, np.inf, (3,), np.float32)
SMALL = {"d_model": 8, "num_heads": 2, "feedforward_dim": 8, "head_hidden": 8, "dropout": 0.0}


def _model(**config: Any) -> LSTMTransformerModel:
    torch.manual_seed(0)
    custom = {"window_length": 4, **SMALL, **config}
    model = LSTMTransformerModel(OBS, Discrete(4), 4, {}, "model", **custom)
    with torch.no_grad():
        model.policy.head.weight.mul_(100.0)  # so that outputs differ visibly from step to step
    return model.eval()


def _batch(rows: int, seed: int = 0) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(seed)
    return {
        "obs": torch.randn(rows, 3, generator=generator),
        SampleBatch.PREV_ACTIONS: torch.randint(0, 4, (rows,), generator=generator),
        SampleBatch.PREV_REWARDS: torch.randn(rows, generator=generator),
    }


def _start(model: LSTMTransformerModel, batch: int) -> list[Tensor]:
    return [part.expand(batch, *part.shape) for part in model.get_initial_state()]


def _run(
    model: LSTMTransformerModel, inputs: dict[str, Any], state: list[Tensor], lens: list[int]
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Outputs `[B, T, 4]`, values `[B, T]` and the state after."""
    outputs, state = model(inputs, state, torch.tensor(lens))
    batch = len(lens)
    return outputs.view(batch, -1, 4), model.value_function().view(batch, -1), state


@settings(deadline=None, max_examples=15)
@given(
    lens=st.lists(st.integers(1, 9), min_size=1, max_size=4),
    window_length=st.integers(1, 5),
    seed=st.integers(0, 99),
)
def test_steps_equal_one_sequence(lens: list[int], window_length: int, seed: int) -> None:
    model = _model(window_length=window_length)
    batch, steps = len(lens), max(lens)
    inputs = _batch(batch * steps, seed)
    for row, real in enumerate(lens):  # what stands in padded rows must not matter
        inputs["obs"].view(batch, steps, 3)[row, real:] = torch.nan
    outputs, values, after = _run(model, inputs, _start(model, batch), lens)
    for row, real in enumerate(lens):
        state = _start(model, 1)
        for step in range(real):
            one = {k: v.unflatten(0, (batch, steps))[row, step][None] for k, v in inputs.items()}
            output, value, state = _run(model, one, state, [1])
            assert torch.allclose(output[0, 0], outputs[row, step], atol=1e-5)
            assert torch.allclose(value[0, 0], values[row, step], atol=1e-5)
        assert torch.allclose(state[0][0], after[0][row])
        assert torch.equal(state[1][0], after[1][row])
        assert not outputs[row, real:].any() and not values[row, real:].any()


def test_fragments_equal_the_whole() -> None:
    model, inputs = _model(), _batch(10)
    whole = _run(model, inputs, _start(model, 1), [10])
    state, parts = _start(model, 1), []
    for start, stop in ((0, 1), (1, 6), (6, 10)):
        fragment = {key: value[start:stop] for key, value in inputs.items()}
        output, value, state = _run(model, fragment, state, [stop - start])
        parts.append((output, value))
    assert torch.allclose(torch.cat([part[0] for part in parts], 1), whole[0], atol=1e-5)
    assert torch.allclose(torch.cat([part[1] for part in parts], 1), whole[1], atol=1e-5)


def test_the_future_changes_nothing_and_the_window_ends() -> None:
    model, inputs = _model(), _batch(10)
    outputs, values, _ = _run(model, inputs, _start(model, 1), [10])
    changed = {**inputs, "obs": inputs["obs"].clone()}
    changed["obs"][4] += 1.0
    new_outputs, new_values, _ = _run(model, changed, _start(model, 1), [10])
    moved = (new_outputs - outputs).abs().amax(2)[0] > 1e-5
    assert moved.tolist() == [4 <= step < 8 for step in range(10)]
    assert torch.allclose(new_values[0, :4], values[0, :4], atol=1e-6)


def test_first_step_has_no_previous_action_or_reward() -> None:
    model = _model()
    inputs, other = _batch(3), _batch(3)
    other[SampleBatch.PREV_ACTIONS][0] += 1
    other[SampleBatch.PREV_REWARDS][0] = torch.inf
    first, second = (_run(model, batch, _start(model, 1), [3]) for batch in (inputs, other))
    assert torch.equal(first[0], second[0])
    assert first[2][0][0, -3, 3:].tolist() == [0.0] * 5  # the first step input, from its state


@pytest.mark.parametrize("window_length", [1, 4])
def test_previous_action_and_reward_are_read(window_length: int) -> None:
    model = _model(window_length=window_length)
    inputs = _batch(2)
    outputs = _run(model, inputs, _start(model, 1), [2])[0]
    for key in (SampleBatch.PREV_ACTIONS, SampleBatch.PREV_REWARDS):
        changed = {**inputs, key: (inputs[key] + 1) % 4}
        assert not torch.allclose(_run(model, changed, _start(model, 1), [2])[0], outputs)


def test_options_leave_previous_action_and_reward_out() -> None:
    model = _model(prev_action=False, prev_reward=False)
    assert model.input_dim == 3
    assert SampleBatch.PREV_ACTIONS not in model.view_requirements
    assert SampleBatch.PREV_REWARDS not in model.view_requirements
    assert model({"obs": torch.randn(2, 3)}, _start(model, 2), torch.ones(2))[0].shape == (2, 4)


@pytest.mark.parametrize("head", ["policy", "value"])
def test_gradients_reach_their_own_network_alone(head: str) -> None:
    model = _model()
    outputs, values, _ = _run(model, _batch(12), _start(model, 2), [6, 4])
    (outputs if head == "policy" else values).square().sum().backward()
    for name, parameter in model.named_parameters():
        reached = parameter.grad is not None and bool(parameter.grad.abs().sum() > 0)
        assert reached == name.startswith(head), name


def test_policy_never_drops_out_and_value_does_only_in_training() -> None:
    model, inputs = _model(dropout=0.5), _batch(6)
    acting = _run(model, inputs, _start(model, 1), [6])
    assert torch.equal(acting[1], _run(model, inputs, _start(model, 1), [6])[1])
    model.train()
    assert model.training and model.value.training and not model.policy.training
    training = _run(model, inputs, _start(model, 1), [6])
    assert torch.equal(training[0], acting[0]) and not torch.equal(training[1], acting[1])


@pytest.mark.parametrize("lens", [None, [0, 0], [1, 0], [3, 3]])
def test_dummy_batches_survive(lens: list[int] | None) -> None:
    model = _model()
    inputs: dict[str, Any] = {key: torch.zeros_like(value) for key, value in _batch(6).items()}
    seq_lens = None if lens is None else torch.tensor(lens)
    outputs, state = model(inputs, _start(model, 2), seq_lens)
    assert outputs.shape == (6, 4) and model.value_function().shape == (6,)
    assert [part.shape for part in state] == [(2, 3, 8), (2, 1)]
    assert model(inputs, [], None)[0].shape == (6, 4)


def test_value_needs_a_forward_before_it() -> None:
    with pytest.raises(RuntimeError, match="forward"):
        _model().value_function()


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("obs", torch.nan, r"observation feature \d is nan \(row 1, step 2\)"),
        ("obs", -torch.inf, "is -inf"),
        (SampleBatch.PREV_REWARDS, torch.inf, "previous reward is inf"),
    ],
)
def test_non_finite_inputs_are_named(key: str, value: float, message: str) -> None:
    model, inputs = _model(), _batch(6)
    inputs[key][5] = value
    with pytest.raises(NonFiniteInputError, match=message) as caught:
        model(inputs, _start(model, 2), torch.tensor([3, 3]))
    assert "\n" not in str(caught.value)
    model(inputs, _start(model, 2), torch.tensor([3, 2]))  # a padded row may hold anything


@pytest.mark.parametrize(
    ("space", "action", "code"),
    [
        (Discrete(3), [1, 2], [[0, 1, 0], [0, 0, 1]]),
        (MultiDiscrete([2, 3]), [[1, 0], [0, 2]], [[0, 1, 1, 0, 0], [1, 0, 0, 0, 1]]),
        (Box(-1, 1, (2,)), [[0.5, -1], [0, 3]], [[0.5, -1], [0, 3]]),
    ],
)
def test_actions_are_encoded(space: gym.Space, action: list, code: list) -> None:
    encoded = encode_action(torch.tensor(action), space)
    assert encoded.tolist() == code and encoded.shape[1] == action_width(space)
    assert encoded.dtype == torch.float32


@pytest.mark.parametrize(
    ("action_space", "model_config", "message"),
    [
        (Discrete(4), {"use_lstm": True}, "remove use_lstm"),
        (Discrete(4), {"use_attention": True}, "remove use_attention"),
        (Discrete(4), {"custom_model_config": {"widow_length": 2}}, "did you mean 'window_length'"),
        (Dict({"bid": Discrete(2)}), {}, "prev_action=False"),
    ],
)
def test_construction_errors(action_space: gym.Space, model_config: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        LSTMTransformerModel(OBS, action_space, 4, model_config, "model")


@pytest.mark.parametrize("window_length", [1, 4])
@pytest.mark.usefixtures("ray_session")
def test_ppo_recomputes_what_it_recorded(window_length: int) -> None:
    """A real rollout, cut by fragments, sequences and episodes: the first ratio of PPO is 1."""
    ModelCatalog.register_custom_model("lstm_transformer_under_test", LSTMTransformerModel)
    config = (
        PPOConfig()
        .api_stack(enable_rl_module_and_learner=False, enable_env_runner_and_connector_v2=False)
        .environment("CartPole-v1")
        .env_runners(num_env_runners=0, num_envs_per_env_runner=2, rollout_fragment_length=37)
        .training(
            train_batch_size=74,
            minibatch_size=37,
            num_epochs=1,
            model={
                "custom_model": "lstm_transformer_under_test",
                "custom_model_config": {**SMALL, "window_length": window_length, "dropout": 0.3},
                "max_seq_len": 5,
            },
        )
        .debugging(seed=0)
    )
    algo = config.build_algo()
    try:
        policy: Any = algo.get_policy()
        model = policy.model
        with torch.no_grad():
            model.policy.head.weight.mul_(100.0)
        for _ in range(3):  # fragments after the first start in the middle of an episode
            batch = algo.env_runner.sample()
            batch = getattr(batch, "policy_batches", {"default_policy": batch})["default_policy"]
            starts = np.cumsum([0, *batch[SampleBatch.SEQ_LENS][:-1]])
            filled = np.minimum(batch[SampleBatch.T][starts], max(window_length - 1, 1))
            assert np.array_equal(batch["state_in_1"][:, 0], filled)
            assert not batch["state_in_0"][filled == 0].any()
            assert len(np.unique(batch[SampleBatch.EPS_ID])) > 2
            pad_batch_to_sequences_of_same_size(
                batch, max_seq_len=5, view_requirements=policy.view_requirements
            )
            real = (np.arange(5) < batch[SampleBatch.SEQ_LENS][:, None]).flatten()
            train_batch = policy._lazy_tensor_dict(batch)
            model.train()
            logits, _ = model(train_batch)
            logp = policy.dist_class(logits, model).logp(train_batch[SampleBatch.ACTIONS])
            recorded = train_batch[SampleBatch.ACTION_LOGP]
            assert recorded[real].std() > 0.05
            assert torch.allclose(logp[real], recorded[real], atol=1e-4)
            model.eval()
            assert torch.allclose(
                model.value_function()[real], train_batch[SampleBatch.VF_PREDS][real], atol=1e-4
            )
        learned = algo.train()["info"]["learner"]["default_policy"]["learner_stats"]
        assert np.isfinite(learned["total_loss"])
    finally:
        algo.stop()


def test_rllibs_onnx_export_names_the_command_that_works(monkeypatch: pytest.MonkeyPatch) -> None:
    model = _model()
    batch = {**_batch(3), "obs_flat": torch.zeros(3, 3)}
    model.forward(batch, _start(model, 3), torch.ones(3))
    monkeypatch.setattr(torch.onnx, "is_in_onnx_export", lambda: True)
    with pytest.raises(UserError, match="rllib-seq export RUN DIR"):
        model.forward(batch, _start(model, 3), torch.ones(3))
