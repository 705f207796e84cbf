"""How well features rank outcomes within windows of time: each alone, and several together.

Conversion rates and the economy move with time, so that a column may rank the rows of a long time
by telling their time. Within a window, and learnt from the other windows, it cannot.
"""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ml.metrics import Bools, Floats

# The number (n,) of the window that each row is in, from 0 on.
Windows: TypeAlias = NDArray[np.intp]
Codes: TypeAlias = NDArray[np.intp]

MOST_WINDOWS, FEWEST_PER_WINDOW = 8, 25
NUMBER_BINS = 20
# A value's rate is drawn towards the usual one as if so many rows had shown that.
PRIOR_ROWS = 20


def windows(label: Bools) -> Windows:
    """The window of each row, for rows in order of time: at most 8 windows of equal numbers, fewer
    where they would hold less than 25 outcomes of the rarer kind in the mean."""
    rarer = min(int(label.sum()), int((~label).sum()))
    number = int(np.clip(rarer // FEWEST_PER_WINDOW, 1, MOST_WINDOWS))
    return np.arange(len(label)) * number // max(len(label), 1)


def alone(values: NDArray[np.float32], categories: int, label: Bools, window: Windows) -> Floats:
    """What one feature says of each row (n,), in log-odds above the usual of the row's time.

    values: (n,), a column of the feature matrix; categories: how many codes it has, 0 for numbers.

    It is what the rows of all other windows say of the value: numbers by their twentieths, missing
    values as a value. A value that is not there in any other window, such as an interest rate that
    tells nothing but the time, says 0.
    """
    from scipy.special import logit

    bins, size = _bins(values, categories)
    shape = (int(window.max()) + 1, size)
    cell = window * size + bins
    rows = np.bincount(cell, minlength=shape[0] * size).reshape(shape)
    converted = np.bincount(cell, label, shape[0] * size).reshape(shape)
    expected = rows * (converted.sum(axis=1) / rows.sum(axis=1))[:, None]
    n, seen, usual = (counts.sum(axis=0) - counts for counts in (rows, converted, expected))
    # No prior here: it would tell values that other windows have from those they lack.
    usual_rate = np.clip(usual / np.maximum(n, 1), 1e-4, 1 - 1e-4)
    rate = (seen + PRIOR_ROWS * usual_rate) / (n + PRIOR_ROWS)
    said: Floats = (logit(rate) - logit(usual_rate))[window, bins]
    return said


def _bins(values: NDArray[np.float32], categories: int) -> tuple[Codes, int]:
    """The bin of each value, by code or by quantile, the last for missing ones; how many."""
    missing = np.isnan(values)
    if categories:
        return np.where(missing, categories, values).astype(np.intp), categories + 1
    share = np.linspace(0, 1, NUMBER_BINS + 1)[1:-1]
    known = values[~missing]
    # By a value that is there: between two infinite ones lies none.
    edges = np.unique(np.quantile(known, share, method="lower")) if len(known) else known
    return np.where(missing, len(edges) + 1, np.searchsorted(edges, values)), len(edges) + 2


def together(said: Sequence[Floats], label: Bools, window: Windows) -> Floats:
    """What features say together (n,), by a logistic regression on the rows of other windows."""
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    inputs, time = np.column_stack(said), np.eye(int(window.max()) + 1)[window]
    score = np.zeros(len(label))
    for held_out in range(time.shape[1]):
        fit = window != held_out
        if 0 < label[fit].mean() < 1:
            model = LogisticRegression(C=0.3, max_iter=200)
            with threadpool_limits(limits=1):
                model.fit(np.hstack([inputs, time])[fit], label[fit])
            score[~fit] = inputs[~fit] @ model.coef_[0, : inputs.shape[1]]
    return score


def auc(
    label: Bools, window: Windows, score: Floats, less: Floats | None = None
) -> tuple[float, float]:
    """The AUC within windows, less that of another score, and its standard error.

    Windows weigh by the harmonic mean of their numbers of both outcomes. The error is DeLong's,
    from the placement of each row among those of the other outcome (E. DeLong, D. DeLong,
    D. Clarke-Pearson, "Comparing the areas under two or more correlated receiver operating
    characteristic curves", 1988). Rows of one lead count as if they were independent.
    """
    total = areas = variance = 0.0
    for number in range(int(window.max()) + 1):
        rows = window == number
        outcome = label[rows]
        if 0 < outcome.mean() < 1:
            placed = _placements(outcome, score[rows])
            if less is not None:
                placed = placed - _placements(outcome, less[rows])
            yes, no = placed[outcome], placed[~outcome]
            weight = len(yes) * len(no) / len(outcome)
            total += weight
            areas += weight * yes.mean()
            variance += weight**2 * (yes.var() / len(yes) + no.var() / len(no))
    return (areas / total, float(np.sqrt(variance)) / total) if total else (0.5, 0.5)


def _placements(outcome: Bools, score: Floats) -> Floats:
    """Of each row, the share of rows of the other outcome that are ranked as they should be."""
    placed = np.empty(len(outcome))
    for own, other in ((outcome, np.sort(score[~outcome])), (~outcome, np.sort(score[outcome]))):
        below = np.searchsorted(other, score[own]) + np.searchsorted(other, score[own], "right")
        placed[own] = below / (2 * len(other))
    placed[~outcome] = 1 - placed[~outcome]
    return placed
