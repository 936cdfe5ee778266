"""Many cells: which, where, how many at once; and what is there already.

- `Plan`: what a command is to do
- `cells_of`: its cells, as `only` selects them
- `train_all`: trains those that are missing, a process for each
- `references`: what bidders that learn nothing earn
"""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from rllib_seq.benchmarks.learning.cells import (
    CAMPAIGNS,
    EVALUATION_SEEDS,
    USERS,
    Cell,
    replay_row,
    train_cell,
)
from rllib_seq.benchmarks.learning.contenders import BUDGET_RATIO
from rllib_seq.benchmarks.result import chosen
from rllib_seq.envs.ad_auction.log_replay.baselines import (
    HindsightBids,
    LinearBids,
    PacedBids,
    ReplayPolicy,
)
from rllib_seq.envs.ad_auction.worlds.presets import AuctionConfig
from rllib_seq.errors import UserError
from rllib_seq.training.config.auction_logs import replay_world
from rllib_seq.training.evaluation.campaigns import evaluate, rows
from rllib_seq.training.evaluation.campaigns import references as simulated
from rllib_seq.training.run.console import make_console, progress_bar
from rllib_seq.training.storage.files import read_json, write_json

STEPS = {"journey": 800_000, "display": 150_000, "log": 100_000}
SHORT_STEPS = 60_000
FIRST_SEED = 1


@dataclass(frozen=True)
class Plan:
    """What a command is to do.

    Attributes:
        presets: whose cells there are.
        contenders: the same.
        only: starts of `preset/contender/seed`; none: all.
        steps: of every cell; None: `STEPS`.
        seeds: training seeds, from 1.
        jobs: cells at a time; 0: train nothing, sum up what is there.
        folder: where they are kept.
        log: files of preset `log`.
    """

    presets: Sequence[str]
    contenders: Sequence[str]
    folder: Path
    only: Sequence[str] = ()
    steps: int | None = None
    seeds: int = 5
    jobs: int = 1
    log: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Raises UserError on a bad value."""
        for name, least in (("steps", 1), ("seeds", 1), ("jobs", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise UserError(f"{name} is {value}; give a whole number of at least {least}")
        for path in self.log:
            if not Path(path).is_file():
                raise UserError(f"no file {path!r}; give --log an existing one")


def cells_of(plan: Plan) -> list[Cell]:
    """The cells of a plan: first seeds first, so that every contender soon has one.

    Raises:
        UserError: something in `only` selects nothing.
    """
    every = [
        Cell(
            preset,
            contender,
            seed,
            plan.steps or STEPS[preset],
            plan.log if preset == "log" else (),
        )
        for seed in range(FIRST_SEED, FIRST_SEED + plan.seeds)
        for preset in plan.presets
        for contender in plan.contenders
    ]
    cells = {cell.path: cell for cell in every}
    selected = [cells[path] for path in chosen(cells, plan.only)]
    if any(cell.preset == "log" for cell in selected) and not plan.log:
        raise UserError("preset 'log' replays a file, and there is none; give --log FILE")
    return selected


def train_all(plan: Plan) -> list[dict[str, Any]]:
    """Trains the cells that are missing and returns all that are there.

    Cells that another process is training are left to it.

    Raises:
        UserError: a cell in the folder was trained for another number of steps, or there is none.
        RuntimeError: a cell failed; the others were trained all the same.
    """
    cells, console = cells_of(plan), make_console()
    plan.folder.mkdir(parents=True, exist_ok=True)
    missing = [cell for cell in cells if _read(plan.folder, cell) is None] if plan.jobs else []
    console.print(
        f"{len(cells)} cells, {len(missing)} to train, {plan.jobs} at a time, in {plan.folder}",
        soft_wrap=True,
        highlight=False,
    )
    failed = []
    for number, (cell, word, error) in enumerate(_trained(plan, missing) if missing else (), 1):
        console.print(
            f"[{number} of {len(missing)}] {cell.path} {word}", highlight=False, markup=False
        )
        if error is not None:
            failed.append(f"{cell.path}: {error!r}")
    if failed:
        raise RuntimeError(f"{len(failed)} cells failed; the first: {failed[0]}")
    there = [row for cell in cells if (row := _read(plan.folder, cell)) is not None]
    if not there:
        raise UserError(f"no cell is finished in {str(plan.folder)!r}; train some with --jobs 1")
    return there


def _trained(plan: Plan, cells: Sequence[Cell]) -> Iterator[tuple[Cell, str, BaseException | None]]:
    """Trains cells, each in a process of its own, and says what came of them."""
    context = multiprocessing.get_context("spawn")
    # What RLlib leaves behind in a process does not reach the next cell.
    pool = ProcessPoolExecutor(plan.jobs, mp_context=context, max_tasks_per_child=1)
    with _ended_by_signals():
        try:
            futures = {pool.submit(_train, cell, plan.folder): cell for cell in cells}
            for future in as_completed(futures):
                error = future.exception()
                if error is not None:
                    word = f"FAILED: {error!r}"
                else:
                    word = "trained" if future.result() else "left to another process"
                yield futures[future], word, error
        except BaseException:
            # First, or the pool puts new processes with the next cells in the place of these.
            pool.shutdown(wait=False, cancel_futures=True)
            for process in multiprocessing.active_children():
                process.terminate()
            raise
        finally:
            pool.shutdown()


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """SIGTERM ends this process as Ctrl-C does, so that it takes its children along."""

    def stop(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def _train(cell: Cell, folder: Path) -> bool:
    return train_cell(cell, folder, make_console())


def _read(folder: Path, cell: Cell) -> dict[str, Any] | None:
    path = folder / f"{cell.path}.json"
    if not path.is_file():
        return None
    row = read_json(path)
    if row["asked_steps"] != cell.steps:
        raise UserError(
            f"{path} was trained for {row['asked_steps']} steps, and {cell.steps} are asked for; "
            "give another --folder, or the same --steps"
        )
    return row


def references(preset: str, folder: Path, log: tuple[str, ...]) -> list[dict[str, Any]]:
    """Rows of what bidders that learn nothing earn, weakest first; kept in the folder."""
    path = folder / preset / "references.json"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, {"policies": _references(preset, log, make_console())})
    return read_json(path)["policies"]


def _references(preset: str, log: tuple[str, ...], console: Console) -> list[dict[str, Any]]:
    if preset == "log":
        world = replay_world({"log": list(log), "budget_ratio": BUDGET_RATIO})
        bidders: list[ReplayPolicy] = [
            LinearBids(),
            PacedBids(),
            HindsightBids(),
            HindsightBids(knows_clicks=True),
        ]
        return [replay_row(world, bidder) for bidder in bidders]
    config = replace(AuctionConfig(preset=preset, reward="sampled"), num_users=USERS)
    policies = simulated(config.build_preset())
    campaigns = CAMPAIGNS[preset]
    total = len(policies) * len(EVALUATION_SEEDS) * campaigns
    with progress_bar(console, f"references of {preset}", total) as count:
        found = evaluate(policies, config, EVALUATION_SEEDS, campaigns, count)
    return [asdict(row) for row in rows(found)]
