"""A sign seen 50 steps ago: trained, exported, served, and out of reach of a short window."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from serving_helpers import Client, running

from rllib_seq.config import SequenceConfig
from rllib_seq.nn import make_encoder
from rllib_seq.serving.settings import Settings
from rllib_seq.training.export import export_checkpoint

sys.path.insert(0, str(Path(__file__).parents[4]))
from examples.t_maze import TMazeEnv, build, train

CORRIDOR = 50
MAZES = 16


def as_json(observation):
    return {"sign": observation["sign"], "junction": observation["junction"].tolist()}


@pytest.mark.slow
def test_a_corridor_of_50_is_learned_exported_and_served(ray_session, tmp_path):
    algorithm = build("lstm", CORRIDOR, seed=1001)
    try:
        assert train(algorithm, steps=600_000)["return"] >= 0.9  # guessing earns 0
        algorithm.save_to_path(str(tmp_path / "checkpoint"))
    finally:
        algorithm.stop()
    export_checkpoint(tmp_path / "checkpoint", tmp_path / "export")
    mazes = {f"maze {number}": TMazeEnv(CORRIDOR) for number in range(MAZES)}
    seen = {name: env.reset(seed=int(name[5:]))[0] for name, env in mazes.items()}
    rewards, returns = dict.fromkeys(mazes, 0.0), dict.fromkeys(mazes, 0.0)
    settings = Settings(export=str(tmp_path / "export"), state=":memory:", max_users=MAZES)
    with running(settings) as (port, _):
        client = Client(port)
        while seen:
            steps = [
                {"session": name, "observation": as_json(each), "reward": rewards[name]}
                for name, each in seen.items()
            ]
            status, answers = client("POST", "/act", steps)
            assert status == 200
            for name, answer in zip(list(seen), answers, strict=True):
                seen[name], rewards[name], *ended, _ = mazes[name].step(answer["action"])
                returns[name] += rewards[name]
                if any(ended):
                    del seen[name]
        client.close()
    assert np.mean(list(returns.values())) >= 0.8


@pytest.mark.parametrize(
    ("encoder", "settings", "remembers"),
    [
        ("window", {"window_length": 8}, False),
        ("causal", {"window_length": CORRIDOR + 14}, True),
        ("lstm", {"encoder_config": {"timescale": 2 * CORRIDOR}}, True),
    ],
)
def test_what_a_policy_says_at_the_junction_depends_on_the_sign(encoder, settings, remembers):
    torch.manual_seed(0)
    small = {"d_model": 8, "feedforward_dim": 8, "head_hidden": 8, "lstm_layers": 1}
    config = SequenceConfig(encoder=encoder, dropout=0.0, **small, **settings)
    reader = make_encoder(3, config)
    walk = torch.randn(1, CORRIDOR + 1, 3, requires_grad=True)
    features, _ = reader.sequence(reader.initial_state(1), walk)
    (gradient,) = torch.autograd.grad(features[0, -1].square().sum(), walk)
    assert bool(gradient[0, 0].abs().sum() > 0) == remembers
    assert gradient[0, -1].abs().sum() > 0
