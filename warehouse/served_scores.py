"""Scores that were served, beside what happened to their leads once their horizon had ended.

A score counts when its horizon has ended, also where its lead converted long before: early news is
of conversions alone.
"""

from dataclasses import dataclass
from datetime import datetime

import numpy as np
import polars as pl

from ml.algorithm import Bools, Floats, Matrix
from ml.spec import FeatureSpec
from warehouse.database import BulkReader, literal
from warehouse.errors import GalenaError

# Of rows whose distribution is compared, so many say it.
_SAMPLE = 20_000


@dataclass(frozen=True)
class Served:
    """Scores in the order in which they were served; outcome, probability: (n,).

    inputs: float32 (n, features), or (n, 0) where they were not asked for.
    """

    outcome: Bools
    probability: Floats
    inputs: Matrix


def newest(reader: BulkReader, tenant_id: str, *, days: int, now: datetime) -> Served:
    """Of the scores whose horizon has ended by now and in the last `days`, the first of each lead,
    whichever model made it: with a month's horizon, one that is trained every month is replaced
    before any of its own has matured."""
    horizon = (
        f"(SELECT make_interval(days => horizon_days) FROM crm.tenants"
        f" WHERE tenant_id = {literal(tenant_id)})"
    )
    return _served(
        reader.frame(
            _FIRST.format(
                tenant=literal(tenant_id),
                horizon=horizon,
                now=literal(now),
                where=f"s.calculated_at > {literal(now)} - {horizon} - interval '{days} days'",
                inputs="",
            )
        ),
        0,
    )


def of_version(
    reader: BulkReader,
    tenant_id: str,
    version: int,
    *,
    since: datetime,
    horizon_days: int,
    features: int,
    now: datetime,
) -> Served:
    """Of this version's scores since a time whose horizon has ended by now, the first of each lead;
    their inputs where features is not 0."""
    return _served(
        reader.frame(
            _FIRST.format(
                tenant=literal(tenant_id),
                horizon=f"interval '{int(horizon_days)} days'",
                now=literal(now),
                where=f"s.model_version = {int(version)} AND s.calculated_at >= {literal(since)}",
                inputs=", s.inputs" if features else "",
            )
        ),
        features,
    )


# The outcome of a lead's first score does not change as more mature, so that asked again the answer
# begins with the same rows.
_FIRST = (
    "SELECT h.*, coalesce(l.converted_at <= h.calculated_at + {horizon}, false) AS outcome FROM"
    " (SELECT DISTINCT ON (s.lead_id) s.lead_id, s.calculated_at, s.probability{inputs}"
    "  FROM ml.lead_score_history s WHERE s.tenant_id = {tenant} AND {where}"
    "  AND s.calculated_at <= {now} - {horizon} ORDER BY s.lead_id, s.calculated_at) h"
    " JOIN crm.leads l ON l.tenant_id = {tenant} AND l.lead_id = h.lead_id"
    " ORDER BY h.calculated_at, h.lead_id"
)


def of_week(
    reader: BulkReader, tenant_id: str, since: datetime, until: datetime, *, now: datetime
) -> pl.DataFrame:
    """Of the scores between two times whose horizon has ended by now, the first of each lead and
    version: version, probability, outcome, and the base rate known when the version was trained."""
    mine = literal(tenant_id)
    return reader.frame(
        "SELECT h.version, h.probability, h.base_rate,"
        " coalesce(l.converted_at <= h.calculated_at + h.horizon, false) AS outcome FROM"
        " (SELECT DISTINCT ON (s.model_version, s.lead_id) s.lead_id, s.model_version AS version,"
        "   s.probability, s.calculated_at, make_interval(days => m.horizon_days) AS horizon,"
        f"  {_BASE_RATE} AS base_rate FROM ml.lead_score_history s"
        "  JOIN ml.models m ON m.tenant_id = s.tenant_id AND m.version = s.model_version"
        "  LEFT JOIN ml.feature_sets f"
        "   ON f.tenant_id = m.tenant_id AND f.feature_set = m.feature_set"
        f" WHERE s.tenant_id = {mine} AND s.calculated_at >= {literal(since)}"
        f"  AND s.calculated_at < {literal(until)}"
        f"  AND s.calculated_at <= {literal(now)} - make_interval(days => m.horizon_days)"
        "  ORDER BY s.model_version, s.lead_id, s.calculated_at) h"
        f" JOIN crm.leads l ON l.tenant_id = {mine} AND l.lead_id = h.lead_id"
        " ORDER BY h.version"
    )


# Half an outcome of either kind more, lest a rate of 0 be infinitely wrong.
_BASE_RATE = (
    "coalesce((f.converted + 0.5::float8) / (f.rows + 1),"
    " 1 / (1 + exp(-greatest(least(m.base, 30), -30))))"
)


def base_rate(reader: BulkReader, tenant_id: str, version: int) -> float:
    """The conversion rate that was known when the version was trained."""
    found: float = reader.frame(
        f"SELECT {_BASE_RATE} AS rate FROM ml.models m LEFT JOIN ml.feature_sets f"
        " ON f.tenant_id = m.tenant_id AND f.feature_set = m.feature_set"
        f" WHERE m.tenant_id = {literal(tenant_id)} AND m.version = {int(version)}"
    ).item()
    return found


def newest_inputs(reader: BulkReader, tenant_id: str, spec: FeatureSpec, version: int) -> Served:
    """The open leads' present scores by this version, some 20,000 of them; no outcome is known."""
    rows = (
        "FROM ml.lead_scores l JOIN ml.lead_score_history h USING (tenant_id, lead_id,"
        f" calculated_at) WHERE l.tenant_id = {literal(tenant_id)}"
        f" AND h.model_version = {int(version)}"
    )
    count: int = reader.frame(f"SELECT count(*) {rows}").item()
    frame = reader.frame(
        f"SELECT h.probability, h.inputs, false AS outcome {rows} AND {_one_in(count)}"
    )
    return _served(frame, len(spec.features))


def training_inputs(reader: BulkReader, tenant_id: str, feature_set: int, features: int) -> Matrix:
    """Some 20,000 rows of a feature set, (n, features)."""
    rows = (
        f"FROM ml.training_rows WHERE tenant_id = {literal(tenant_id)}"
        f" AND feature_set = {int(feature_set)}"
    )
    count: int = reader.frame(f"SELECT count(*) {rows}").item()
    frame = reader.frame(f"SELECT features {rows} AND {_one_in(count)}")
    return _matrix(frame["features"], features)


def _one_in(count: int) -> str:
    return f"hashtext(lead_id) % {max(1, round(count / _SAMPLE))} = 0"


def _served(frame: pl.DataFrame, features: int) -> Served:
    inputs = frame["inputs"] if features else pl.Series([], dtype=pl.List(pl.Float32))
    return Served(
        frame["outcome"].to_numpy(), frame["probability"].to_numpy(), _matrix(inputs, features)
    )


def _matrix(rows: pl.Series, features: int) -> Matrix:
    if rows.is_empty():
        return np.zeros((0, features), dtype=np.float32)
    if (rows.list.len() != features).any():
        raise GalenaError(
            f"Stored inputs have not all the {features} features of their model:"
            " `galena lead replay` says which scores, to restore them from a backup."
        )
    found: Matrix = rows.explode().to_numpy().astype(np.float32).reshape(-1, features)
    return found
