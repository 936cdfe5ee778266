"""CSV and JSON lines as people write them: headers, quotes, encodings, packing, bad rows."""

import bz2
import gzip
import json

import numpy as np
import pyarrow as pa
import pytest

from rllib_seq.errors import UserError
from rllib_seq.journeys.event_log import load_events
from rllib_seq.journeys.reading import ReadingOptions

T = "2026-01-05T10:00:00Z"


def load(tmp_path, content, name="e.csv", strict=False, **options):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return load_events(path, strict, options=ReadingOptions(**options))


@pytest.mark.parametrize(
    "text",
    [
        f"timestamp,user_id,event,channel\n{T},u1,visit,a\n",
        f"timestamp, user_id, event, channel\n{T}, u1, visit, a\n",
        f"timestamp ,user_id,event,channel\n{T},u1,visit,a\n",
        f'"timestamp", "user_id", "event", "channel"\n"{T}", "u1", "visit", "a"\n',
        f"\ufefftimestamp,user_id,event,channel\r\n{T},u1,visit,a\r\n",
        f'\ufeff"timestamp","user_id","event","channel"\n{T},u1,visit,a\n',
        f"Timestamp,User_ID,EVENT,Channel\n{T},u1,Visit ,a\n",
        f"timestamp,user id,event,channel,path\n{T},u1,visit,a,/pricing\n",
        f",timestamp,user_id,event,channel\n0,{T},u1,visit,a\n",
        f"# exported today\ntimestamp,user_id,event,channel\n{T},u1,visit,a\n",
        f"Report\nMay 2026\n\ntimestamp,user_id,event,channel\n{T},u1,visit,a\n",
        f"timestamp,user_id,event,channel\n{T},u1,visit,a\n\n,,,\n",
        f'timestamp,user_id,event,channel\n{T},u1,visit,"a"',
        f'{{"timestamp":"{T}","user_id":"u1","event":"visit","channel":"a"}}\n',
        '{"timestamp":1767607200,"user_id":"u1","event":"visit","channel":"a","x":[1]}\n\n',
    ],
)
def test_one_event_however_it_is_written(text, tmp_path):
    forms = [text.encode(), text.encode("utf-16"), gzip.compress(text.encode())]
    forms += [bz2.compress(text.encode()), pa.compress(text.encode(), "zstd", asbytes=True)]
    for content in forms[: 2 if text.startswith("\ufeff") else None]:
        log = load(tmp_path, content)
        assert (len(log), log.num_users, log.bad.count) == (1, 1, 0)
        assert (log.format, log.names["channel"]) == ("events", ["a"])
        assert log.time.tolist() == [1_767_607_200_000_000]


