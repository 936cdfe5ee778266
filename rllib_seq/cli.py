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

    rllib-seq export runs/RUN policy

    rllib-seq serve policy --budget 100

    rllib-seq score policy records --output scored

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
    offline: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILES", help="Learn from what `serve --record` wrote: DQN."),
    ] = None,
    json_file: Json = None,
) -> None:
    """Train a bidder, evaluate it, and leave a run folder.

    Stops after 300 seconds unless told otherwise; limits count over all sessions of a run. With
    `--offline` the config is tune_configs.dqn unless told otherwise.

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
    if offline:
        default = "tune_configs.dqn"
    if resume is None:
        result = run_training(
            config if config is not None else default,
            options,
            limits or Limits(seconds=300.0),
            storage or "runs",
            make_console(),
            offline=offline or (),
        )
    else:
        if (config, storage, offline) != (None, None, None) or options != Options():
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
def export(
    checkpoint: Annotated[Path, typer.Argument(help="Run or checkpoint folder.")],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where the export goes.")],
    json_file: Json = None,
) -> None:
    """Write a policy as ONNX, for `serve`: it needs no torch, no Ray and no pickle.

    A server that serves the folder takes a new export over at once, if it passes its self-test.

    Example: `rllib-seq export runs/ppo-journey-20260102-030405 policy`
    """
    from rllib_seq.training.export import export_checkpoint
    from rllib_seq.training.run_folder import find_checkpoint

    find_checkpoint(checkpoint)  # what is wrong with it is said before the work
    typer.echo("exporting (about ten seconds)")
    spec = export_checkpoint(checkpoint, folder)
    typer.echo(f"written: {folder / 'spec.json'}, model {spec['model']['sha256'][:12]}")
    _write(json_file, spec)


@app.command()
def serve(
    what: Annotated[
        Path, typer.Argument(metavar="CHECKPOINT_OR_EXPORT", help="An export, or a checkpoint.")
    ],
    engine: Annotated[str, typer.Option(help="local: one process; ray: a Ray Serve fleet.")] = (
        "local"
    ),
    host: Annotated[str, typer.Option(help="Address; others than this machine need a token.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(help="Port; 0 for a free one (local).")] = 8080,
    state: Annotated[
        str, typer.Option(help="File, :memory:, or redis://HOST:PORT/DB: spend and sessions.")
    ] = "bid-server.sqlite",
    budget: Annotated[
        float | None, typer.Option(help="Hard limit on spend [default: as in training].")
    ] = None,
    flight_hours: Annotated[
        float | None, typer.Option(help="Length of the campaign [default: as in training].")
    ] = None,
    cap: Annotated[int, typer.Option(help="Impressions per user and --cap-hours; 0: no cap.")] = 0,
    cap_hours: Annotated[float, typer.Option(help="Period of the frequency cap.")] = 24.0,
    charge: Annotated[str, typer.Option(help="What spends: win, or billing alone.")] = "win",
    pacing: Annotated[str, typer.Option(help="none, proportional, pid or dual.")] = "none",
    currency: Annotated[str, typer.Option(help="Of all prices.")] = "USD",
    tmax_ms: Annotated[float, typer.Option(help="Most time for an answer.")] = 100.0,
    hold_seconds: Annotated[float, typer.Option(help="How long a bid holds (exp).")] = 300.0,
    max_users: Annotated[int, typer.Option(help="Users in memory.")] = 131_072,
    explore: Annotated[float, typer.Option(help="Share of random actions, to learn from.")] = 0.0,
    record: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write served trajectories (Parquet).")
    ] = None,
    public_url: Annotated[
        str, typer.Option(help="Where notices reach the server [default: as it was asked].")
    ] = "",
    min_replicas: Annotated[int, typer.Option(help="Of the fleet (ray).")] = 1,
    max_replicas: Annotated[int, typer.Option(help="Likewise.")] = 4,
    json_file: Json = None,
) -> None:
    """Serve bids over OpenRTB 2.6, remembering every user. See docs/serving.md.

    RLLIB_SEQ_TOKEN is the token that requests must show, RLLIB_SEQ_USER_SECRET the key of the hash
    that stands for user ids. `/docs` describes the API, `/` shows live figures.

    Example: `rllib-seq serve policy --budget 100 --state campaign.sqlite`
    """
    import tempfile

    from rllib_seq.serving.settings import Settings
    from rllib_seq.serving.spec import SPEC

    if engine not in ("local", "ray"):
        raise UserError(f"--engine is {engine!r}; choose one of: local, ray")
    with tempfile.TemporaryDirectory(prefix="rllib-seq-export-") as aside:
        folder = what
        if not (what / SPEC).is_file():
            from rllib_seq.training.export import export_checkpoint

            folder = Path(aside)
            export_checkpoint(what, folder)
        settings = Settings(
            export=str(folder.resolve()),
            state=state,
            budget=budget,
            flight_hours=flight_hours,
            cap=cap,
            cap_hours=cap_hours,
            charge=charge,
            pacing=pacing,
            currency=currency,
            tmax_ms=tmax_ms,
            hold_seconds=hold_seconds,
            max_users=max_users,
            explore=explore,
            record=None if record is None else str(record.resolve()),
            public_url=public_url,
            token=os.environ.get("RLLIB_SEQ_TOKEN"),
            user_secret=os.environ.get("RLLIB_SEQ_USER_SECRET"),
        )
        if engine == "local":
            from rllib_seq.serving.engine_local import serve_local

            totals = serve_local(settings, host, port)
        else:
            from rllib_seq.serving.engine_ray import serve_ray

            totals = serve_ray(settings, host, port, min_replicas, max_replicas)
        _write(json_file, totals)


@app.command()
def score(
    export_folder: Annotated[Path, typer.Argument(metavar="EXPORT", help="An export.")],
    files: Annotated[list[Path], typer.Argument(help="What `serve --record` wrote.")],
    output: Annotated[
        Path, typer.Option(metavar="DIR", help="Where the scored steps go (Parquet).")
    ] = Path("scored"),
    json_file: Json = None,
) -> None:
    """Ask a policy what it would do on recorded trajectories, with Ray Data.

    Example: `rllib-seq score policy records --output scored`
    """
    from rllib_seq.serving.policy import load_policy
    from rllib_seq.serving.scoring import score as score_records
    from rllib_seq.training.console import make_console
    from rllib_seq.training.ray_session import ray_session

    load_policy(export_folder)  # what is wrong with it is said before Ray starts
    typer.echo("scoring")
    with ray_session(1, make_console()):
        result = score_records(export_folder, files, output)
    typer.echo(
        f"{result['steps']} steps, agreement {result['agreement']:.1%}, mean bid "
        f"{result['mean_bid']:.4g}; written: {output}"
    )
    _write(json_file, result)


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
