"""Commands that bring a policy to work: export, serve, score."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rllib_seq.cli.options import Json, write
from rllib_seq.errors import UserError

if TYPE_CHECKING:
    from rllib_seq.serving.openrtb.prices import PriceKeys


def export(
    checkpoint: Annotated[Path, typer.Argument(help="Run or checkpoint folder.")],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where the export goes.")],
    policy: Annotated[
        str | None, typer.Option(metavar="ID", help="Which, if there are several policies.")
    ] = None,
    json_file: Json = None,
) -> None:
    """Write any policy as ONNX, for `serve`: it needs no torch, no Ray and no pickle.

    The graph is one step of many streams, from observations and states to actions and states, with
    all that stands around the network; `spec.json` names and measures its inputs and outputs.

    A server that serves the folder takes a new export over at once, if it passes its self-test.

    Example: `rllib-seq export runs/ppo-journey-20260102-030405 policy`
    """
    from rllib_seq.training.export import export_checkpoint
    from rllib_seq.training.storage.run_folder import find_checkpoint

    find_checkpoint(checkpoint)  # what is wrong with it is said before the work
    typer.echo("exporting (some ten seconds)")
    spec = export_checkpoint(checkpoint, folder, policy)
    typer.echo(f"written: {folder / 'spec.json'}, model {spec['model']['sha256'][:12]}")
    write(json_file, spec)


def _export_in_a_process(checkpoint: Path, folder: Path) -> None:
    """Exports with torch and Ray, which the server itself does not load."""
    command = [sys.executable, "-m", "rllib_seq", "export", str(checkpoint), str(folder)]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True)
    print(done.stderr, end="", file=sys.stderr)
    if done.returncode:
        raise typer.Exit(done.returncode)


def serve(
    what: Annotated[
        Path | None,
        typer.Argument(
            metavar="CHECKPOINT_OR_EXPORT",
            help="An export, or a checkpoint [default: the policy that is shipped].",
        ),
    ] = None,
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
    price_unit: Annotated[
        str, typer.Option(help="Of prices in notices: cpm, or micros (millionths of it).")
    ] = "cpm",
    max_conversions: Annotated[int, typer.Option(help="Most conversions of a bid.")] = 10,
    max_conversion_value: Annotated[
        float | None, typer.Option(help="Most value of one [default: 10 times the training's].")
    ] = None,
    pacing: Annotated[str, typer.Option(help="none, proportional, pid or dual.")] = "none",
    creatives: Annotated[
        Path | None, typer.Option(help="What is shown (TOML or JSON) [default: an example].")
    ] = None,
    deals: Annotated[Path | None, typer.Option(help="Deals that are held (TOML or JSON).")] = None,
    rates: Annotated[
        Path | None, typer.Option(help="Rates of currencies, for floors (TOML or JSON).")
    ] = None,
    ids: Annotated[
        str, typer.Option(help="Ids that users are known by, the best first; also eids:SOURCE.")
    ] = "buyeruid,eids,ifa,id",
    currency: Annotated[str, typer.Option(help="Of all bids.")] = "USD",
    tmax_ms: Annotated[float, typer.Option(help="Most time for an answer.")] = 100.0,
    hold_seconds: Annotated[float, typer.Option(help="How long a bid holds (exp).")] = 300.0,
    max_users: Annotated[int, typer.Option(help="Users in memory.")] = 131_072,
    max_body_bytes: Annotated[int, typer.Option(help="Larger bid requests are refused.")] = (
        1_048_576
    ),
    max_imps: Annotated[int, typer.Option(help="Most impressions of a bid request.")] = 256,
    explore: Annotated[float, typer.Option(help="Share of random actions, to learn from.")] = 0.0,
    record: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write served trajectories (Parquet).")
    ] = None,
    public_url: Annotated[
        str, typer.Option(help="Where notices reach the server [default: as it was asked].")
    ] = "",
    min_replicas: Annotated[int, typer.Option(help="Of the fleet (ray).")] = 1,
    max_replicas: Annotated[int, typer.Option(help="The same.")] = 4,
    json_file: Json = None,
) -> None:
    """Serve a policy that remembers: bids over OpenRTB 2.6, all others by POST /act.

    See docs/guides/serving.md; what is about money and creatives is for bids.

    Secrets come from the environment, or from files: RLLIB_SEQ_TOKEN is the token that requests
    must show, RLLIB_SEQ_USER_SECRET the key of the hash that stands for user ids,
    RLLIB_SEQ_PRICE_ENCRYPTION_KEY and RLLIB_SEQ_PRICE_INTEGRITY_KEY those of encrypted prices,
    RLLIB_SEQ_REDIS_PASSWORD that of Redis; with _FILE behind the name, a file holds it. `/docs`
    describes the API, `/` shows live figures.

    Without an argument, the policy for preset journey that comes with the package bids.

    Example: `rllib-seq serve policy --budget 100 --state campaign.sqlite`
    """
    from contextlib import ExitStack

    from rllib_seq.serving.credentials import read_secret
    from rllib_seq.serving.exported.scratch import scratch_folder
    from rllib_seq.serving.exported.spec import SHIPPED, SPEC
    from rllib_seq.serving.settings import Settings

    if engine not in ("local", "ray"):
        raise UserError(f"--engine is {engine!r}; choose one of: local, ray")
    what = what or SHIPPED
    if not what.exists():
        raise UserError(f"{str(what)!r} does not exist; give an export, a run or a checkpoint")
    with ExitStack() as stack:
        folder = what
        if not (what / SPEC).is_file():
            folder = stack.enter_context(scratch_folder(state))
            _export_in_a_process(what, folder)
        settings = Settings(
            export=str(folder.resolve()),
            state=state,
            budget=budget,
            flight_hours=flight_hours,
            cap=cap,
            cap_hours=cap_hours,
            charge=charge,
            pacing=pacing,
            creatives=_path(creatives),
            deals=_path(deals),
            rates=_path(rates),
            ids=tuple(each.strip() for each in ids.split(",")),
            currency=currency,
            tmax_ms=tmax_ms,
            hold_seconds=hold_seconds,
            max_users=max_users,
            max_body_bytes=max_body_bytes,
            max_imps=max_imps,
            explore=explore,
            record=None if record is None else str(record.resolve()),
            public_url=public_url,
            price_unit=price_unit,
            price_keys=_price_keys(),
            max_conversions=max_conversions,
            max_conversion_value=max_conversion_value,
            token=read_secret("RLLIB_SEQ_TOKEN"),
            user_secret=read_secret("RLLIB_SEQ_USER_SECRET"),
        )
        if engine == "local":
            from rllib_seq.serving.http.engine_local import serve_local

            totals = serve_local(settings, host, port)
        else:
            from rllib_seq.serving.engine_ray import serve_ray

            totals = serve_ray(settings, host, port, min_replicas, max_replicas)
        write(json_file, totals)


def _price_keys() -> PriceKeys | None:
    """Of encrypted prices, from the environment."""
    from rllib_seq.serving.credentials import read_secret
    from rllib_seq.serving.openrtb.prices import PriceKeys

    names = "RLLIB_SEQ_PRICE_ENCRYPTION_KEY", "RLLIB_SEQ_PRICE_INTEGRITY_KEY"
    encryption, integrity = map(read_secret, names)
    if encryption is None and integrity is None:
        return None
    if encryption is None or integrity is None:
        raise UserError(f"encrypted prices need both keys; set {' and '.join(names)}")
    return PriceKeys.read(encryption, integrity)


def ledger(
    state: Annotated[str, typer.Argument(help="File or redis://HOST:PORT/DB of a campaign.")],
    adjust: Annotated[
        list[str] | None,
        typer.Option(metavar="TOTAL=AMOUNT", help="Add to a total; may be repeated."),
    ] = None,
    reason: Annotated[str, typer.Option(help="Of the adjustment; it is kept forever.")] = "",
    export_csv: Annotated[
        Path | None,
        typer.Option("--export", metavar="CSV", help="Write every entry that is known."),
    ] = None,
    json_file: Json = None,
) -> None:
    """Show the books of a campaign, correct them with a reason, or export them.

    A file can be read while no server has it.

    Example: `rllib-seq ledger campaign.sqlite --adjust spend=-12.5 --reason "credit note 17"`
    """
    from rllib_seq.serving.state.ledger import adjust_ledger, export_ledger, read_ledger, shown
    from rllib_seq.serving.state.opening import opened_books

    with opened_books(state) as storage:
        if adjust or reason:
            adjust_ledger(storage, adjust or [], reason)
        books = read_ledger(storage)
        typer.echo(shown(books))
        if export_csv is not None:
            entries = export_ledger(storage, export_csv)
            typer.echo(f"written: {export_csv}, {entries} entries")
    write(json_file, books)


def _path(path: Path | None) -> str | None:
    """As replicas elsewhere on this machine find it."""
    return None if path is None else str(path.resolve())


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
    from rllib_seq.serving.exported.policy import load_policy
    from rllib_seq.serving.exported.scoring import score as score_records
    from rllib_seq.training.run.console import make_console
    from rllib_seq.training.run.ray_session import ray_session

    load_policy(export_folder)  # what is wrong with it is said before Ray starts
    typer.echo("scoring")
    with ray_session(1, make_console()):
        result = score_records(export_folder, files, output)
    typer.echo(
        f"{result['steps']} steps, agreement {result['agreement']:.1%}, mean bid "
        f"{result['mean_bid']:.4g}; written: {output}"
    )
    write(json_file, result)
