"""A response model that remembers: a `StreamEncoder` over a user's steps.

- `ResponseModel`: the features, the network, and what it was chosen for.
- `fit_response`: chooses sizes and epochs on a later part of the training steps, then trains on all
  of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from rllib_seq.config import SequenceConfig
from rllib_seq.training.response.history import Features, look_back
from rllib_seq.training.response.logistic import Logistic, log_loss
from rllib_seq.training.response.network import ResponseEnsemble, ResponseNetwork
from rllib_seq.training.response.table import ResponseTable

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

_LATER = 0.2  # of the training steps validate
_CHUNK = 64  # steps that are trained on at once
_BATCH_STEPS = 1024
_EPOCHS = 30
_MOST_READ = 600_000  # steps in all epochs, but ten epochs at least
_PATIENCE = 4
_MEMBERS = 3
_FEWEST_UPDATES = 20  # of an epoch, so that a small table learns in as many
_LEARNING_RATE = 3e-3
_MOST_STEPS = 100_000  # that are trained on: whole users, drawn
_BLOCK = 200_000  # steps whose features are in memory at once

CANDIDATES = (
    SequenceConfig(encoder="lstm", d_model=16, lstm_layers=1, head_hidden=16, dropout=0.2),
    SequenceConfig(encoder="lstm", d_model=32, lstm_layers=1, head_hidden=32, dropout=0.1),
)
"""Sizes to choose from."""


@dataclass(frozen=True, eq=False)
class ResponseModel:
    """A trained response model.

    Examples:
        >>> model = fit_response(table.take(train))  # doctest: +SKIP
        >>> model.predict(table)  # doctest: +SKIP
        array([0.02, 0.02, 0.6, ...])
    """

    features: Features
    network: ResponseEnsemble
    config: SequenceConfig
    epochs: int
    """0: the encoder did not help on the validating part; the model is the logistic regression."""
    validation: dict[str, float]
    """Log loss of the validating part, of "static fields" and of the "sequence model"."""

    @property
    def helps(self) -> bool:
        """Whether the user's past made a better prediction there."""
        return self.validation["sequence model"] < self.validation["static fields"]

    def inputs(self, table: ResponseTable) -> NDArray[np.float32]:
        """`[n, width]`: static, counted and traced features of every step."""
        return _inputs(self.features, table)

    def predict(self, table: ResponseTable) -> Floats:
        """`[n]`: probability of an answer to every step, given what was known of its user by then.

        Args:
            table: whole streams of its users, for a step's past is in it.
        """
        parts = []
        for block in _blocks(table):
            part = table.take(np.arange(block.start, block.stop))
            parts.append(_predict(self.network, self.inputs(part), part))
        return np.concatenate(parts)


def _inputs(features: Features, table: ResponseTable) -> NDArray[np.float32]:
    past = look_back(table)
    parts = features.static(table), features.counted(past), features.traced(past)
    return np.concatenate(parts, axis=1).astype(np.float32)


def later_part(table: ResponseTable, share: float) -> Bools:
    """`[n]`: the last steps; of the whole table by time, without times of every user."""
    if table.has_time:
        times = np.sort(table.time)
        cut = times[min(int((1 - share) * len(times)), len(times) - 1)]
        return table.time >= cut
    start = np.flatnonzero(table.first)
    length = np.diff(start, append=len(table))
    return table.place >= np.repeat(np.ceil((1 - share) * length), length)


