"""From a log to a bidder: find the patterns of an auction log, then train on it.

    python examples/tutorials/log_to_bidder.py

The log is written by the simulator: one campaign that bids the same for everyone. Put your own file
in its place; docs/guides/discover.md says what can be read.
"""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table

from rllib_seq.envs.ad_auction import AuctionConfig, AuctionSimulator, play
from rllib_seq.envs.ad_auction.references.baselines import RandomBids
from rllib_seq.journeys import Patterns, discover, load_events
from rllib_seq.training.config.experiment import Options
from rllib_seq.training.run.trainer import Limits
from rllib_seq.training.train import TrainingResult, run_training


def write_log(path: Path, users: int) -> Path:
    """Play a campaign and write its events: requests, impressions, clicks, visits, conversions."""
    simulator = AuctionSimulator(AuctionConfig("journey", num_users=users), record=True)
    play(simulator, RandomBids(), seed=1)
    simulator.events.write(path)
    return path


def show(patterns: Patterns) -> None:
    """Print what the log says about its users."""
    table = Table("pattern", "value")
    table.add_row("journeys", f"{patterns.journeys['journeys']:,}")
    table.add_row("conversion rate", f"{patterns.journeys['conversion_rate']:.1%}")
    table.add_row("window length", str(patterns.window.length))
    for channel, credit in patterns.attribution["shapley"].items():
        table.add_row(f"credit of {channel} (Shapley)", f"{credit:,.1f}")
    Console().print(table)


def main(folder: Path, users: int = 2_000, steps: int = 60_000) -> TrainingResult:
    """Write a log, show its patterns, train on its first days, compare on its last."""
    folder.mkdir(exist_ok=True)
    log = write_log(folder / "events.csv", users)
    show(discover(load_events(log)))
    options = Options(preset="log", log=(str(log),), budget_ratio=1 / 8, num_env_runners=0, seed=0)
    return run_training("ppo_log", options, Limits(steps=steps), folder / "runs", Console())


if __name__ == "__main__":
    main(Path("log-to-bidder"))
