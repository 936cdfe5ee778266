"""What auxiliary heads learn from: the events in the infos of an environment, step by step.

- `event_labels`: the labels of one event, as a pure function
- `labels_from_infos`: those of all heads, from infos

After a step, an environment says in the step's infos what happened: `{"won": True}`. An event may
also be a number in [0, 1], its probability, if the environment knows it and lets the stream go on
either way (less variance, the same mean). Such a stream thins out: what follows counts only as much
as it would still be there, and the info that comes with an observation says how much that is, under
`"survival"`; without it, 1. With a horizon of 3 and an event (x) at step 2:

    step                  0   1   2   3   4 |    the stream goes on, but is cut here
    what steps 0..2 say   .   .   x              . it went on without the event
    of each step          .   x                  x the event came, which ends the search
                          x
    steps 3 and 4                     .   .
                                      .   ?      ? no one knows
                                      ?   ?
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rllib_seq.config import AuxiliaryHead
from rllib_seq.errors import UserError

PRESENCE = "survival"

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


def event_labels(
    event: Floats,
    survival: Floats,
    left: Floats,
    lengths: Ints,
    ended: Bools,
    horizon: int,
) -> NDArray[np.float32]:
    """Return what is known of an event in the next steps, for every step of P pieces of streams.

    Args:
        event: `[N]`, all pieces one after the other: 1 where it happened, 0 where not; or its
            probability.
        survival: `[N]`, how much of the stream was there before the step, at most 1.
        left: `[N]`, and how much after it, if the stream goes on.
        lengths: `[P]`, steps of the pieces; their sum is N.
        ended: `[P]`, whether the stream has ended with the piece; else it goes on unseen.
        horizon: H, steps looked ahead, the current one included.

    Returns:
        `[N, H, 3]`: for k steps on, how much of the stream saw the event, ended without it and went
        on without it, times its `survival` now; see `rllib_seq.nn.heads.auxiliary.event_loss`.
        All 0 after the event, the end or the cut.
    """
    steps = np.arange(len(event))
    behind = np.cumsum(lengths)  # the step after each piece
    # Whether an event ends its stream shows in the survival probability: if so, that falls at least
    # as much. What hardly any stream has seen counts for nothing, but must not divide by nothing.
    goes_on = np.minimum(1.0 - event, left / np.maximum(survival, 1e-12))
    goes_on[behind[ended & (lengths > 0)] - 1] = 0.0
    labels = np.zeros((len(steps), horizon, 3), np.float32)
    there = survival.copy()  # of every step, what has come k steps further without the event
    to_come = np.repeat(behind, lengths) - steps  # steps of its piece from here on
    for k in range(min(horizon, lengths.max(initial=0))):
        seen = steps[to_come > k]
        happened, went_on = there[seen] * event[seen + k], there[seen] * goes_on[seen + k]
        labels[seen, k] = np.stack([happened, there[seen] - happened - went_on, went_on], axis=1)
        there[seen] = went_on
    return labels


def labels_from_infos(
    infos: Sequence[Mapping[str, Any]], ended: bool, heads: Mapping[str, AuxiliaryHead]
) -> dict[str, NDArray[np.float32]]:
    """Return the labels of all heads on a (part of a) stream of T steps.

    Args:
        infos: `[T + 1]`, those that came with its observations, the last one included.
        ended: whether the stream has ended with the last step; else it goes on unseen.
        heads: by name of the event.

    Returns:
        by name of the event, `[T, horizon, 3]`, see `event_labels`.

    Raises:
        UserError: an event is missing in the infos, or is not a number in [0, 1].
    """
    survival = np.array([info.get(PRESENCE, 1.0) for info in infos], np.float64)
    labels = {}
    for name, head in heads.items():
        try:
            event = np.array([info[name] for info in infos[1:]], np.float64)
        except KeyError:
            missing = next(info for info in infos[1:] if name not in info)
            raise UserError(
                f"auxiliary head {name!r} needs {name!r} in the infos of every step, and the "
                f"environment gives {sorted(missing)}; add it there, or remove the head"
            ) from None
        wrong = ~((event >= 0) & (event <= 1))
        if wrong.any():
            raise UserError(
                f"{name!r} in the infos is {event[wrong][0]}; an event of an auxiliary head is "
                "True, False or a probability"
            )
        labels[name] = event_labels(
            event,
            survival[:-1],
            survival[1:],
            np.array([len(event)]),
            np.array([ended]),
            head.horizon,
        )
    return labels
