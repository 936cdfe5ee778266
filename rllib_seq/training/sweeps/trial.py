"""One trial of a sweep: an algorithm that Ray Tune trains, saves and restores.

- `Trial`: Tune's Trainable; reports the rows that `train` writes into `progress.csv`
- `TrialSetup`: what all trials of a sweep have in common
- `trial_resources`: what Tune reserves for one
- `VALIDATION_PROFIT`: what sweeps in the ad auction aim at
"""

from __future__ import annotations

import logging
import math
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ray import tune
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.tune.result import SHOULD_CHECKPOINT

from rllib_seq.envs.ad_auction.simulator.play import play
from rllib_seq.envs.ad_auction.simulator.step import AuctionSimulator
from rllib_seq.envs.ad_auction.worlds.presets import AuctionConfig
from rllib_seq.training.config.checks import auction_config, plays_one_stream
from rllib_seq.training.config.experiment import Options, prepare
from rllib_seq.training.evaluation.campaigns import expected_profit
from rllib_seq.training.evaluation.policies import TrainedBids
from rllib_seq.training.run.iterations import START, Iterations
from rllib_seq.training.run.trainer import build_algorithm
from rllib_seq.training.seeds import Branch, branch_seed
from rllib_seq.training.storage.files import read_json, write_json
from rllib_seq.training.storage.run_folder import Row
from rllib_seq.training.sweeps.own_settings import own_settings
from rllib_seq.training.sweeps.search_space import apply_sample

VALIDATION_PROFIT = "validation_profit"
"""Profit per user of the greedy policy on campaigns that neither training nor evaluation plays,
currency units; a result of every trial in the ad auction."""

_VALIDATION_USERS = 1024
CHECKPOINT_SECONDS = 30.0
_CPU_UNIT = 10_000  # Ray counts CPUs in ten-thousandths


@dataclass(frozen=True)
class TrialSetup:
    """What all trials of a sweep have in common."""

    base: AlgorithmConfig
    """The module's config as it stands."""
    options: Options = field(default_factory=Options)
    """What the command line changes in it."""
    cpus: float | None = None
    """Of one trial, shared by its processes; None: as the config says."""
    gpus: float | None = None
    """Of one trial, shared by its learners; None: as the config says."""
    checkpoint_seconds: float = field(default_factory=lambda: CHECKPOINT_SECONDS)
    """Between two checkpoints of a trial: what a killed one loses at most."""

    def config(self, sample: dict[str, Any]) -> AlgorithmConfig:
        """The config of the trial with these settings.

        Raises:
            UserError: a setting is wrong.
        """
        config = apply_sample(self.base.copy(copy_frozen=False), sample)
        prepare(config, self.options)
        if self.cpus is not None:
            processes = 1 + config.num_env_runners + config.num_learners
            share = math.floor(self.cpus / processes * _CPU_UNIT) / _CPU_UNIT
            config.resources(num_cpus_for_main_process=share)
            config.env_runners(num_cpus_per_env_runner=share)
            config.learners(num_cpus_per_learner=share)
        if self.gpus is not None and config.enable_rl_module_and_learner:
            config.learners(num_gpus_per_learner=self.gpus / max(1, config.num_learners))
        elif self.gpus is not None:
            config.resources(num_gpus=self.gpus)
        return config


def trial_resources(setup: TrialSetup, sample: dict[str, Any]) -> tune.PlacementGroupFactory:
    """What Tune reserves for a trial: the algorithm's process and its workers and learners."""
    config = setup.config(sample)
    return config.algo_class.default_resource_request(config)


class Trial(tune.Trainable):
    """Trains one sample of a search space; its configuration is the sample."""

    def setup(self, config: dict[str, Any], setup: TrialSetup | None = None) -> None:
        """Builds the algorithm; see Tune.

        Args:
            config: the sample.
            setup: comes by `tune.with_parameters`.
        """
        assert setup is not None
        logging.getLogger("ray.rllib").setLevel(logging.ERROR)
        self._setup = setup
        self._build(config)

    def _build(self, sample: dict[str, Any]) -> None:
        self._config = self._setup.config(sample)
        self._world = auction_config(self._config)
        self._algorithm = build_algorithm(self._config)
        self._iterations = Iterations(self._algorithm, START, self._world)
        self._saved_at = time.monotonic()

    def step(self) -> dict[str, Any]:
        """Trains until there is a new row of progress, and validates."""
        while (row := self._iterations.advance()) is None:
            self._iterations.take_faults()
        self._iterations.take_faults()
        result: dict[str, Any] = dict(row)
        if self._world is not None:
            # In the trial's working folder, which goes with Ray's even if the process is killed.
            with tempfile.TemporaryDirectory(dir=self.logdir) as folder:
                self._algorithm.save_checkpoint(folder)
                bidder = TrainedBids.from_checkpoint(Path(folder), plays_one_stream(self._config))
                result[VALIDATION_PROFIT] = validation_profit(bidder, self._world)
        if result["episode_return"] is None and self._world is None:
            result["episode_return"] = -math.inf  # schedulers compare numbers
        if time.monotonic() - self._saved_at > self._setup.checkpoint_seconds:
            self._saved_at = time.monotonic()
            result[SHOULD_CHECKPOINT] = True
        return result

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Writes RLlib's checkpoint and where it stands; see Tune."""
        self._algorithm.save_checkpoint(checkpoint_dir)
        write_json(Path(checkpoint_dir) / "progress.json", self._iterations.row)

    def load_checkpoint(self, checkpoint_dir: str) -> None:
        """Goes on from a checkpoint, maybe of another trial's settings; see Tune."""
        with own_settings(self._algorithm):
            self._algorithm.restore(checkpoint_dir)
        row: Row = read_json(Path(checkpoint_dir) / "progress.json")
        self._iterations = Iterations(self._algorithm, row, self._world)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Becomes another trial, which spares Tune a new process; see Tune."""
        self._algorithm.stop()
        self._build(new_config)
        return True

    def cleanup(self) -> None:
        """Ends the workers; see Tune."""
        self._algorithm.stop()


def validation_profit(bidder: TrainedBids, world: AuctionConfig) -> float:
    """Profit per user of a policy on the validation campaign, which is the same for all.

    Where training takes the regret for its reward, luck is taken out here, too.
    """
    users = world.num_users if bidder.one_stream else _VALIDATION_USERS
    world = world.with_users(users)
    seed = branch_seed(0, Branch.VALIDATION)
    if world.reward == "regret":
        return expected_profit(bidder, world, [seed])
    simulator = AuctionSimulator(world.for_evaluation())
    ledger = play(simulator, bidder, seed)
    return float(ledger.profit(simulator.preset.shadow_price)) / users