@pytest.mark.parametrize(
    ("text", "reported"),
    [
        (f"timestamp;user_id;event;value\n{T};u1;visit;1,5\n", r"--delimiter ';' --decimal ','"),
        (f"timestamp\tuser_id\tevent\n{T}\tu1\tvisit\n", "looks like --delimiter tab"),
        (
            f"ts,uid,type\n{T},u1,visit\n",
            "--column timestamp=ts --column user_id=uid --column event=",
        ),
        (f"timestamp,user_id,event,event\n{T},u1,visit,x\n", "has the column 'event' 2 times"),
        (f"timestamp,event\n{T},visit\n", "no column 'user_id'; its columns: timestamp, event"),
        (f"timestamp,event\n{T},visit\n", "or --column user_id= if there are no users"),
        ("\t".join(str(i) for i in range(25)) + "\n", "has no column 'timestamp'"),
        (
            "path_sequence,num_conversions\na>b,3\n",
            "--column path=path_sequence --column conversions=",
        ),
        ("cookie,time,interaction,conversion_value,channel\n", "looks like --schema kaggle-mta"),
        ("event_timestamp,event_name,user_pseudo_id\n", "looks like --schema ga4"),
        (f"timestamp,user_id,event\n{T},u1,buy\n", "event 'buy' is none of request"),
        ("timestamp,user_id,event\n1767607200000,u1,visit\n", "milliseconds: --time-unit ms"),
        ("timestamp,user_id,event\n31/12/2025,u1,visit\n", "--time-format '%d/%m/%Y'"),
        (b"PK\x03\x04 and so on", "a zip or Excel file; save it as CSV"),
        (b"[{}]", "one JSON array; give one object per line"),
        (gzip.compress(b"timestamp,user_id,event\n" * 99, mtime=0)[:-20], "it is cut off"),
        (bytes(range(256)) * 9, "cannot read"),
        (b"{broken\n{}\n", "no line is a JSON object; give one object per line"),
        (b'{\n"timestamp": 1}\n', "no line is a JSON object; give one object per line"),
        ("timestamp,user_id,event\n45413.08,u1,visit\n", "a day number of Excel"),
        (f"timestamp,user_id,event\n{T},u1,order\n", "name its kind: --event 'order=KIND'"),
    ],
)
def test_one_line_that_says_what_to_do(text, reported, tmp_path):
    with pytest.raises(UserError) as error:
        load(tmp_path, text)
    assert reported in str(error.value) and "\n" not in str(error.value)


def test_options_name_what_a_file_calls_otherwise(tmp_path):
    log = load(
        tmp_path,
        "uid;zeit;was;betrag\n7;05.01.2026 11:00;Kauf;1.234,5\n7;05.01.2026 10:00;Blick;\n"
        "8;05.01.2026 10:00;Scroll;\n",
        column=("user_id=uid", "timestamp=zeit", "event=was", "value=betrag"),
        event=("Kauf=conversion", "blick=impression", "scroll=ignore"),
        delimiter=";",
        decimal=",",
    )
    assert (len(log), log.bad.count, log.num_users) == (2, 0, 1)
    assert log.value[log.is_event("conversion")].tolist() == [1234.5]
    assert log.bad.warnings() == [] and "scroll (1)" in log.bad.notes[0]


@pytest.mark.parametrize(
    ("options", "reported"),
    [
        ({"column": ("uid",)}, "--column is 'uid'; give NAME=COLUMN"),
        ({"column": ("user=uid",)}, "column 'user' is none of ours"),
        ({"column": ("value=amount",)}, "no column 'amount' for value"),
        ({"event": ("buy=purchase",)}, "event 'buy' is to be 'purchase'; give one of: request"),
        ({"time_unit": "h"}, "unit is 'h'; give one of: s, ms, us, ns"),
        ({"time_origin": "soon"}, "origin is 'soon'; give a date"),
        ({"time_format": "dd"}, "format is 'dd'; give codes of strptime"),
        ({"timezone": "CET+1"}, "timezone is 'CET+1'; give an IANA name"),
        ({"delimiter": ",,"}, "delimiter is ',,'; give one character"),
        ({"decimal": "'"}, "give '.' or ','"),
        ({"schema": "nielsen"}, "no schema 'nielsen'; give a TOML file or one of: appsflyer"),
    ],
)
def test_wrong_options(options, reported, tmp_path):
    with pytest.raises(UserError) as error:
        load(tmp_path, f"timestamp,user_id,event\n{T},u,visit\n", **options)
    assert reported in str(error.value) and "\n" not in str(error.value)


