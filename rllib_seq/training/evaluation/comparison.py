"""A trained policy beside the references: what `rllib-seq evaluate` and the end of a run do.

- `EvaluationProtocol`: how to evaluate, the same for every policy
- `PROTOCOLS`: by the names that `rllib-seq train --evaluate` knows
- `evaluate_checkpoint`: a checkpoint where it was trained, be it a simulated world or a log
- `run_evaluation`: a checkpoint in a simulated world
- `compare`, `Contender`: any trained policy in one; `world_of`: which
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from rich.console import Console

from rllib_seq.envs.ad_auction.references.optimum import optimum
from rllib_seq.envs.ad_auction.worlds.presets import DRAWN, AuctionConfig
from rllib_seq.errors import UserError
from rllib_seq.training.acting.evaluation import environment_of, evaluate_policy
from rllib_seq.training.acting.loading import load_policy
from rllib_seq.training.config.auction_logs import replay_config, replay_world
from rllib_seq.training.config.checks import (
    CAMPAIGN_ENV,
    REPLAY_ENV,
    auction_config,
    check_environment,
    plays_one_stream,
    training_signal,
)
from rllib_seq.training.config.modules import import_experiment
from rllib_seq.training.evaluation.campaigns import (
    SIGNALS,
    evaluate,
    over,
    references,
    rows,
    summarize,
)
from rllib_seq.training.evaluation.forecasts import RecordedBids, calibrate, futures_in_all
from rllib_seq.training.evaluation.policies import TrainedBids
from rllib_seq.training.evaluation.replay_evaluation import evaluate_replay
from rllib_seq.training.evaluation.results import (
    CampaignEvaluation,
    EpisodeEvaluation,
    Evaluation,
    UpperBound,
)
from rllib_seq.training.evaluation.showcase import record
from rllib_seq.training.reports.calibration_view import CALIBRATION, calibration_rows
from rllib_seq.training.reports.comparison_view import comparison_table
from rllib_seq.training.run.console import print_table, progress_bar
from rllib_seq.training.run.trainer import resumed_config
from rllib_seq.training.storage.run_folder import find_checkpoint

_USERS_SHOWN = 512  # of the campaign that the report draws


@dataclass(frozen=True)
class EvaluationProtocol:
    """How to evaluate: the same for every policy."""

    seed: int = 1000
    """First of the evaluation seeds."""
    num_seeds: int = 3
    episodes: int = 4
    """Campaigns per seed."""
    num_users: int = 2048
    """Users of one campaign; a budget grows with them. A policy whose stream is the whole campaign
    plays the users that it was trained with: with more, its window would reach less far."""

    def __post_init__(self) -> None:
        """Raises UserError on a bad value."""
        if not 0 <= self.seed < 2**31:
            raise UserError(f"seed is {self.seed}; give a whole number from 0 to 2147483647")
        if self.episodes < 1:
            raise UserError(f"episodes is {self.episodes}; give a whole number of at least 1")


_SHORT = EvaluationProtocol(episodes=1, num_users=512)
PROTOCOLS = {"none": None, "short": _SHORT, "full": EvaluationProtocol()}
"""How `rllib-seq train` evaluates at its end: not at all, a sixteenth of the users, or all."""


def evaluate_checkpoint(
    checkpoint: Path,
    preset: str | None,
    protocol: EvaluationProtocol,
    console: Console,
    others: Mapping[str, Path] | None = None,
    world_seed: int | None = None,
) -> Evaluation:
    """Plays a checkpoint where it was trained, or in another preset, and prints the table.

    Args:
        checkpoint: a checkpoint folder.
        preset: None: that of the training.
        protocol: seeds and numbers, of simulated campaigns.
        console: where progress and the table go.
        others: see `run_evaluation`.
        world_seed: of preset drawn.

    Raises:
        UserError: the preset is unknown or another kind of environment, or the log is gone.
    """
    config = resumed_config(checkpoint)
    if config.env == REPLAY_ENV:
        if preset not in (None, "log") or world_seed is not None:
            raise UserError(
                f"{str(checkpoint)!r} was trained on a log, whose observations preset "
                f"{preset or DRAWN!r} does not have; leave --preset out"
            )
        paths, *_ = replay_config(config.env_config)
        return evaluate_replay(checkpoint, replay_world(config.env_config), paths, console)
    if config.env == CAMPAIGN_ENV and preset is not None:
        config = config.copy(copy_frozen=False)
        config.environment(env_config={**config.env_config, "world": preset})
        check_environment(config)
    if config.env == CAMPAIGN_ENV or (preset is None and auction_config(config) is None):
        return _evaluate_episodes(checkpoint, config, protocol, console)
    world = world_of(str(checkpoint), auction_config(config), preset, world_seed)
    return run_evaluation(checkpoint, world, protocol, console, others)


def _evaluate_episodes(
    checkpoint: Path, config: AlgorithmConfig, protocol: EvaluationProtocol, console: Console
) -> EpisodeEvaluation:
    """Plays a checkpoint outside the ad auction, where nothing is known to compare with."""
    import_experiment(checkpoint)
    env = environment_of(config)
    try:
        episodes = protocol.num_seeds * protocol.episodes
        found = evaluate_policy(load_policy(checkpoint), env, episodes, protocol.seed)
    finally:
        env.close()
    console.print(f"{env}: {found}", soft_wrap=True, markup=False, highlight=False)
    return EpisodeEvaluation(str(config.env), str(checkpoint), protocol.seed, episodes, found)


def run_evaluation(
    checkpoint: Path,
    world: AuctionConfig,
    protocol: EvaluationProtocol,
    console: Console,
    others: Mapping[str, Path] | None = None,
) -> CampaignEvaluation:
    """Plays a checkpoint and the references on fresh campaigns and prints the table.

    Args:
        checkpoint: a checkpoint or run folder.
        world: whose users, market and budget.
        protocol: seeds and numbers.
        console: where progress and the table go.
        others: more checkpoints of the same environment that play, by the names of their policies.
    """
    checkpoint = find_checkpoint(checkpoint)
    config = resumed_config(checkpoint)
    one_stream, trained_in = plays_one_stream(config), auction_config(config)
    num_users = trained_in.num_users if one_stream and trained_in else protocol.num_users
    bidder = TrainedBids.from_checkpoint(checkpoint, one_stream)
    contender = Contender(bidder, training_signal(config), str(checkpoint))
    rivals = {}
    for name, path in (others or {}).items():
        signal = training_signal(resumed_config(find_checkpoint(path)))
        rivals[name] = Contender(_named(name, path, one_stream), signal, str(path))
    return compare(contender, world.with_users(num_users), protocol, console, rivals)


class Contender(NamedTuple):
    """A trained policy that is compared."""

    bidder: TrainedBids
    signal: str
    """What it learned from, see `signals`."""
    place: str
    """Where it lies."""


def compare(
    contender: Contender,
    world: AuctionConfig,
    protocol: EvaluationProtocol,
    console: Console,
    rivals: Mapping[str, Contender] | None = None,
) -> CampaignEvaluation:
    """Plays a policy and the references on fresh campaigns and prints the table.

    Args:
        contender: that is judged.
        world: whose users, market and budget.
        protocol: seeds and numbers.
        console: where progress and the table go.
        rivals: more policies of the same environment, by name.
    """
    bidder, rivals = contender.bidder, rivals or {}
    recorded = RecordedBids(bidder) if bidder.heads else None
    best = optimum(preset := world.build_preset())
    others = [rival.bidder for rival in rivals.values()]
    policies = [recorded or bidder, *others, *references(preset, best)]
    learned = {bidder.name: contender.signal}
    learned |= {name: rival.signal for name, rival in rivals.items()}
    seeds = list(range(protocol.seed, protocol.seed + protocol.num_seeds))
    total = len(policies) * len(seeds) * protocol.episodes
    with progress_bar(console, "evaluating", total) as count:
        campaigns = evaluate(policies, world, seeds, protocol.episodes, count, SIGNALS | learned)
    shown = min(world.num_users, _USERS_SHOWN)
    evaluation = CampaignEvaluation(
        preset=world.preset,
        world_seed=world.world_seed,
        checkpoint=contender.place,
        seeds=seeds,
        episodes=protocol.episodes,
        num_users=world.num_users,
        optimum=None if best is None else UpperBound(best.upper_bound, len(best.grid.points)),
        policies=rows(campaigns),
        summary=summarize(campaigns),
        over_others={name: over(campaigns, bidder.name, name) for name in rivals},
        campaign=record(bidder, world if bidder.one_stream else world.with_users(shown)),
        calibration=[],
    )
    console.print(comparison_table(evaluation.to_json()))
    if recorded is None:
        return evaluation
    with progress_bar(console, "calibrating", futures_in_all(recorded, seeds)) as count:
        evaluation = replace(evaluation, calibration=calibrate(recorded, world, seeds, count))
    print_table(console, CALIBRATION, calibration_rows(evaluation.to_json()["calibration"]))
    return evaluation


def world_of(
    place: str, world: AuctionConfig | None, preset: str | None, world_seed: int | None
) -> AuctionConfig:
    """The world that a policy was trained in, or another preset as it stands.

    Args:
        place: where the policy lies.
        world: that it was trained in; None: in none of the ad auction.
        preset: that is asked for; None: that of the training.
        world_seed: of preset drawn.

    Raises:
        UserError: the preset is unknown, or has to be named.
    """
    if preset is None and world_seed is not None:
        preset = DRAWN
    if world is not None and preset in (None, world.preset):
        if world_seed in (None, world.world_seed):
            return world
    if preset is None:
        raise UserError(f"{place!r} was not trained in the ad auction; name a --preset")
    try:
        return AuctionConfig(preset=preset, world_seed=world_seed)
    except ValueError as error:
        raise UserError(str(error)) from error


def _named(name: str, checkpoint: Path, one_stream: bool) -> TrainedBids:
    bidder = TrainedBids.from_checkpoint(checkpoint, one_stream)
    bidder.name = name
    return bidder
