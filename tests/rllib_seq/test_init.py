import subprocess
import sys

import gymnasium as gym
from ray.rllib.models.catalog import _global_registry
from ray.tune.registry import ENV_CREATOR, RLLIB_MODEL

import rllib_seq
from rllib_seq.models import LSTMTransformerModel


def test_importing_registers_the_names_and_registering_again_changes_nothing():
    for _ in range(2):
        assert _global_registry.get(RLLIB_MODEL, "lstm_transformer") is LSTMTransformerModel
        env = _global_registry.get(ENV_CREATOR, "multi_user_ad_auction")({"num_users": 3})
        assert len(env.possible_agents) == 3
        assert "AdAuction-v0" in gym.registry
        rllib_seq.register()


def test_networks_and_simulator_work_without_ray():
    script = """
import sys
sys.modules["ray"] = None  # as if it were not installed
import torch
from rllib_seq.envs.ad_auction import AuctionConfig, AuctionSimulator
from rllib_seq.nn import SequentialQNetwork, SequentialValueNetwork
states, valid = torch.zeros(2, 8, 5), torch.ones(2, 8, dtype=torch.bool)
assert SequentialQNetwork(5, 3)(states, valid).shape == (2, 3)
assert SequentialValueNetwork(5)(states, valid).shape == (2, 1)
AuctionSimulator(AuctionConfig()).reset(0)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
