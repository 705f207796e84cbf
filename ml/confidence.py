"""How well a probability is known: the interval that the outcomes of similar scores leave.

Nine times in ten the conversion rate of leads scored like this one lies inside the interval, as
long as leads convert as they did in the windows; confidence is one minus its width.
It speaks of the rate, not of the single lead: a well-known 50 % is still a coin to toss.
"""

import numpy as np
from numpy.typing import NDArray

from ml.metrics import Bools, Floats
from ml.model import ConfidenceTable

COVERAGE = 0.9
MOST_BINS = 20
FEWEST_ROWS = 100


def table(log_odds: Floats, outcome: Bools) -> ConfidenceTable:
    """The intervals of scores, from rows of the rolling windows (ml.training).

    log_odds, outcome: (n,) calibrated scores and what happened. They are parted into at most 20
    bins of equal mass and at least 100 rows; equal scores share a bin. Fewer than 200 rows, or
    none, make one bin. Snapshots of one lead count as if they were independent.
    """
    order = np.argsort(log_odds)
    ordered = log_odds[order]
    cuts = _cuts(ordered)
    # Halfway between two scores, so that rounding moves no score over an edge.
    edges = np.array([(ordered[cut - 1] + ordered[cut]) / 2 for cut in cuts])
    bins = np.split(outcome[order], cuts)
    outcomes = np.array([len(rows) for rows in bins])
    low, high = jeffreys(np.array([rows.sum() for rows in bins]), outcomes)
    return ConfidenceTable(edges, low, high, outcomes)


def jeffreys(converted: NDArray[np.int64], outcomes: NDArray[np.int64]) -> tuple[Floats, Floats]:
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
