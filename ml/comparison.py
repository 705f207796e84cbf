"""Whether one model is better than another: the difference of their log-loss on the same rows."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ml.algorithm import Bools, Floats

BLOCKS = 40
LEVEL = 0.95


@dataclass(frozen=True)
class Difference:
    """Log-loss of the one less that of the other, with the interval that holds 95 %."""

    mean: float
    low: float
    high: float

    @property
    def better(self) -> bool:
        """The one has the lower log-loss, and chance does not explain it."""
        return self.high < 0

    @property
    def plainly_better(self) -> bool:
        """The same with an interval twice as wide: where the first look was for something else, one
        in forty is too many."""
        return self.mean + 2 * (self.high - self.mean) < 0

    @property
    def worse(self) -> bool:
        """The one has the higher log-loss, and chance does not explain it."""
        return self.low > 0


def losses(outcome: Bools, log_odds: Floats) -> Floats:
    """Minus the logarithm of the probability of what happened, per row."""
    found: Floats = np.logaddexp(0, np.where(outcome, -log_odds, log_odds))
    return found


def paired(one: Sequence[Floats], other: Sequence[Floats], lead: NDArray[np.intp]) -> Difference:
    """Compare losses per window, the rows of each in order of time.

    lead: codes of all windows' rows; rows of one lead are not independent. The interval is the
    widest of three (A. Cameron, D. Miller, "A practitioner's guide to cluster-robust inference",
    2015): Student's over windows, since what is asked is whether it holds in the next one, and one
    that was won by far may be a regime that has passed; Student's over 40 blocks of neighbouring
    rows, which move together; and normal over leads.
    """
    from scipy.stats import norm

    by_window = [a - b for a, b in zip(one, other, strict=True)]
    difference = np.concatenate(by_window)
    rows = len(difference)
    if rows < 2:
        return Difference(float(difference.mean()) if rows else 0.0, -np.inf, np.inf)
    mean = float(difference.mean())
    blocks = np.array_split(difference, min(BLOCKS, rows))
    halves = [_student(parts) for parts in (by_window, blocks) if len(parts) > 1]
    of_lead = np.bincount(lead, difference - mean)
    halves.append(float(norm.ppf(0.5 + LEVEL / 2) * np.sqrt((of_lead**2).sum()) / rows))
    half = max(halves)
    return Difference(mean, mean - half, mean + half)


def _student(parts: Sequence[Floats]) -> float:
    """Half of the interval of the mean, from parts that are independent of each other."""
    from scipy.stats import t

    means = [part.mean() for part in parts]
    quantile = t.ppf(0.5 + LEVEL / 2, len(parts) - 1)
    return float(quantile * np.std(means, ddof=1) / np.sqrt(len(parts)))
