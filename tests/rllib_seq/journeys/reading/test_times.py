"""Times: every form that exports write, each row by itself, whatever the column's type."""

import datetime as dt
import decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rllib_seq.errors import UserError
from rllib_seq.journeys.reading.times import NO_TIME, TimeForm, time_hint, to_micros

TEN = 1_767_607_200_000_000  # 2026-01-05 10:00 UTC, microseconds


def micros(*texts, **form):
    return to_micros(pa.array(list(texts)), TimeForm(**form)).tolist()


@pytest.mark.parametrize(
    ("text", "more"),
    [
        ("2026-01-05T10:00:00Z", 0),
        ("2026-01-05 10:00:00", 0),
        ("2026-01-05t10:00:00z", 0),
        ("  2026-01-05 10:00  ", 0),
        ('"2026-01-05 10:00:00"', 0),
        ("2026-01-05T10", 0),
        ("2026/01/05 10:00:00", 0),
        ("2026-1-5 10:00:00", 0),
        ("05.01.2026 10:00:00", 0),
        ("5.1.2026, 10:00", 0),
        ("20260105T100000Z", 0),
        ("20260105100000", 0),
        ("20260105100000123", 123_000),
        ("2026-01-05 10:00:00 UTC", 0),
        ("2026-01-05 10:00:00.5 UTC", 500_000),
        ("2026-01-05 10:00:00 GMT", 0),
        ("2026-01-05 12:00:00+02", 0),
        ("2026-01-05 12:00:00.745232+02", 745_232),
        ("2026-01-05 05:00:00 -0500", 0),
        ("2026-01-05T15:30:00+05:30", 0),
        ("2026-01-05T11:00:00+01:00[Europe/Berlin]", 0),
        ("2026-01-05T10:00:00,25Z", 250_000),
        ("2026-01-05T10:00:00.123456789Z", 123_456),
        ("2026-01-05T10:00:00.1234567Z", 123_456),
        ("2026-01-05T09:59:60Z", 0),  # a leap second is the next second's beginning
        ("1767607200", 0),
        ("1767607200.5", 500_000),
        ("1.7676072e9", 0),
    ],
)
def test_forms(text, more):
    alone = micros(text)
    assert alone == [TEN + more]
    # No neighbour changes what becomes of a row, nor does a dictionary or another string type.
    among = pa.array(["not a time", text, "2020-01-01", None, "1500000000", text])
    kinds = [pa.string(), pa.large_string(), pa.string_view(), pa.binary()]
    for values in [*(among.cast(kind) for kind in kinds), among.dictionary_encode()]:
        found = to_micros(values, TimeForm())
        assert found[[1, 5]].tolist() == alone * 2
        assert found[[0, 3]].tolist() == [NO_TIME] * 2


@pytest.mark.parametrize(
    "text",
    [
        *("2026-02-30", "2026-13-01", "2026-00-10", "2026-01-05T24:00:01", "2026-01-05T10:60:00"),
        *(
            "2026-01-05T10:00:00Z#1",
            "1989-12-31",
            "2100-01-01",
            "",
            "01/05/2026 10:00",
            "Jan 5 2026",
        ),
        *("2026-01-05T10:00:00 Europe/Berlin", "1767607200000", "-5", "nan", "1e400", "10:00:00"),
    ],
)
def test_what_is_no_time(text):
    assert micros(text, "2026-01-05T10:00:00Z") == [NO_TIME, TEN]


def test_a_day_ends_at_24():
    assert micros("2026-01-04T24:00:00Z", "2024-02-29") == micros("2026-01-05", "29.02.2024")


