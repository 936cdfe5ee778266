"""The causal encoder on both API stacks: steps equal sequences, training recomputes acting."""

import time
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete
from hypothesis import given, settings
from hypothesis import strategies as st
from ray.rllib.algorithms.appo import APPOConfig
from ray.rllib.algorithms.dqn import DQNConfig
from ray.rllib.algorithms.impala import IMPALAConfig
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.apis import TARGET_NETWORK_ACTION_DIST_INPUTS
from ray.rllib.core.rl_module.rl_module import RLModule
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.policy.rnn_sequencing import pad_batch_to_sequences_of_same_size
from ray.rllib.policy.sample_batch import SampleBatch
from torch import Tensor

import rllib_seq
from rllib_seq.config import SequenceConfig
from rllib_seq.errors import NonFiniteInputError, UserError
from rllib_seq.models import LSTMTransformerModel, SequenceRLModule, use_sequence_module
from rllib_seq.models.rl_module.episode_states import SequenceStates
from rllib_seq.models.rl_module.episode_windows import windows_of
from rllib_seq.q_learning import use_sequence_q_learning

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


def _cartpole(config: Any) -> Any:
    return config.environment("CartPole-v1").env_runners(num_envs_per_env_runner=2)


def _auction(config: Any) -> Any:
    config.environment("multi_user_ad_auction", env_config={"num_users": 12})
    return config.multi_agent(
        policies={"bidder"}, policy_mapping_fn=lambda agent_id, *args, **kwargs: "bidder"
    )


def _new_stack(algorithm: Any, environment: Any, **settings: Any) -> Any:
    config = environment(algorithm()).env_runners(num_env_runners=0, rollout_fragment_length=11)
    config.training(train_batch_size_per_learner=22).debugging(seed=0)
    config.rl_module(model_config={"max_seq_len": 4}).reporting(min_time_s_per_iteration=0)
    if algorithm is PPOConfig:
        config.training(minibatch_size=11, num_epochs=1)
    return use_sequence_module(config, **{**SMALL, **settings})


@pytest.mark.parametrize("environment", [_cartpole, _auction])
@pytest.mark.usefixtures("ray_session")
def test_ppo_of_the_new_stack_recomputes_what_it_recorded(environment: Any) -> None:
    """Real rollouts, cut into fragments and sequences: the first ratio of PPO is 1."""
    heads = {} if environment is _cartpole else {"won": {"given_action": True}}
    algo = _new_stack(PPOConfig, environment, dropout=0.3, auxiliary=heads).build_algo()
    try:
        learner = algo.learner_group._learner
        (name,) = learner.module.keys()
        module: SequenceRLModule = learner.module[name]
        acting = algo.env_runner.module
        acting = acting if isinstance(acting, SequenceRLModule) else acting[name]
        with torch.no_grad():
            module.policy.head.weight.mul_(100.0)
        acting.set_state(module.get_state(inference_only=True))
        started = set()
        for _ in range(4):  # fragments after the first start in the middle of an episode
            episodes = algo.env_runner.sample()
            for episode in episodes:
                assert Columns.STATE_OUT not in getattr(episode, "extra_model_outputs", {})
            batch = learner._learner_connector(
                rl_module=learner.module, batch={}, episodes=episodes, shared_data={}
            )[name]
            real = batch[Columns.LOSS_MASK]
            assert real.shape[1] == 4
            recorded = batch[Columns.ACTION_LOGP][real]
            assert torch.allclose(_logp(module, batch)[real], recorded, atol=1e-4)
            started |= set(batch[Columns.STATE_IN]["length"].flatten().tolist())
            batch[Columns.STATE_IN]["length"].zero_()  # forget all: the above must be able to fail
            assert not torch.allclose(_logp(module, batch)[real], recorded, atol=1e-3)
        assert {0.0, 3.0} <= started
        learned = algo.train()["learners"][name]
        assert np.isfinite(learned["total_loss"])
        assert not heads or np.isfinite(learned["auxiliary_won_loss"])
    finally:
        algo.stop()


def _logp(module: SequenceRLModule, batch: dict[str, Any]) -> Tensor:
    with torch.no_grad():
        outputs = module.forward_train(batch)[Columns.ACTION_DIST_INPUTS]
    distribution = module.get_train_action_dist_cls().from_logits(outputs)
    return distribution.logp(batch[Columns.ACTIONS])


