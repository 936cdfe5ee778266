"""Values of any type to text and numbers: the container changes nothing, nor does a neighbour."""

import decimal
import uuid

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rllib_seq.errors import UserError
from rllib_seq.journeys.event_log import load_events
from rllib_seq.journeys.reading.columns import Words, clean_name, to_numbers

D = decimal.Decimal
ID = uuid.UUID(int=7)


def words(values, name="channel"):
    return Words(values, name).array().to_pylist()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (pa.array([7, None, 2**63 - 1]), ["7", None, str(2**63 - 1)]),
        (pa.array([2**64 - 1], pa.uint64()), [str(2**64 - 1)]),
        (pa.array([101.0, None, 0.5]), ["101", None, "0.5"]),
        (pa.array([1e17, 1e17 + 16]), ["100000000000000000", "100000000000000016"]),
        (pa.array([D("12345678901234567890")], pa.decimal128(25, 0)), ["12345678901234567890"]),
        (pa.array([D("3"), D("3.5")], pa.decimal128(5, 1)), ["3", "3.5"]),
        (pa.array([True, None]), ["true", None]),
        (pa.array([b"ok", b"\xff\xfe", None]), ["ok", "\\xff\\xfe", None]),
        (pa.array([b"ok"], pa.large_binary()), ["ok"]),
        (pa.array([b"ok"], pa.binary_view()), ["ok"]),
        (pa.array(["a"], pa.string_view()), ["a"]),
        (
            pa.array([bytes(4), None, b"\x01\xab\xff\x00"], pa.binary(4)),
            ["00000000", None, "01abff00"],
        ),
        (pa.array([ID.bytes, None], pa.uuid()), [str(ID), None]),
        (pa.nulls(2), [None, None]),
        (pa.array(["a", "b", "a", None]).dictionary_encode(), ["a", "b", "a", None]),
        (pa.array(["a"], pa.large_string()).dictionary_encode(), ["a"]),
    ],
)
def test_every_type_is_text(values, expected):
    assert words(values) == expected
    padded = pa.concat_arrays([values, values]) if values.type != pa.null() else values
    assert words(padded[len(values) :] if len(padded) > len(values) else padded) == expected


def test_what_is_missing():
    none = ["", " ", "NULL", "null", "\\N", "None", "NaN", "nan", "<NA>", "(null)"]
    assert words(pa.array([*none, "x"])) == [None] * len(none) + ["x"]
    assert words(pa.array(["NA", "N/A"])) == ["NA", "N/A"]  # North America
    zero = "00000000-0000-0000-0000-000000000000"
    assert words(pa.array(["NA", "N/A", zero, "0"]), "user_id") == [None, None, None, "0"]


def test_words_are_trimmed_and_distinct():
    column = Words(pa.array([" a", "a ", '"a"', "b", 'say "b"']), "channel")
    assert column.array().to_pylist() == ["a", "a", "a", "b", 'say "b"']
    assert column.words.to_pylist() == ["a", "b", 'say "b"']


@pytest.mark.parametrize(
    ("values", "reported"),
    [
        (pa.array([{"source": "a"}]), "struct<source: string>.*--column channel=COLUMN.source"),
        (pa.array([["a"]]), "list<"),
        (pa.array([[("k", "v")]], pa.map_(pa.string(), pa.string())), "map<"),
    ],
)
def test_nested_types_are_refused_by_name(values, reported):
    with pytest.raises(UserError, match=reported):
        words(values)


def numbers(values, **how):
    found, lost = to_numbers(pa.array(values), "price", **how)
    return [None if np.isnan(x) else x for x in found.tolist()], lost.tolist()


def test_numbers():
    texts = ["1", " 2.5 ", "1e3", ".5", "5.", "", "null", "NA", "-", None]
    assert numbers(texts) == ([1.0, 2.5, 1000.0, 0.5, 5.0, *[None] * 5], [False] * 10)
    bad = ["-1", "inf", "x", "1,5", "1.2.3", "$3", "1e999", "0x10"]
    assert numbers(bad) == ([None] * 8, [True] * 8)
    assert numbers([-1.0, float("inf"), float("nan"), 2.0])[1] == [True, True, False, False]
    assert numbers([D("1.10"), None])[0] == [1.1, None]


def test_decimal_marks():
    assert numbers(["1,5", "12", "1.234,5", "1.5"], decimal=",", grouped=True) == (
        [1.5, 12.0, 1234.5, None],
        [False, False, False, True],
    )
    assert numbers(["1,234.5", "1,234", "12,34"], grouped=True)[0] == [1234.5, 1234.0, None]


@settings(deadline=None)
@given(
    st.lists(
        st.one_of(st.floats(0, 1e30, allow_subnormal=False), st.none()), min_size=1, max_size=6
    )
)
def test_text_and_floats_are_the_same_numbers(values):
    typed = to_numbers(pa.array(values, pa.float64()), "value")
    texts = [None if v is None else repr(v) for v in values]
    written = to_numbers(pa.array(texts, pa.string()), "value")
    np.testing.assert_array_equal(typed[0], written[0])
    assert not typed[1].any() and not written[1].any()


def test_names_are_compared_without_case_and_blanks():
    assert {clean_name(n) for n in ("User ID", " user_id", '"USER-ID"', "\ufeffuser_id ")} == {
        "user_id"
    }


TIMES = pa.array([1767607200000000, 1767607500000000, 1767690000000000]).cast(pa.timestamp("us"))
PLAIN = {
    "timestamp": TIMES,
    "user_id": pa.array(["u1", "u1", "u2"]),
    "event": pa.array(["impression", "click", "impression"]),
    "channel": pa.array(["a", "a", "b"]),
    "price": pa.array([1.0, None, 2.0]),
}


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *(("timestamp", k) for k in (pa.timestamp("ns", "Asia/Tokyo"), pa.string())),
        *((n, pa.large_string()) for n in ("user_id", "event", "channel")),
        *((n, pa.string_view()) for n in ("user_id", "event", "channel")),
        *((n, pa.binary()) for n in ("user_id", "event", "channel")),
        *((n, pa.dictionary(pa.int8(), pa.string())) for n in ("user_id", "event", "channel")),
        *(
            ("price", k)
            for k in (pa.float16(), pa.decimal128(9, 2), pa.string(), pa.large_string())
        ),
    ],
)
def test_parquet_types_give_one_log(name, kind, tmp_path):
    table = pa.table({**PLAIN, name: PLAIN[name].cast(kind)})
    pyarrow.parquet.write_table(pa.table(PLAIN), tmp_path / "plain.parquet")
    pyarrow.parquet.write_table(table, tmp_path / "typed.parquet")
    plain, typed = (load_events(tmp_path / f"{n}.parquet") for n in ("plain", "typed"))
    assert typed.bad.count == 0 and typed.names == plain.names
    for column in ("time", "user", "event", "channel", "price"):
        np.testing.assert_array_equal(getattr(typed, column), getattr(plain, column))
