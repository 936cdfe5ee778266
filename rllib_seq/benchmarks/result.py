"""What a benchmark says.

- `Result`: its figures, the tables that people read, and what must hold
- `Check`: a figure and its limit
- `chosen`: the parts of a benchmark that a command names
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rllib_seq.errors import UserError
from rllib_seq.training.run.console import as_text, make_console, print_table

Row = dict[str, Any]

_HOLDS = {">=": operator.ge, ">": operator.gt, "<=": operator.le, "<": operator.lt}


@dataclass(frozen=True)
class Check:
    """A figure and its limit.

    Examples:
        >>> str(Check("two workers to one", 1.71, ">=", 1.6))
        'holds: two workers to one >= 1.6: 1.71'
    """

    what: str
    ratio: float
    sign: str
    """One of `>=`, `>`, `<=` and `<`."""
    limit: float

    @property
    def holds(self) -> bool:
        """Whether the limit is kept."""
        return bool(_HOLDS[self.sign](self.ratio, self.limit))

    def to_json(self) -> dict[str, Any]:
        """As in the JSON of a benchmark."""
        what = f"{self.what} {self.sign} {as_text(self.limit)}"
        ratio = round(float(self.ratio), 3)
        return {"what": what, "ratio": ratio, "limit": self.limit, "holds": self.holds}

    def __str__(self) -> str:
        """A line for people."""
        verdict = "holds" if self.holds else "MISSED"
        return f"{verdict}: {self.what} {self.sign} {as_text(self.limit)}: {as_text(self.ratio)}"


@dataclass(frozen=True)
class Result:
    """What a benchmark found.

    Attributes:
        figures: all that it measured, ready for JSON.
        tables: what is printed, by title: rows by the names of their columns.
        checks: what must hold.
        machine: where it was measured, if that matters.
    """

    figures: Mapping[str, Any]
    tables: Mapping[str, Sequence[Row]] = field(default_factory=dict)
    checks: Sequence[Check] = ()
    machine: Mapping[str, Any] | None = None

    @classmethod
    def of_rows(
        cls, title: str, rows: Sequence[Row], checks: Sequence[Check] = (), **figures: Any
    ) -> Result:
        """A result with one table, whose rows are figures, too."""
        return cls({**figures, "rows": rows}, {title: rows}, checks)

    @classmethod
    def of_parts(cls, parts: Mapping[str, Result]) -> Result:
        """The results of parts as one; figures are by the names of the parts."""
        return cls(
            {name: part.figures for name, part in parts.items()},
            {
                f"{name}: {title}": rows
                for name, part in parts.items()
                for title, rows in part.tables.items()
            },
            [check for part in parts.values() for check in part.checks],
        )

    @property
    def passed(self) -> bool:
        """Whether all holds that must."""
        return all(check.holds for check in self.checks)

    def to_json(self) -> dict[str, Any]:
        """What `--json` writes."""
        content = {**self.figures, "checks": [check.to_json() for check in self.checks]}
        if self.machine is not None:
            content["machine"] = self.machine
        return {**content, "passed": self.passed}

    def show(self) -> None:
        """Print the tables, and what holds."""
        console = make_console()
        for title, rows in self.tables.items():
            print_table(console, title, rows)
        if self.machine is not None:
            print_table(console, "machine", [self.machine])
        for check in self.checks:
            console.print(str(check), highlight=False, markup=False, soft_wrap=True)


def listed(figures: Mapping[str, Any]) -> list[Row]:
    """Single figures as rows of a table."""
    return [{"": name.replace("_", " "), "measured": value} for name, value in figures.items()]


def chosen(known: Iterable[str], only: Iterable[str]) -> list[str]:
    """The parts of a benchmark that `only` names, in their own order; all, if it names none.

    Args:
        known: all parts; they may be paths, such as `task/contender/seed`.
        only: parts, or starts of such paths.

    Raises:
        UserError: there is no such part.
    """
    known, only = list(known), list(only)
    for name in only:
        if not any(_starts(path, name) for path in known):
            names = ", ".join(dict.fromkeys(path.rpartition("/")[0] or path for path in known))
            raise UserError(f"no part {name!r}; choose from: {names}")
    return [path for path in known if not only or any(_starts(path, name) for name in only)]


def _starts(path: str, name: str) -> bool:
    return f"{path}/".startswith(f"{name.rstrip('/')}/")
