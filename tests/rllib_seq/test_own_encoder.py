"""An encoder from outside: trained on both stacks, in the array rollouts too, exported, served."""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
import torch
from ray import cloudpickle
from ray.rllib.algorithms.ppo import PPOConfig
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import rllib_seq  # noqa: F401, names the environment
from rllib_seq.config import SequenceConfig
from rllib_seq.models import use_sequence_module
from rllib_seq.nn import LENGTH, StreamEncoder, count_steps, register_encoder
from rllib_seq.rollouts import ArrayEnvRunner, ArrayRolloutWorker
from rllib_seq.serving.decisions import BidQuery
from rllib_seq.serving.exported.policy import load_policy
from rllib_seq.serving.service import BidService
from rllib_seq.serving.settings import Settings
from rllib_seq.serving.state.opening import open_storage
from rllib_seq.training.acting.loading import load_policy as load_trained
from rllib_seq.training.export import export_checkpoint


class MyGRU(StreamEncoder):
    """A GRU on the raw step inputs."""

    defaults = {"cells": 8}

    def __init__(self, input_dim: int, config: SequenceConfig) -> None:
        super().__init__(input_dim, config)
        self.output_dim = self.settings["cells"]
        self.gru = nn.GRU(input_dim, self.output_dim, batch_first=True)
        self.state_shapes = {"hidden": (self.output_dim,), LENGTH: (1,)}

    def sequence(
        self, state: Mapping[str, Tensor], inputs: Tensor, seq_lens: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        self.check_sequence(state, inputs, seq_lens)
        hidden = state["hidden"][None].contiguous()
        if seq_lens is None:
            features, after = self.gru(inputs, hidden)
        else:
            lens = seq_lens.clamp(min=1).cpu()
            packed = pack_padded_sequence(inputs, lens, True, enforce_sorted=False)
            packed, after = self.gru(packed, hidden)
            features, _ = pad_packed_sequence(packed, True, total_length=inputs.shape[1])
            none = (seq_lens == 0)[:, None]
            features = features.masked_fill(none[..., None], 0.0)
            after = torch.where(none, hidden, after)
        length = count_steps(state, inputs, seq_lens)
        return features, {"hidden": after[0], LENGTH: length}


SETTINGS = {
    "encoder": "gru_of_test",
    "encoder_config": {"cells": 12},
    "prev_reward": False,
    "head_hidden": 8,
}


@pytest.fixture(scope="module")
def gru(ray_session: None) -> Iterator[None]:
    """Registered, and the workers get this module, which they cannot import, as it is."""
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    register_encoder("gru_of_test", MyGRU)
    yield
    cloudpickle.unregister_pickle_by_value(sys.modules[__name__])


def _config(new_stack: bool, arrays: bool, remote: bool, **settings: Any) -> Any:
    config = PPOConfig().api_stack(
        enable_rl_module_and_learner=new_stack, enable_env_runner_and_connector_v2=new_stack
    )
    config.environment("multi_user_ad_auction", env_config={"num_users": 12})
    config.multi_agent(
        policies={"bidder"},
        policy_mapping_fn=lambda agent_id, *args, **kwargs: "bidder",
        count_steps_by="agent_steps",
    )
    runner = (ArrayEnvRunner if new_stack else ArrayRolloutWorker) if arrays else None
    config.env_runners(num_env_runners=int(remote), env_runner_cls=runner)
    config.training(num_epochs=1, minibatch_size=60)
    config.reporting(min_time_s_per_iteration=0).debugging(seed=0)
    settings = {**SETTINGS, **settings}
    if new_stack:
        config.training(train_batch_size_per_learner=120)
        config.rl_module(model_config={"max_seq_len": 6})
        return use_sequence_module(config, **settings)
    model = {
        "custom_model": "lstm_transformer",
        "custom_model_config": settings,
        "max_seq_len": 6,
    }
    config.resources(num_gpus=0)
    return config.training(train_batch_size=120, model=model)


@pytest.mark.parametrize(
    ("new_stack", "arrays", "remote", "share"),
    [
        pytest.param(False, False, True, False, id="old-remote"),
        pytest.param(False, True, False, True, id="old-arrays-shared"),
        pytest.param(True, False, False, True, id="new-shared"),
        pytest.param(True, True, True, False, id="new-arrays-remote"),
    ],
)
@pytest.mark.usefixtures("gru")
def test_it_trains_is_exported_and_serves(
    new_stack: bool, arrays: bool, remote: bool, share: bool, tmp_path: Path
) -> None:
    algo = _config(new_stack, arrays, remote, share_encoder=share).build_algo()
    try:
        before = _weights(algo, new_stack)
        result = algo.train()
        learned = result["learners"] if new_stack else result["info"]["learner"]
        stats = learned["bidder"] if new_stack else learned["bidder"]["learner_stats"]
        assert np.isfinite(stats["total_loss"])
        assert any("gru" in name for name in before)
        assert not torch.equal(_weights(algo, new_stack)[_GRU], before[_GRU])
        checkpoint = tmp_path / "checkpoint"
        algo.save_checkpoint(checkpoint.mkdir() or str(checkpoint))
    finally:
        algo.stop()

    spec = export_checkpoint(checkpoint, tmp_path / "export")
    assert (spec["encoder"], spec["memory_size"]) == ("gru_of_test", 12 + 1)
    policy = load_policy(tmp_path / "export")
    network = load_trained(checkpoint).network.model.policy.eval()
    inputs = np.random.default_rng(0).normal(size=(3, 9, policy.spec.input_width))
    inputs = inputs.astype(np.float32)
    with torch.no_grad():
        state = network.encoder.initial_state(3)
        wanted = network.head(network.encoder.sequence(state, torch.from_numpy(inputs))[0])
    memory = np.zeros((3, 13), np.float32)
    for step in range(9):
        outputs, memory = policy.run(inputs=inputs[:, step], memory=memory)
        np.testing.assert_allclose(outputs, wanted[:, step].numpy(), atol=1e-5, rtol=1e-5)

    settings = Settings(export=str(tmp_path / "export"), state=":memory:", max_users=8)
    service = BidService(policy, settings, open_storage(":memory:", "test", 1e7))
    try:
        for _ in range(2):
            (decision,) = service.answer([BidQuery(3, 0, 0, 0, 0.0)])
            assert decision.why in ("bid", "policy")
    finally:
        service.close()


_GRU = "policy.encoder.gru.weight_hh_l0"


def _weights(algo: Any, new_stack: bool) -> dict[str, Tensor]:
    if new_stack:
        module = algo.learner_group._learner.module["bidder"]
    else:
        module = algo.get_policy("bidder").model
    return {name: weight.clone() for name, weight in module.state_dict().items()}


@pytest.mark.usefixtures("gru")
def test_a_process_that_registered_nothing_finds_it() -> None:
    @ray.remote
    def outputs() -> int:
        import rllib_seq.models  # noqa: F401
        from rllib_seq.nn import SequentialPolicyNetwork

        return SequentialPolicyNetwork(3, 2, encoder="gru_of_test").encoder.output_dim

    assert ray.get(outputs.remote(), timeout=600) == 8
