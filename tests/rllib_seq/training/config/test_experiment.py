import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
from gymnasium.spaces import Discrete
from ray.rllib.algorithms.dqn import DQNConfig
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.algorithms.sac import SACConfig
from ray.rllib.connectors.env_to_module import PrevActionsPrevRewards
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
from ray.rllib.env import INPUT_ENV_SINGLE_SPACES

from rllib_seq.envs.ad_auction.multi_agent_env import MultiUserAdAuctionEnv
from rllib_seq.errors import UserError
from rllib_seq.models import use_sequence_module
from rllib_seq.models.rl_module.configure import sequence_settings
from rllib_seq.q_learning.exploration import StreamExploration
from rllib_seq.rollouts import (
    ArrayRolloutWorker,
    FaultReportingMultiAgentEnvRunner,
    FaultReportingSingleAgentEnvRunner,
    count_steps,
)
from rllib_seq.training.config.checks import auction_config
from rllib_seq.training.config.experiment import Options, change_model, prepare
from rllib_seq.training.config.modules import load_config, load_module
from rllib_seq.training.run.trainer import Limits
from rllib_seq.training.storage.files import read_json, write_json
from rllib_seq.training.train import description, validate


def ppo():
    return load_config("tune_configs.ppo")


def test_options_reach_the_config_and_the_module_stays_as_it_was():
    config = prepare(
        ppo(), Options("display", budget=9.0, window_length=5, num_env_runners=1, seed=7)
    )
    assert config.env_config["preset"] == "display"
    assert config.env_config["budget"] == 9.0
    assert config.model["custom_model_config"]["window_length"] == 5
    assert config.num_env_runners == 1
    assert config.seed == 7
    assert config.env_runner_cls is ArrayRolloutWorker  # as the module says
    again = ppo()
    assert again.env_config["preset"] == "journey"
    assert again.model["custom_model_config"]["window_length"] != 5


def test_another_reward_takes_the_scale_and_discount_of_regrets_away():
    config = prepare(ppo(), Options(reward="expected"))
    assert (config.gamma, config.env_config.get("reward_scale")) == (1.0, None)
    config = prepare(ppo(), Options(reward="regret"))
    assert config.gamma == 0.0
    assert config.env_config["reward_scale"] > 1


def test_a_model_that_sees_rewards_sees_them_as_a_server_would():
    config = ppo().environment(env_config={"reward": "sampled", "reward_scale": 2.0})
    change_model(config, prev_reward=True)
    with pytest.raises(UserError, match="reward_scale=2 with prev_reward=True.* set prev_reward="):
        prepare(config, Options())


def test_a_config_can_be_a_file(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        "from rllib_seq.tune_configs.ppo import config\nconfig = config.copy().debugging(seed=3)\n"
    )
    assert load_config(str(path)).seed == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (Options(preset="jurney"), "unknown preset 'jurney'; did you mean 'journey'"),
        (Options(budget=-5.0), "budget is -5.0"),
        (Options(window_length=0), "window_length=0 must be an int of at least 1"),
        (Options(num_env_runners=-1), "num-env-runners is -1"),
        (Options(num_env_runners=10**6), "num-env-runners is 1000000; give 0"),
        (Options(preset="drawn"), "world_seed of preset 'drawn' is None; give a whole number"),
        (Options(world_seed=4), "world_seed is 4, and preset 'journey' is not drawn"),
        (Options(seed=-1), "seed is -1"),
        (Options(seed=2**32), "seed is 4294967296; give a whole number from 0 to"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        prepare(ppo(), options)


def test_a_drawn_world_is_named_by_its_seed_and_another_preset_drops_it():
    config = prepare(ppo(), Options(preset="drawn", world_seed=10))
    assert auction_config(config).world == "drawn-10"
    assert config.env_config["world_seed"] == 10
    assert auction_config(prepare(config, Options(world_seed=11))).world == "drawn-11"
    assert auction_config(prepare(config, Options(preset="journey"))).world == "journey"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tune_configs.nothing", "no config module 'tune_configs.nothing'"),
        ("no_such_package.x", "no config module"),
        ("missing.py", "no config file 'missing.py'"),
        ("", "'' is not a module name"),
        (".ppo", "'.ppo' is not a module name"),
        ("rllib_seq.config", "has no AlgorithmConfig named 'config'"),
    ],
)
def test_unknown_modules_are_refused(name, message):
    with pytest.raises(UserError, match=message):
        load_config(name)


