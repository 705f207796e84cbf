"""The interval behind a score's confidence holds the rate that follows, nine times in ten."""

from collections.abc import Sequence

import numpy as np
import pytest
from scipy.special import expit

from ml import confidence
from ml.algorithm import Bools, Floats
from ml.confidence import Scored
from ml.model import ConfidenceTable

WINDOWS, ROWS = 5, 1_200
FRESH = np.random.default_rng(0).normal(-1.5, 1, 4_000)


def window(shift: float, number: int, per_lead: int, random: np.random.Generator) -> Scored:
    """Scores that are right but for a shift of the log-odds that no column tells."""
    leads = ROWS // per_lead
    log_odds = random.normal(-1.5, 1, leads)
    outcome = random.random(leads) < expit(log_odds + shift)
    lead = np.repeat(np.arange(leads), per_lead)
    return Scored(log_odds[lead], outcome[lead], lead + number * leads)


def one(log_odds: Floats, outcome: Bools) -> Scored:
    return Scored(log_odds, outcome, np.arange(len(outcome)))


def as_one_of_single_leads(windows: Sequence[Scored]) -> Scored:
    """What a plain count of outcomes takes them for."""
    log_odds, outcome = (
        np.concatenate([getattr(window, name) for window in windows])
        for name in ("log_odds", "outcome")
    )
    return one(log_odds, outcome)


def held(table: ConfidenceTable, shift: float) -> list[bool]:
    """Of each bin, whether its rate in a time to come is inside."""
    bins, size = np.searchsorted(table.edges, FRESH), len(table.low)
    rate = np.bincount(bins, expit(FRESH + shift), size) / np.bincount(bins, minlength=size)
    inside: list[bool] = ((table.low <= rate) & (rate <= table.high)).tolist()
    return inside


def coverage(drift: float, per_lead: int) -> tuple[float, float, float]:
    """How often intervals held, how often plain ones would have, and what coverage says."""
    random = np.random.default_rng(11)
    ours, plain, told = [], [], []
    for number in range(240):
        shifts = random.normal(0, drift, WINDOWS + 1)
        windows = [window(shift, n, per_lead, random) for n, shift in enumerate(shifts[:-1])]
        ours += held(confidence.table(windows), shifts[-1])
        plain += held(confidence.table([as_one_of_single_leads(windows)]), shifts[-1])
        if number < 40:
            told.append(confidence.coverage(windows) or 0.0)
    return float(np.mean(ours)), float(np.mean(plain)), float(np.mean(told))


@pytest.mark.parametrize("per_lead", [1, 4])
@pytest.mark.parametrize("drift", [0.0, 0.2, 0.5])
def test_nine_intervals_in_ten_hold_the_rate_that_follows(drift: float, per_lead: int) -> None:
    """Where rates drift, or snapshots share a lead, the plain interval holds far fewer."""
    ours, plain, told = coverage(drift, per_lead)
    assert ours == pytest.approx(0.9, abs=0.04)
    assert told == pytest.approx(0.9, abs=0.06)
    if drift or per_lead > 1:
        assert plain < 0.7


def test_coverage_tells_of_intervals_that_do_not_hold() -> None:
    """Three quiet windows, and then a rate that nobody had seen coming."""
    random = np.random.default_rng(4)
    windows = [window(shift, n, 1, random) for n, shift in enumerate([0.0, 0.0, 0.0, 2.0])]
    assert (confidence.coverage(windows[:3]) or 0) > 0.8
    assert (confidence.coverage(windows) or 0) < 0.75
    assert confidence.coverage(windows[:1]) is None


def test_snapshots_of_one_lead_make_nothing_surer() -> None:
    random = np.random.default_rng(5)
    once = window(0.0, 0, 1, random)
    again = Scored(*(np.repeat(values, 4) for values in vars(once).values()))
    for twice in (once, again):
        assert len(twice.outcome) >= ROWS
    narrow, wide = (confidence.table([rows]).lookup(FRESH).mean() for rows in (once, again))
    assert wide < narrow + 0.01


def test_windows_that_differ_widen_the_interval() -> None:
    random = np.random.default_rng(6)
    still = [window(0.0, n, 1, random) for n in range(5)]
    moving = [window(shift, n, 1, random) for n, shift in enumerate([-1.0, 1.0, 0.0, -1.0, 1.0])]
    sure, unsure = (confidence.table(windows).lookup(FRESH).mean() for windows in (still, moving))
    assert unsure < sure - 0.1


def test_confidence_is_one_less_the_width_of_the_interval_of_the_scores_own_bin() -> None:
    log_odds = np.repeat([-2.0, 0.0], 200)
    outcome = np.tile([True, False, False, False], 100)
    outcome[200:] = np.tile([True, False], 100)
    table = confidence.table([one(log_odds, outcome)])
    assert table.outcomes.tolist() == [200, 200]
    assert table.low[0] < 0.25 < table.high[0] < table.low[1] < 0.5 < table.high[1]
    expected = 1 - (table.high - table.low)
    # A score that rounding has moved a little still finds its bin.
    scores = np.array([-2 - 1e-7, -2 + 1e-7, 0 - 1e-7, 0 + 1e-7])
    assert table.lookup(scores) == pytest.approx(expected[[0, 0, 1, 1]])


def test_more_outcomes_narrow_the_interval() -> None:
    few, many = (
        confidence.table([one(np.zeros(2 * n), np.arange(2 * n) % 2 == 0)]).lookup(np.zeros(1))[0]
        for n in (20, 2000)
    )
    assert few < 0.8 < 0.95 < many


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("rows", "bins"), [(0, 1), (150, 1), (450, 4), (50_000, 20)])
def test_bins_are_of_equal_mass_and_never_small(rows: int, bins: int) -> None:
    random = np.random.default_rng(3)
    table = confidence.table([one(random.normal(size=rows), random.random(rows) < 0.2)])
    assert len(table.outcomes) == bins
    assert table.outcomes.sum() == rows
    assert np.ptp(table.outcomes) <= 1


def test_equal_scores_share_a_bin_and_small_bins_are_merged() -> None:
    log_odds = np.repeat([-3.0, -2.0, -1.0, 0.0], [30, 700, 60, 210])
    table = confidence.table([one(log_odds, np.arange(1000) % 3 == 0)])
    assert table.outcomes.tolist() == [790, 210]


def test_outcomes_of_one_kind_reach_the_end_and_none_leave_all_open() -> None:
    low, high = confidence.jeffreys(np.array([0, 40, 0]), np.array([40, 40, 0]))
    assert (low[0], high[1]) == (0, 1)
    assert 0 < high[0] < 0.1 < 0.9 < low[1] < 1
    assert (low[2], high[2]) == (0, 1)


@pytest.mark.filterwarnings("error")
def test_drift_leaves_ends_at_0_and_1_where_they_are() -> None:
    quiet = one(np.full(300, -4.0), np.zeros(300, bool))
    moving = [one(np.full(300, 1.0), np.arange(300) % number == 0) for number in (2, 3, 5)]
    windows = [
        Scored(
            *(
                np.append(a, b)
                for a, b in zip(vars(quiet).values(), vars(some).values(), strict=True)
            )
        )
        for some in moving
    ]
    table = confidence.table(windows)
    assert table.low[0] == 0 < table.high[0] < 0.5
    assert 0 < table.low[-1] < table.high[-1] < 1
