from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ml.windows import rolling

NOTHING = np.timedelta64(0, "D")


def days(numbers: Sequence[int]) -> NDArray[np.datetime64]:
    return np.datetime64("2025-01-01", "us") + np.array(numbers, dtype="timedelta64[D]")


# Few days for many rows, so that most share their time with others.
some_days = st.lists(st.integers(0, 40), max_size=80)
some_gap = st.integers(0, 30).map(lambda number: np.timedelta64(number, "D"))


@settings(deadline=None)
@given(some_days, some_gap)
def test_a_models_rows_are_all_that_was_known_before_its_window(
    numbers: list[int], gap: np.timedelta64
) -> None:
    times = days(numbers)
    for fold in rolling(times, gap):
        known = np.flatnonzero(times + gap < times[fold.window].min())
        assert sorted(fold.fit) == known.tolist()


@settings(deadline=None)
@given(some_days, some_gap)
def test_windows_follow_each_other_up_to_the_newest_row(
    numbers: list[int], gap: np.timedelta64
) -> None:
    times = days(numbers)
    windows = [fold.window for fold in rolling(times, gap)]
    assert len(windows) <= 5
    assert (len(windows) == 0) == (len(numbers) == 0)
    judged = np.concatenate([np.empty(0, np.intp), *windows])
    assert len(set(judged.tolist())) == len(judged) >= len(times) / 2
    for earlier, later in pairwise(windows):
        assert times[earlier].max() < times[later].min()
    # Nothing newer than the first window's beginning is left out.
    if windows:
        assert set(np.flatnonzero(times >= times[windows[0]].min())) == set(judged)


@settings(deadline=None)
@given(some_days, some_gap)
def test_rows_of_a_fold_stand_in_order_of_time(numbers: list[int], gap: np.timedelta64) -> None:
    times = days(numbers)
    for fold in rolling(times, gap):
        for rows in (fold.fit, fold.window):
            assert (np.diff(times[rows]) >= NOTHING).all()


@settings(deadline=None)
@given(st.lists(st.integers(0, 400), max_size=80, unique=True), some_gap, st.integers(0, 99))
def test_the_order_of_rows_changes_no_window(
    numbers: list[int], gap: np.timedelta64, seed: int
) -> None:
    times = days(numbers)
    order = np.random.default_rng(seed).permutation(len(numbers))
    for one, other in zip(rolling(times, gap), rolling(times[order], gap), strict=True):
        assert one.fit.tolist() == order[other.fit].tolist()
        assert one.window.tolist() == order[other.window].tolist()


def test_windows_are_equal_parts_of_the_newer_half() -> None:
    newest_first = days(range(1000))[::-1]
    folds = rolling(newest_first, np.timedelta64(29, "D"))
    assert [len(fold.window) for fold in folds] == [100] * 5
    assert folds[-1].window.tolist() == list(range(100))[::-1]
    assert [len(fold.fit) for fold in folds] == [471, 571, 671, 771, 871]


@pytest.mark.parametrize(
    ("numbers", "windows"),
    [
        ([1] * 100, [100]),
        ([1] * 60 + [2] * 40, [60, 40]),
        ([1] * 40 + [2] * 60, [60]),
        ([1] * 40 + [2] * 45 + [3] * 15, [45, 15]),
    ],
)
def test_rows_of_one_time_stay_together(numbers: list[int], windows: list[int]) -> None:
    folds = rolling(days(numbers), NOTHING)
    assert [len(fold.window) for fold in folds] == windows
    assert len(folds[0].fit) == 100 - sum(windows)
