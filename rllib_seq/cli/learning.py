"""Commands that learn and judge: train, tune, evaluate, report."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rllib_seq.cli.options import (
    Json,
    ratio,
    reads_log,
    write,
)
from rllib_seq.errors import UserError

if TYPE_CHECKING:
    from rllib_seq.journeys.reading import ReadingOptions


@reads_log
def train(
    config: Annotated[
        str | None,
        typer.Argument(
            help="Module with a `config`, or a .py file [default: tune_configs.ppo; with --preset "
            "display or log: tune_configs.ppo_display or ppo_log]."
        ),
    ] = None,
    preset: Annotated[
        str | None, typer.Option(help="World: journey, display, uniform, drawn or log.")
    ] = None,
    world_seed: Annotated[
        int | None, typer.Option(help="Of --preset drawn: the seed of the world's numbers.")
    ] = None,
    budget: Annotated[
        float | None, typer.Option(help="Budget of one campaign, currency units.")
    ] = None,
    reward: Annotated[
        str | None,
        typer.Option(
            help="What training pays: sampled, expected, regret or attributed; of preset log: "
            "clicks, expected or regret."
        ),
    ] = None,
    auction: Annotated[
        str | None, typer.Option(help="The winner pays: second_price or first_price.")
    ] = None,
    log: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE", help="Of --preset log: event log or iPinYou rows; may be repeated."
        ),
    ] = None,
    budget_ratio: Annotated[
        str | None,
        typer.Option(
            metavar="RATIO",
            help="Of --preset log: budget / cost of everything, such as 1/32 (the default).",
        ),
    ] = None,
    episode_requests: Annotated[
        int | None,
        typer.Option(help="Of --preset log: requests per budget [default: 1000, or fewer]."),
    ] = None,
    held_out_days: Annotated[
        int | None,
        typer.Option(help="Of --preset log: last days, to evaluate [default: a quarter]."),
    ] = None,
    stream: Annotated[
        str | None,
        typer.Option(help="Of --preset log: whose history is remembered, campaign or user."),
    ] = None,
    gain: Annotated[
        str | None,
        typer.Option(help="Of --preset log: what counts, click, conversion or value."),
    ] = None,
    *,
    reading: ReadingOptions,
    window_length: Annotated[int | None, typer.Option(help="Steps that the model sees.")] = None,
    patterns: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="patterns.json of discover: window length and users."),
    ] = None,
    stop_time_s: Annotated[
        float | None, typer.Option(help="Stop after this many seconds of training.")
    ] = None,
    stop_steps: Annotated[
        int | None, typer.Option(help="Stop after this many steps (bid requests).")
    ] = None,
    num_env_runners: Annotated[int | None, typer.Option(help="Remote rollout workers.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of weights, exploration, campaigns.")] = None,
    storage: Annotated[
        str | None,
        typer.Option(help="Where run folders are made: a folder, s3://... [default: runs]."),
    ] = None,
    resume: Annotated[
        str | None,
        typer.Option(metavar="RUN", help="Go on with this run folder, or one of its checkpoints."),
    ] = None,
    evaluate: Annotated[
        str,
        typer.Option(
            help="At the end, beside the references: none, short (3 campaigns of 512 "
            "users) or full (12 of 2,048 users, a few minutes)."
        ),
    ] = "full",
    offline: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILES", help="Learn from what `serve --record` wrote: lift, dqn_outcomes, dqn."
        ),
    ] = None,
    json_file: Json = None,
) -> None:
    """Train a bidder, evaluate it, and leave a run folder.

    Stops after 300 seconds unless set otherwise; limits count over all sessions of a run, and do
    not hold for the evaluation (`--evaluate none` leaves it out; `rllib-seq evaluate RUN` does it
    later). With
    `--offline` the config is tune_configs.dqn unless set otherwise.

    Example: `rllib-seq train tune_configs.ppo --preset journey --stop-time-s 300`, or on a log of
    your own `rllib-seq train --preset log --log auctions.parquet --budget-ratio 1/32`
    """
    from rllib_seq.training.config.experiment import Options
    from rllib_seq.training.config.from_patterns import with_patterns
    from rllib_seq.training.config.modules import default_module
    from rllib_seq.training.evaluation.comparison import PROTOCOLS
    from rllib_seq.training.run.console import make_console
    from rllib_seq.training.run.trainer import Limits
    from rllib_seq.training.train import resume_training, run_training

    if evaluate not in PROTOCOLS:
        raise UserError(f"--evaluate is {evaluate!r}; choose one of: {', '.join(PROTOCOLS)}")
    protocol = PROTOCOLS[evaluate]
    options = Options(
        preset=preset,
        world_seed=world_seed,
        budget=budget,
        window_length=window_length,
        num_env_runners=num_env_runners,
        seed=seed,
        reward=reward,
        auction=auction,
        log=tuple(str(path.resolve()) for path in log) if log else None,
        budget_ratio=ratio(budget_ratio),
        episode_requests=episode_requests,
        held_out_days=held_out_days,
        stream=stream,
        gain=gain,
        reading=reading.given(),
    )
    options, reported = with_patterns(options, patterns)
    if reported:
        typer.echo(reported)
    limits = None
    if stop_time_s is not None or stop_steps is not None:
        limits = Limits(
            math.inf if stop_time_s is None else stop_time_s,
            math.inf if stop_steps is None else stop_steps,
        )
    default = "tune_configs.dqn" if offline else default_module(preset)
    if resume is None:
        result = run_training(
            config if config is not None else default,
            options,
            limits or Limits(seconds=300.0),
            storage or "runs",
            make_console(),
            protocol,
            offline=offline or (),
        )
    else:
        if (config, storage, offline) != (None, None, None) or options != Options():
            raise UserError(
                "--resume goes on with the run's own settings; give only --stop-time-s, "
                "--stop-steps or --evaluate with it"
            )
        result = resume_training(resume, limits, make_console(), protocol)
    write(json_file, result.to_json())


def tune(
    config: Annotated[
        str,
        typer.Argument(help="Module with a `config` and a `search_space`, or a .py file."),
    ],
    num_samples: Annotated[
        int | None, typer.Option(help="Trials, the config's own values being the first.")
    ] = None,
    storage: Annotated[
        str | None,
        typer.Option(help="Where sweeps are kept: a folder, s3://... [default: sweeps]."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the newest sweep of CONFIG in --storage.")
    ] = False,
    stop_steps: Annotated[int | None, typer.Option(help="Steps of one trial, at most.")] = None,
    stop_time_s: Annotated[
        float | None, typer.Option(help="Seconds of training of one trial, at most.")
    ] = None,
    cpus_per_trial: Annotated[
        float | None, typer.Option(help="CPUs of one trial with its workers; may be .5, say.")
    ] = None,
    gpus_per_trial: Annotated[
        float | None, typer.Option(help="GPUs of one trial's learners; may be .25, say.")
    ] = None,
    preset: Annotated[str | None, typer.Option(help="World: journey, display or drawn.")] = None,
    world_seed: Annotated[
        int | None, typer.Option(help="Of --preset drawn: the seed of the world's numbers.")
    ] = None,
    num_env_runners: Annotated[
        int | None, typer.Option(help="Remote rollout workers of one trial.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of the search and of every trial.")] = None,
    json_file: Json = None,
) -> None:
    """Search for better settings: trials side by side, the best one evaluated and exported.

    The search space, the scheduler and the search are Ray Tune's own, see tune_configs/ppo_asha.py.

    Example: `rllib-seq tune tune_configs.ppo_asha --num-samples 8 --storage sweeps`
    """
    from rllib_seq.training.config.experiment import Options
    from rllib_seq.training.run.console import make_console
    from rllib_seq.training.sweeps.sweep import SweepOptions, resume_sweep, run_sweep

    options = SweepOptions(
        num_samples=num_samples,
        stop_steps=stop_steps,
        stop_time_s=stop_time_s,
        cpus_per_trial=cpus_per_trial,
        gpus_per_trial=gpus_per_trial,
        trial=Options(
            preset=preset, world_seed=world_seed, num_env_runners=num_env_runners, seed=seed
        ),
    )
    go = resume_sweep if resume else run_sweep
    write(json_file, go(config, options, storage or "sweeps", make_console()).to_json())


def evaluate(
    checkpoint: Annotated[
        str | None,
        typer.Argument(
            help="Run, checkpoint or export, or its URI [default: the policy that is shipped]."
        ),
    ] = None,
    preset: Annotated[
        str | None, typer.Option(help="World; default: that of the training.")
    ] = None,
    world_seed: Annotated[
        int | None, typer.Option(help="Of --preset drawn: the seed of the world's numbers.")
    ] = None,
    episodes: Annotated[int, typer.Option(help="Campaigns (or episodes) per seed.")] = 4,
    seed: Annotated[int, typer.Option(help="First of three evaluation seeds.")] = 1000,
    json_file: Json = None,
) -> None:
    """Compare a checkpoint with baselines and oracles on fresh campaigns.

    A run of preset log is compared on the held-out days of its log, which need no seeds. A run in
    another environment is played: mean return with a 95 % interval, lengths. Writes
    `evaluation.json` into the run folder (or the current folder). Without an argument, the policy
    for preset journey that comes with the package is judged.

    Example: `rllib-seq evaluate runs/ppo-journey-20260102-030405 --episodes 4 --seed 2000`
    """
    from rllib_seq.serving.exported.spec import SHIPPED, SPEC
    from rllib_seq.training.evaluation.comparison import EvaluationProtocol, evaluate_checkpoint
    from rllib_seq.training.evaluation.results import Evaluation
    from rllib_seq.training.run.console import make_console
    from rllib_seq.training.storage.files import write_json
    from rllib_seq.training.storage.locations import local_copy, send_back
    from rllib_seq.training.storage.run_folder import evaluation_path, find_checkpoint

    protocol = EvaluationProtocol(seed=seed, episodes=episodes)
    console = make_console()
    checkpoint = checkpoint or str(SHIPPED)
    found: Evaluation
    with local_copy(checkpoint) as place:
        if (place / SPEC).is_file():
            from rllib_seq.training.evaluation.exports import evaluate_export

            folder = place
            found = evaluate_export(place, preset, protocol, console, world_seed)
        else:
            folder = find_checkpoint(place)
            found = evaluate_checkpoint(folder, preset, protocol, console, world_seed=world_seed)
        result = found.to_json()
        path = evaluation_path(folder)
        write_json(path, result)
        written = send_back(path, place, checkpoint)
    console.print(f"written: {written}", soft_wrap=True, markup=False)
    write(json_file, result)


def report(
    run: Annotated[str, typer.Argument(help="Run or sweep folder, or its URI.")],
    json_file: Json = None,
) -> None:
    """Draw a run or a sweep as one HTML page that needs no network.

    Example: `rllib-seq report runs/ppo-journey-20260102-030405`
    """
    from rllib_seq.training.reports.run_report import write_report
    from rllib_seq.training.storage.locations import local_copy, send_back
    from rllib_seq.training.storage.run_folder import RunFolder
    from rllib_seq.training.sweeps.report import is_sweep, write_sweep_report

    with local_copy(run) as place:
        if is_sweep(place):
            path = write_sweep_report(place)
        else:
            path = write_report(RunFolder.open(place))
        written = send_back(path, place, run)
    typer.echo(f"written: {written}")
    write(json_file, {"report": written})
