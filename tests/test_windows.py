from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ml.windows import split

SHARES = (0.6, 0.2, 0.2)


def days(numbers: Sequence[int]) -> NDArray[np.datetime64]:
    return np.datetime64("2025-01-01", "us") + np.array(numbers, dtype="timedelta64[D]")


@settings(deadline=None)
@given(
    st.lists(st.integers(0, 60), max_size=80),
    st.integers(0, 40),
    st.sampled_from([(0.6, 0.2, 0.2), (0.8, 0.2)]),
)
def test_what_a_window_learns_was_known_when_the_next_began(
    numbers: list[int], gap: int, shares: tuple[float, ...]
) -> None:
    times = days(numbers)
    windows = split(times, np.timedelta64(gap, "D"), shares)
    rows = np.concatenate(windows)
    assert len(windows) == len(shares)
    assert len(set(rows.tolist())) == len(rows)
    filled = [window for window in windows if len(window)]
    for earlier, later in pairwise(filled):
        assert times[earlier].max() + np.timedelta64(gap, "D") <= times[later].min()
        assert not set(times[earlier]) & set(times[later])
    for window in windows:
        assert (np.diff(times[window]) >= np.timedelta64(0, "us")).all()


def test_without_a_gap_the_windows_have_their_shares() -> None:
    windows = split(days(range(1000))[::-1], np.timedelta64(0, "D"), SHARES)
    assert [len(window) for window in windows] == [600, 200, 200]
    assert windows[2].tolist() == list(range(200))[::-1]


def test_the_shares_hold_for_what_the_gaps_leave() -> None:
    windows = split(days(range(150)), np.timedelta64(30, "D"), SHARES)
    assert [len(window) for window in windows] == pytest.approx([54, 18, 18], abs=2)


def test_rows_of_one_time_stay_together() -> None:
    windows = split(days([1] * 100), np.timedelta64(1, "D"), SHARES)
    assert [len(window) for window in windows] == [100, 0, 0]
