"""Histories of a stated process, small enough to train on in a second or two."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
from scipy.special import expit

from ml.algorithm import Floats, Matrix
from ml.history import History
from ml.report import HoldOut
from ml.spec import OTHER, Column, FeatureSpec
from ml.training import Trained, train

SPEC = FeatureSpec(
    (
        Column("seats", "numeric"),
        Column("budget", "numeric"),
        Column("industry", "categorical", (*"abcdef", OTHER)),
        Column("noise", "numeric"),
        Column("city", "categorical", (*(f"city {i}" for i in range(60)), OTHER)),
    ),
    (),
)
SEATS, BUDGET, INDUSTRY, NOISE, CITY, AGE = range(6)
START = np.datetime64("2025-01-01", "us")
TRAINED_AT = datetime(2026, 1, 1, tzinfo=UTC)
DAYS = 300
HORIZON = np.timedelta64(30, "D")


def usual(matrix: Matrix) -> Floats:
    """Seats, budget and industry matter; noise, city and age do not."""
    known = np.nan_to_num(matrix).astype(np.float64)
    effect = 0.8 * known[:, SEATS] + 0.8 * (known[:, BUDGET] > 0.5)
    return np.asarray(-2.0 + effect + 0.3 * (known[:, INDUSTRY] - 2.5))


def planted(
    rows: int,
    log_odds: Callable[[Matrix], Floats] = usual,
    *,
    drift: float = 0.0,
    per_lead: int = 1,
    seed: int = 0,
) -> History:
    """Rows evenly over 300 days, known 30 days later; drift moves the log-odds end to end.

    per_lead: rows of each lead, with its columns and its outcome, at times of their own.
    """
    random = np.random.default_rng(seed)
    leads = rows // per_lead
    matrix = random.normal(size=(leads, len(SPEC.features))).astype(np.float32)
    matrix[random.random(leads) < 0.05, SEATS] = np.nan
    matrix[:, INDUSTRY] = random.integers(0, 6, leads)
    matrix[:, CITY] = random.integers(0, 60, leads)
    matrix[:, AGE] = 0
    label = random.random(leads) < expit(log_odds(matrix) + drift * np.linspace(0, 1, leads))
    lead = np.repeat(np.arange(leads), per_lead)
    if per_lead > 1:
        lead = random.permutation(lead)
    snapshot_at = START + np.arange(rows) * (DAYS * 86_400_000_000 // max(rows, 1))
    return History(SPEC, lead, matrix[lead], label[lead], snapshot_at, snapshot_at + HORIZON)


def shuffled(history: History, seed: int) -> History:
    """The same with outcomes dealt out anew among the leads."""
    random = np.random.default_rng(seed)
    by_lead = random.permutation(history.label[np.unique(history.lead, return_index=True)[1]])
    return replace(history, label=by_lead[history.lead])


def trained_on(history: History, *, horizon_days: int = 30, **arguments: Any) -> Trained:
    return train(history, trained_at=TRAINED_AT, horizon_days=horizon_days, **arguments)


def measured(trained: Trained) -> HoldOut:
    assert trained.report.hold_out is not None
    return trained.report.hold_out
