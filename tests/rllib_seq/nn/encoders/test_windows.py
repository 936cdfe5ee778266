"""Windows of a sequence are the windows of its steps taken one at a time, however it is cut."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rllib_seq.nn.encoders.windows import next_state, sequence_windows

modest = settings(deadline=None, max_examples=25)


def _fresh(batch: int, slots: int, width: int) -> tuple[Tensor, Tensor]:
    return torch.zeros(batch, slots - 1, width), torch.zeros(batch, dtype=torch.long)


def _one_at_a_time(stream: Tensor, slots: int) -> tuple[Tensor, Tensor]:
    """Windows by definition: for each step of `[T, D]`, the last L steps, right-aligned."""
    windows = torch.zeros(len(stream), slots, stream.shape[1])
    valid = torch.zeros(len(stream), slots, dtype=torch.bool)
    for step in range(len(stream)):
        seen = stream[max(0, step + 1 - slots) : step + 1]
        windows[step, slots - len(seen) :] = seen
        valid[step, slots - len(seen) :] = True
    return windows, valid


def test_picture_of_the_module_docstring() -> None:
    a, b, c, d = 1.0, 2.0, 3.0, 4.0
    state = torch.tensor([[[9.0], [9.0], [a]]])  # two slots hold garbage
    windows, valid = sequence_windows(state, torch.tensor([1]), torch.tensor([[[b], [c], [d]]]))
    assert windows.squeeze().tolist() == [[0, 0, a, b], [0, a, b, c], [a, b, c, d]]
    assert valid.squeeze().tolist() == [
        [False, False, True, True],
        [False] + [True] * 3,
        [True] * 4,
    ]


@modest
@given(
    slots=st.integers(1, 6),
    fragments=st.lists(st.integers(1, 7), min_size=1, max_size=5),
    seed=st.integers(0, 99),
)
def test_fragments_give_the_windows_of_the_whole(
    slots: int, fragments: list[int], seed: int
) -> None:
    stream = torch.randn(sum(fragments), 3, generator=torch.Generator().manual_seed(seed))
    expected, expected_valid = _one_at_a_time(stream, slots)
    state, length = _fresh(1, slots, 3)
    start = 0
    for steps in fragments:
        inputs = stream[None, start : start + steps]
        windows, valid = sequence_windows(state, length, inputs)
        assert torch.equal(windows[0], expected[start : start + steps])
        assert torch.equal(valid[0], expected_valid[start : start + steps])
        state, length = next_state(state, length, inputs)
        start += steps
    assert length.item() == min(start, slots - 1)


@modest
@given(slots=st.integers(1, 6), lens=st.lists(st.integers(0, 5), min_size=1, max_size=6))
def test_padded_rows_leave_no_trace_in_the_state(slots: int, lens: list[int]) -> None:
    batch, steps = len(lens), 5
    generator = torch.Generator().manual_seed(sum(lens))
    state = torch.randn(batch, slots - 1, 2, generator=generator)
    length = torch.randint(0, slots, (batch,), generator=generator)
    inputs = torch.randn(batch, steps, 2, generator=generator)
    padded = inputs.clone()
    for row, real in enumerate(lens):
        padded[row, real:] = 1e6
    new_state, new_length = next_state(state, length, padded, torch.tensor(lens))
    for row, real in enumerate(lens):
        one = slice(row, row + 1)
        expected = next_state(state[one], length[one], inputs[one, :real])
        assert torch.equal(new_state[one], expected[0])
        assert torch.equal(new_length[one], expected[1])


def test_window_of_one_slot_is_the_step_itself() -> None:
    inputs = torch.randn(2, 3, 4)
    state, length = _fresh(2, 1, 4)
    windows, valid = sequence_windows(state, length, inputs)
    assert torch.equal(windows.squeeze(2), inputs) and bool(valid.all())
    assert next_state(state, length, inputs)[0].shape == (2, 0, 4)


@pytest.mark.parametrize(
    ("state", "length", "inputs"),
    [((2, 3, 4), (2,), (2, 5, 3)), ((2, 3, 4), (1,), (2, 5, 4)), ((2, 3), (2,), (2, 5, 4))],
)
def test_wrong_shapes_are_named(state: tuple, length: tuple, inputs: tuple) -> None:
    with pytest.raises(ValueError, match=r"\[B, L-1, D\].*got") as caught:
        sequence_windows(torch.zeros(state), torch.zeros(length), torch.zeros(inputs))
    assert str(list(inputs)) in str(caught.value)


def test_wrong_seq_lens_are_named() -> None:
    state, length = _fresh(2, 3, 1)
    with pytest.raises(ValueError, match=r"seq_lens must be \[2\]"):
        next_state(state, length, torch.zeros(2, 4, 1), torch.ones(3))