@pytest.mark.usefixtures("ray_session")
def test_ppo_of_the_old_stack_recomputes_what_it_recorded() -> None:
    rllib_seq.register()
    config = _old_stack(PPOConfig, _cartpole)
    config.env_runners(num_env_runners=0, rollout_fragment_length=37)
    config.training(train_batch_size=74, minibatch_size=37, num_epochs=1)
    algo = config.debugging(seed=0).build_algo()
    try:
        policy: Any = algo.get_policy()
        model = policy.model
        with torch.no_grad():
            model.policy.head.weight.mul_(100.0)
        for _ in range(3):  # fragments after the first start in the middle of an episode
            batch = algo.env_runner.sample()
            batch = getattr(batch, "policy_batches", {"default_policy": batch})["default_policy"]
            pad_batch_to_sequences_of_same_size(
                batch, max_seq_len=5, view_requirements=policy.view_requirements
            )
            real = (np.arange(5) < batch[SampleBatch.SEQ_LENS][:, None]).flatten()
            train_batch = policy._lazy_tensor_dict(batch)
            model.train()
            logits, _ = model(train_batch)
            logp = policy.dist_class(logits, model).logp(train_batch[SampleBatch.ACTIONS])
            recorded = train_batch[SampleBatch.ACTION_LOGP]
            assert recorded[real].std() > 0.02
            assert torch.allclose(logp[real], recorded[real], atol=1e-4)
    finally:
        algo.stop()


def _old_stack(algorithm: Any, environment: Any) -> Any:
    config = environment(algorithm()).api_stack(
        enable_rl_module_and_learner=False, enable_env_runner_and_connector_v2=False
    )
    model = {"custom_model": "lstm_transformer", "custom_model_config": SMALL, "max_seq_len": 5}
    config.env_runners(num_env_runners=0, rollout_fragment_length=20)
    config.resources(num_gpus=0).reporting(min_time_s_per_iteration=0)
    return config.training(train_batch_size=40, model=model)


def _q_learning(algorithm: Any, environment: Any) -> Any:
    config = environment(algorithm()).env_runners(num_env_runners=0)
    config.training(train_batch_size=16, num_steps_sampled_before_learning_starts=20)
    config.reporting(min_time_s_per_iteration=0, min_sample_timesteps_per_iteration=1)
    return use_sequence_q_learning(config, **SMALL)


def _q_learning_lstm(algorithm: Any, environment: Any) -> Any:
    return use_sequence_q_learning(_q_learning(algorithm, environment), **LSTM)


@pytest.mark.parametrize(
    ("stack", "algorithm", "environment", "remote"),
    [
        pytest.param(_q_learning_lstm, DQNConfig, _cartpole, False, id="new-dqn-lstm-cartpole"),
        pytest.param(_new_stack, APPOConfig, _auction, True, id="new-appo-auction-remote"),
        pytest.param(_new_stack, IMPALAConfig, _cartpole, False, id="new-impala-cartpole"),
        pytest.param(_q_learning, DQNConfig, _auction, False, id="new-dqn-auction"),
        pytest.param(_old_stack, APPOConfig, _cartpole, False, id="old-appo-cartpole"),
        pytest.param(_old_stack, IMPALAConfig, _auction, False, id="old-impala-auction"),
    ],
)
@pytest.mark.usefixtures("ray_session")
def test_other_algorithms_learn(stack: Any, algorithm: Any, environment: Any, remote: bool) -> None:
    rllib_seq.register()
    config = stack(algorithm, environment)
    if remote:  # runner and learner in processes of their own, as in production
        config.env_runners(num_env_runners=1).learners(num_learners=1)
    name = "bidder" if environment is _auction else "default_policy"
    algo = config.build_algo()
    try:
        deadline = time.monotonic() + 600
        learned: dict[str, Any] = {}
        while not {"total_loss", "qf_loss"} & learned.keys():  # iterations may end without any
            assert time.monotonic() < deadline, "no learner results within ten minutes"
            result = algo.train()
            time.sleep(0.05)  # leave the core to the runner
            if stack is _old_stack:
                learned = result["info"]["learner"].get(name, {}).get("learner_stats", learned)
            else:
                learned = result.get("learners", {}).get(name, learned)
        assert np.isfinite(learned.get("total_loss", learned.get("qf_loss")))
    finally:
        algo.stop()
