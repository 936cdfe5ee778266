"""Files as other programs write them: encodings, packing, delimiters, missing ids."""

import gzip

import pyarrow as pa
import pytest

from rllib_seq.errors import UserError
from rllib_seq.journeys.event_log import load_events
from rllib_seq.journeys.reading import reading_options

TIME = "2026-01-05T10:00:00Z"
TEXT = f"timestamp,user_id,event,channel\n{TIME},u1,visit,caffè\n{TIME},u2,visit,b\n"


def read(tmp_path, content, **options):
    path = tmp_path / "e.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return load_events(path, options=reading_options(options))


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"]
)
def test_unicode_is_read_however_it_is_written(encoding, tmp_path):
    log = read(tmp_path, TEXT.encode(encoding))
    assert log.names["channel"] == ["caffè", "b"]


def test_other_bytes_are_shown_and_noted(tmp_path):
    log = read(tmp_path, TEXT.encode("latin-1"))
    assert log.names["channel"] == [r"caff\xe8", "b"]
    assert any("not UTF-8" in note for note in log.bad.notes)
    assert not any("not UTF-8" in note for note in read(tmp_path, TEXT).bad.notes)


@pytest.mark.parametrize("codec", ["gzip", "bz2", "zstd", "lz4"])
def test_packed_files_are_known_by_their_content(codec, tmp_path):
    if codec == "gzip":
        packed = gzip.compress(TEXT.encode())
    else:
        sink = pa.BufferOutputStream()
        with pa.CompressedOutputStream(sink, codec) as stream:
            stream.write(TEXT.encode())
        packed = sink.getvalue().to_pybytes()
    assert len(read(tmp_path, packed)) == 2


def test_what_cannot_be_unpacked_says_so(tmp_path):
    with pytest.raises(UserError, match="packed with xz; unpack it"):
        read(tmp_path, b"\xfd7zXZ\x00 and so on")


@pytest.mark.parametrize("mark", ["\x01", "^", "~"])
def test_any_delimiter(mark, tmp_path):
    text = TEXT.replace(",", mark)
    assert len(read(tmp_path, text, delimiter=mark)) == 2
    with pytest.raises(UserError, match="has no column 'timestamp'"):
        read(tmp_path, text)
    assert len(read(tmp_path, TEXT.replace(",", "\x01"), delimiter=r"\x01")) == 2


def test_rows_may_end_with_a_delimiter(tmp_path):
    rows = f"timestamp,user_id,event\n{TIME},u1,visit,\n{TIME},u2,visit,\n"
    log = read(tmp_path, rows)
    assert (len(log), log.bad.count) == (2, 0)


def test_a_file_without_names_is_told_so(tmp_path):
    with pytest.raises(UserError, match="its first line is data: write the names"):
        read(tmp_path, TEXT.split("\n", 1)[1])


@pytest.mark.parametrize("word", ["undefined", "nil", "(not set)", "-", "NULL", r"\N", ""])
def test_words_for_no_user_are_no_user(word, tmp_path):
    log = read(tmp_path, TEXT + f"{TIME},{word},visit,b\n" * 2)
    assert (log.num_users, log.bad.count) == (2, 2)


def test_fields_of_objects_are_proposed(tmp_path):
    line = '{"ts": {"sec": 1767607200}, "user": {"id": 7}, "event": "visit"}\n'
    with pytest.raises(UserError, match=r"timestamp=ts\.sec --column user_id=user\.id"):
        read(tmp_path, line)
    columns = ["timestamp=ts.sec", "user_id=user.id"]
    assert len(read(tmp_path, line, column=columns)) == 1
