"""What a stored state is worth after the weights that made it have changed.

    rllib-seq bench stale --json stale.json

A replay memory may keep the state in which a sequence began. Of an LSTM or a Transformer with a
cache that is an activation, and learning makes it stale; of a window it is what was observed.
R2D2 (Kapturowski et al. 2019) compares what a network says from a stored state with what it says
after it has read the whole sequence again, under the same weights. So does this, for the causal
encoder while PPO trains it on `journey`: weights are kept along the way, journeys are cut in the
middle, the first halves are read by older weights, the second halves by newer ones. A window of raw
steps is cut the same way, as the proof that nothing is lost in it.

It says by age of the state, in requests that training saw since: how far the bids are apart (total
variation) and how often the likeliest bid is another, right after the cut and at the journey's end.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import copy
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rllib_seq.benchmarks.learning.actors import actor_of
from rllib_seq.benchmarks.learning.contenders import CONTENDERS, config_of
from rllib_seq.benchmarks.result import Check, Result, Row
from rllib_seq.envs.ad_auction.simulator.step import AuctionSimulator
from rllib_seq.envs.ad_auction.worlds.presets import AuctionConfig
from rllib_seq.errors import UserError
from rllib_seq.training.evaluation.policies import TrainedBids
from rllib_seq.training.run.console import make_console
from rllib_seq.training.run.iterations import START, Iterations
from rllib_seq.training.run.ray_session import ray_session
from rllib_seq.training.run.trainer import build_algorithm
from rllib_seq.training.seeds import evaluation_seed

STEPS, SEED, CAMPAIGN = 150_000, 1, 610
USERS, REQUESTS, CUT = 512, 24, 12
SNAPSHOTS = 12
"""Of the weights, equally far apart."""
ENCODERS = ("causal", "window")  # the second loses nothing, as a proof


def run(steps: int = STEPS) -> Result:
    """Trains both encoders and compares.

    Raises:
        UserError: there is nothing to train.
    """
    if steps < 1:
        raise UserError(f"steps is {steps}; give a whole number of at least 1")
    torch.set_num_threads(1)
    console = make_console()
    rows = []
    with ray_session(1, console):
        for name in ENCODERS:
            algorithm = build_algorithm(config_of(CONTENDERS[name], "journey", steps, SEED))
            model = algorithm.get_policy("bidder").model
            iterations = Iterations(algorithm, START, None)
            kept: list[tuple[int, Any]] = []
            while iterations.steps < steps:
                iterations.advance()
                if iterations.steps * SNAPSHOTS >= steps * (len(kept) + 1):
                    kept.append((iterations.steps, copy.deepcopy(model.policy).eval()))
                    console.print(f"{name}: {iterations.steps:,} of {steps:,} requests")
            inputs = journeys(TrainedBids(actor_of(algorithm)), model)
            rows += compare(name, kept, inputs)
            algorithm.stop()
    exact = Check(
        "apart at most, windows",
        max(
            max(row["apart_after_the_cut"], row["apart_at_the_end"])
            for row in rows
            if row["encoder"] == "window"
        ),
        "<",
        1e-5,
    )
    title = f"a state stored after {CUT} of {REQUESTS} requests"
    return Result.of_rows(title, rows, [exact], steps=steps, cut=CUT, users=USERS)


def journeys(bidder: TrainedBids, model: Any) -> Tensor:
    """Raw step inputs of whole journeys that a policy plays, `[USERS, REQUESTS, input_dim]`."""
    # No one leaves: all journeys are as long.
    simulator = AuctionSimulator(AuctionConfig("journey", num_users=USERS, reward="expected"))
    simulator.reset(evaluation_seed(CAMPAIGN, 0))
    bidder.start(simulator)
    levels = simulator.preset.bid_levels
    inputs = torch.zeros(USERS, REQUESTS, model.input_dim)
    previous = np.zeros(USERS, np.int64)
    while not simulator.done:
        users = simulator.pending
        request, seen = simulator.request[users].copy(), simulator.observe(users)
        inputs[users, request] = model.step_inputs.join(
            torch.from_numpy(seen),
            torch.from_numpy(previous[users]),
            None,
            torch.from_numpy(request == 0),
        )
        bids = bidder.bids(users)
        previous[users] = np.abs(bids[:, None] - levels).argmin(axis=1)
        simulator.step(bids)
    return inputs


def bids_after_the_cut(old: Any, new: Any, inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Bids `[U, T, A]` of `new` after the cut: from the state that `old` made, and from none."""
    none = new.encoder.initial_state(len(inputs))
    _, stored = old.encoder.sequence(none, inputs[:, :CUT])
    stale = new.encoder.features(stored, inputs[:, CUT:])
    fresh = new.encoder.features(none, inputs)[:, CUT:]
    return new.head(stale), new.head(fresh)


def compare(
    encoder: str,
    kept: list[tuple[int, Any]],
    inputs: Tensor,
) -> list[Row]:
    """One row per age of the state, over all pairs of weights that are so far apart."""
    rows = []
    with torch.inference_mode():
        for apart in range(len(kept)):
            found = []
            for (begun, old), (now, new) in zip(kept, kept[apart:], strict=False):
                stale, fresh = bids_after_the_cut(old, new, inputs)
                distance = (stale.softmax(2) - fresh.softmax(2)).abs().sum(2) / 2  # (U, T)
                other = (stale.argmax(2) != fresh.argmax(2)).float()
                found.append(
                    [now - begun]
                    + [part[:, at].mean().item() for part in (distance, other) for at in (0, -1)]
                )
            age, first, last, first_other, last_other = np.mean(found, axis=0).tolist()
            rows.append(
                {
                    "encoder": encoder,
                    "requests_since": round(age),
                    "apart_after_the_cut": first,
                    "apart_at_the_end": last,
                    "other_bid_after_the_cut": first_other,
                    "other_bid_at_the_end": last_other,
                }
            )
    return rows
