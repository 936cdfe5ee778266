"""What a config trains, and what of it cannot work.

- `auction_config`, `plays_one_stream`, `model_settings`: its world and its model
- `training_signal`: what it learns from
- `check_model`, `check_environment`: refuse, before any worker starts, what cannot work
"""

from __future__ import annotations

import gymnasium as gym
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.algorithms.dqn import DQNConfig
from ray.rllib.algorithms.sac import SACConfig
from ray.rllib.models.catalog import MODEL_DEFAULTS
from ray.tune.registry import ENV_CREATOR, RLLIB_MODEL, _global_registry

from rllib_seq.config import SequenceConfig
from rllib_seq.envs.ad_auction.gym_env import AdAuctionEnv
from rllib_seq.envs.ad_auction.multi_agent_env import MultiUserAdAuctionEnv
from rllib_seq.envs.ad_auction.tick.worlds import TickConfig
from rllib_seq.envs.ad_auction.worlds.presets import EVENT_REWARDS, AuctionConfig
from rllib_seq.errors import UserError
from rllib_seq.models.rl_module.configure import (
    MAX_SEQ_LEN,
    check_config,
    has_own_connectors,
    refuse_long_sequences,
    sequence_settings,
)
from rllib_seq.models.spaces import refuse_sequence_length
from rllib_seq.registration import MODEL
from rllib_seq.training.config.auction_logs import replay_world

_ONE_STREAM_ENVS = ("AdAuction-v0", AdAuctionEnv)
AUCTION_ENVS = ("multi_user_ad_auction", MultiUserAdAuctionEnv, *_ONE_STREAM_ENVS)
CAMPAIGN_ENV = "campaign_flights"
REPLAY_ENV = "auction_log"
_PREV_REWARD_KEYS = ("lstm_use_prev_reward", "attention_use_n_prev_rewards")


def auction_config(config: AlgorithmConfig) -> AuctionConfig | None:
    """The world that a config trains in, or None if its environment is not the ad auction.

    Raises:
        UserError: the env config is wrong.
    """
    if config.env not in AUCTION_ENVS:
        return None
    try:
        return AuctionConfig.from_dict(config.env_config)
    except ValueError as error:
        raise UserError(str(error)) from error


def plays_one_stream(config: AlgorithmConfig) -> bool:
    """Whether a campaign of the ad auction is one stream in a config's environment."""
    return config.env in _ONE_STREAM_ENVS


def training_signal(config: AlgorithmConfig) -> str:
    """What a config learns from: "outcomes", which every bidder sees, or "privileged".

    Records of a bid server and logs hold outcomes alone; what is estimated from a log is, too.
    Lift's informed critic sees the hidden stage while it trains.
    """
    if getattr(config, "informed", False):
        return "privileged"
    world = auction_config(config)
    recorded = bool(config.input_config)
    return "outcomes" if world is None or recorded else world.signal


def model_settings(config: AlgorithmConfig) -> SequenceConfig | None:
    """The settings of the sequence model of either API stack, or None if it is not used."""
    if config.model.get("custom_model") == MODEL:
        return SequenceConfig.from_dict(config.model.get("custom_model_config", {}))
    return sequence_settings(config)


