"""Learning what winning a request is worth from outcomes alone, as an algorithm of RLlib.

- `LiftConfig`, `Lift`

The old API stack's parts are RLlib's: rollout workers, the registered TorchModelV2, weights that
are synchronised, faults, checkpoints and Tune. What is ours is the training step: whole journeys
come in, a replay keeps the newest, and a critic learns from them while workers play on.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig, NotProvided
from ray.rllib.policy.sample_batch import MultiAgentBatch
from ray.rllib.utils.metrics import (
    NUM_AGENT_STEPS_SAMPLED,
    NUM_AGENT_STEPS_TRAINED,
    NUM_ENV_STEPS_SAMPLED,
    SAMPLE_TIMER,
    SYNCH_WORKER_WEIGHTS_TIMER,
)
from ray.rllib.utils.metrics.learner_info import LEARNER_STATS_KEY

from rllib_seq.envs.ad_auction.journey.features import fields
from rllib_seq.envs.ad_auction.worlds.presets import AuctionConfig
from rllib_seq.errors import UserError
from rllib_seq.lift.policy import LiftPolicy
from rllib_seq.lift.prices import price_models
from rllib_seq.lift.replay import JourneyReplay
from rllib_seq.lift.worker import OutcomeWorker
from rllib_seq.lift.world import check_world, outcome_model, set_up_bidder

__all__ = ["Lift", "LiftConfig"]

Array = NDArray[Any]
Schedule = Sequence[Sequence[float]]

_SAMPLE = "sample"
_WAIT_SECONDS = 0.5
_SIGNALS = "clicked", "visited"  # of a user's observation, since the request before
_UNPRICED = 0.1  # share of the replay that may be newer than the prices


class LiftConfig(AlgorithmConfig):
    """Settings of `Lift`.

    Examples:
        >>> from rllib_seq.lift import LiftConfig
        >>> config = LiftConfig().environment("multi_user_ad_auction").training(passes=4)
    """

    def __init__(self, algo_class: type | None = None) -> None:
        super().__init__(algo_class=algo_class or Lift)
        set_up_bidder(self, OutcomeWorker)
        self.lr = 1e-3
        self.store_buffer_in_checkpoints = True
        self.min_time_s_per_iteration = 0
        self.metrics_num_episodes_for_smoothing = 16
        self.lambda_ = 0.9
        self.tau: Schedule = [[0, 0.01], [650_000, 0.01], [1_000_000, 0.003], [3_000_000, 0.0005]]
        self.lr_schedule: Schedule | None = None
        self.passes = 6.0
        self.minibatch_journeys = 64
        self.replay_journeys = 131_072
        self.exploring_share: Schedule = [[0, 0.5], [60_000, 0.25]]
        self.bid_spread = 0.5
        self.forecast_weight = 0.3
        self.informed = False
        # Derived from the world, see `validate`.
        self.highest_bid = 1.0
        self.hidden_stages = 0
        self.signals: list[int] = []

    def training(
        self,
        *,
        lambda_: float | Any = NotProvided,
        tau: Schedule | Any = NotProvided,
        lr_schedule: Schedule | None | Any = NotProvided,
        passes: float | Any = NotProvided,
        minibatch_journeys: int | Any = NotProvided,
        replay_journeys: int | Any = NotProvided,
        exploring_share: Schedule | Any = NotProvided,
        bid_spread: float | Any = NotProvided,
        forecast_weight: float | Any = NotProvided,
        informed: bool | Any = NotProvided,
        store_buffer_in_checkpoints: bool | Any = NotProvided,
        **kwargs: Any,
    ) -> LiftConfig:
        """Set what `Lift` reads, beside RLlib's own `lr`, `grad_clip` and `model`.

        Args:
            lambda_: weight of later outcomes in the targets, see `targets.outcome_targets`.
            tau: pairs of requests seen and the share of the learned weights that enters the acting
                ones with each update, linear between.
            lr_schedule: pairs of requests seen and learning rate, linear between; None: `lr`.
            passes: how often each journey is learned from, in the mean.
            minibatch_journeys: of each update.
            replay_journeys: how many journeys are kept, the newest.
            exploring_share: pairs of requests seen and the share of the journeys that are bid for
                at random, linear between.
            bid_spread: standard deviation of the logarithm of the factor that each of the other
                journeys' bids are multiplied by.
            forecast_weight: of the loss of forecasts of what users do next, beside the critic's;
                0: there are none.
            informed: let a second critic see the hidden stage while it trains, for targets. What
                acts, is exported and served sees what a bidder sees. For ablations: no bidder has
                it, and results are called privileged.
            store_buffer_in_checkpoints: keep the journeys in checkpoints; without them, a resumed
                run begins with an empty replay.
            **kwargs: see RLlib.
        """
        super().training(**kwargs)
        given = dict(locals())
        for name in (
            "lambda_",
            "tau",
            "lr_schedule",
            "passes",
            "minibatch_journeys",
            "replay_journeys",
            "exploring_share",
            "bid_spread",
            "forecast_weight",
            "informed",
            "store_buffer_in_checkpoints",
        ):
            if given[name] is not NotProvided:
                setattr(self, name, given[name])
        return self

    def validate(self) -> None:
        """Check the settings, and take from the world what the critic needs to know of it.

        Raises:
            UserError: one line that names the setting and how to fix it.
        """
        super().validate()
        if self.enable_rl_module_and_learner or self.enable_env_runner_and_connector_v2:
            raise UserError("Lift is for the old API stack; remove api_stack(...) from the config")
        world = check_world(self, "Lift")
        for name in ("passes", "minibatch_journeys", "replay_journeys"):
            if not getattr(self, name) > 0:
                raise UserError(f"{name} is {getattr(self, name)!r}; give a number above 0")
        if not self.forecast_weight >= 0:
            raise UserError(
                f"forecast_weight is {self.forecast_weight!r}; give a number of at least 0"
            )
        if not isinstance(self.informed, bool):
            raise UserError(f"informed is {self.informed!r}; give True or False")
        if np.ndim(self.tau) != 2 or not all(0 < share <= 1 for _, share in self.tau):
            raise UserError(
                f"tau is {self.tau!r}; give pairs of requests and a share above 0 and at most 1, "
                "such as [[0, 0.01]]"
            )
        if not 0 <= self.lambda_ <= 1:
            raise UserError(f"lambda_ is {self.lambda_!r}; give a number from 0 to 1")
        preset = world.build_preset()
        self.highest_bid = float(preset.bid_levels[-1])
        self.hidden_stages = len(preset.users.stages) if self.informed else 0
        names = [field.name for field in fields(world.build_layout(preset))]
        self.signals = [names.index(name) for name in _SIGNALS if name in names]
        self.model: dict[str, Any] = outcome_model(self.model, world, head="auction")


class Lift(Algorithm):
    """Learns the worth of winning from what a bidder receives, and bids it.

    docs/algorithms/lift.md explains it.

    Each training step plays a round of campaigns on all workers and learns, meanwhile, from the
    journeys that came before.
    """

    @classmethod
    def get_default_config(cls) -> LiftConfig:
        """See RLlib."""
        return LiftConfig()

    @classmethod
    def get_default_policy_class(cls, config: AlgorithmConfig) -> type:
        """See RLlib."""
        return LiftPolicy

    def setup(self, config: AlgorithmConfig) -> None:
        """See RLlib."""
        super().setup(config)
        self.local_replay_buffer = JourneyReplay(self.config.replay_journeys, self.config.seed)
        world = AuctionConfig.from_dict(self.config.env_config)
        self._preset = world.build_preset()
        self._cost = 1.0 + self._preset.shadow_price
        self._context = list(self.config.model["custom_model_config"]["price_context"])
        self._owed = 0.0  # updates that the journeys which came in are still to be learned by
        self._unpriced = 0  # journeys that came in since prices were estimated

    def training_step(self) -> dict[str, Any]:
        """Play and learn, at the same time if there are remote workers."""
        policy = self.get_policy("bidder")
        assert isinstance(policy, LiftPolicy)
        group, replay = self.env_runner_group, self.local_replay_buffer
        remote = group.num_remote_workers() > 0
        if remote:
            group.foreach_env_runner_async(lambda worker: worker.sample(), tag=_SAMPLE)
        stats = self._learn(policy)
        with self._timers[SAMPLE_TIMER]:
            batches = self._arrived() if remote else [group.local_env_runner.sample()]
        for batch in batches:
            self._counters[NUM_AGENT_STEPS_SAMPLED] += batch.agent_steps()
            self._counters[NUM_ENV_STEPS_SAMPLED] += batch.env_steps()
            self._keep(policy, batch)
        if not batches:
            return {}
        if self._unpriced >= _UNPRICED * len(replay):
            self._set_prices(policy)
        global_vars = {"timestep": self._counters[NUM_AGENT_STEPS_SAMPLED]}
        with self._timers[SYNCH_WORKER_WEIGHTS_TIMER]:
            if remote:
                group.sync_weights(policies=["bidder"], global_vars=global_vars)
            self.env_runner.set_global_vars(global_vars)
        return {"bidder": {LEARNER_STATS_KEY: stats, "journeys": len(replay)}}

    def __getstate__(self) -> dict[str, Any]:
        """See RLlib."""
        return {**super().__getstate__(), "owed": self._owed}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """See RLlib."""
        super().__setstate__(state)
        self._owed = state["owed"]

    def _learn(self, policy: LiftPolicy) -> dict[str, float]:
        """Take the updates that are owed; returns the mean of what they reported."""
        config, replay, reports = self.config, self.local_replay_buffer, []
        steps = self._counters[NUM_AGENT_STEPS_SAMPLED]
        lr = config.lr
        if config.lr_schedule is not None:
            lr = float(np.interp(steps, *np.transpose(config.lr_schedule)))
        tau = float(np.interp(steps, *np.transpose(config.tau)))
        while self._owed >= 1:
            self._owed -= 1
            columns, lengths = replay.sample(config.minibatch_journeys)
            reports.append(policy.critic.update(columns, lengths, lr, tau))
            self._counters[NUM_AGENT_STEPS_TRAINED] += int(lengths.sum())
        if not reports:
            return {}
        return {name: float(np.mean([report[name] for report in reports])) for name in reports[0]}

    def _arrived(self) -> list[MultiAgentBatch]:
        """Wait for what the workers play, as long as `sample_timeout_s`."""
        group, batches = self.env_runner_group, []
        end = time.monotonic() + self.config.sample_timeout_s
        while group.num_in_flight_async_reqs(_SAMPLE) and time.monotonic() < end:
            ready = group.fetch_ready_async_reqs(
                tags=_SAMPLE, timeout_seconds=_WAIT_SECONDS, mark_healthy=True
            )
            batches += [batch for _, batch in ready]
        return batches

    def _keep(self, policy: LiftPolicy, batch: MultiAgentBatch) -> None:
        played = batch.policy_batches["bidder"]
        lengths = np.asarray(played["seq_lens"], np.int64)
        columns = {name: np.asarray(played[name]) for name in ("obs", "actions", "rewards", "won")}
        if self.config.informed:
            columns["stage"] = np.asarray(played["stage"], np.int8)
        columns["payment"] = np.asarray(played["paid"], np.float32) * np.float32(self._cost)
        shown = columns["obs"][:, self._context]
        columns["context"] = (
            shown.argmax(1) if self._context else np.zeros(len(shown), np.int64)
        ).astype(np.int8)
        if not len(self.local_replay_buffer):
            policy.critic.scale_inputs(columns)
        self.local_replay_buffer.add(columns, lengths)
        self._owed += self.config.passes * len(lengths) / self.config.minibatch_journeys
        self._unpriced += len(lengths)

    def _set_prices(self, policy: LiftPolicy) -> None:
        """Estimate what bids win and pay from the newest journeys."""
        names = ("actions", "won", "payment", "context")
        action, won, payment, context = self.local_replay_buffer.steps(names)
        prices = price_models(
            self._preset.bid_levels,
            action,
            won,
            payment.astype(np.float64) / self._cost,
            self._preset.auction,
            context,
            max(1, len(self._context)),
        )
        policy.critic.set_prices(prices, self._cost)
        self._unpriced = 0
