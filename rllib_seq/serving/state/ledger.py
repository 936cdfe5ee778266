"""The books of a campaign, for their keeper.

- `read_ledger`, `shown`: totals and corrections, for programs and for people.
- `adjust_ledger`: a correction, with its reason.
- `export_ledger`: every entry that is known, as CSV.
"""

from __future__ import annotations

import csv
import math
import os
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rllib_seq.errors import UserError
from rllib_seq.serving.state.storage import TOTALS, Adjustment, Storage

COLUMNS = ("at", "subject", "entry", "amount", "flag", "reason")
"""Of the CSV: when (UTC); the bid (its number) or the user ("u" and their key); "won", "click",
"conversion:EVENT" and so on, or "adjustment:TOTAL"; currency units; what was odd; why it was
adjusted. Losses are known for an hour, other notices for `notice_days`, adjustments forever."""


def read_ledger(storage: Storage) -> dict[str, Any]:
    """Totals, budget that is set aside, and adjustments, as JSON has them."""
    return {
        "totals": storage.totals(),
        "held": storage.held(-math.inf),
        "adjustments": [
            {**adjustment._asdict(), "at": _utc(adjustment.at)}
            for adjustment in storage.adjustments()
        ],
    }


def adjust_ledger(storage: Storage, changes: Sequence[str], reason: str) -> None:
    """Adds to totals; all of them or none.

    Args:
        storage: of the campaign.
        changes: "TOTAL=AMOUNT" each.
        reason: why; is kept with them.

    Raises:
        UserError: a change cannot be read, there is none, no reason, or a total would be negative.
    """
    if not changes:
        raise UserError("--reason is given without a change; give --adjust TOTAL=AMOUNT, too")
    if not reason.strip():
        raise UserError("an adjustment is kept forever; say why with --reason")
    now, totals = time.time(), storage.totals()
    adjustments = []
    for change in changes:
        name, _, text = change.partition("=")
        try:
            amount = float(text)
        except ValueError:
            amount = math.nan
        if name not in totals or not math.isfinite(amount):
            raise UserError(
                f"--adjust is {change!r}; give TOTAL=AMOUNT, a number, TOTAL one of: "
                f"{', '.join(TOTALS)}"
            )
        totals[name] += amount
        if totals[name] < 0:
            raise UserError(f"--adjust {change!r} would make {name} {totals[name]:g}; give less")
        adjustments.append(Adjustment(now, name, amount, reason.strip()))
    for adjustment in adjustments:
        storage.adjust(adjustment)


def export_ledger(storage: Storage, path: Path) -> int:
    """Writes every entry that is known, oldest first; only its owner can read the file.

    Returns:
        How many there are.

    Raises:
        UserError: it cannot be written.
    """
    rows: list[tuple[Any, ...]] = [
        (notice.at, notice.subject, notice.name, notice.amount, notice.flag, "")
        for notice in storage.notices()
    ]
    rows += [
        (each.at, "", f"adjustment:{each.total}", each.amount, "", each.reason)
        for each in storage.adjustments()
    ]
    try:
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            writer = csv.writer(file)
            writer.writerow(COLUMNS)
            for at, *rest in sorted(rows):
                writer.writerow([_utc(at), *rest])
    except OSError as error:
        raise UserError(f"cannot write --export {str(path)!r}: {error}") from error
    return len(rows)


def shown(books: dict[str, Any]) -> str:
    """A table of `read_ledger`."""
    lines = [
        f"{name:<12} {amount:>16,.6f}".rstrip("0").rstrip(".")
        for name, amount in [*books["totals"].items(), ("set aside", books["held"])]
    ]
    lines += [
        f"{each['at']}  {each['total']} {each['amount']:+g}: {each['reason']}"
        for each in books["adjustments"]
    ]
    return "\n".join(lines)


def _utc(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
