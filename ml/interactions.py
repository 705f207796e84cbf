"""A lead's interactions as of a time, as counts per kind and window and the pace of them all."""

import math
from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ml.spec import DAY_US, WINDOWS_DAYS

LOOKBACK_DAYS = WINDOWS_DAYS[-1]


def summarize(
    leads: pl.DataFrame, interactions: pl.DataFrame, kinds: Sequence[str]
) -> NDArray[np.float32]:
    """Matrix (rows of leads, len(kinds) * len(WINDOWS_DAYS) + 3) of what had happened by as_of.

    An interaction counts for a row of the same lead if it occurred before the row's as_of, at
    most LOOKBACK_DAYS before it, and was known before it. Columns: for each kind its count in the
    last 1, 7, 30 and 90 days; days since the last interaction, NaN if there is none; the count of
    7 days above what the pace of the last 30 days makes of 7 days; the different kinds in 30 days.
    A kind that is not in kinds has no counts of its own; it is part of the last three, where all
    such kinds are one.

    leads: lead_id, as_of. interactions: lead_id, kind, occurred_at, known_at.
    """
    pairs = _pairs(leads, interactions, kinds)
    row, kind, age = (pairs[name].to_numpy() for name in ("row", "kind", "age"))
    window = np.searchsorted(np.array(WINDOWS_DAYS) * DAY_US, age)
    shape = (leads.height, len(kinds) + 1, len(WINDOWS_DAYS))
    cell = np.ravel_multi_index((row, kind, window), shape)
    counts = np.bincount(cell, minlength=math.prod(shape)).reshape(shape)
    counts.cumsum(axis=2, out=counts)

    own = len(kinds) * len(WINDOWS_DAYS)
    summary = np.empty((leads.height, own + 3), np.float32, order="F")
    summary[:, :own] = counts[:, :-1].reshape(leads.height, own)
    summary[:, own] = _days_since_last(row, age, leads.height)
    of_all_kinds = counts.sum(axis=1)
    week, month = WINDOWS_DAYS.index(7), WINDOWS_DAYS.index(30)
    summary[:, own + 1] = of_all_kinds[:, week] - of_all_kinds[:, month] * 7 / 30
    summary[:, own + 2] = (counts[:, :, month] > 0).sum(axis=1)
    return summary


def _pairs(leads: pl.DataFrame, interactions: pl.DataFrame, kinds: Sequence[str]) -> pl.DataFrame:
    """Each row of leads with each interaction it may know: row, kind (code), age in us."""
    rows = leads.lazy().select("lead_id", "as_of").with_row_index("row")
    kind = pl.col("kind").cast(pl.Enum(kinds), strict=False).to_physical().cast(pl.Int64)
    age = (pl.col("as_of") - pl.col("occurred_at")).dt.total_microseconds()
    return (
        interactions.lazy()
        .join(rows, on="lead_id")
        .with_columns(kind.fill_null(len(kinds)), age=age)
        .filter(
            pl.col("age") > 0,
            pl.col("age") <= LOOKBACK_DAYS * DAY_US,
            pl.col("known_at") < pl.col("as_of"),
        )
        .select("row", "kind", "age")
        .collect()
    )


def _days_since_last(
    row: NDArray[np.uint32], age: NDArray[np.int64], rows: int
) -> NDArray[np.float64]:
    days = np.full(rows, np.inf)
    np.minimum.at(days, row, age / DAY_US)
    days[np.isinf(days)] = np.nan
    return days
