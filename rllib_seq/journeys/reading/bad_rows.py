"""What is wrong with a log: bad rows, numbers that were lost, kinds of event that are gone.

- `BadRows`: counts them over all files of a log, with the first examples.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from rllib_seq.errors import UserError

_EXAMPLES = 5
_ALARM = 0.01  # share of bad rows, or of lost numbers, above which there is a warning
_WORDS = 50  # kinds of event that are counted


class BadRows:
    """Counts the bad rows of a log.

    Args:
        path: the file, or the first of several.
        strict: whether a bad row is an error.

    >>> bad = BadRows(Path("events.csv"))
    >>> bad.add([7], ["event 'buy' is unknown"])
    >>> bad.count, bad.examples
    (1, ["line 7: event 'buy' is unknown"])
    """

    def __init__(self, path: Path, strict: bool = False) -> None:
        self.path = path
        """The file that is being read."""
        self.strict = strict
        self.many = False
        """Whether there are several files; then examples name theirs."""
        self.rows = 0
        """Rows in all, bad ones included."""
        self.count = 0
        self.examples: list[str] = []
        self.first = ""
        """The first bad row of the file that is being read."""
        self.hints: Counter[str] = Counter()
        """Options that would read what could not be read, and how many rows asked for each."""
        self.seen: Counter[str] = Counter()
        """Rows by the file's own word for the event."""
        self.kept: Counter[str] = Counter()
        """Those of them that became events, or were to be ignored."""
        self.ignored: Counter[str] = Counter()
        """Rows by word that the schema leaves out."""
        self.numbers: Counter[str] = Counter()
        """Numbers by column, lost ones included."""
        self.lost: Counter[str] = Counter()
        """Numbers that could not be read, by column."""
        self.lost_examples: dict[str, str] = {}
        self.quoted_lines = 0
        """Lines that end within a quoted value."""
        self.notes: list[str] = []
        """What the reader took for granted, in words."""

    def begin(self, path: Path) -> None:
        """Another file is read."""
        self.path, self.first = path, ""

    def add(self, lines: Sequence[int], reasons: Sequence[str]) -> None:
        """Counts rows.

        Args:
            lines: 1-based line of each bad row (row number in a Parquet file).
            reasons: what is wrong with each; may be shorter than `lines`: only the first are shown.

        Raises:
            UserError: there is a bad row and `strict` is set.
        """
        self.count += len(lines)
        if len(lines) and not self.first:
            self.first = f"line {lines[0]}: {reasons[0]}"
        room = _EXAMPLES - len(self.examples)
        where = f"{self.path}, " if self.many else ""
        self.examples += [
            f"{where}line {line}: {reason}"
            for line, reason in zip(lines[:room], reasons[:room], strict=False)
        ]
        if len(lines):
            self._refuse(f"line {lines[0]}: {reasons[0]}", "the row")

    def lose(self, name: str, lines: Sequence[int], example: str) -> None:
        """Counts numbers that cannot be read; their events stay.

        Raises:
            UserError: `strict` is set.
        """
        self.lost[name] += len(lines)
        where = f"{self.path}, " if self.many else ""
        self.lost_examples.setdefault(name, f"{where}line {lines[0]}: {example}")
        self._refuse(f"line {lines[0]}: {example}", "the value")

    def _refuse(self, what: str, which: str) -> None:
        if self.strict:
            raise UserError(
                f"{self.path}, {what}; correct {which}, or leave --strict out to skip it"
            )

    def note(self, words: str) -> None:
        """Keeps a sentence about how the log was read, once."""
        if words not in self.notes:
            self.notes.append(words)

    def count_words(self, counter: Counter[str], words: Iterable[str], n: Iterable[int]) -> None:
        """Adds counts of words, as many different ones as are worth it."""
        for word, times in zip(words, n, strict=True):
            if times and (word in counter or len(counter) < _WORDS):
                counter[word] += int(times)

    def warnings(self) -> list[str]:
        """What has to be seen before the result is believed, a sentence each."""
        found = []
        if self.rows and self.count > _ALARM * self.rows:
            found.append(
                f"{100 * self.count / self.rows:.3g} % of the rows ({self.count:,} of "
                f"{self.rows:,}) are bad and were left out{self.hint()}"
            )
        if self.quoted_lines > _ALARM * max(self.rows, 1):
            found.append(
                f"{self.quoted_lines:,} lines end within quoted values; a quote that is never "
                "closed takes the rows behind it along"
            )
        for word, times in self.seen.items():
            if not self.kept[word]:
                found.append(
                    f"all {times:,} rows of event {word!r} were left out; if they count, name "
                    f"their kind: --event '{word}=visit', say, or --event '{word}=ignore'"
                )
        for name, times in self.lost.items():
            if times > _ALARM * self.numbers[name]:
                found.append(
                    f"{100 * times / self.numbers[name]:.3g} % of the numbers in {name} "
                    f"({times:,} of {self.numbers[name]:,}) could not be read and count as "
                    f"missing, the first in {self.lost_examples[name]}"
                )
        return found

    def hint(self) -> str:
        """The option that most bad rows ask for, to be put behind a message."""
        return f"; {self.hints.most_common(1)[0][0]}" if self.hints else ""
