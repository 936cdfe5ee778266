"""The command line: `rllib-seq`.

Every command takes `--json FILE`. Progress and tables go to stdout, errors to stderr; exit code 2
means that the user can mend it, 130 that a signal stopped it.
"""

from __future__ import annotations

import importlib
import inspect
import json
import math
import os
import signal
import sys
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any

import typer

from rllib_seq.errors import Interrupted, UserError

__all__ = ["app", "main"]

_EXAMPLES = """
Examples:

    rllib-seq train tune_configs.ppo --preset journey --stop-time-s 300

    rllib-seq train --preset log --log auctions.parquet --budget-ratio 1/32

    rllib-seq tune tune_configs.ppo_asha --num-samples 8

    rllib-seq evaluate runs/RUN --episodes 4 --seed 2000

    rllib-seq report runs/RUN

    rllib-seq discover events.parquet

    rllib-seq bench discover
"""

app = typer.Typer(
    help="Sequence models for RLlib, and the multi-user ad auction that proves them.",
    epilog=_EXAMPLES,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)

# Typer does not export it: the base of everything that is wrong with a command's words.
_UsageError: type[typer.BadParameter] = typer.BadParameter.__bases__[0]


def _writable(path: Path | None) -> Path | None:
    """Refuses a file that could not be written, before the work and not after it."""
    if path is not None and (path.is_dir() or not os.access(path.absolute().parent, os.W_OK)):
        raise UserError(f"cannot write --json {str(path)!r}; give a file in an existing folder")
    return path


Json = Annotated[
    Path | None,
    typer.Option("--json", metavar="FILE", help="Write the result as JSON.", callback=_writable),
]


@app.callback()
def _root() -> None:
    """Keeps the commands as commands, however many there are."""


