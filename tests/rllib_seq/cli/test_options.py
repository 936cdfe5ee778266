"""Spans of time on the command line."""

import pytest

from rllib_seq.cli.options import duration
from rllib_seq.errors import UserError


def test_spans():
    assert duration("--gap", "30m") == 1800
    assert duration("--lookback", "1.5d") == 129_600
    assert duration("--lookback", "2w") == 14 * 86_400
    assert duration("--lookback", "none") is None


@pytest.mark.parametrize("text", ["", "30", "d", "-1d", "0h", "infd", "nand", "5 years"])
def test_what_is_no_span_is_one_line(text):
    with pytest.raises(UserError, match="--gap is .*give a number above 0 and a unit"):
        duration("--gap", text)
