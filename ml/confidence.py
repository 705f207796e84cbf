"""How well a probability is known: the interval that the outcomes of similar scores leave.

Nine times in ten the conversion rate of leads scored like this one, in the time that follows, lies
inside the interval; confidence is one minus its width. It speaks of the rate, not of the single
lead: a well-known 50 % is still a coin to toss. Two things are allowed for that a plain count of
outcomes hides: snapshots of one lead share its outcome, so leads are counted; and rates move from
window to window, so the interval is as much wider as the windows differed by more than chance. How
often it held is measured at every training (coverage).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ml.algorithm import Bools, Floats
from ml.calibration import offset
from ml.model import ConfidenceTable
from ml.windows import Rows

COVERAGE = 0.9
MOST_BINS = 20
FEWEST_ROWS = 100
# Rows of a bin in one window below which its rate says nothing of the interval.
FEWEST_TO_COVER = 30
_Z = 1.645


@dataclass(frozen=True, eq=False)
class Scored:
    """Rows of one window, which the model that scored them had not seen: calibrated log-odds,
    what happened, and the codes of the leads, shape (n,) each."""

    log_odds: Floats
    outcome: Bools
    lead: Rows


def table(windows: Sequence[Scored]) -> ConfidenceTable:
    """The intervals, by score: at most 20 bins of equal mass and at least 100 rows; equal scores
    share a bin. Fewer than 200 rows, or none, make one bin."""
    log_odds = np.concatenate([window.log_odds for window in windows])
    outcome = np.concatenate([window.outcome for window in windows])
    lead = np.concatenate([window.lead for window in windows])
    order = np.argsort(log_odds, kind="stable")
    ordered = log_odds[order]
    cuts = _cuts(ordered)
    # Halfway between two scores, so that rounding moves no score over an edge.
    edges = np.array([(ordered[cut - 1] + ordered[cut]) / 2 for cut in cuts])
    bins = np.split(order, cuts)
    rows = np.array([len(some) for some in bins])
    leads = np.array([len(np.unique(lead[some])) for some in bins])
    converted = np.array([outcome[some].sum() for some in bins])
    share = np.divide(leads, rows, out=np.zeros(len(rows)), where=rows > 0)
    low, high = _widened(*jeffreys(converted * share, leads), _drift(windows))
    return ConfidenceTable(edges, low, high, rows)


def coverage(windows: Sequence[Scored]) -> float | None:
    """The share of bins whose rate in a window was where the windows before it said, with what
    chance adds to a bin of so many leads; 0.9 is the aim. None where no bin has 30 rows."""
    held = [
        hit
        for newest in range(1, len(windows))
        for hit in _held(table(windows[:newest]), windows[newest])
    ]
    return float(np.mean(held)) if held else None


def jeffreys(converted: NDArray[np.float64], outcomes: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Low and high end of the 90 % interval of a rate, from counts of any one shape.

    Equal tails of the posterior under Jeffreys' prior, the end at 0 or 1 where all outcomes are
    of one kind (L. Brown, T. Cai, A. DasGupta, "Interval estimation for a binomial
    proportion", 2001). No outcomes give 0 to 1.
    """
    from scipy.special import betaincinv

    tail = (1 - COVERAGE) / 2
    a, b = converted + 0.5, outcomes - converted + 0.5
    low = np.where(converted == 0, 0.0, betaincinv(a, b, tail))
    high = np.where(converted == outcomes, 1.0, betaincinv(a, b, 1 - tail))
    return low, high


def _drift(windows: Sequence[Scored]) -> float:
    """How far, in log-odds, a window's offset reaches nine times in ten beyond what chance explains
    (the random effects of R. DerSimonian, N. Laird, "Meta-analysis in clinical trials", 1986)."""
    from scipy.special import expit
    from scipy.stats import t

    telling = [window for window in windows if 0 < window.outcome.sum() < len(window.outcome)]
    if len(telling) < 2:
        return 0.0
    offsets = np.array([offset(window.log_odds, window.outcome) for window in telling])
    leads = [len(np.unique(window.lead)) / len(window.lead) for window in telling]
    information = [
        share * float((p * (1 - p)).sum())
        for share, window in zip(leads, telling, strict=True)
        for p in [expit(window.log_odds)]
    ]
    weight = np.array(information)
    mean = float((weight * offsets).sum() / weight.sum())
    excess = float((weight * (offsets - mean) ** 2).sum()) - (len(telling) - 1)
    # About zero, not about their mean: an offset that all windows share is an error as well.
    spread = max(0.0, excess / float(weight.sum() - (weight**2).sum() / weight.sum()))
    # Student's, since a handful of windows knows its deviation badly: with the normal's 1.645 the
    # intervals of five drifting windows held 84 times in 100.
    return float(t.ppf((1 + COVERAGE) / 2, len(telling)) * np.sqrt(spread + mean**2))


def _widened(low: Floats, high: Floats, drift: float) -> tuple[Floats, Floats]:
    from scipy.special import expit, logit

    if not drift:
        return low, high
    with np.errstate(divide="ignore"):
        ends = logit(low), logit(high)
    middle = logit(np.clip((low + high) / 2, 1e-9, 1 - 1e-9))
    below, above = (np.hypot(np.abs(end - middle), drift) for end in ends)
    return expit(middle - below), expit(middle + above)


def _held(known: ConfidenceTable, window: Scored) -> list[bool]:
    from scipy.special import logit

    bins = np.searchsorted(known.edges, window.log_odds)
    found = []
    for some in range(len(known.low)):
        rows = np.flatnonzero(bins == some)
        if len(rows) < FEWEST_TO_COVER:
            continue
        leads = len(np.unique(window.lead[rows]))
        rate = (window.outcome[rows].mean() * leads + 0.5) / (leads + 1)
        noise = _Z / np.sqrt(leads * rate * (1 - rate))
        with np.errstate(divide="ignore"):
            low, high = logit(known.low[some]), logit(known.high[some])
        middle = logit(np.clip((known.low[some] + known.high[some]) / 2, 1e-9, 1 - 1e-9))
        off = logit(rate) - middle
        reach = high - middle if off > 0 else middle - low
        found.append(bool(abs(off) <= np.hypot(reach, noise)))
    return found


def _cuts(ordered: Floats) -> list[int]:
    """Positions at which bins after the first begin, never between equal scores."""
    rows = len(ordered)
    bins = min(max(rows // FEWEST_ROWS, 1), MOST_BINS)
    cuts = [0]
    for position in np.arange(1, bins) * rows // bins:
        cut = int(np.searchsorted(ordered, ordered[position]))
        if min(cut - cuts[-1], rows - cut) >= FEWEST_ROWS:
            cuts.append(cut)
    return cuts[1:]
