import subprocess
import sys

import gymnasium as gym
import pytest
from ray.rllib.models.catalog import _global_registry
from ray.tune.registry import ENV_CREATOR, RLLIB_MODEL

import rllib_seq
from rllib_seq.cli import COMMANDS
from rllib_seq.models import LSTMTransformerModel

HEAVY = ("ray", "torch", "scipy", "pyarrow", "pandas", "onnxruntime")


def in_a_fresh_process(script):
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_registers_the_names_and_registering_again_changes_nothing():
    for _ in range(2):
        assert _global_registry.get(RLLIB_MODEL, "lstm_transformer") is LSTMTransformerModel
        env = _global_registry.get(ENV_CREATOR, "multi_user_ad_auction")({"num_users": 3})
        assert len(env.possible_agents) == 3
        rllib_seq.register()


@pytest.mark.parametrize("name", ["AdAuction-v0", "AdCampaign-v0"])
@pytest.mark.parametrize("prefix", ["", "rllib_seq/", "rllib_seq:", "rllib_seq.envs.ad_auction:"])
def test_gymnasium_ids(prefix, name):
    env = gym.make(prefix + name)
    observation, _ = env.reset(seed=0)
    assert env.observation_space.contains(observation)


def test_importing_loads_nothing_heavy():
    in_a_fresh_process(
        "import sys, gymnasium\n"
        "import rllib_seq\n"
        "assert {'AdAuction-v0', 'rllib_seq/AuctionLog-v0'} <= gymnasium.registry.keys()\n"
        f"assert not sys.modules.keys() & set({HEAVY})\n"
    )


def test_help_and_version_load_nothing_heavy():
    calls = [["--help"], ["--version"], *([command.__name__, "--help"] for command in COMMANDS)]
    printed = in_a_fresh_process(
        "import sys\n"
        "from rllib_seq.cli import main\n"
        f"for arguments in {calls}:\n"
        "    sys.argv = ['rllib-seq', *arguments]\n"
        "    try:\n"
        "        main()\n"
        "    except SystemExit as stop:\n"
        "        assert stop.code == 0, arguments\n"
        f"assert not sys.modules.keys() & set({HEAVY})\n"
    )
    assert f"rllib-seq {rllib_seq.__version__}\n" in printed
    assert printed.count("Usage: ") == len(calls) - 1


@pytest.mark.slow
@pytest.mark.parametrize(
    "imports",
    [
        "import rllib_seq\nimport ray.rllib",
        "import ray.rllib\nimport rllib_seq",
    ],
)
def test_rllib_knows_the_names_in_every_order_of_imports(imports):
    in_a_fresh_process(
        imports + "\n"
        "from ray.rllib.models.catalog import _global_registry as registry\n"
        "assert registry.get('env_creator', 'multi_user_ad_auction')({'num_users': 3})\n"
        "model = registry.get('rllib_model', 'lstm_transformer')\n"
        "assert model.__name__ == 'LSTMTransformerModel'\n"
    )


@pytest.mark.slow
def test_networks_and_simulator_work_without_ray():
    in_a_fresh_process(
        "import sys\n"
        "sys.modules['ray'] = None  # as if it were not installed\n"
        "import torch\n"
        "from rllib_seq.envs.ad_auction import AuctionConfig, AuctionSimulator\n"
        "from rllib_seq.nn import SequentialQNetwork, SequentialValueNetwork\n"
        "states, valid = torch.zeros(2, 8, 5), torch.ones(2, 8, dtype=torch.bool)\n"
        "assert SequentialQNetwork(5, 3)(states, valid).shape == (2, 3)\n"
        "assert SequentialValueNetwork(5)(states, valid).shape == (2, 1)\n"
        "AuctionSimulator(AuctionConfig()).reset(0)\n"
    )
