"""What training learns from: leads at past moments, and whether they converted soon after."""

from datetime import UTC, datetime, timedelta
from zlib import crc32

import numpy as np
import polars as pl
from numpy.typing import NDArray

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TIME = pl.Datetime("us", "UTC")
_SECOND = 1_000_000
_DAY = 86_400 * _SECOND
_NEVER = np.iinfo(np.int64).max


def snapshots(
    leads: pl.DataFrame,
    *,
    as_of: datetime,
    horizon_days: int = 30,
    every_days: int = 7,
    per_lead: int = 4,
) -> pl.DataFrame:
    """Labelled moments: lead_id, created_at, snapshot_at, label, label_known_at.

    leads: lead_id, created_at, converted_at, closed_at. The result keeps their order, and each
    lead's moments stand in the order of time.

    label: the lead converted after snapshot_at and at most horizon_days after it.
    label_known_at: its conversion or closing if that came first, else the end of the horizon.

    A lead's moments are a minute after its creation and then every every_days, from a phase of
    its own on (a hash of lead_id), so that all ages occur. Of those whose horizon ends by as_of,
    the first and per_lead - 1 others, evenly spread, are chosen; returned are the ones at which
    the lead was open. The choice must not know how the lead ended:
    - A horizon that ends after as_of is left out even if its outcome is known. Early news is of
      conversions; what is undecided would be missing from the other side.
    - Moments are spread over the time in which the lead could have been open, not in which it
      was. Otherwise a lead that converts early keeps its moments and one that stays open for a
      year keeps few of them: with a constant rate of 26 % in 30 days, old leads show 50 %.
    """
    leads = leads.filter(pl.col("created_at").is_not_null())
    created, converted, closed = (
        leads[name].cast(_TIME).to_physical().fill_null(_NEVER).to_numpy()
        for name in ("created_at", "converted_at", "closed_at")
    )
    horizon = horizon_days * _DAY
    last = (as_of - _EPOCH) // timedelta(microseconds=1) - horizon
    moment = _moments(leads["lead_id"], created, last, every_days, per_lead)
    is_open = (moment <= last) & (moment < np.minimum(converted, closed)[:, None])
    row, _ = np.nonzero(is_open)
    moment, converted, closed = moment[is_open], converted[row], closed[row]

    label = converted <= moment + horizon
    known = np.where(label, converted, np.minimum(closed, moment + horizon))
    return leads.select("lead_id", "created_at")[row].with_columns(
        pl.Series("snapshot_at", moment).cast(_TIME),
        pl.Series("label", label),
        pl.Series("label_known_at", known).cast(_TIME),
    )


def known_before(rows: pl.DataFrame, versions: pl.DataFrame, at: str = "as_of") -> pl.DataFrame:
    """The rows (lead_id, at, ...) in order of at, with the attributes that were known strictly
    before it; '{}' where nothing was. at: a column of times. versions: lead_id, known_at,
    attributes (JSON text)."""
    return (
        rows.sort(at)
        .join_asof(
            versions.sort("known_at"),
            left_on=at,
            right_on="known_at",
            by="lead_id",
            strategy="backward",
            allow_exact_matches=False,
            check_sortedness=False,
        )
        .with_columns(pl.col("attributes").fill_null("{}"))
        .drop("known_at")
    )


def _moments(
    lead_id: pl.Series, created: NDArray[np.int64], last: int, every_days: int, per_lead: int
) -> NDArray[np.int64]:
    """Times (leads, per_lead), ascending in each row; those after last are to be left out."""
    step = every_days * _DAY
    phases = step // _SECOND
    # crc32 is the same in every process and version; its low part is the phase, its high part
    # says where in the grid the choice begins.
    start, phase = np.divmod(np.array([crc32(i.encode()) for i in lead_id], np.int64), phases)
    starts = 2**32 // phases + 1

    first = created + 60 * _SECOND
    grid = first + (phase + 1) * _SECOND
    points = np.maximum((last - grid) // step + 1, 0)[:, None]
    chosen = np.arange(per_lead - 1)
    thinned = (chosen * starts + start[:, None]) * points // max(starts * len(chosen), 1)
    index = np.where(points > len(chosen), thinned, chosen)
    return np.column_stack([first, grid[:, None] + index * step])
