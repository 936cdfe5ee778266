"""What a trained policy has learned: does it know the hidden stage, and what does it look at?

    rllib-seq bench probes runs/RUN --json probes.json

For a run or checkpoint with one of our encoders and users as streams. Plays campaigns that neither
training nor evaluation plays, and asks

- `stage`: how well a linear probe reads the hidden stage from the encoder's features, beside what
  Bayes' rule can know of it at the same requests;
- `bids`: what it bids where Bayes bids alike, and by how sure Bayes is of intent;
- `attention`: where the pooling looks, by age and by what a token tells;
- `channels`: what it bids after impressions on one channel and then on another;
- `calibration`: of auxiliary heads, where there are any.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats

from rllib_seq.benchmarks.probes.record import TYPES, watch
from rllib_seq.benchmarks.result import Result, Row, listed
from rllib_seq.envs.ad_auction.worlds.presets import AuctionConfig
from rllib_seq.errors import UserError
from rllib_seq.training.acting.actor import Actor, PolicyActor
from rllib_seq.training.acting.loading import load_policy
from rllib_seq.training.config.checks import auction_config, plays_one_stream, training_signal
from rllib_seq.training.evaluation.campaigns import evaluate
from rllib_seq.training.evaluation.forecasts import RecordedBids, calibrate, futures_in_all
from rllib_seq.training.evaluation.policies import TrainedBids
from rllib_seq.training.reports.calibration_view import CALIBRATION, calibration_rows
from rllib_seq.training.run.console import make_console, progress_bar
from rllib_seq.training.run.ray_session import ray_session
from rllib_seq.training.run.trainer import resumed_config
from rllib_seq.training.storage.run_folder import find_checkpoint

SEEDS = (600, 601, 602, 603)
"""The probe learns from the first half and is judged on the second."""
USERS = 2048
BINS = 12

Array = NDArray[Any]


def run(only: Sequence[str] = ()) -> Result:
    """Probes the run that `only` names.

    Raises:
        UserError: not exactly one run, or one of another world or model.
    """
    if len(only) != 1:
        raise UserError("bench probes looks into one run; give its folder, for example runs/RUN")
    checkpoint = find_checkpoint(Path(only[0]))
    config = resumed_config(checkpoint)
    world = auction_config(config)
    if world is None or plays_one_stream(config):
        raise UserError(
            f"{only[0]!r} was not trained with users as streams in the ad auction; give a run of "
            "multi_user_ad_auction"
        )
    torch.set_num_threads(1)
    console = make_console()
    with ray_session(1, console):
        actor = PolicyActor(load_policy(checkpoint))
        console.print(f"watching {len(SEEDS)} campaigns of {USERS} users ...")
        world = world.with_users(USERS)
        columns = watch(actor, world, SEEDS)
        cards = _calibration(actor, world)
    users = world.build_preset().users
    figures = {
        "run": str(only[0]),
        "preset": world.preset,
        "signal": training_signal(config),
        "requests": len(columns["bid"]),
        "stages": list(users.stages),
        "stage": probe_stage(columns),
        "bids": bids_by_belief(columns),
        "attention": attention_shares(columns),
        "channels": bids_by_channels(columns, users.channels),
        "calibration": cards,
    }
    return Result(figures, tables(figures))


def tables(figures: Mapping[str, Any]) -> dict[str, Sequence[Row]]:
    """What is printed."""
    bids, attention = figures["bids"], figures["attention"]
    correlation = bids["rank_correlation_with_bayes"]
    shown: dict[str, Sequence[Row]] = {
        f"{figures['requests']:,} requests of {figures['preset']}": listed(
            {name: figures[name] for name in ("run", "signal", "stages")}
        ),
        "hidden stage": [{"read from": name, **row} for name, row in figures["stage"].items()],
        f"bids where Bayes bids alike (rank correlation {correlation:.3f})": bids["by_bayes_bid"],
        "attention of the pooling, by what a token tells": [
            {"token": name, **row} for name, row in attention["by_type"].items()
        ],
        "attention by age": [
            {"age": age, "share": share} for age, share in enumerate(attention["by_age"] or ())
        ],
        "bids after two impressions": figures["channels"],
    }
    if figures["calibration"]:
        shown[CALIBRATION] = calibration_rows(figures["calibration"])
    return shown


def probe_stage(columns: dict[str, Array]) -> dict[str, Any]:
    """How well the hidden stage can be read off.

    `bayes` is the exact belief: no reader of what the bidder saw can do better in the mean. Loss is
    the cross-entropy, nats per request.
    """
    train = columns["campaign"] < len(SEEDS) // 2
    stage, belief = columns["stage"], columns["belief"]
    features = columns["features"]
    scale = features[train].std(axis=0) + 1e-6
    features = (features - features[train].mean(axis=0)) / scale
    probe = _logistic(features[train], stage[train], belief.shape[1])
    said = {
        "nothing known": np.tile(
            np.bincount(stage[train], minlength=belief.shape[1]) / train.sum(), ((~train).sum(), 1)
        ),
        "features": probe(features[~train]),
        "bayes": belief[~train],
    }
    truth, known = stage[~train], belief[~train].argmax(axis=1)
    return {
        name: {
            "accuracy": float((rows.argmax(axis=1) == truth).mean()),
            "agrees_with_bayes": float((rows.argmax(axis=1) == known).mean()),
            "loss": float(-np.log(np.maximum(rows[np.arange(len(rows)), truth], 1e-12)).mean()),
        }
        for name, rows in said.items()
    }


def _logistic(features: Array, labels: Array, classes: int) -> Any:
    """Multinomial logistic regression, weak normal prior; maps features to probabilities."""
    x = torch.as_tensor(features, dtype=torch.float64)
    y = torch.as_tensor(labels)
    weight = torch.zeros(x.shape[1], classes, dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(classes, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        prior = weight.square().sum() / (2 * len(x))
        value = torch.nn.functional.cross_entropy(x @ weight + bias, y) + prior
        value.backward()
        return value

    optimizer.step(loss)

    def probabilities(rows: Array) -> Array:
        logits = torch.as_tensor(rows, dtype=torch.float64) @ weight + bias
        return torch.softmax(logits, 1).detach().numpy()

    return probabilities


def bids_by_belief(columns: dict[str, Array]) -> dict[str, Any]:
    """Our bids where Bayes bids alike, and where it believes alike in the last stage."""
    bids, bayes, last = columns["bid"], columns["bayes_bid"], columns["belief"][:, -1]
    return {
        "rank_correlation_with_bayes": float(stats.spearmanr(bids, bayes).statistic),
        "by_bayes_bid": _binned(bayes, bids),
        "by_belief_in_last_stage": _binned(last, bids),
    }


def _binned(along: Array, bids: Array) -> list[dict[str, float]]:
    """Mean and tenths of bids, in bins of as many requests each."""
    order = np.argsort(along, kind="stable")
    rows = []
    for part in np.array_split(order, BINS):
        low, high = np.quantile(bids[part], [0.1, 0.9])
        rows.append(
            {
                "at": float(along[part].mean()),
                "bid": float(bids[part].mean()),
                "low": float(low),
                "high": float(high),
                "requests": len(part),
            }
        )
    return rows


def attention_shares(columns: dict[str, Array]) -> dict[str, Any]:
    """Where the pooling looks.

    By age: the mean share of attention, of users whose memory is full. By type: a token's share
    over what it would get if all tokens got the same, the current one left out, because the pooling
    asks from it; 1 is indifference.
    """
    attention, kinds = columns["attention"], columns["kinds"]
    there = kinds >= 0
    full = there.all(axis=1)
    past, seen = attention[:, 1:], there[:, 1:]
    enough = seen.sum(axis=1) >= 3
    even = np.where(seen, past.sum(axis=1, keepdims=True), 0.0)
    even /= np.maximum(seen.sum(axis=1, keepdims=True), 1)
    by_type = {}
    for number, name in enumerate(TYPES):
        mask = (kinds[:, 1:] == number) & enough[:, None]
        by_type[name] = {
            "tokens": int(mask.sum()),
            "times_even": float(past[mask].sum() / even[mask].sum()) if mask.any() else None,
        }
    return {
        "by_age": attention[full].mean(axis=0).tolist() if full.any() else None,
        "on_current": float(attention[:, 0][enough].mean()),
        "by_type": by_type,
    }


def bids_by_channels(columns: dict[str, Array], names: Sequence[str]) -> list[dict[str, Any]]:
    """Bids of users by the channels of their last two impressions, oldest first."""
    order = np.lexsort((columns["request"], columns["user"], columns["campaign"]))
    ordered = {name: columns[name][order] for name in ("campaign", "user", "channel", "won")}
    new = np.append(True, np.diff(ordered["user"]) != 0)
    pairs = np.full((len(order), 2), -1)
    before = [-1, -1]
    for row in range(len(order)):
        if new[row]:
            before = [-1, -1]
        pairs[row] = before
        if ordered["won"][row]:
            before = [before[1], int(ordered["channel"][row])]
    bids, bayes = columns["bid"][order], columns["bayes_bid"][order]
    found = []
    for first in range(len(names)):
        for second in range(len(names)):
            mask = (pairs == (first, second)).all(axis=1)
            if mask.any():
                found.append(
                    {
                        "channels": [names[first], names[second]],
                        "requests": int(mask.sum()),
                        "bid": float(bids[mask].mean()),
                        "bayes_bid": float(bayes[mask].mean()),
                    }
                )
    return found


def _calibration(actor: Actor, world: AuctionConfig) -> list[dict[str, Any]]:
    bidder = TrainedBids(actor)
    if not bidder.heads:
        return []
    recorded = RecordedBids(bidder)
    evaluate([recorded], world, SEEDS[:2], 1)
    with progress_bar(make_console(), "calibrating", futures_in_all(recorded, SEEDS[:2])) as count:
        return [asdict(card) for card in calibrate(recorded, world, SEEDS[:2], count)]
