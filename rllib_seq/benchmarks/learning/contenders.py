"""Who learns in `bench learning`, `bench ablations` and `bench peers`, and with which settings.

- `Contender`: a model and what it changes in the method
- `CONTENDERS`, `ABLATIONS`, `PEERS`: all of them, by name
- `config_of`: RLlib's config of one of them in one world

The method is the same for all that PPO trains: `tune_configs.ppo` (`ppo_display`, `ppo_log`) in
one process, with learning rate and entropy bonus falling in a straight line until the last step.
Observations are the same, too, and rewards. An MLP sees the current request alone: in `journey`
that is the channel, whether the user clicked or visited since, and what their last request cost,
which tells whether it was won. `display` observes counts: what a bidder without memory can keep.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.algorithms.dqn import DQNConfig

from rllib_seq.errors import UserError
from rllib_seq.q_learning import EpsilonLadder, use_sequence_q_learning
from rllib_seq.rollouts import ArrayEnvRunner, FaultReportingWorker, fault_reporting_worker
from rllib_seq.training.config.experiment import Options, prepare
from rllib_seq.training.config.modules import default_module, load_config
from rllib_seq.tune_configs.dqn import SEQUENCE, rainbow

PRESETS = ("journey", "display", "log")
LR = (1e-3, 2e-5)
ENTROPY = {"journey": (0.6, 0.1), "display": (0.1, 0.01), "log": (0.003, 0.0)}
"""At the first step, and at the last."""
BUDGET_RATIO = 1 / 32  # of a log: few budgets are scarce enough, see docs/environments/replay.md
WIDTH, MEMORY, JOURNEY = 32, 24, 24


@dataclass(frozen=True)
class Contender:
    """A model under the method that all share.

    Attributes:
        about: in one line.
        sequence: fields of our model that differ from those of `tune_configs.ppo`.
        stock: settings of a model of RLlib's own instead.
        training: what it changes in the method.
        env: what it changes in the world that trains it.
        algorithm: "ppo", "dqn", "sb3", or the short name of a shipped experiment that brings its
            own method.
    """

    about: str
    sequence: Mapping[str, Any] = field(default_factory=dict)
    stock: Mapping[str, Any] | None = None
    training: Mapping[str, Any] = field(default_factory=dict)
    env: Mapping[str, Any] = field(default_factory=dict)
    algorithm: str = "ppo"


_NOT_OURS: dict[str, Any] = {
    "custom_model": None,
    "custom_model_config": {},
}  # RLlib keeps what is not replaced
_LSTM = {"use_lstm": True, "lstm_cell_size": 2 * WIDTH, "fcnet_hiddens": [2 * WIDTH]}
_GTRXL = {
    "use_attention": True,
    "attention_num_transformer_units": 3,
    "attention_dim": 2 * WIDTH,
    "attention_num_heads": 4,
    "attention_head_dim": WIDTH // 2,
    "attention_position_wise_mlp_dim": 4 * WIDTH,
    "attention_memory_inference": MEMORY,
    "attention_memory_training": MEMORY,
    "fcnet_hiddens": [2 * WIDTH],
}
_CAUSAL = {"encoder": "causal", "window_length": MEMORY}

CONTENDERS = {
    "mlp": Contender(
        "two hidden layers of 64, no memory", stock={"fcnet_hiddens": [2 * WIDTH, 2 * WIDTH]}
    ),
    "rllib_lstm": Contender("RLlib's use_lstm, 64 cells", stock=_LSTM),
    "rllib_gtrxl": Contender("RLlib's GTrXL, 3 units of width 64, memory 24", stock=_GTRXL),
    "window": Contender("our window encoder, width 32, L = 12"),
    "causal": Contender("our causal encoder, width 32, attention to 24 requests", _CAUSAL),
    "dqn": Contender("DQN with our sequential Q network, L = 8", algorithm="dqn"),
}
"""Of `bench learning`."""

ABLATIONS = {
    **{
        f"window_{length}": Contender(f"window of {length}", {"window_length": length})
        for length in (2, 4, 8, 12, 16)
    },
    "causal_12": Contender("one direction, L = 12", {"encoder": "causal", "window_length": 12}),
    "causal_24": Contender("one direction, L = 24", _CAUSAL),
    "auxiliary": Contender(
        "one direction, L = 24, auxiliary heads",
        {**_CAUSAL, "auxiliary": {"won": {"given_action": True}, "converted": {"horizon": 8}}},
    ),
    "no_transformer": Contender("L = 12 without Transformer blocks", {"transformer_layers": 0}),
    "no_lstm": Contender("L = 12 without LSTM", {"lstm_layers": 0}),
    "no_previous_action": Contender("L = 12, previous bid not seen", {"prev_action": False}),
    "mean_pooling": Contender("L = 12, mean for attention pooling", {"pooling": "mean"}),
    # Without a regret, what comes after a request has to be learned, as with `train --reward`.
    # Journeys then return .35, give or take, where regrets are .003.
    "reward_expected": Contender(
        "L = 12, paid expected profit",
        env={"reward": "expected", "reward_scale": 3.0},
        training={"gamma": 1.0},
    ),
    "reward_sampled": Contender(
        "L = 12, paid sampled profit",
        env={"reward": "sampled", "reward_scale": 3.0},
        training={"gamma": 1.0},
    ),
}
"""Of `bench ablations`: one change each to `window_12`, which is the `window` of `CONTENDERS`."""


def _from_outcomes(about: str, **settings: Any) -> Contender:
    """PPO that is paid sampled profit; what comes after a request has to be learned."""
    return Contender(
        about,
        env={"reward": "sampled", "reward_scale": 3.0},
        training={"gamma": 1.0},
        **settings,
    )


PEERS = {
    "ppo_mlp": _from_outcomes(
        "PPO, two hidden layers of 64, no memory", stock={"fcnet_hiddens": [2 * WIDTH, 2 * WIDTH]}
    ),
    "ppo_rllib_lstm": _from_outcomes("PPO, RLlib's use_lstm, 64 cells", stock=_LSTM),
    "ppo_rllib_gtrxl": _from_outcomes(
        "PPO, RLlib's GTrXL, 3 units of width 64, memory 24", stock=_GTRXL
    ),
    "ppo_window": _from_outcomes("PPO, our window encoder, width 32, L = 12"),
    "ppo_causal": _from_outcomes("PPO, our causal encoder, width 32", sequence=_CAUSAL),
    "sb3_recurrent_ppo": _from_outcomes(
        "sb3-contrib's RecurrentPPO, 64 cells each for policy and value", algorithm="sb3"
    ),
    "ppo_outcomes": Contender("OutcomePPO, an LSTM of 128 cells", algorithm="ppo_outcomes"),
    "lift_lstm": Contender("Lift, an LSTM of 128 cells", algorithm="lift"),
    "lift_causal": Contender(
        "Lift, our causal encoder, width 64",
        {**_CAUSAL, "d_model": 64, "head_hidden": 64},
        algorithm="lift",
    ),
    "lift_window": Contender(
        "Lift, our window encoder, width 32, L = 12",
        {"encoder": "window", "window_length": 12, "d_model": 32, "head_hidden": 64},
        algorithm="lift",
    ),
}
"""Of `bench peers`: all learn from outcomes."""


def config_of(
    contender: Contender, preset: str, steps: int, seed: int, log: tuple[str, ...] = ()
) -> AlgorithmConfig:
    """RLlib's config of a contender in one process, checked.

    Args:
        contender: who learns.
        preset: one of `PRESETS`.
        steps: of the whole run; when learning rate and exploration have come down.
        seed: of weights, exploration and campaigns.
        log: files of preset `log`.

    Raises:
        UserError: preset `log` without files, or files that cannot be replayed.
    """
    if preset == "log" and not log:
        raise UserError("preset 'log' replays a file, and there is none; give --log FILE")
    options = Options(num_env_runners=0, seed=seed)
    if preset == "log":
        options = dataclasses.replace(options, log=log, budget_ratio=BUDGET_RATIO)
    else:
        options = dataclasses.replace(options, preset=preset)
    # Outside Ray, only the world is read, and that is PPO's.
    make = {"dqn": _dqn, "ppo": _ppo, "sb3": _ppo}.get(contender.algorithm, _shipped)
    config = make(contender, preset, steps)
    config.environment(env_config={**config.env_config, **contender.env})
    return prepare(config.training(**contender.training), options)


def _ppo(contender: Contender, preset: str, steps: int) -> AlgorithmConfig:
    config = load_config(default_module(preset))
    first, last = ENTROPY[preset]
    config.training(
        lr_schedule=[[0, LR[0]], [steps, LR[1]]],
        entropy_coeff_schedule=[[0, first], [steps, last]],
    )
    if contender.stock is not None:
        # Our array worker does not carry the states of RLlib's models; RLlib's own does.
        config.env_runners(env_runner_cls=FaultReportingWorker)
        model = {**_NOT_OURS, **contender.stock, "max_seq_len": JOURNEY}
    else:
        settings = {**config.model["custom_model_config"], **contender.sequence}
        model = {**config.model, "custom_model_config": settings}
    config.env_runners(
        rollout_fragment_length=config.train_batch_size // config.num_envs_per_env_runner
    )
    return config.training(model=model)


def _shipped(contender: Contender, preset: str, steps: int) -> AlgorithmConfig:
    """A method of its own; its learning rate falls until the last step, too."""
    config = load_config(f"tune_configs.{contender.algorithm}")
    settings = {**config.model["custom_model_config"], **contender.sequence}
    return config.training(
        lr_schedule=[[0, LR[0]], [steps, LR[1]]],
        model={**config.model, "custom_model_config": settings},
    )


def _dqn(contender: Contender, preset: str, steps: int) -> AlgorithmConfig:
    config = rainbow()
    if preset == "display":
        config.environment(env_config=load_config(default_module(preset)).env_config)
    if preset == "log":
        # One stream: a pause in the middle of an episode costs nothing, so fragments are short.
        plain = DQNConfig()
        config.multi_agent(policies=plain.policies, policy_mapping_fn=plain.policy_mapping_fn)
        config.environment("auction_log")
        config.env_config = {"reward": "regret"}
        config.env_runners(num_envs_per_env_runner=16, rollout_fragment_length=4)
        config.training(gamma=0.0, n_step=1)
    config.env_runners(
        env_runner_cls=fault_reporting_worker(config) if preset == "log" else ArrayEnvRunner
    )
    config.training(lr=[[0, LR[0]], [steps, LR[1]]])
    return use_sequence_q_learning(config, EpsilonLadder(), **{**SEQUENCE, **contender.sequence})