def test_a_schema_file(tmp_path):
    schema = tmp_path / "mine.toml"
    schema.write_text(
        'time_unit = "ms"\ntimezone = "Asia/Tokyo"\n[columns]\nuser_id = ["uid", "cookie"]\n'
        '[events]\nbuy = "conversion"\n"*" = "ignore"\n[[rows]]\n[[rows]]\nevent = "click"\n'
        'when = { clicked = "1" }\ncolumns = { value = [] }\n'
    )
    rows = "1767607200000,,c1,visit,1,5\n1767607200000,u,c1,buy,0,7\n1767607200000,u,c1,zoom,0,\n"
    text = f"timestamp,uid,cookie,event,clicked,value\n{rows}"
    log = load(tmp_path, text, schema=str(schema))
    assert (len(log), log.num_users, log.timezone) == (3, 2, "Asia/Tokyo")
    assert log.is_event("click").sum() == 1 and np.nansum(log.value) == 12.0
    assert log.local_time[0] - log.time[0] == 9 * 3_600_000_000
    for content in ("colums = 1", "columns = 1", '[columns]\nuser = "x"', "= x", 'decimal = "x"'):
        schema.write_text(content)
        with pytest.raises(UserError, match=r"mine\.toml"):
            load(tmp_path, text, schema=str(schema))


def test_no_row_depends_on_its_neighbours(tmp_path):
    good = [{"timestamp": T, "user_id": f"u{i}", "event": "visit", "value": i} for i in range(3)]
    odd = [
        {"timestamp": 1_767_607_200, "user_id": 7, "event": "Visit", "value": "8"},
        {"timestamp": T, "user_id": None, "event": "visit"},
        {"timestamp": "x", "user_id": "u9", "event": "visit"},
        {"timestamp": T, "user_id": 1.0, "event": "visit", "value": "many"},
    ]
    lines = [json.dumps(row) for row in [*good, *odd]]
    for more in ([], ["not JSON", "[1]", '{"cut": '], [""]):
        log = load(tmp_path, "\n".join(lines + more), "e.json")
        assert len(log) == 5 and log.bad.count == 2 + sum(map(bool, more))
        assert np.nansum(log.value) == 11 and log.bad.lost == {"value": 1}
    rows = [",".join(str(row.get(k) or "") for k in good[0]) for row in [*good, *odd]]
    table = "\n".join(["timestamp,user_id,event,value", *rows])
    log = load(tmp_path, table.replace(",0\n", ",0.0\n"))
    assert (len(log), log.bad.count, log.bad.lost["value"]) == (5, 2, 1)


def test_bytes_that_are_not_utf8_stay_with_their_value(tmp_path):
    rows = f"{T},u1,visit,caf\u00e9\n{T},u2,visit,b\n{T},u3,visit,c,\u00e9\n"
    log = load(tmp_path, f"timestamp,user_id,event,channel\n{rows}".encode("latin-1"))
    assert log.names["channel"] == ["caf\\xe9", "b"]
    assert log.bad.examples == ["line 4: 5 values, not 4"]


def test_quotes_may_hold_delimiters_and_lines(tmp_path):
    text = f'timestamp,user_id,event,channel\n{T},u1,visit,"a,\nb"\n{T},u2,visit,"say ""hi"""\n'
    assert load(tmp_path, text).names["channel"] == ["a,\nb", 'say "hi"']


def test_a_quote_that_is_never_closed_is_a_warning(tmp_path):
    rows = "".join(f"{T},u{i},visit,b\n" for i in range(5))
    log = load(tmp_path, f'timestamp,user_id,event,channel\n{T},u,visit,"a\n{rows}')
    assert len(log) == 1 and "5 lines end within quoted values" in log.bad.warnings()[0]


def test_ids_that_are_missing_are_no_user(tmp_path):
    none = ["", "NULL", "\\N", "null", "None", "nan", "NA", "00000000-0000-0000-0000-000000000000"]
    rows = "".join(f"{T},{user},visit\n" for user in [*none, "u1"])
    log = load(tmp_path, "timestamp,user_id,event\n" + rows)
    assert (len(log), log.num_users, log.bad.count) == (1, 1, len(none))
    assert "line 2: no user_id" in log.bad.examples
    assert "88.9 % of the rows (8 of 9) are bad" in log.bad.warnings()[0]


