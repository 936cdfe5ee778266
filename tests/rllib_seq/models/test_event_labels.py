"""Labels of events: closed forms on hand-made streams, and no bias from cuts and thinning."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rllib_seq.config import AuxiliaryHead
from rllib_seq.errors import UserError
from rllib_seq.models import event_labels as of_pieces
from rllib_seq.models.event_labels import labels_from_infos
from rllib_seq.nn.heads.auxiliary import event_probability


def event_labels(event, survival, ended, horizon):
    """Of one piece; `survival` `[T + 1]` before every step and after the last."""
    lengths, over = np.array([len(event)]), np.array([ended])
    return of_pieces.event_labels(event, survival[:-1], survival[1:], lengths, over, horizon)


def _known(labels):
    """Of every step: `x` event, `|` ended without it, `.` went on, ` ` not known or not asked."""
    symbols = {(1, 0, 0): "x", (0, 1, 0): "|", (0, 0, 1): ".", (0, 0, 0): " "}
    return ["".join(symbols[tuple(map(int, what))] for what in row) for row in labels]


@pytest.mark.parametrize(
    ("event", "ended", "horizon", "wanted"),
    [
        # One step ahead: always known.
        ([0, 1, 0], False, 1, [".", "x", "."]),
        ([0, 1, 0], True, 1, [".", "x", "|"]),
        # The event ends the search; the stream goes on unseen behind step 4.
        ([0, 0, 1, 0, 0], False, 3, ["..x", ".x ", "x  ", ".. ", ".  "]),
        # The stream has ended: nothing will come any more, and that is known.
        ([0, 0, 1, 0, 0], True, 3, ["..x", ".x ", "x  ", ".| ", "|  "]),
        ([0, 0, 1], True, 3, ["..x", ".x ", "x  "]),
        # A horizon longer than the stream.
        ([0, 1], True, 4, [".x  ", "x   "]),
        ([0, 0], True, 4, [".|  ", "|   "]),
        ([0, 0], False, 4, ["..  ", ".   "]),
        # Only the first of several counts.
        ([1, 1, 0, 1], False, 2, ["x ", "x ", ".x", "x "]),
    ],
)
def test_labels_by_hand(event, ended, horizon, wanted):
    labels = event_labels(np.array(event, float), np.ones(len(event) + 1), ended, horizon)
    assert _known(labels) == wanted
    assert labels.dtype == np.float32


@settings(deadline=None, max_examples=50)
@given(
    event=st.lists(st.sampled_from([0.0, 0.0, 1.0]), min_size=1, max_size=12),
    cut=st.integers(0, 12),
    horizon=st.integers(1, 6),
    ended=st.booleans(),
)
def test_a_cut_loses_what_lies_behind_it_and_changes_nothing_else(event, cut, horizon, ended):
    whole = event_labels(np.array(event), np.ones(len(event) + 1), ended, horizon)
    cut = min(cut, len(event) - 1)
    parts = [
        event_labels(np.array(part), np.ones(len(part) + 1), end, horizon)
        for part, end in ((event[:cut], False), (event[cut:], ended))
    ]
    np.testing.assert_array_equal(parts[1], whole[cut:])
    seen = np.arange(horizon) < cut - np.arange(cut)[:, None]
    np.testing.assert_array_equal(parts[0], whole[:cut] * seen[..., None])


@settings(deadline=None, max_examples=30)
@given(
    lengths=st.lists(st.integers(0, 7), max_size=5),
    horizon=st.integers(1, 5),
    seed=st.integers(0, 9),
)
def test_many_pieces_at_once_are_each_alone(lengths, horizon, seed):
    rng = np.random.default_rng(seed)
    ended = rng.random(len(lengths)) < 0.5
    pieces = [(rng.random(n) * (rng.random(n) < 0.5), rng.random(n + 1)) for n in lengths]
    joined = [
        np.concatenate([np.zeros(0), *parts])
        for parts in (
            [event for event, _ in pieces],
            [survival[:-1] for _, survival in pieces],
            [survival[1:] for _, survival in pieces],
        )
    ]
    labels = of_pieces.event_labels(*joined, np.array(lengths, np.int64), ended, horizon)
    alone = [event_labels(*piece, end, horizon) for piece, end in zip(pieces, ended, strict=True)]
    assert labels.dtype == np.float32
    np.testing.assert_array_equal(labels, np.concatenate([np.zeros((0, horizon, 3)), *alone]))


def test_a_probability_stands_for_what_it_is_the_mean_of():
    """A user converts with probability h, else leaves with probability c, at every step.

    If no one leaves, labels are these probabilities, and the survival probability what is left.
    """
    hazard, churn = np.array([0.1, 0.3, 0.05, 0.2]), np.array([0.0, 0.2, 0.1, 0.4])
    stays = (1 - hazard) * (1 - churn)
    survival = np.cumprod([1.0, *stays])
    labels = event_labels(hazard, survival, False, horizon=3)
    for step in range(4):
        there = survival[step]
        for k in range(3):
            wanted = np.zeros(3)
            if step + k < 4:
                h, c = hazard[step + k], churn[step + k]
                wanted = there * np.array([h, (1 - h) * c, (1 - h) * (1 - c)])
                there = wanted[2]
            assert labels[step, k] == pytest.approx(wanted, abs=1e-6)
    ended = event_labels(hazard, survival, True, horizon=3)
    assert ended[3, 0] == pytest.approx(survival[3] * np.array([0.2, 0.8, 0.0]))


def test_an_event_that_ends_nothing_may_be_a_probability_too():
    labels = event_labels(np.array([0.5, 0.2, 0.1]), np.ones(4), False, horizon=3)
    assert labels[0] == pytest.approx(np.array([[0.5, 0, 0.5], [0.1, 0, 0.4], [0.04, 0, 0.36]]))


def test_cuts_do_not_bias_what_is_learned():
    """Hazards from streams cut after a few steps give the probability of whole streams.

    Streams end by the event with probability .15, else without it with .1, at every step. The most
    likely hazards are shares of the labels. To count the steps of which it is known whether the
    event came is the obvious way, and far off.
    """
    rng = np.random.default_rng(0)
    counts, known = np.zeros((4, 3)), []
    for _ in range(5000):
        event, steps, ended = np.zeros(40), rng.integers(1, 5), False
        for step in range(steps):
            event[step] = rng.random() < 0.15
            ended = bool(event[step]) or rng.random() < 0.1
            if ended:
                steps = step + 1
                break
        labels = event_labels(event[:steps], np.ones(steps + 1), ended, horizon=4)
        counts += labels.sum(0)
        came = labels[..., 0].any(1)
        known += list(came[came | ended | (np.arange(steps) + 4 <= steps)])
    happened, over, went_on = counts.T
    logits = torch.tensor([*np.log(happened / (over + went_on)), *np.log(over / went_on)[:-1]])
    truth = 0.15 * (1 - 0.765**4) / (1 - 0.765)
    assert event_probability(logits[None]).item() == pytest.approx(truth, abs=0.015)
    assert np.mean(known) > truth + 0.1


def test_thinning_does_not_bias_what_is_learned():
    """Two kinds of users look alike; those who would have left must not count as if they stayed."""
    kinds = {"converts": (0.1, 0.0), "leaves": (0.0, 0.3)}  # hazard, churn
    at_last = np.zeros(3)  # of six requests: what does it bring to those who make it?
    for hazard, churn in kinds.values():
        survival = ((1 - hazard) * (1 - churn)) ** np.arange(7.0)
        at_last += event_labels(np.full(6, hazard), survival, False, 1)[5, 0]
    there = {name: ((1 - hazard) * (1 - churn)) ** 5 for name, (hazard, churn) in kinds.items()}
    truth = 0.1 * there["converts"] / sum(there.values())
    assert at_last[0] / at_last.sum() == pytest.approx(truth)
    assert truth > 0.07  # and not .05, the mean of the two


def test_infos_come_with_the_observation_after_the_step():
    infos = [{}, {"won": True}, {"won": False, "clicked": 1}, {"won": np.True_}]
    labels = labels_from_infos(infos, False, {"won": AuxiliaryHead()})
    assert _known(labels["won"]) == ["x", ".", "x"]
    survival = [{}, {"won": 1, "survival": 0.5}, {"won": 0, "survival": 0.1}]
    labels = labels_from_infos(survival, False, {"won": AuxiliaryHead()})
    assert labels["won"][:, 0, 0].tolist() == [1.0, 0.0]
    assert labels["won"][:, 0].sum(1).tolist() == [1.0, 0.5]
    assert labels_from_infos([{}], False, {"won": AuxiliaryHead(3)})["won"].shape == (0, 3, 3)


@pytest.mark.parametrize(
    ("info", "message"),
    [
        ({"win": True}, r"'won' in the infos of every step, .* gives \['win'\]"),
        ({"won": 2}, "'won' in the infos is 2"),
        ({"won": float("nan")}, "is nan"),
        ({"won": -0.1}, "is -0.1"),
    ],
)
def test_infos_that_say_nothing_are_refused(info, message):
    with pytest.raises(UserError, match=message) as caught:
        labels_from_infos([{}, {"won": True}, info], True, {"won": AuxiliaryHead()})
    assert "\n" not in str(caught.value)
