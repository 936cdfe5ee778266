"""Wall clocks of time zones: against the standard library, across changes of the clock."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rllib_seq.errors import UserError
from rllib_seq.journeys.local_time import check_timezone, to_local

ZONES = ["Europe/Berlin", "America/Los_Angeles", "Asia/Kolkata", "Australia/Lord_Howe", "UTC"]


@settings(deadline=None)
@given(
    st.lists(st.integers(631_152_000, 2_000_000_000), min_size=1, max_size=5),
    st.sampled_from(ZONES),
)
def test_equals_the_standard_library(seconds, name):
    seconds = [seconds[0], *(seconds[0] + s % 40_000_000 for s in seconds[1:])]
    local = to_local(np.array(seconds) * 1_000_000, name)
    for second, ours in zip(seconds, local.tolist(), strict=True):
        there = datetime.fromtimestamp(second, ZoneInfo(name)).replace(tzinfo=UTC)
        assert ours == int(there.timestamp()) * 1_000_000


def test_the_hour_of_the_change():
    quarters = np.arange(datetime(2024, 3, 31, tzinfo=UTC).timestamp(), 1711929600, 900)
    hours = to_local((quarters * 1e6).astype(np.int64), "Europe/Berlin") // 3_600_000_000 % 24
    assert sorted(set(range(24)) - set(hours.tolist())) == [2]  # two o'clock is left out


@pytest.mark.parametrize("name", ["Mars/Base", "", "../etc/passwd", "Berlin"])
def test_no_such_zone(name):
    with pytest.raises(UserError, match="give an IANA name such as Europe/Berlin"):
        check_timezone(name)