def check_model(config: AlgorithmConfig) -> None:
    """Refuses models that RLlib would ignore, fail with or train wrongly.

    Raises:
        UserError: one line that names the setting and the fix.
    """
    new_stack = config.enable_rl_module_and_learner
    if new_stack != config.enable_env_runner_and_connector_v2:
        raise UserError(
            "api_stack(...) has one half of the new API stack and one of the old; set both "
            "enable_rl_module_and_learner and enable_env_runner_and_connector_v2 to True or False"
        )
    ignored = {
        key: config.model[key]
        for key, default in MODEL_DEFAULTS.items()
        if config.model.get(key, default) != default and key != "vf_share_layers"  # PPO sets it
    }
    if new_stack and ignored:
        raise UserError(
            f"training(model={ignored}) is read by the old API stack alone; call "
            "use_sequence_module(config, ...), or set rl_module(model_config=...), or add "
            ".api_stack(enable_rl_module_and_learner=False, "
            "enable_env_runner_and_connector_v2=False)"
        )
    _check_sequence_length(config)
    if new_stack:
        check_config(config)
        _check_stored_states(config)
        _check_infos(config)
        _check_learners(config)
    elif isinstance(config, DQNConfig):
        raise UserError(
            "DQN does not build on the old API stack of this Ray, with any model (ray issue "
            "60491); remove api_stack(...) from the config, or use PPO, APPO or IMPALA"
        )
    _check_custom_model(config.model.get("custom_model"))
    if config.model.get("custom_model") == MODEL:
        SequenceConfig.from_dict(config.model.get("custom_model_config", {}))
        for wrapper in ("use_lstm", "use_attention"):
            if config.model.get(wrapper):
                raise UserError(
                    f"{wrapper}=True would wrap a second memory around {MODEL}, which has its "
                    f"own; remove {wrapper} from the model config"
                )
    if isinstance(config, SACConfig):
        models = (config.model, config.policy_model_config, config.q_model_config)
        if any(model.get("custom_model") == MODEL for model in models):
            raise UserError(
                f"SAC cannot train {MODEL}: its loss passes no recurrent state; use PPO, APPO or "
                "IMPALA, or remove custom_model"
            )


def _check_custom_model(name: object) -> None:
    """Refuses a name that RLlib does not know."""
    if isinstance(name, str) and not _global_registry.contains(RLLIB_MODEL, name):
        raise UserError(
            f"custom_model={name!r} is unknown; the model of this package is {MODEL!r}, and others "
            "are registered with ray.rllib.models.ModelCatalog.register_custom_model"
        )


def _check_environment_id(env: object) -> None:
    """Refuses an id that neither Ray nor Gymnasium knows; a dotted name is a class to import."""
    if not isinstance(env, str) or "." in env or _global_registry.contains(ENV_CREATOR, env):
        return
    try:
        gym.spec(env)
    except (gym.error.Error, ModuleNotFoundError) as error:
        raise UserError(
            f"environment {env!r} is unknown: {' '.join(str(error).split())} Name one that is "
            "registered with Gymnasium or Ray Tune, or give its class"
        ) from error


def _check_sequence_length(config: AlgorithmConfig) -> None:
    """Refuses a `max_seq_len` that RLlib hangs or fails with, for its own memories, too."""
    new_stack = config.enable_rl_module_and_learner
    model = config.model_config if new_stack else config.model
    ours = not new_stack and model.get("custom_model") == MODEL
    if ours or model.get("use_lstm") or model.get("use_attention"):
        longest = model.get(MAX_SEQ_LEN, 20)
        refuse_sequence_length(longest)
        refuse_long_sequences(longest, getattr(config, "minibatch_size", None))


def _check_stored_states(config: AlgorithmConfig) -> None:
    """Refuses RLlib's own recurrent modules where they cannot learn, or learn from padding."""
    if not config.model_config.get("use_lstm"):
        return
    if isinstance(config, SACConfig):
        raise UserError(
            "use_lstm=True with SAC learns from padded steps, too, because its loss ignores their "
            "mask; remove use_lstm, or use PPO, APPO or IMPALA"
        )
    if isinstance(config, DQNConfig):
        fails = {
            "prioritized replay": "Prioritized" in str(config.replay_buffer_config["type"]),
            f"num_envs_per_env_runner={config.num_envs_per_env_runner}": (
                config.num_envs_per_env_runner != 1
            ),
            f"n_step={config.n_step}": config.n_step != 1,
            f"num_atoms={config.num_atoms}": config.num_atoms != 1,
            "several agents": config.is_multi_agent,
        }
        found = [name for name, there in fails.items() if there]
        if found:
            raise UserError(
                f"use_lstm=True stores states, which DQN cannot replay with {found[0]}; remove it "
                "and call rllib_seq.q_learning.use_sequence_q_learning(config)"
            )


