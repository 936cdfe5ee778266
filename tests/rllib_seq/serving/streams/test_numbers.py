"""What is sent becomes numbers of the space, or is refused; nothing else reaches a session."""

import numpy as np
import pytest
from gymnasium.spaces import Box

from rllib_seq.serving.streams.model import finite_rows
from rllib_seq.serving.streams.spaces import finite_number, read_parts


@pytest.mark.parametrize(
    ("dtype", "value"),
    [("uint8", 256), ("uint8", -1), ("int8", 200), ("int64", 0.5), ("float32", 1e39)],
)
def test_no_number_wraps_around_or_is_cut(dtype, value):
    info = np.finfo(dtype) if dtype == "float32" else np.iinfo(dtype)
    space = Box(info.min, info.max, (1,), np.dtype(dtype).type)
    with pytest.raises(ValueError, match=f"seen: .* holds a number that {dtype} does not"):
        read_parts(space, [value], "seen")


@pytest.mark.parametrize(("dtype", "value"), [("uint8", 255.0), ("int64", 3), ("float32", 0.1)])
def test_what_the_type_holds_is_taken(dtype, value):
    space = Box(0, 255, (1,), np.dtype(dtype).type)
    assert read_parts(space, [value], "seen")["seen"] == np.array([value], dtype)


@pytest.mark.parametrize("value", [None, True, "1", [1], float("nan"), 1e39, -(10**400)])
def test_a_number_is_finite(value):
    with pytest.raises(ValueError, match="reward: must be a finite number"):
        finite_number(value, "reward")


def test_rows_are_judged_by_all_their_numbers():
    state = np.zeros((3, 2, 2), np.float32)
    state[1, 1, 0] = np.inf
    action = np.array([1, 2, 3])
    values = np.array([0.5, 0.5, np.nan])
    assert finite_rows([state, action, values]).tolist() == [True, False, False]
