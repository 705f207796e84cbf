"""From log-odds that rank to log-odds that mean what they say; the way depends on the outcomes.

All are learnt from rolling windows, which lay in the future of the models that scored them:
- as it is: below 100 outcomes of each kind there is nothing to learn a correction from;
- newest rate: an offset, from the newest rows: for a conversion rate that moves faster than the
  columns tell;
- line: slope and offset (J. Platt, "Probabilistic outputs for support vector machines", 1999),
  from 100 outcomes of each kind on;
- curve: isotonic regression on bins of equal mass, joined by straight pieces (B. Zadrozny,
  C. Elkan, "Transforming classifier scores into accurate multiclass probability estimates", 2002),
  from 1,000 outcomes of each kind on.
A model is left as it is unless one of the others has a lower log-loss on the windows after those it
was learnt from, and chance does not explain it: on the bank's calls every correction learnt from
the past made the future worse, since it was the rate that moved.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ml.algorithm import Bools, Floats, Predictor
from ml.comparison import losses, paired
from ml.curve import Curve, along
from ml.windows import Rows

Kind = Literal["as it is", "newest rate", "line", "curve"]

FEWEST_FOR_LINE, FEWEST_FOR_CURVE = 100, 1_000
NEWEST_ROWS = 2_000
# That a correction is tried on: three of the bank's agreed that the newest rate is to be followed,
# and the fourth then had 0.57 in place of 0.41.
FEWEST_WINDOWS = 4
BINS = 15
# A model that ranks nothing is flattened; one that ranks the wrong way round is not reversed.
LEAST_SLOPE, MOST_SLOPE = 0.1, 3.0


@dataclass(frozen=True, eq=False)
class Calibration:
    """A rising map of log-odds: straight pieces through (before, after), shape (points,) each; the
    first and the last go on for ever."""

    kind: Kind
    before: Floats
    after: Floats

    def of(self, log_odds: Floats) -> Floats:
        return along(log_odds, self.before, self.after)

    def applied(self, predictor: Predictor) -> Predictor:
        """The predictor with calibrated log-odds, and reasons that add up to them."""
        if len(self.before) > 2:
            return Curve(predictor, self.before, self.after)
        slope = float(np.diff(self.after)[0] / np.diff(self.before)[0])
        return predictor.scaled(slope, float(self.after[0] - slope * self.before[0]))


def straight(kind: Kind, slope: float = 1.0, offset: float = 0.0) -> Calibration:
    ends = np.array([0.0, 1.0])
    return Calibration(kind, ends, slope * ends + offset)


@dataclass(frozen=True, eq=False)
class Calibrated:
    """The windows' log-odds, each calibrated by what was known as it began, and the calibration
    that all windows together give."""

    log_odds: list[Floats]
    calibration: Calibration


def choose(
    raw: Sequence[Floats], outcome: Sequence[Bools], known: Sequence[int], lead: Rows
) -> Calibrated:
    """raw, outcome: per window in order of time. known: of each window, how many rows of the
    windows before it had outcomes that were known as it began. lead: codes of all windows' rows.
    """
    scored, happened = np.concatenate(raw), np.concatenate(outcome)
    lead_of = np.split(lead, np.cumsum([len(window) for window in raw])[:-1])
    best, best_kind, least = [*raw], "as it is", 0.0
    for kind, learn in _LEARN.items():
        maps = [learn(scored[:rows], happened[:rows]) for rows in known]
        # Windows before which nothing could be learnt differ by 0, which says nothing.
        told = [number for number, found in enumerate(maps) if found]
        if len(told) < FEWEST_WINDOWS:
            continue
        tried = [found.of(z) if found else z for found, z in zip(maps, raw, strict=True)]
        difference = paired(
            [losses(outcome[number], tried[number]) for number in told],
            [losses(outcome[number], raw[number]) for number in told],
            np.concatenate([lead_of[number] for number in told]),
        )
        gained = difference.mean * sum(len(raw[number]) for number in told)
        if difference.better and gained < least:
            best, best_kind, least = tried, kind, gained
    learnt = _LEARN[best_kind](scored, happened) if best_kind in _LEARN else None
    return Calibrated(best, learnt or straight("as it is"))


def newest_rate(log_odds: Floats, outcome: Bools) -> Calibration | None:
    """The offset that makes the mean probability of the newest rows their conversion rate."""
    newest = slice(-NEWEST_ROWS, None)
    if _fewest(outcome[newest]) < FEWEST_FOR_LINE:
        return None
    return straight("newest rate", 1.0, offset(log_odds[newest], outcome[newest]))


def line(log_odds: Floats, outcome: Bools) -> Calibration | None:
    """Slope and offset of most likelihood; the slope between 0.1 and 3."""
    from scipy.optimize import minimize
    from scipy.special import expit

    if _fewest(outcome) < FEWEST_FOR_LINE:
        return None

    def loss(parameters: Floats) -> tuple[float, Floats]:
        total = parameters[0] * log_odds + parameters[1]
        error = expit(total) - outcome
        gradient = np.array([np.mean(error * log_odds), np.mean(error)])
        return float(np.mean(losses(outcome, total))), gradient

    found = minimize(
        loss, np.array([1.0, 0.0]), jac=True, method="L-BFGS-B",
        bounds=[(LEAST_SLOPE, MOST_SLOPE), (None, None)],
    )  # fmt: skip
    return straight("line", float(found.x[0]), float(found.x[1]))


def curve(log_odds: Floats, outcome: Bools) -> Calibration | None:
    """Isotonic over 15 bins of equal mass; pieces of no slope get a little, to keep the order."""
    from sklearn.isotonic import IsotonicRegression

    if _fewest(outcome) < FEWEST_FOR_CURVE:
        return None
    order = np.argsort(log_odds, kind="stable")
    bins = np.array_split(order, BINS)
    before = np.array([log_odds[rows].mean() for rows in bins])
    rate = np.array([(outcome[rows].sum() + 0.5) / (len(rows) + 1) for rows in bins])
    rising = IsotonicRegression().fit_transform(before, np.log(rate / (1 - rate)))
    distinct = np.flatnonzero(np.diff(before, prepend=-np.inf) > 1e-9)
    if len(distinct) < 3:
        return None
    before, after = before[distinct], rising[distinct]
    floor = LEAST_SLOPE * (before - before[0])
    return Calibration("curve", before, np.maximum.accumulate(after - floor) + floor)


def offset(log_odds: Floats, outcome: Bools) -> float:
    """What to add so that the mean probability of these rows is their conversion rate.

    log_odds, outcome: (n,). A rate of 0 or 1 counts as half an outcome away from it.
    """
    from scipy.optimize import brentq
    from scipy.special import expit

    rows = len(outcome)
    rate = np.clip(np.mean(outcome), 0.5 / rows, 1 - 0.5 / rows)
    reach = float(np.abs(log_odds).max()) + 20
    return float(brentq(lambda shift: expit(log_odds + shift).mean() - rate, -reach, reach))


_LEARN: dict[Kind, Callable[[Floats, Bools], Calibration | None]] = {
    "newest rate": newest_rate,
    "line": line,
    "curve": curve,
}


def _fewest(outcome: Bools) -> int:
    converted = int(outcome.sum())
    return min(converted, len(outcome) - converted)