def _check_learners(config: AlgorithmConfig) -> None:
    """Refuses what makes several learners wait for each other's gradients forever.

    - Parts of multi-agent episodes with a past, which a sequence module needs: one learner fails in
      RLlib's own connectors, and the others never hear of it.
    - Batches that hold no minibatch for each: RLlib agrees beforehand on `steps // (learners *
      minibatch_size)` of them, and if that is 0, each counts for itself.
    """
    if config.num_learners < 2 or isinstance(config, DQNConfig):  # whose replay shares batches out
        return
    if config.is_multi_agent and sequence_settings(config) is not None:
        raise UserError(
            f"num_learners={config.num_learners} where users are agents fails in RLlib; set "
            "num_learners to 1 or 0, or let the campaign be the stream: environment "
            "'AdAuction-v0' without multi_agent(...)"
        )
    minibatch, batch = config.minibatch_size, config.train_batch_size_per_learner
    if minibatch and batch and 2 * minibatch > batch:
        raise UserError(
            f"minibatch_size={minibatch} with num_learners={config.num_learners} and "
            f"train_batch_size_per_learner={batch} can leave learners waiting for each other "
            f"forever; set minibatch_size to {batch // 2} or less"
        )


def _check_infos(config: AlgorithmConfig) -> None:
    """RLlib shares a batch out among learners without the infos of multi-agent episodes."""
    settings = model_settings(config)
    heads = settings is not None and settings.auxiliary
    if heads and config.is_multi_agent and config.num_learners > 1:
        raise UserError(
            "auxiliary heads learn from infos, which do not reach "
            f"num_learners={config.num_learners} where users are agents; remove auxiliary, or set "
            "num_learners to 1 or 0"
        )


def _check_replay(config: AlgorithmConfig) -> None:
    """Reads the log before any worker does; users as streams are agents."""
    world = replay_world(config.env_config)
    if world.config.stream == "user" and not config.is_multi_agent:
        config.multi_agent(
            policies={"bidder"},
            policy_mapping_fn=lambda agent_id, *args, **kwargs: "bidder",
            count_steps_by="agent_steps",
        )
    elif world.config.stream == "campaign" and config.is_multi_agent:
        raise UserError(
            "stream 'campaign' is one agent, and this config has several; remove multi_agent(...)"
        )


def check_environment(config: AlgorithmConfig) -> None:
    """Refuses what does not fit the environment; users of a log that are streams become agents.

    Raises:
        UserError: one line that names the setting and the fix.
    """
    _check_environment_id(config.env)
    if config.env == REPLAY_ENV:
        _check_replay(config)
    if config.env == CAMPAIGN_ENV:
        try:
            TickConfig.from_dict({k: v for k, v in config.env_config.items() if k != "flights"})
        except ValueError as error:
            raise UserError(str(error)) from error
    world = auction_config(config)
    if world is None:
        return
    if config.enable_env_runner_and_connector_v2:
        if has_own_connectors(config):
            raise UserError(
                "this config has connectors of its own, which an evaluation in the ad auction "
                "does not have; change observations in the environment"
            )
        if not plays_one_stream(config) and not config.is_multi_agent:
            raise UserError(
                f"the users of {config.env!r} are agents; add .multi_agent(policies={{'bidder'}}, "
                "policy_mapping_fn=lambda agent_id, *args, **kwargs: 'bidder')"
            )
    shown = [name for name in _PREV_REWARD_KEYS if config.model.get(name)]
    settings = model_settings(config)
    if settings is not None and settings.prev_reward:
        shown.append("prev_reward")
    if shown and world.reward not in EVENT_REWARDS:  # something hidden is in it
        raise UserError(
            f"reward={world.reward!r} with {shown[0]}=True would show the hidden stage to the "
            f"model; set {shown[0]}=False for the model (the realised profit is observed)"
        )
    if shown and world.reward_scale != 1.0:
        raise UserError(
            f"reward_scale={world.reward_scale:g} with {shown[0]}=True would show the model other "
            f"numbers than a server does; set {shown[0]}=False for the model, or remove the scale"
        )