def test_an_error_inside_a_users_module_is_not_mistaken_for_a_wrong_name(tmp_path):
    path = tmp_path / "broken.py"
    path.write_text("import a_package_that_is_not_installed\n")
    with pytest.raises(ModuleNotFoundError, match="a_package_that_is_not_installed"):
        load_config(str(path))


def test_unknown_model_key_is_refused_before_any_worker_starts():
    config = ppo()
    config.training(model={**config.model, "custom_model_config": {"widow_length": 3}})
    with pytest.raises(UserError, match="unknown key 'widow_length'.*window_length"):
        prepare(config, Options())


def test_the_expected_reward_is_never_fed_to_the_model():
    """It would show the hidden stage; with the sampled reward the same model is welcome."""
    config = ppo()
    config.training(model={**config.model, "custom_model_config": {"prev_reward": True}})
    with pytest.raises(UserError, match="would show the hidden stage"):
        prepare(config, Options())
    prepare(config, Options(reward="sampled"))


def test_the_guard_knows_the_env_class_and_rllibs_own_models():
    config = ppo()
    config.environment(MultiUserAdAuctionEnv)
    config.training(model={**config.model, "custom_model_config": {"prev_reward": True}})
    with pytest.raises(UserError, match="would show the hidden stage"):
        prepare(config, Options())
    model = {"use_lstm": True, "lstm_use_prev_reward": True, "custom_model": None}
    config = ppo().training(model=model)
    with pytest.raises(UserError, match="lstm_use_prev_reward=True would show the hidden stage"):
        prepare(config, Options())


def test_a_syntax_error_is_placed_and_a_file_may_have_any_name(tmp_path):
    path = tmp_path / "json.py"
    path.write_text("from tune_configs.ppo import config\n")
    load_config(str(path))
    assert hasattr(sys.modules["json"], "dumps")
    path.write_text("config = (\n")
    with pytest.raises(UserError, match="json.py, line 1: "):
        load_config(str(path))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("training(gama=1)", "argument 'gama'"),
        ("environment(enf='x')", "argument 'enf'"),
        ("env_runners(num_envs_per_env_runner=0)", "must be larger 0"),
    ],
)
def test_a_wrong_setting_of_rllib_is_placed(call, message, tmp_path):
    path = tmp_path / "wrong.py"
    path.write_text(
        f"from ray.rllib.algorithms.ppo import PPOConfig\n\nconfig = PPOConfig().{call}\n"
    )
    with pytest.raises(UserError, match=f"wrong.py, line 3: .*{message}"):
        load_config(str(path))


def test_a_file_imports_its_neighbours_and_workers_get_them_by_value(tmp_path, ray_session):
    (tmp_path / "beside_rewards.py").write_text("def double(reward):\n    return 2 * reward\n")
    (tmp_path / "beside_envs").mkdir()
    (tmp_path / "beside_envs/__init__.py").write_text("from beside_envs.maze import twice\n")
    (tmp_path / "beside_envs/maze.py").write_text(
        "import beside_rewards\n\ndef twice(x):\n    return beside_rewards.double(x)\n"
    )
    path = tmp_path / "mine.py"
    path.write_text(
        "from rllib_seq.tune_configs.ppo import config\n"
        "from beside_envs import twice\n"
        "work = lambda x: twice(x)\n"
    )
    work = load_module(str(path)).work
    assert ray.get(ray.remote(lambda: work(21)).remote()) == 42


def new_stack(**settings):
    config = (
        PPOConfig()
        .environment("multi_user_ad_auction")
        .multi_agent(
            policies={"bidder"}, policy_mapping_fn=lambda agent_id, *args, **kwargs: "bidder"
        )
    )
    return use_sequence_module(config, **settings)


