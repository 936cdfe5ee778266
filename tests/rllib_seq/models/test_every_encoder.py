"""Every registered encoder under RLlib: both stacks agree, a state is taken up, ONNX is torch."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete
from ray.rllib.core.columns import Columns
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.policy.sample_batch import SampleBatch
from torch import Tensor

from rllib_seq.config import SequenceConfig
from rllib_seq.envs.ad_auction.worlds.presets import AuctionConfig
from rllib_seq.models import LSTMTransformerModel, SequenceRLModule
from rllib_seq.models.rl_module.windows import windows_of
from rllib_seq.nn import SequentialPolicyNetwork, encoder_names
from rllib_seq.nn.step_graph import PolicyStep, policy_graph
from rllib_seq.serving.exported.policy import load_policy
from rllib_seq.serving.exported.spec import world_facts
from rllib_seq.training.export import export_network

OBS, ACTIONS = Box(-np.inf, np.inf, (3,), np.float32), Discrete(4)
STEPS = 10
SMALL: dict[str, Any] = {
    "window_length": 4,
    "d_model": 8,
    "num_heads": 2,
    "feedforward_dim": 8,
    "head_hidden": 8,
    "lstm_layers": 1,
    "transformer_layers": 1,
    "dropout": 0.0,
}
every_encoder = pytest.mark.parametrize("encoder", encoder_names())
sharing = pytest.mark.parametrize("share", [False, True], ids=["two", "shared"])


def _settings(encoder: str, share: bool) -> dict[str, Any]:
    return {**SMALL, "encoder": encoder, "share_encoder": share}


def _model(encoder: str, share: bool) -> LSTMTransformerModel:
    torch.manual_seed(0)
    model = LSTMTransformerModel(OBS, ACTIONS, 4, {}, "model", **_settings(encoder, share))
    with torch.no_grad():
        model.policy.head.weight.mul_(100.0)  # so that outputs differ visibly from step to step
    return model.eval()


def _episode() -> SingleAgentEpisode:
    rng = np.random.default_rng(0)
    return SingleAgentEpisode(
        observations=list(rng.normal(size=(STEPS + 1, 3)).astype(np.float32)),
        actions=list(rng.integers(4, size=STEPS)),
        rewards=list(rng.normal(size=STEPS)),
        observation_space=OBS,
        action_space=ACTIONS,
        len_lookback_buffer=0,
    ).to_numpy()


def _read(
    model: LSTMTransformerModel, state: list[Tensor], steps: slice
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Outputs `[T, 4]` and values `[T]` of some steps of the episode, and the state after them."""
    episode = _episode()
    inputs = {
        "obs": torch.as_tensor(episode.get_observations()[:-1][steps]),
        SampleBatch.PREV_ACTIONS: torch.as_tensor(np.r_[0, episode.get_actions()[:-1]][steps]),
        SampleBatch.PREV_REWARDS: torch.as_tensor(np.r_[0, episode.get_rewards()[:-1]][steps]),
    }
    with torch.no_grad():
        outputs, after = model(inputs, state, torch.tensor([len(inputs["obs"])]))
        return outputs, model.value_function(), after


@every_encoder
@sharing
def test_a_state_is_taken_up_where_a_sequence_was_cut(encoder: str, share: bool) -> None:
    model = _model(encoder, share)
    start = [part[None] for part in model.get_initial_state()]
    outputs, values, after = _read(model, start, slice(0, STEPS))
    assert outputs.std(0).min() > 1e-2
    for cuts in ([0, 3, 4, STEPS], [*range(STEPS + 1)]):
        state, parts = start, []
        for begin, end in zip(cuts, cuts[1:], strict=False):
            *part, state = _read(model, state, slice(begin, end))
            parts.append(part)
        assert torch.allclose(torch.cat([part[0] for part in parts]), outputs, atol=1e-5)
        assert torch.allclose(torch.cat([part[1] for part in parts]), values, atol=1e-5)
        assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(state, after, strict=True))
    model.train()  # reads the same, and leaves the state alone
    assert torch.allclose(_read(model, start, slice(0, STEPS))[0], outputs, atol=1e-5)


@every_encoder
@sharing
def test_both_stacks_give_the_same_and_share_weights(encoder: str, share: bool) -> None:
    model = _model(encoder, share)
    settings = _settings(encoder, share)
    module = SequenceRLModule(
        observation_space=OBS,
        action_space=ACTIONS,
        model_config={"sequence_config": settings, "max_seq_len": 5},
    )
    module.load_state_dict(model.state_dict())
    old, old_values, _ = _read(
        model, [part[None] for part in model.get_initial_state()], slice(0, STEPS)
    )
    columns = windows_of(
        _episode(), 0, STEPS, module.window_layout(SequenceConfig.from_dict(settings))
    )
    batch: dict[str, Any] = {name: torch.as_tensor(rows.copy()) for name, rows in columns.items()}
    if module.is_stateful():  # a batch of one sequence
        batch = {name: rows[None] for name, rows in batch.items()}
        batch[Columns.STATE_IN] = {k: v[None] for k, v in module.get_initial_state().items()}
    trained = module.forward_train(batch)
    assert torch.allclose(trained[Columns.ACTION_DIST_INPUTS].reshape(STEPS, 4), old, atol=1e-5)
    in_loss = module.compute_values(batch, trained[Columns.EMBEDDINGS])
    for values in (in_loss, module.compute_values(batch)):
        assert torch.allclose(values.reshape(STEPS), old_values, atol=1e-5)
    acting = {name.split(".")[0] for name in module.get_state(inference_only=True)}
    assert acting == ({"policy", "value"} if module.is_stateful() and not share else {"policy"})
    _model(encoder, share).load_state_dict(module.state_dict())


@pytest.mark.slow
@every_encoder
def test_an_export_does_what_torch_does(encoder: str, tmp_path: Path) -> None:
    world = AuctionConfig(num_users=8)
    facts = world_facts(world)
    actions = len(facts["bid_levels"])
    settings = {**SMALL, "encoder": encoder, "prev_reward": False}
    torch.manual_seed(0)
    network = SequentialPolicyNetwork(len(facts["observation"]) + actions, actions, **settings)
    graph = policy_graph(network.eval())
    spec = export_network(graph, SequenceConfig.from_dict(settings), world, False, tmp_path, {})
    assert spec["encoder"] == encoder
    policy = load_policy(tmp_path)
    inputs = np.random.default_rng(0).normal(size=(3, 12, network.encoder.input_dim))
    inputs = inputs.astype(np.float32)
    with torch.no_grad():
        start = network.encoder.initial_state(3)
        wanted = network.head(network.encoder.sequence(start, torch.from_numpy(inputs))[0]).numpy()
    if isinstance(graph, PolicyStep):
        memory = np.zeros((3, spec["memory_size"]), np.float32)
        for step in range(12):
            outputs, memory = policy.run(inputs=inputs[:, step], memory=memory)
            np.testing.assert_allclose(outputs, wanted[:, step], atol=1e-5, rtol=1e-5)
    else:
        reach = spec["window_length"]
        for step in range(reach - 1, 12):
            window = inputs[:, step + 1 - reach : step + 1]
            (outputs,) = policy.run(inputs=window, valid=np.ones((3, reach), np.bool_))
            np.testing.assert_allclose(outputs, wanted[:, step], atol=1e-5, rtol=1e-5)