@app.command()
def train(
    config: Annotated[
        str | None,
        typer.Argument(
            help="Module with a `config`, or a .py file [default: tune_configs.ppo; with --preset "
            "log: tune_configs.ppo_log]."
        ),
    ] = None,
    preset: Annotated[
        str | None, typer.Option(help="World: journey, display, uniform or log.")
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
    json_file: Json = None,
) -> None:
    """Train a bidder, evaluate it, and leave a run folder.

    Stops after 300 seconds unless told otherwise; limits count over all sessions of a run.

    Example: `rllib-seq train tune_configs.ppo --preset journey --stop-time-s 300`, or on a log of
    your own `rllib-seq train --preset log --log auctions.parquet --budget-ratio 1/32`
    """
    from rllib_seq.training.console import make_console
    from rllib_seq.training.experiment import Options
    from rllib_seq.training.from_patterns import with_patterns
    from rllib_seq.training.run import resume_training, run_training
    from rllib_seq.training.trainer import Limits

    options = Options(
        preset,
        budget,
        window_length,
        num_env_runners,
        seed,
        reward=reward,
        auction=auction,
        log=tuple(str(path.resolve()) for path in log) if log else None,
        budget_ratio=_ratio(budget_ratio),
        episode_requests=episode_requests,
        held_out_days=held_out_days,
        stream=stream,
    )
    options, told = with_patterns(options, patterns)
    if told:
        typer.echo(told)
    limits = None
    if stop_time_s is not None or stop_steps is not None:
        limits = Limits(
            math.inf if stop_time_s is None else stop_time_s,
            math.inf if stop_steps is None else stop_steps,
        )
    default = "tune_configs.ppo_log" if preset == "log" else "tune_configs.ppo"
    if resume is None:
        result = run_training(
            default if config is None else config,
            options,
            limits or Limits(seconds=300.0),
            storage or "runs",
            make_console(),
        )
    else:
        if (config, storage) != (None, None) or options != Options():
            raise UserError(
                "--resume goes on with the run's own settings; give only --stop-time-s or "
                "--stop-steps with it"
            )
        result = resume_training(resume, limits, make_console())
    _write(json_file, result)


@app.command()
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
    preset: Annotated[str | None, typer.Option(help="World: journey or display.")] = None,
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
    from rllib_seq.training.console import make_console
    from rllib_seq.training.experiment import Options
    from rllib_seq.training.sweep import SweepOptions, resume_sweep, run_sweep

    options = SweepOptions(
        num_samples=num_samples,
        stop_steps=stop_steps,
        stop_time_s=stop_time_s,
        cpus_per_trial=cpus_per_trial,
        gpus_per_trial=gpus_per_trial,
        trial=Options(preset=preset, num_env_runners=num_env_runners, seed=seed),
    )
    go = resume_sweep if resume else run_sweep
    _write(json_file, go(config, options, storage or "sweeps", make_console()))


@app.command()
def evaluate(
    checkpoint: Annotated[str, typer.Argument(help="Run or checkpoint folder, or its URI.")],
    preset: Annotated[
        str | None, typer.Option(help="World; default: that of the training.")
    ] = None,
    episodes: Annotated[int, typer.Option(help="Campaigns per seed.")] = 4,
    seed: Annotated[int, typer.Option(help="First of three evaluation seeds.")] = 1000,
    json_file: Json = None,
) -> None:
    """Compare a checkpoint with baselines and oracles on fresh campaigns.

    A run of preset log is compared on the held-out days of its log, which need no seeds. Writes
    `evaluation.json` into the run folder (or the current folder).

    Example: `rllib-seq evaluate runs/ppo-journey-20260102-030405 --episodes 4 --seed 2000`
    """
    from rllib_seq.training.console import make_console
    from rllib_seq.training.files import write_json
    from rllib_seq.training.run import Protocol, evaluate_checkpoint
    from rllib_seq.training.run_folder import evaluation_path, find_checkpoint
    from rllib_seq.training.storage import local_copy, send_back

    protocol = Protocol(seed=seed, episodes=episodes)
    console = make_console()
    with local_copy(checkpoint) as place:
        folder = find_checkpoint(place)
        result = evaluate_checkpoint(folder, preset, protocol, console)
        path = evaluation_path(folder)
        write_json(path, result)
        written = send_back(path, place, checkpoint)
    console.print(f"written: {written}", soft_wrap=True, markup=False)
    _write(json_file, result)


@app.command()
def report(
    run: Annotated[str, typer.Argument(help="Run or sweep folder, or its URI.")],
    json_file: Json = None,
) -> None:
    """Draw a run or a sweep as one HTML page that needs no network.

    Example: `rllib-seq report runs/ppo-journey-20260102-030405`
    """
    from rllib_seq.training.report import write_report
    from rllib_seq.training.run_folder import RunFolder
    from rllib_seq.training.storage import local_copy, send_back
    from rllib_seq.training.sweep_report import is_sweep, write_sweep_report

    with local_copy(run) as place:
        if is_sweep(place):
            path = write_sweep_report(place)
        else:
            path = write_report(RunFolder.open(place))
        written = send_back(path, place, run)
    typer.echo(f"written: {written}")
    _write(json_file, {"report": written})


@app.command()
def discover(
    events: Annotated[
        Path, typer.Argument(help="Event log (CSV, Parquet), iPinYou rows or journey paths.")
    ],
    strict: Annotated[
        bool, typer.Option("--strict", help="Stop at the first bad row instead of counting it.")
    ] = False,
    output: Annotated[
        Path, typer.Option(metavar="DIR", help="Where patterns.json and discover.html go.")
    ] = Path("."),
    json_file: Json = None,
) -> None:
    """Learn from a log what to model: journeys, window length, peaks, delays, channel credits.

    Writes `patterns.json` and `discover.html`. The schema is in docs/discover.md.

    Example: `rllib-seq discover events.parquet --output patterns`
    """
    from rllib_seq.journeys.command import run_discovery
    from rllib_seq.training.console import make_console

    _write(json_file, run_discovery(events, strict, output, make_console()))


@app.command()
def bench(
    name: Annotated[str, typer.Argument(help="What to measure: a file of tests/benchmarks.")],
    only: Annotated[
        list[str] | None, typer.Argument(help="Parts of it, if it has any [default: all].")
    ] = None,
    json_file: Json = None,
) -> None:
    """Measure speed, or what is learned. Exit code 1: a limit was missed.

    Needs the source checkout.

    Example: `rllib-seq bench discover`, `rllib-seq bench memory cartpole`
    """
    folder = Path(__file__).parents[1] / "tests" / "benchmarks"
    known = sorted(path.stem.removeprefix("bench_") for path in folder.glob("bench_*.py"))
    if name not in known:
        raise UserError(f"no benchmark {name!r}; choose one of: {', '.join(known) or 'none here'}")
    sys.path.insert(0, str(folder))
    benchmark = importlib.import_module(f"bench_{name}")
    if only and "only" not in inspect.signature(benchmark.run).parameters:
        raise UserError(f"benchmark {name!r} has no parts; leave out {' '.join(only)!r}")
    result = benchmark.run(only) if only else benchmark.run()
    if hasattr(benchmark, "show"):
        benchmark.show(result)
    else:
        typer.echo(json.dumps(result))
    _write(json_file, result)
    if not result["passed"]:
        raise typer.Exit(1)


def _ratio(text: str | None) -> float | None:
    """A number or a fraction."""
    if text is None:
        return None
    try:
        return float(Fraction(text.strip()))
    except (ValueError, ZeroDivisionError):
        raise UserError(
            f"budget-ratio is {text!r}; give a number or a fraction such as 1/32"
        ) from None


def _write(path: Path | None, result: Any) -> None:
    if path is not None:
        path.write_text(json.dumps(result, indent=2) + "\n")


def main() -> None:
    """Runs the command line; user errors become one line and exit code 2."""
    # Clusters end what they run by SIGTERM: let everything be cleaned up as after Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        code = app(standalone_mode=False)
    except _UsageError as error:
        print(f"error: {error.format_message()} (see rllib-seq --help)", file=sys.stderr)
        sys.exit(2)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except Interrupted as stop:
        print(stop, file=sys.stderr)
        sys.exit(130)
    except typer.Abort:
        sys.exit(130)
    sys.exit(code or 0)