def test_options_reach_a_config_of_the_new_stack():
    config = new_stack(window_length=4, d_model=8, num_heads=2)
    prepare(config, Options("display", window_length=11, num_env_runners=1, seed=7))
    settings = sequence_settings(config)
    assert (settings.window_length, settings.d_model) == (11, 8)
    assert config._env_to_module_connector.layout.window_length == 11
    assert config._learner_connector.settings == settings
    assert config.env_config == {"preset": "display"}
    assert config.env_runner_cls is FaultReportingMultiAgentEnvRunner

    config = PPOConfig().environment("CartPole-v1").callbacks(on_sample_end=print)
    prepare(use_sequence_module(config), Options(window_length=30))
    assert config.episode_lookback_horizon == 30
    assert config.env_runner_cls is FaultReportingSingleAgentEnvRunner
    assert config.callbacks_on_sample_end == [print, count_steps]


def test_a_window_length_needs_a_window():
    with pytest.raises(UserError, match="window_length can be set for .*another model"):
        prepare(PPOConfig().environment("CartPole-v1"), Options(window_length=3))
    with pytest.raises(UserError, match="window_length=0 must be an int of at least 1"):
        prepare(new_stack(), Options(window_length=0))


def test_the_expected_reward_is_never_fed_to_the_module_of_the_new_stack_either():
    config = new_stack().environment(env_config={"reward": "expected"})
    with pytest.raises(UserError, match="would show the hidden stage"):
        prepare(config, Options())
    prepare(use_sequence_module(config, prev_reward=False), Options())


def test_dqn_of_the_new_stack_is_left_to_rllib():
    prepare(DQNConfig().environment("AdAuction-v0"), Options())
    prepare(SACConfig().environment("Pendulum-v1"), Options())


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            PPOConfig().api_stack(enable_env_runner_and_connector_v2=False),
            "one half of the new API stack and one of the old",
        ),
        (
            PPOConfig().training(model={"custom_model": "lstm_transformer"}),
            "model={'custom_model': 'lstm_transformer'}.* is read by the old API stack alone",
        ),
        (
            PPOConfig().training(model={"use_attention": True}),
            "model={'use_attention': True}.* call use_sequence_module",
        ),
        (
            PPOConfig().environment(MultiUserAdAuctionEnv),
            "are agents; add .multi_agent",
        ),
        (
            PPOConfig()
            .environment("AdAuction-v0", env_config={"reward": "regret"})
            .env_runners(env_to_module_connector=lambda *_: PrevActionsPrevRewards()),
            "connectors of its own",
        ),
    ],
)
def test_what_the_new_stack_would_ignore_or_fail_at_is_refused(config, message):
    with pytest.raises(UserError, match=message) as caught:
        prepare(config, Options())
    assert "\n" not in str(caught.value)


def test_what_replaced_our_connector_is_named():
    config = use_sequence_module(PPOConfig().environment("CartPole-v1"))
    config.env_runners(env_to_module_connector=lambda *_: [])
    with pytest.raises(UserError, match="replaced a connector of use_sequence_module"):
        prepare(config, Options())


def _old_stack(config):
    config.api_stack(enable_rl_module_and_learner=False, enable_env_runner_and_connector_v2=False)
    return config.environment("CartPole-v1")


@pytest.mark.parametrize(
    ("algorithm", "model", "message"),
    [
        (DQNConfig, {}, "DQN does not build on the old API stack.*use PPO, APPO or IMPALA"),
        (SACConfig, {}, "SAC cannot train lstm_transformer.*use PPO, APPO or IMPALA"),
        (PPOConfig, {"custom_model": "lstm_transfomer"}, "'lstm_transfomer' is unknown; the model"),
        (PPOConfig, {"use_lstm": True}, "remove use_lstm from the model config"),
        (PPOConfig, {"use_attention": True}, "remove use_attention from the model config"),
    ],
)
def test_what_cannot_train_is_refused_before_any_worker_starts(algorithm, model, message):
    config = _old_stack(algorithm())
    config.training(model={"custom_model": "lstm_transformer", **model})
    with pytest.raises(UserError, match=message) as caught:
        prepare(config, Options())
    assert "\n" not in str(caught.value)


def test_the_sequence_model_in_a_part_of_sac_is_refused_and_plain_sac_is_not():
    prepare(_old_stack(SACConfig()), Options())
    config = _old_stack(SACConfig())
    config.training(q_model_config={"custom_model": "lstm_transformer"})
    with pytest.raises(UserError, match="SAC cannot train"):
        prepare(config, Options())