def fit_response(
    table: ResponseTable,
    train: Bools | None = None,
    seed: int = 0,
    progress: Callable[[str], None] = lambda _: None,
) -> ResponseModel:
    """Trains a response model.

    Sizes, ridge and epochs are chosen by the log loss of the last fifth of the training steps; then
    all of them are trained on.

    Args:
        table: steps; those that are not trained on may only lie behind those of their user that
            are.
        train: `[n]`, steps to learn from; None: all.
        seed: of weights and order.
        progress: is called with a line per candidate.
    """
    train = np.ones(len(table), np.bool_) if train is None else train
    table, train = _sample(table, train, seed)
    kept = np.flatnonzero(train)
    learned = table.take(kept)
    later = np.zeros(len(table), np.bool_)
    later[kept] = later_part(learned, _LATER)
    if not _both(table.outcome[later]) or not _both(table.outcome[train & ~later]):
        later[kept] = np.random.default_rng(seed).random(len(kept)) < _LATER
    early = train & ~later
    most = int(np.clip(_MOST_READ // max(early.sum(), 1), 10, _EPOCHS))
    chosen, best = CANDIDATES[0], (np.inf, 0)
    features = Features.fit(learned, look_back(learned))
    validation = {"static fields": _static_loss(features, table, early, later)}
    inputs = _inputs(features, table)
    linear = Logistic.choose(inputs[train].astype(np.float64), table.outcome[train], later[train])
    start = Logistic.fit(inputs[early].astype(np.float64), table.outcome[early], linear.ridge)
    for config in CANDIDATES:
        torch.manual_seed(seed)
        network = ResponseNetwork(inputs.shape[1], config, start)
        alone = ResponseEnsemble([network])
        losses = [log_loss(table.outcome[later], _predict(alone, inputs, table)[later])]
        for _ in _epochs(network, inputs, table, early, seed, most):
            losses.append(log_loss(table.outcome[later], _predict(alone, inputs, table)[later]))
            if len(losses) - 1 - int(np.argmin(losses)) >= _PATIENCE:
                break
        epochs = int(np.argmin(losses))
        progress(
            f"{config.encoder}, width {config.d_model}: validation log loss {min(losses):.4f} "
            f"after {epochs} epochs ({losses[0]:.4f} without encoder)"
        )
        if min(losses) < best[0]:
            chosen, best = config, (min(losses), epochs)

    linear = Logistic.fit(inputs[train].astype(np.float64), table.outcome[train], linear.ridge)
    members = []
    for member in range(seed, seed + _MEMBERS):
        torch.manual_seed(member)
        members.append(ResponseNetwork(inputs.shape[1], chosen, linear))
        for _ in _epochs(members[-1], inputs, table, train, member, best[1]):
            pass
    validation["sequence model"] = best[0]
    return ResponseModel(features, ResponseEnsemble(members).eval(), chosen, best[1], validation)


def _static_loss(features: Features, table: ResponseTable, early: Bools, later: Bools) -> float:
    """Log loss of the validating part without any past."""
    fields = features.static(table)
    seen = early | later
    ridge = Logistic.choose(fields[seen], table.outcome[seen], later[seen]).ridge
    fitted = Logistic.fit(fields[early], table.outcome[early], ridge)
    return log_loss(table.outcome[later], fitted.probability(fields[later]))


def _blocks(table: ResponseTable) -> Iterator[slice]:
    """Whole streams, about `_BLOCK` steps at a time."""
    start = np.append(np.flatnonzero(table.first), len(table))
    first = 0
    while first < len(table):
        end = int(start[np.searchsorted(start, min(first + _BLOCK, len(table)))])
        yield slice(first, end)
        first = end


def _both(outcome: Bools) -> bool:
    return bool(0 < outcome.sum() < len(outcome))


def _sample(table: ResponseTable, train: Bools, seed: int) -> tuple[ResponseTable, Bools]:
    """Users enough to train on: whole ones, drawn."""
    if train.sum() <= _MOST_STEPS:
        return table, train
    users = np.unique(table.user)
    share = _MOST_STEPS / train.sum()
    drawn = users[np.random.default_rng(seed).random(len(users)) < share]
    rows = np.flatnonzero(np.isin(table.user, drawn))
    return table.take(rows), train[rows]


def _epochs(
    network: ResponseNetwork,
    inputs: NDArray[np.float32],
    table: ResponseTable,
    trained: Bools,
    seed: int,
    most: int,
) -> Iterator[int]:
    """Trains an epoch at a time."""
    rng = np.random.default_rng(seed)
    groups: list[dict[str, Any]] = [
        {"params": [*network.encoder.parameters(), *network.head.parameters()]},
        {"params": network.linear.parameters(), "lr": _LEARNING_RATE / 10},
    ]
    optimizer = torch.optim.AdamW(
        groups,
        lr=_LEARNING_RATE,
        weight_decay=0.02,
    )
    chunks = [c for c in _chunks(table, _CHUNK) if trained[c].any()]
    steps = sum(c.stop - c.start for c in chunks)
    size = max(1, min(_BATCH_STEPS, steps // _FEWEST_UPDATES))
    weights = trained.astype(np.float32)
    answers = table.outcome.astype(np.float32)
    for epoch in range(most):
        network.train()
        for batch in _batches(chunks, rng, size):
            rows, lens = _padded(batch)
            odds = network(
                network.encoder.initial_state(len(batch)),
                torch.from_numpy(inputs[rows]),
                torch.from_numpy(lens),
            )
            inside = np.arange(rows.shape[1]) < lens[:, None]
            weight = torch.from_numpy(weights[rows] * inside)
            loss = nn.functional.binary_cross_entropy_with_logits(
                odds, torch.from_numpy(answers[rows]), weight, reduction="sum"
            ) / weight.sum().clamp(min=1)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
        yield epoch


def _chunks(table: ResponseTable, length: int) -> list[slice]:
    """Streams in pieces, each of one user."""
    start = np.flatnonzero(table.first)
    end = np.append(start[1:], len(table))
    return [
        slice(first, min(first + length, int(e)))
        for s, e in zip(start.tolist(), end.tolist(), strict=True)
        for first in range(s, e, length)
    ]


def _batches(chunks: list[slice], rng: np.random.Generator, size: int) -> Iterator[list[slice]]:
    """Pieces in random order, about `size` steps at a time."""
    batch, steps = [], 0
    for number in rng.permutation(len(chunks)).tolist():
        batch.append(chunks[number])
        steps += chunks[number].stop - chunks[number].start
        if steps >= size:
            yield batch
            batch, steps = [], 0
    if batch:
        yield batch


def _padded(batch: list[slice]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows `[B, T]` (padding repeats the last one) and lengths `[B]`."""
    lens = np.array([piece.stop - piece.start for piece in batch])
    steps = np.minimum(np.arange(lens.max()), lens[:, None] - 1)
    return np.array([piece.start for piece in batch])[:, None] + steps, lens


@torch.no_grad()
def _predict(
    network: ResponseEnsemble, inputs: NDArray[np.float32], table: ResponseTable
) -> Floats:
    """`[n]`: probabilities; long streams go on from the state of the piece before."""
    network.eval()
    start = np.flatnonzero(table.first)
    length = np.diff(start, append=len(table))
    odds = np.empty(len(table), np.float32)
    order = np.argsort(length, kind="stable")
    for block in np.array_split(order, max(1, len(order) // 256)):
        state = network.initial_state(len(block))
        done = 0
        while len(block):
            lens = np.minimum(length[block] - done, 4 * _CHUNK)
            pieces = [
                slice(int(s) + done, int(s) + done + int(n))
                for s, n in zip(start[block], lens, strict=True)
            ]
            rows, lens = _padded(pieces)
            read, state = network.read(
                state, torch.from_numpy(inputs[rows]), torch.from_numpy(lens)
            )
            inside = np.arange(rows.shape[1]) < lens[:, None]
            odds[rows[inside]] = read.numpy()[inside]
            done += 4 * _CHUNK
            going = length[block] > done
            block = block[going]
            state = {name: part[torch.from_numpy(going)] for name, part in state.items()}
    return 1 / (1 + np.exp(-odds.astype(np.float64)))
