import numpy as np
import pytest

from ml import confidence


def test_nine_intervals_in_ten_hold_the_rate_of_their_leads() -> None:
    random = np.random.default_rng(11)
    held, bins = 0, 0
    for _ in range(150):
        log_odds = random.normal(-1.5, 1, 3000)
        rate = 1 / (1 + np.exp(-log_odds))
        table = confidence.table(log_odds, random.random(3000) < rate)
        bin_of_row = np.searchsorted(table.edges, log_odds)
        true = np.bincount(bin_of_row, weights=rate) / np.bincount(bin_of_row)
        held += int(((table.low <= true) & (true <= table.high)).sum())
        bins += len(true)
    assert held / bins == pytest.approx(0.9, abs=0.02)


def test_confidence_is_one_less_the_width_of_the_interval_of_the_scores_own_bin() -> None:
    log_odds = np.repeat([-2.0, 0.0], 200)
    outcome = np.tile([True, False, False, False], 100)
    outcome[200:] = np.tile([True, False], 100)
    table = confidence.table(log_odds, outcome)
    assert table.outcomes.tolist() == [200, 200]
    assert table.low[0] < 0.25 < table.high[0] < table.low[1] < 0.5 < table.high[1]
    expected = 1 - (table.high - table.low)
    # A score that rounding has moved a little still finds its bin.
    scores = np.array([-2 - 1e-7, -2 + 1e-7, 0 - 1e-7, 0 + 1e-7])
    assert table.lookup(scores) == pytest.approx(expected[[0, 0, 1, 1]])


def test_more_outcomes_narrow_the_interval() -> None:
    half = np.array([True, False])
    few, many = (
        confidence.table(np.zeros(2 * n), np.tile(half, n)).lookup(np.zeros(1))[0]
        for n in (20, 2000)
    )
    assert few < 0.8 < 0.95 < many


@pytest.mark.parametrize(("rows", "bins"), [(0, 1), (150, 1), (450, 4), (50_000, 20)])
def test_bins_are_of_equal_mass_and_never_small(rows: int, bins: int) -> None:
    random = np.random.default_rng(3)
    table = confidence.table(random.normal(size=rows), random.random(rows) < 0.2)
    assert len(table.outcomes) == bins
    assert table.outcomes.sum() == rows
    assert np.ptp(table.outcomes) <= 1


def test_equal_scores_share_a_bin_and_small_bins_are_merged() -> None:
    log_odds = np.repeat([-3.0, -2.0, -1.0, 0.0], [30, 700, 60, 210])
    table = confidence.table(log_odds, np.arange(1000) % 3 == 0)
    assert table.outcomes.tolist() == [790, 210]


def test_outcomes_of_one_kind_reach_the_end_and_none_leave_all_open() -> None:
    low, high = confidence.jeffreys(np.array([0, 40, 0]), np.array([40, 40, 0]))
    assert (low[0], high[1]) == (0, 1)
    assert 0 < high[0] < 0.1 < 0.9 < low[1] < 1
    assert (low[2], high[2]) == (0, 1)
