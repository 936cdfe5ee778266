"""Columns of any type to text and numbers, whatever file they come from.

- `clean_name`: how names of columns are compared.
- `find_column`: a column of a batch by its name, fields of structs included.
- `text`, `Words`: names and ids; `to_numbers`: numbers. Each value is read by itself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from rllib_seq.errors import UserError

_MISSING = ["", "null", "NULL", "Null", "\\N", "None", "NaN", "nan", "<NA>", "(null)"]
NOT_A_NUMBER = pa.array([*_MISSING, "NA", "N/A", "n/a", "#N/A", "-"], pa.string())
"""Text that stands for a missing value in a column of numbers."""
NUMBER = r"^[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?$"
"""Text that is one."""
_NO_ID = pa.array(
    [
        *(*_MISSING, "NA", "N/A", "n/a", "#N/A", "undefined", "nil", "(not set)", "-"),
        "00000000-0000-0000-0000-000000000000",
    ],
    pa.string(),
)
_NO_NAME = pa.array(_MISSING, pa.string())
_HEX = np.frombuffer(b"".join(b"%02x" % i for i in range(256)), "S2")


def clean_name(name: str) -> str:
    r"""A column's name without its case, its blanks and a byte order mark.

    >>> clean_name("\ufeff User ID"), clean_name("traffic_source.medium")
    ('user_id', 'traffic_source.medium')
    """
    return re.sub(r"[\s-]+", "_", name.strip("\ufeff \t\r\n\"'")).lower()


def find_column(columns: Mapping[str, Any], name: str) -> Any:
    """A column by its name, or the field of a struct by `column.field`; None if there is none."""
    name = clean_name(name)
    if name in columns:
        return columns[name]
    parts = name.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        values = columns.get(".".join(parts[:cut]))
        if values is not None:
            return _field(values, parts[cut:])
    return None


def _field(values: Any, path: list[str]) -> Any:
    for part in path:
        if not pa.types.is_struct(values.type):
            return None
        names = [clean_name(field.name) for field in values.type]
        if part not in names:
            return None
        values = pc.struct_field(values, names.index(part))
    return values


def decoded(values: Any) -> Any:
    """The plain values of a dictionary-encoded column; others as they are."""
    return values.dictionary_decode() if pa.types.is_dictionary(values.type) else values


def text(values: Any, name: str) -> Any:
    """A column as strings.

    Args:
        values: any array but a dictionary-encoded one.
        name: what it is wanted for, for the error.

    Raises:
        UserError: it holds structs, lists or maps.
    """
    kind = values.type
    if isinstance(kind, pa.BaseExtensionType):
        if kind == pa.uuid():
            return _hex(values.storage, dashes=True)
        return text(values.storage, name)
    if pa.types.is_string(kind):
        return values
    if pa.types.is_fixed_size_binary(kind):
        return _hex(values)
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or kind == pa.binary_view():
        try:
            return values.cast(pa.string())
        except pa.ArrowInvalid:
            return _odd_bytes(values)
    if pa.types.is_nested(kind):
        inner = ""
        if pa.types.is_struct(kind) and kind.num_fields:
            inner = f"; name one of its fields: --column {name}=COLUMN.{kind.field(0).name}"
        raise UserError(
            f"the column of {name} holds {_short(kind)}, not one value per row"
            + (inner or f"; name another: --column {name}=NAME")
        )
    if pa.types.is_floating(kind):
        return _float_text(values)
    words = values.cast(pa.string())
    if pa.types.is_decimal(kind):
        words = pc.replace_substring_regex(words, r"\.0+$", "")
    return words


def trimmed(words: Any) -> Any:
    """Strings without blanks around them, and without the quotes that `a, "b"` leaves."""
    words = pc.utf8_trim_whitespace(words)
    if pc.any(pc.starts_with(words, '"')).as_py():
        words = pc.replace_substring_regex(words, r'^"\s*(.*?)\s*"$', r"\1")
    return words


def _short(kind: Any) -> str:
    words = str(kind)
    return words if len(words) < 60 else words[:57] + "..."


def _float_text(values: Any) -> Any:
    """Whole numbers without a point, so that 101.0, a float for want of integers, is 101."""
    numbers = values.cast(pa.float64())
    whole = pc.and_(pc.equal(pc.floor(numbers), numbers), pc.less(pc.abs(numbers), 9e18))
    whole = pc.fill_null(whole, False)
    integers = pc.if_else(whole, numbers, 0.0).cast(pa.int64()).cast(pa.string())
    return pc.if_else(whole, integers, numbers.cast(pa.string()))


def _hex(values: Any, dashes: bool = False) -> Any:
    """Bytes of one width as hexadecimal digits, ids that are no text."""
    n, width = len(values), values.type.byte_width
    if not n or not width:
        return pa.nulls(n, pa.string())
    raw = np.frombuffer(values.buffers()[1], np.uint8)
    start = values.offset * width
    digits = _HEX[raw[start : start + n * width].reshape(n, width)].view("S1").reshape(n, -1)
    if dashes:
        digits = np.insert(digits, [8, 12, 16, 20], b"-", axis=1)
    size = digits.shape[1]
    ends = np.arange(n + 1, dtype=np.int64) * size
    words = pa.LargeStringArray.from_buffers(
        n, pa.py_buffer(ends.tobytes()), pa.py_buffer(np.ascontiguousarray(digits).tobytes())
    )
    return pc.if_else(values.is_valid(), words, pa.scalar(None, pa.large_string())).cast(
        pa.string()
    )


def _odd_bytes(values: Any) -> Any:
    r"""Bytes of which some are not UTF-8: those are shown as \\xNN."""
    coded = values.dictionary_encode()
    words = [word.decode(errors="backslashreplace") for word in coded.dictionary.to_pylist()]
    return pa.array(words, pa.string()).take(coded.indices)


class Words:
    r"""A column of names or ids: `[n]` indices into its distinct words, -1 where there is none.

    Words are trimmed; NULL, null, \\N, NaN, None and the empty word are none. For ids NA, N/A, nil,
    undefined, (not set), - and the zeroed device id are none, too.

    Args:
        values: array of any type, `[n]`.
        name: what the column is wanted for.
        lower: makes words lower case.
    """

    def __init__(self, values: Any, name: str, lower: bool = False) -> None:
        coded = values
        if not pa.types.is_dictionary(values.type):
            coded = text(values, name).dictionary_encode()
        words = trimmed(text(decoded(coded.dictionary), name))
        if lower:
            words = pc.utf8_lower(words)
        none = _NO_ID if name == "user_id" else _NO_NAME
        words = pc.if_else(pc.is_in(words, value_set=none), None, words).dictionary_encode()
        self.words = words.dictionary
        """Distinct strings."""
        to_word = words.indices.fill_null(-1).to_numpy(zero_copy_only=False)
        index = coded.indices.fill_null(len(to_word)).to_numpy(zero_copy_only=False)
        self.index: NDArray[np.int32] = np.append(to_word, np.int32(-1)).astype(np.int32)[index]
        """`[n]`."""

    def array(self) -> Any:
        """The words of the rows, null where there is none."""
        index = pa.array(self.index, mask=self.index < 0)
        return self.words.take(index)


def to_numbers(
    values: Any, name: str, decimal: str = ".", grouped: bool = False
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """A column as numbers.

    Args:
        values: array of any type, `[n]`.
        name: what it is wanted for.
        decimal: the decimal mark of text, "." or ",".
        grouped: whether the other one groups thousands, as in 1,234.5.

    Returns:
        `[n]` numbers, NaN where there is none, and `[n]` whether a value is no number of at least
        0 and was lost.

    Raises:
        UserError: the column's type holds no numbers.
    """
    values = decoded(values)
    kind = values.type
    if pa.types.is_temporal(kind):
        raise UserError(f"the column of {name} is of type {kind}; name another: --column {name}=")
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        numbers = values.cast(pa.float64(), safe=False)
        lost = np.zeros(len(values), np.bool_)
    else:
        words = trimmed(text(values, name))
        words = pc.if_else(pc.is_in(words, value_set=NOT_A_NUMBER), None, words)
        plain = words
        if grouped:
            group = "." if decimal == "," else ","
            form = rf"^[+-]?\d{{1,3}}(?:\{group}\d{{3}})+(?:\{decimal}\d*)?$"
            bare = pc.replace_substring(words, group, "")
            plain = pc.if_else(pc.match_substring_regex(words, form), bare, words)
        if decimal != ".":
            # A point would be read as the decimal mark.
            plain = pc.if_else(pc.match_substring(plain, "."), "?", plain)
            plain = pc.replace_substring(plain, decimal, ".")
        good = pc.match_substring_regex(plain, NUMBER)
        numbers = pc.if_else(good, plain, None).cast(pa.float64())
        lost = pc.fill_null(pc.invert(good), False).to_numpy(zero_copy_only=False)
    found = numbers.fill_null(np.nan).to_numpy(zero_copy_only=False)
    wrong = lost | (found < 0) | np.isinf(found)
    return np.where(wrong, np.nan, found), wrong
