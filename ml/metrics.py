"""How good predicted probabilities are, measured against what happened.

Every figure depends on the pairs (outcome, probability) only, never on the order of the rows:
equal probabilities are counted together. The definitions are scikit-learn's where it has one.
"""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
Bools: TypeAlias = NDArray[np.bool_]

CALIBRATION_BINS = 15
TOP_SHARE = 0.1


@dataclass(frozen=True)
class Figures:
    """The quality of one model on one set of rows.

    auc: chance that a converted row has the higher probability of a random pair; 0.5 is blind.
    log_loss: mean of -ln(probability of what happened); lower is better.
    brier: mean squared error of the probability; lower is better.
    ece: expected calibration error, the mean distance between predicted and observed
        conversion rate over 15 bins of equal mass.
    lift10: conversion rate of the top tenth by probability over that of all rows.
    """

    auc: float
    log_loss: float
    brier: float
    ece: float
    lift10: float


@dataclass(frozen=True)
class CalibrationPoint:
    """One bin of rows with similar probabilities: mean predicted, observed rate, counts."""

    predicted: float
    observed: float
    rows: int
    converted: int


def figures(outcome: Bools, probability: Floats) -> Figures:
    """Every figure of `probability` (n,) against `outcome` (n,), n >= 1.

    Raises ValueError when only one kind of outcome is there: no AUC or lift exists then.
    """
    converted = int(outcome.sum())
    if converted in (0, len(outcome)):
        raise ValueError(
            f"outcome: {converted} of {len(outcome)} rows converted, expected rows of both kinds; "
            "measure on a longer window"
        )
    return Figures(
        auc=auc(outcome, probability),
        log_loss=log_loss(outcome, probability),
        brier=float(np.mean((probability - outcome) ** 2)),
        ece=calibration_error(outcome, probability),
        lift10=_lift(outcome, probability),
    )


def log_loss(outcome: Bools, probability: Floats) -> float:
    """Mean of -ln(probability of what happened); certainty is held 1e-15 away from 0 and 1."""
    bounded = np.clip(probability, 1e-15, 1 - 1e-15)
    return float(-np.mean(np.log(np.where(outcome, bounded, 1 - bounded))))


def calibration(outcome: Bools, probability: Floats) -> tuple[CalibrationPoint, ...]:
    """Predicted against observed rates over at most 15 bins of equal mass, ascending.

    Rows of equal probability share a bin, so there are fewer bins where probabilities tie.
    """
    share_below = _mid_ranks(probability) / len(probability)
    bin_of_row = (share_below * CALIBRATION_BINS).astype(np.int64)
    rows = np.bincount(bin_of_row)
    converted = np.bincount(bin_of_row, weights=outcome)
    predicted = np.bincount(bin_of_row, weights=probability)
    return tuple(
        CalibrationPoint(
            float(predicted[b] / rows[b]),
            float(converted[b] / rows[b]),
            int(rows[b]),
            int(converted[b]),
        )
        for b in np.flatnonzero(rows)
    )


def calibration_error(outcome: Bools, probability: Floats) -> float:
    """Figures.ece; also where outcomes of one kind alone are there."""
    points = calibration(outcome, probability)
    distance = sum(point.rows * abs(point.predicted - point.observed) for point in points)
    return distance / len(outcome)


def auc(outcome: Bools, probability: Floats) -> float:
    """Chance that a converted row has the higher score of a random pair; ties count one half.

    outcome: (n,), of both kinds. probability: (n,), or anything that rises with it.
    """
    positive = int(outcome.sum())
    negative = len(outcome) - positive
    rank_sum = float(_mid_ranks(probability)[outcome].sum())
    return (rank_sum - positive**2 / 2) / (positive * negative)


def roc(outcome: Bools, probability: Floats) -> tuple[tuple[float, float], ...]:
    """At most 101 points (share of the others, share of the converted) that score at least so
    high, from (0, 0) to (1, 1); rows of equal probability pass together."""
    order = np.argsort(-probability, kind="stable")
    last_of_tie = np.append(np.diff(probability[order]) != 0, True)
    converted = np.cumsum(outcome[order])[last_of_tie] / max(outcome.sum(), 1)
    others = np.cumsum(~outcome[order])[last_of_tie] / max((~outcome).sum(), 1)
    some = np.unique(np.linspace(0, len(converted) - 1, 100).astype(int))
    points = zip(others[some].tolist(), converted[some].tolist(), strict=True)
    return ((0.0, 0.0), *points)


def gains(outcome: Bools, probability: Floats) -> tuple[float, ...]:
    """The share of the converted among the top 0, 5, 10 ... 100 % of the rows by probability; a tie
    across the cut counts at its mean."""
    order = np.argsort(-probability, kind="stable")
    _, group, size = np.unique(probability, return_inverse=True, return_counts=True)
    expected = (np.bincount(group, weights=outcome) / size)[group][order]
    found = np.append(0.0, np.cumsum(expected)) / max(outcome.sum(), 1)
    at = np.linspace(0, len(outcome), 21).round().astype(int)
    return tuple(found[at].tolist())


def _lift(outcome: Bools, probability: Floats) -> float:
    top = int(np.ceil(TOP_SHARE * len(outcome)))
    order = np.argsort(-probability)
    _, group, size = np.unique(probability, return_inverse=True, return_counts=True)
    # A tie across the cut counts at its mean: which of its rows come first means nothing.
    expected = np.bincount(group, weights=outcome) / size
    return float(expected[group][order][:top].mean() / outcome.mean())


def _mid_ranks(values: Floats) -> Floats:
    """Position of each value's middle in ascending order, in (0, n); equal values share it."""
    _, group, size = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(size) - size / 2)[group]