@settings(deadline=None)
@given(
    st.datetimes(dt.datetime(1990, 1, 1), dt.datetime(2099, 12, 30)),
    st.integers(-14 * 4, 14 * 4),
    st.integers(0, 9),
    st.sampled_from("T "),
)
def test_equals_the_standard_library(moment, quarters, digits, mark):
    zone = dt.timezone(dt.timedelta(minutes=15 * quarters))
    moment = moment.replace(tzinfo=zone)
    whole = moment.replace(microsecond=0)
    fraction = f"{moment.microsecond:06d}000"[:digits]
    text = whole.strftime(f"%Y-%m-%d{mark}%H:%M:%S") + (f".{fraction}" if digits else "")
    kept = int(fraction.ljust(6, "0")[:6])
    expected = int(whole.timestamp()) * 1_000_000 + kept
    good = 631_152_000_000_000 <= expected < 4_102_444_800_000_000
    assert micros(text + whole.strftime("%z")) == [expected if good else NO_TIME]


@pytest.mark.parametrize(
    ("unit", "number"),
    [("s", 1_767_607_200), ("ms", TEN // 1000), ("us", TEN), ("ns", TEN * 1000 + 999)],
)
def test_units_of_numbers(unit, number):
    form = TimeForm(unit=unit)
    for values in (pa.array([number]), pa.array([str(number)]), pa.array([number], pa.uint64())):
        assert to_micros(values, form).tolist() == [TEN]
    wide = pa.array([decimal.Decimal(number)], pa.decimal128(25, 0))
    assert to_micros(wide, form).tolist() == [TEN]


def test_numbers_since_an_origin():
    form = TimeForm(origin=TEN)
    assert micros("0", "1.5", **vars(form)) == [TEN, TEN + 1_500_000]
    assert to_micros(pa.array([0, 20_240_501]), form).tolist() == [TEN, TEN + 20_240_501_000_000]


def test_typed_columns():
    day, hour = dt.date(2026, 1, 5), dt.datetime(2026, 1, 5, 10)
    assert to_micros(pa.array([day, None]), TimeForm()).tolist() == [*micros("2026-01-05"), NO_TIME]
    for kind in ("s", "ms", "us", "ns"):
        assert to_micros(pa.array([hour], pa.timestamp(kind)), TimeForm()).tolist() == [TEN]
        there = pa.array([hour], pa.timestamp(kind, "America/New_York"))
        assert to_micros(there, TimeForm()).tolist() == [TEN]
    dates = pa.array([20_260_105, 1_767_607_200])  # a date as a number, and Unix seconds
    assert to_micros(dates, TimeForm()).tolist() == [*micros("2026-01-05"), TEN]
    with pytest.raises(UserError, match=r"time64\[us\], which has no date; name another"):
        to_micros(pa.array([dt.time(1)]), TimeForm())


def test_formats_and_zones_of_a_schema():
    assert micros("01/05/2026 10:00", pattern="%m/%d/%Y %H:%M") == [TEN]
    assert micros("05/Jan/2026:12:00:00 +0200", pattern="%d/%b/%Y:%H:%M:%S %z") == [TEN]
    assert to_micros(pa.array([26010510]), TimeForm(pattern="%y%m%d%H")).tolist() == [TEN]
    assert micros("2026-01-05 18:00", zone="Asia/Shanghai") == [TEN]
    assert micros("2026-01-05 10:00Z", "x", zone="Asia/Shanghai") == [TEN, NO_TIME]


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        (1_767_607_200_000, "milliseconds: --time-unit ms"),
        ("1767607200000000", "microseconds: --time-unit us"),
        (b"1767607200000000000", "nanoseconds: --time-unit ns"),
        (248, "seconds from 0: --time-origin"),
        ("31/12/2026 10:00:00", "--time-format '%d/%m/%Y %H:%M:%S'"),
        ("01/31/2026", "--time-format '%m/%d/%Y'"),
        ("1/5/26 1:00 PM", "--time-format '%m/%d/%y %I:%M %p'"),
        ("yesterday", ""),
    ],
)
def test_hints(word, hint):
    assert (hint in time_hint(word)) if hint else (time_hint(word) == "")


def test_an_hour_that_is_there_twice_or_never_is_some_time():
    found = np.array(micros("2026-10-25 02:30", "2026-03-29 02:30", zone="Europe/Berlin"))
    assert (found > 0).all()
