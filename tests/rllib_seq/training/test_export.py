"""Exports of both API stacks act as their checkpoints do; damaged and foreign ones are named."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from rllib_seq.config import SequenceConfig
from rllib_seq.envs.ad_auction.worlds.presets import AuctionConfig
from rllib_seq.errors import UserError
from rllib_seq.models import use_sequence_module
from rllib_seq.nn import SequentialQNetwork
from rllib_seq.serving.exported.policy import load_policy
from rllib_seq.serving.exported.spec import Spec, file_sha256, world_facts
from rllib_seq.training.acting.loading import load_policy as load_trained
from rllib_seq.training.config.experiment import Options, prepare
from rllib_seq.training.config.modules import load_config
from rllib_seq.training.export import export_checkpoint, export_network

TINY = Path(__file__).with_name("tiny.py")
SMALL = {"window_length": 3, "d_model": 8, "num_heads": 2, "feedforward_dim": 8, "head_hidden": 8}
SMALL |= {"lstm_layers": 1, "transformer_layers": 1}
CAUSAL = {**SMALL, "encoder": "causal", "prev_reward": False}


def tiny_ppo():
    config = load_config(str(TINY))
    return config.env_runners(num_env_runners=0)


def tiny_dqn():
    """With everything that a Q head can have."""
    from rllib_seq.q_learning import use_sequence_q_learning

    config = load_config("tune_configs.dqn")
    world = {"num_users": 8, "preset": "display", "reward": "sampled", "reward_scale": 1.0}
    config.environment(env_config=world)
    config.training(num_atoms=5, v_min=-1.0, v_max=1.0, noisy=True, dueling=True)
    return use_sequence_q_learning(config, **SMALL)


def causal_new():
    config = load_config(str(TINY.with_name("tiny_new_stack.py")))
    config.env_runners(num_env_runners=0).rl_module(model_config={"max_seq_len": 8})
    return use_sequence_module(config, **CAUSAL)


@pytest.fixture(scope="module")
def checkpoint(request, ray_session, tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint") / "checkpoint"
    algorithm = prepare(request.param(), Options(seed=0)).build_algo()
    try:
        folder.mkdir()
        algorithm.save_checkpoint(str(folder))
    finally:
        algorithm.stop()
    return folder


@pytest.mark.parametrize("checkpoint", [tiny_ppo, tiny_dqn], indirect=True, ids=["old", "new"])
def test_onnx_runtime_equals_torch_in_any_batch(checkpoint, tmp_path):
    folder = tmp_path / "export"
    spec = export_checkpoint(checkpoint, folder)
    model = load_trained(checkpoint).network.model
    network = (model.policy if hasattr(model, "policy") else model.q).eval()
    policy = load_policy(folder)
    random = np.random.default_rng(0)
    width, length = policy.spec.input_width, policy.spec.window_length
    assert spec["action_sizes"] == [17]
    for batch in (1, 2, 33):
        inputs = random.normal(size=(batch, length, width)).astype(np.float32)
        valid = np.arange(length) >= random.integers(length, size=(batch, 1))
        with torch.no_grad():
            wanted = network(torch.from_numpy(inputs), torch.from_numpy(valid)).numpy()
        (got,) = policy.run(inputs=inputs, valid=valid)
        np.testing.assert_allclose(got, wanted, atol=1e-5, rtol=1e-5)
        inputs[~valid] = np.nan  # what is not valid changes nothing
        np.testing.assert_array_equal(policy.run(inputs=inputs, valid=valid)[0], got)
    refuse_damage(folder, tmp_path)


@pytest.mark.parametrize("checkpoint", [causal_new], indirect=True, ids=["new"])
def test_causal_steps_of_onnx_runtime_equal_torchs_sequences(checkpoint, tmp_path):
    """Streams longer than what attention reaches, of several beginnings, in batches of one, too."""
    spec = export_checkpoint(checkpoint, tmp_path / "export")
    assert spec["encoder"] == "causal"
    network = load_trained(checkpoint).network.model.policy.eval()
    policy = load_policy(tmp_path / "export")
    steps, streams = 3 * spec["window_length"], 5
    random = np.random.default_rng(0)
    inputs = random.normal(size=(streams, steps, policy.spec.input_width)).astype(np.float32)
    encoder = network.encoder
    with torch.no_grad():
        features, _ = encoder.sequence(encoder.initial_state(streams), torch.from_numpy(inputs))
        wanted = network.head(features).numpy()
    memory = np.zeros((streams, spec["memory_size"]), np.float32)
    for step in range(steps):
        now = inputs[:, step]
        (alone, _) = policy.run(inputs=now[:1], memory=memory[:1])
        outputs, memory = policy.run(inputs=now, memory=memory)
        np.testing.assert_allclose(outputs, wanted[:, step], atol=1e-5, rtol=1e-5)
        np.testing.assert_allclose(alone, outputs[:1], atol=1e-5, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [CAUSAL, {**SMALL, "prev_reward": False, "head": "auction", "price_context": [0, 1, 2]}],
    ids=["causal", "head of auctions"],
)
def test_q_networks_are_exported_as_what_reads_windows(tmp_path, settings):
    """As they act, see docs/guides/encoders.md."""
    world = AuctionConfig(num_users=8)
    facts = world_facts(world)
    actions = len(facts["bid_levels"])
    network = SequentialQNetwork(len(facts["observation"]) + actions, actions, **settings).eval()
    config = SequenceConfig.from_dict(settings)
    spec = export_network(network, config, world, False, tmp_path, {})
    assert (spec["encoder"], spec["memory_size"]) == (config.encoder, 0)


def refuse_damage(folder, tmp_path):
    """Each in a copy: whatever is wrong with an export is one line."""
    for number, (damage, words) in enumerate(
        [
            (lambda spec, f: spec.update(format=99), "format 99"),
            (lambda spec, f: spec.update(memory_size=5), "memory_size 5 and a model that reads"),
            (
                lambda spec, f: spec.update(prev_reward=not spec["prev_reward"]),
                "inputs, and its mod",
            ),
            (lambda spec, f: spec.update(action_sizes=[3]), "inputs, and its model has"),
            (lambda spec, f: spec.pop("stream"), "cannot read export"),
            (lambda spec, f: spec["world"].update(preset="moon"), "unknown preset 'moon'"),
            (lambda spec, f: spec["facts"]["bid_levels"].pop(), "made for other bid_levels"),
            (lambda spec, f: spec["model"].update(name="../x"), "lacks its file"),
            (lambda spec, f: (f / spec["model"]["name"]).write_bytes(b"x"), "damaged"),
            (lambda spec, f: wrong_selftest(spec, f), "fails its self-test"),
        ]
    ):
        copy = tmp_path / str(number)
        shutil.copytree(folder, copy)
        spec = json.loads((copy / "spec.json").read_text())
        damage(spec, copy)
        (copy / "spec.json").write_text(json.dumps(spec))
        with pytest.raises(UserError, match=words):
            load_policy(copy)
    with pytest.raises(UserError, match="cannot read export"):
        Spec.read(tmp_path)


def wrong_selftest(spec, folder):
    path = folder / spec["selftest"]["name"]
    with np.load(path) as test:
        arrays = dict(test)
    arrays["outputs"] = arrays["outputs"] + 0.1
    np.savez(path, **arrays)
    spec["selftest"]["sha256"] = file_sha256(path)
