"""Times of a column, of whatever type or form, to microseconds since 1970 in UTC.

- `to_micros`: the times; every row is read by itself, so no other row changes what becomes of it.
- `time_hint`: what a time that cannot be read looks like, and the option that reads it.

Text may be ISO 8601 (also with a blank for the T, dotted as day.month.year, or compact as
yyyyMMddHHmmss), with a fraction of 1 to 9 digits and an offset (Z, UTC, GMT, +02, -0500, +02:00).
Numbers count `unit`s since `origin`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from rllib_seq.errors import UserError
from rllib_seq.journeys.reading.columns import decoded, text, trimmed

Ints = NDArray[np.int64]

UNITS = {"s": 1_000_000, "ms": 1_000, "us": 1, "ns": 1e-3}
"""Microseconds of each."""
NO_TIME = np.iinfo(np.int64).min
"""Where there is no time."""
EARLIEST = int(np.datetime64("1990-01-01", "us").astype(np.int64))
LATEST = int(np.datetime64("2100-01-01", "us").astype(np.int64))

_DAY = 86_400_000_000
_CLOCK = (
    r"(?:[Tt ] *(?P<hour>\d\d?)(?::(?P<minute>\d\d)(?::(?P<second>\d\d)"
    r"(?:[.,](?P<fraction>\d{1,9}))?)?)?)?"
)
_ZONE = r" ?(?P<zone>[Zz]|UTC|GMT|[+-]\d\d(?::?\d\d)?)?(?:\[[\w/+-]+\])?$"
_NUMBER = r"^[+-]?\d+(?:\.\d*)?(?:[eE][+-]?\d+)?$"
_COMPACT = r"^(?:19|20)\d{2}[01]\d[0-3]\d(?:[0-2]\d[0-5]\d[0-6]\d(?:\d{3})?)?$"
"""8, 14 or 17 digits that no Unix time has."""
_FORMS = (
    (r"^(?P<year>\d{4})[-/](?P<month>\d\d?)[-/](?P<day>\d\d?)" + _CLOCK + _ZONE, None),
    (r"^(?P<day>\d\d?)\.(?P<month>\d\d?)\.(?P<year>\d{4}),?" + _CLOCK + _ZONE, None),
    (
        r"^(?P<year>\d{4})(?P<month>\d\d)(?P<day>\d\d)[Tt ]?(?:(?P<hour>\d\d)(?P<minute>\d\d)"
        r"(?P<second>\d\d)(?:[.,]?(?P<fraction>\d{1,9}))?)?" + _ZONE,
        _COMPACT + r"|^\d{8}[Tt ]\d{6}",
    ),
)
"""Text, and what it must look like besides to be no number."""


@dataclass(frozen=True)
class TimeForm:
    """How a log writes its times."""

    unit: str | None = None
    """Of numbers, a key of `UNITS`; None: seconds, or dates such as 20240501."""
    origin: int = 0
    """Where numbers begin, microseconds since 1970 in UTC."""
    pattern: str | None = None
    """As in `strptime`; None: the forms above."""
    zone: str = "UTC"
    """Of times without an offset."""


def to_micros(values: Any, form: TimeForm) -> Ints:
    """Reads a column of times.

    Args:
        values: pyarrow array, `[n]`: times, dates, numbers or text, also dictionary-encoded.
        form: of text and numbers.

    Returns:
        `[n]` microseconds since 1970 in UTC; `NO_TIME` where there is none from 1990 to 2099.

    Raises:
        UserError: the column's type holds no times.
    """
    kind = values.type
    if pa.types.is_dictionary(kind):
        words = to_micros(values.dictionary, form)
        index = values.indices.fill_null(0).to_numpy(zero_copy_only=False)
        micros = words[index] if len(words) else np.full(len(values), NO_TIME)
        return np.where(values.is_valid().to_numpy(zero_copy_only=False), micros, NO_TIME)
    if pa.types.is_timestamp(kind):
        micros = _whole(values.cast(pa.timestamp("us", kind.tz), safe=False))
        return _sane(micros if kind.tz else _from_zone(micros, form.zone))
    if pa.types.is_date(kind):
        return _sane(_from_zone(_whole(values.cast(pa.timestamp("us"))), form.zone))
    if pa.types.is_time(kind) or pa.types.is_duration(kind) or pa.types.is_boolean(kind):
        raise UserError(
            f"the column of timestamp is of type {kind}, which has no date; name another with "
            "--column timestamp=NAME"
        )
    if form.pattern is None and (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        return _numbers(values, form)
    return _words(trimmed(text(decoded(values), "timestamp")), form)


def _words(words: Any, form: TimeForm) -> Ints:
    if form.pattern is not None:
        return _by_pattern(words, form)
    micros = np.full(len(words), NO_TIME)
    left = np.arange(len(words))
    for pattern, gate in () if _counts(form) else _FORMS:
        rest = words.take(pa.array(left))
        if gate is not None:
            rest = pc.if_else(pc.match_substring_regex(rest, gate), rest, None)
        parts = pc.extract_regex(rest, pattern)
        found = parts.is_valid().to_numpy(zero_copy_only=False)
        if found.any():
            micros[left[found]] = _civil(pc.filter(parts, pa.array(found)), form.zone)
            left = left[~found]
        if not len(left):
            return micros
    rest = words.take(pa.array(left))
    number = pc.fill_null(pc.match_substring_regex(rest, _NUMBER), False)
    micros[left[number.to_numpy(zero_copy_only=False)]] = _numbers(pc.filter(rest, number), form)
    return micros


def _counts(form: TimeForm) -> bool:
    """Whether times are said to be numbers."""
    return form.unit is not None or form.origin != 0


def _by_pattern(words: Any, form: TimeForm) -> Ints:
    parsed = pc.strptime(words, format=form.pattern, unit="us", error_is_null=True)
    micros = _whole(parsed)
    return _sane(micros if parsed.type.tz else _from_zone(micros, form.zone))


def _civil(parts: Any, zone: str) -> Ints:
    """Times from the texts of their parts; out of range is no time."""

    def part(name: str) -> Ints:
        names = [field.name for field in parts.type]
        if name not in names:
            return np.zeros(len(parts), np.int64)
        digits = pc.struct_field(parts, names.index(name))
        digits = pc.if_else(pc.equal(digits, ""), "0", digits)
        return digits.cast(pa.int64()).to_numpy(zero_copy_only=False)

    year, month, day = part("year"), part("month"), part("day")
    hour, minute, second = part("hour"), part("minute"), part("second")
    fraction = pc.struct_field(parts, [field.name for field in parts.type].index("fraction"))
    micros = pc.utf8_slice_codeunits(pc.utf8_rpad(fraction, 6, "0"), 0, 6).cast(pa.int64())
    months = (year - 1970) * 12 + np.clip(month, 1, 12) - 1
    first = months.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)
    after = (months + 1).astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)
    good = (month >= 1) & (month <= 12) & (day >= 1) & (first + day - 1 < after)
    good &= (minute < 60) & (second <= 60)  # 60: a leap second
    good &= (hour < 24) | ((hour == 24) & (minute == 0) & (second == 0))  # 24:00 ends a day
    time = (first + day - 1) * _DAY + ((hour * 60 + minute) * 60 + second) * 1_000_000
    time = time + micros.to_numpy(zero_copy_only=False)
    zones = pc.struct_field(parts, [field.name for field in parts.type].index("zone"))
    coded = zones.dictionary_encode()  # few
    offsets = [_offset(word) for word in coded.dictionary.to_pylist()]
    known = np.array([0 if offset is None else offset for offset in offsets], np.int64)
    index = coded.indices.to_numpy(zero_copy_only=False)
    naive = np.array([offset is None for offset in offsets])[index]
    time = np.where(naive, _from_zone(time, zone), time - known[index])
    return _sane(np.where(good, time, NO_TIME))


def _offset(zone: str) -> int | None:
    """Microseconds that a written offset is ahead of UTC; None where there is none."""
    if not zone:
        return None
    if zone[0] not in "+-":
        return 0
    digits = zone[1:].replace(":", "").ljust(4, "0")
    ahead = int(digits[:2]) * 60 + int(digits[2:])
    return (-ahead if zone[0] == "-" else ahead) * 60_000_000


def _from_zone(local: Ints, zone: str) -> Ints:
    """From the wall clock of a zone to UTC; an hour that is there twice is taken as the first."""
    if zone == "UTC" or not len(local):
        return local
    quarters, index = np.unique(local // 900_000_000, return_inverse=True)
    there = ZoneInfo(zone)
    ahead = []
    for quarter in quarters.tolist():
        if not EARLIEST <= quarter * 900_000_000 < LATEST:
            ahead.append(0)
            continue
        moment = datetime.fromtimestamp(quarter * 900, UTC).replace(tzinfo=there)
        ahead.append(int(moment.utcoffset().total_seconds()))  # type: ignore[union-attr]
    micros: Ints = local - np.array(ahead, np.int64)[index] * 1_000_000
    return micros


def _numbers(values: Any, form: TimeForm) -> Ints:
    """Numbers, or text that holds some, since the origin."""
    if not pa.types.is_floating(values.type) and not pa.types.is_integer(values.type):
        whole = pc.fill_null(
            pc.match_substring_regex(values, r"^[+-]?(?:\d{1,18}|[1-8]\d{18})$"), False
        )
        micros = np.full(len(values), NO_TIME)
        for rows, kind in ((whole, pa.int64()), (pc.invert(whole), pa.float64())):
            mask = rows.to_numpy(zero_copy_only=False)
            if mask.any():
                number = pc.filter(values, rows).cast(kind)
                micros[mask] = _numbers(number, replace(form, unit=form.unit or "s"))
        return micros
    if pa.types.is_integer(values.type) and not _counts(form):
        numbers = values.cast(pa.int64(), safe=False)
        digits = numbers.cast(pa.string())
        if pc.any(pc.match_substring_regex(digits, _COMPACT)).as_py():
            return _words(digits, form)
    unit = UNITS[form.unit or "s"]
    exists = values.is_valid().to_numpy(zero_copy_only=False)
    if pa.types.is_integer(values.type):
        count = values.cast(pa.int64(), safe=False).fill_null(0).to_numpy(zero_copy_only=False)
        fits = np.abs(count) < (1 << 62) // max(int(unit), 1)
        count = np.where(fits, count, 0)
        micros = count // 1000 if form.unit == "ns" else count * int(unit)
    else:
        number = values.cast(pa.float64()).fill_null(np.nan).to_numpy(zero_copy_only=False)
        fits = np.abs(number) * unit < 4e18
        micros = np.where(fits, number, 0.0) * unit
        micros = micros.round().astype(np.int64)
    return _sane(np.where(exists & fits, micros + form.origin, NO_TIME))


def _whole(times: Any) -> Ints:
    return times.cast(pa.int64()).fill_null(NO_TIME).to_numpy(zero_copy_only=False)


def _sane(micros: Ints) -> Ints:
    return np.where((micros >= EARLIEST) & (micros < LATEST), micros, NO_TIME)


def time_hint(word: Any) -> str:
    """What a time that could not be read looks like: the option that reads it, or nothing."""
    if isinstance(word, int | float) and not isinstance(word, bool):
        word = f"{word:.15g}"
    if isinstance(word, bytes):
        word = word.decode(errors="replace")
    word = str(word).strip()
    if re.fullmatch(r"\d+(\.\d*)?([eE]\+?\d+)?", word):
        number = float(word)
        for unit, ticks in (("ms", 1e3), ("us", 1e6), ("ns", 1e9)):
            if EARLIEST <= number / ticks * 1e6 < LATEST:
                names = {"ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}
                return f"looks like {names[unit]}: --time-unit {unit}"
        if 30_000 < number < 60_000:
            return "looks like a day number of Excel: save the column as a date"
        if number < EARLIEST / 1e6:
            return "looks like seconds from 0: --time-origin 2024-01-01, say"
    dated = re.match(r"(\d\d?)([/.-])(\d\d?)\2(\d{4}|\d\d)\b[ T,]*(.*)", word)
    if dated:
        first, mark, second, year, clock = dated.groups()
        order = ("%d", "%m") if int(first) > 12 else ("%m", "%d")
        date = f"{order[0]}{mark}{order[1]}{mark}{'%Y' if len(year) == 4 else '%y'}"
        gap = " " if clock else ""
        where = "day first" if int(first) > 12 else "month first"
        if int(first) <= 12 and int(second) <= 12:
            where += ", or %d before %m if days come first"
        return f"looks like {where}: --time-format '{date}{gap}{_clock(clock)}'"
    if re.search(r"\d.*[A-Za-z]|[A-Za-z].*\d", word) and re.search(r"\d{4}|:", word):
        return "if that is a time, give its --time-format in codes of strptime"
    return ""


def _clock(clock: str) -> str:
    if not clock:
        return ""
    half = re.search(r"[AaPp][Mm]$", clock)
    form = "%I:%M" if half else "%H:%M"
    if clock.count(":") > 1:
        form += ":%S"
    return form + (" %p" if half else "")