def test_an_unknown_environment_is_one_line():
    with pytest.raises(UserError, match="'CartPol-v1' is unknown: .*Did you mean: `CartPole`"):
        prepare(PPOConfig().environment("CartPol-v1"), Options())
    with pytest.raises(UserError, match="no environment; add .environment"):
        validate(PPOConfig())


def test_settings_that_json_does_not_know_are_written_as_they_print(tmp_path):
    settings = {"size": np.int64(3), "space": Discrete(2), "far": float("inf"), "all": (1, [2.5])}
    config = PPOConfig().environment("CartPole-v1", env_config=settings)
    path = tmp_path / "config.json"
    write_json(path, description("mine.py", Options(), Limits(), config))
    written = read_json(path)["env_config"]
    assert written == {"size": 3, "space": "Discrete(2)", "far": "inf", "all": [1, [2.5]]}


def test_presets_are_for_the_auction_only():
    config = ppo().environment("CartPole-v1")
    assert auction_config(config) is None
    with pytest.raises(UserError, match="preset can be set for the ad auction only.*CartPole"):
        prepare(config, Options(preset="journey"))


def test_options_reach_what_q_learning_set_up() -> None:
    config = prepare(load_config("tune_configs.dqn"), Options(window_length=5, seed=3))
    assert sequence_settings(config).window_length == 5
    replay = config.replay_buffer_config
    assert (replay["sequence_config"]["window_length"], replay["seed"]) == (5, 3)
    assert replay["alpha"] == 0.0  # still uniform
    spaces = {INPUT_ENV_SINGLE_SPACES: (MultiUserAdAuctionEnv({}).observation_spaces, None)}
    pieces = config._env_to_module_connector(None, spaces, None)
    assert any(isinstance(piece, StreamExploration) for piece in pieces)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (SACConfig().environment("Pendulum-v1"), "SAC learns from padded steps"),
        (DQNConfig().environment("CartPole-v1"), "cannot replay with prioritized replay"),
        (
            DQNConfig()
            .environment("CartPole-v1")
            .training(replay_buffer_config={"type": "EpisodeReplayBuffer"}, n_step=3),
            "cannot replay with n_step=3; .*use_sequence_q_learning",
        ),
    ],
    ids=["sac", "dqn-prioritized", "dqn-n-step"],
)
def test_stored_states_that_cannot_be_replayed_are_refused(config: Any, message: str) -> None:
    config.rl_module(model_config=DefaultModelConfig(use_lstm=True))
    with pytest.raises(UserError, match=message):
        prepare(config, Options())


def test_the_one_setting_in_which_rllibs_recurrent_dqn_works_is_left_alone() -> None:
    config = DQNConfig().environment("CartPole-v1")
    config.training(replay_buffer_config={"type": "EpisodeReplayBuffer"})
    config.rl_module(model_config=DefaultModelConfig(use_lstm=True))
    prepare(config, Options())


def test_auxiliary_heads_need_their_infos_in_every_learner():
    """RLlib drops those of multi-agent episodes when it shares a batch out."""
    config = load_config(str(Path(__file__).parents[1].joinpath("tiny_new_stack.py")))
    with pytest.raises(UserError, match="do not reach num_learners=2 where users are agents"):
        prepare(config.learners(num_learners=2), Options())
    prepare(config.learners(num_learners=1), Options())


def test_learners_that_would_wait_forever_are_refused():
    config = load_config(str(Path(__file__).parents[1].joinpath("tiny_new_stack.py")))
    change_model(config, auxiliary={})
    config.learners(num_learners=2)
    with pytest.raises(UserError, match="num_learners=2 where users are agents fails in RLlib"):
        prepare(config, Options())
    alone = PPOConfig().environment("AdAuction-v0").learners(num_learners=2)
    alone.training(train_batch_size_per_learner=128, minibatch_size=128)
    with pytest.raises(UserError, match="minibatch_size=128 .* set minibatch_size to 64 or less"):
        prepare(alone, Options())
    prepare(alone.training(minibatch_size=64), Options())