def test_a_kind_of_event_that_is_gone_is_a_warning(tmp_path):
    rows = "".join(f"{T},u{i},visit\n" for i in range(500)) + f"{T},u1,Order Placed\n"
    log = load(tmp_path, "timestamp,user_id,event\n" + rows)
    assert log.bad.count == 1
    (warning,) = log.bad.warnings()
    assert "all 1 rows of event 'order placed' were left out" in warning
    assert "--event 'order placed=" in warning


def test_numbers_that_cannot_be_read_are_lost_and_counted(tmp_path):
    rows = "".join(f"{T},u{i},visit,{'n/a!' if i % 4 == 0 else i}\n" for i in range(100))
    log = load(tmp_path, "timestamp,user_id,event,price\n" + rows)
    assert (len(log), log.bad.count, log.bad.lost["price"]) == (100, 0, 25)
    (warning,) = log.bad.warnings()
    assert "25 % of the numbers in price (25 of 100)" in warning and "line 2" in warning
    with pytest.raises(UserError, match="line 2: price 'n/a!' is not a number"):
        load(tmp_path, "timestamp,user_id,event,price\n" + rows, strict=True)


def test_equal_times_keep_the_order_of_the_file(tmp_path):
    header = "timestamp,user_id,event,channel,value\n"
    rows = [
        "2026-01-05,u,visit,social,",
        "2026-01-05,u,visit,search,",
        "2026-01-06,u,conversion,,1",
    ]
    log = load(tmp_path, header + "\n".join(rows))
    names = [log.names["channel"][code] for code in log.channel]
    assert names == ["social", "search", "(none)"]
    # A file that begins with its newest row is read from its end.
    back = load(tmp_path, header + "\n".join(reversed(rows)))
    assert [back.names["channel"][code] for code in back.channel] == names


def test_two_orders_in_a_second_are_two(tmp_path):
    rows = "".join(f"{T},u,conversion,{value}\n" for value in (10, 25, 10))
    log = load(tmp_path, "timestamp,user_id,event,value\n" + rows)
    assert (log.duplicates, log.value.tolist()) == (1, [10.0, 25.0])


def test_dates_have_no_clock(tmp_path):
    rows = "2026-01-05,u,visit\n2026-01-05,u,visit\n2026-01-07,u,conversion\n"
    for name in ("UTC", "Asia/Tokyo", "America/Los_Angeles"):
        log = load(tmp_path, "timestamp,user_id,event\n" + rows, timezone=name)
        assert not log.has_clock and (len(log), log.duplicates) == (3, 0)
        days = log.local_time // 86_400_000_000
        assert days.tolist() == [20458, 20458, 20460] and "without a clock" in log.bad.notes[0]
    assert load(tmp_path, f"timestamp,user_id,event\n{T},u,visit\n{rows}").has_clock


def test_a_file_without_a_good_row_ends_at_its_first_batch(tmp_path, monkeypatch):
    from rllib_seq.journeys.reading import batches

    monkeypatch.setattr(batches, "_BLOCK_BYTES", 1 << 12)
    rows = "".join(f"x{i},u,visit\n" for i in range(5000))
    with pytest.raises(
        UserError, match=r"no event; the first of \d{3} bad rows, line 2: timestamp"
    ):
        load(tmp_path, "timestamp,user_id,event\n" + rows)


def test_lines_of_bad_rows_over_many_batches(tmp_path, monkeypatch):
    from rllib_seq.journeys.reading import batches

    monkeypatch.setattr(batches, "_BLOCK_BYTES", 1 << 10)
    rows = [f"{T},u{i},visit" for i in range(400)]
    rows[150] += ",more"
    rows[300] = f"yesterday{rows[300][20:]}"
    rows[301] = ""
    rows[350] = f"{T},,visit"
    log = load(tmp_path, "timestamp,user_id,event\n" + "\n".join(rows))
    lines = [example.split(":")[0] for example in log.bad.examples]
    assert lines == ["line 152", "line 302", "line 352"] and len(log) == 396
