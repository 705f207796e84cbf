"""Scores that were served, beside what happened to their leads once their horizon had ended.

A score counts when its horizon has ended by the time up to which outcomes are known
(warehouse.outcomes), also where its lead converted long before: early news is of conversions alone.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

import numpy as np
import polars as pl

from ml.algorithm import Bools, Floats, Matrix
from ml.spec import FeatureSpec
from warehouse.database import BulkReader, literal
from warehouse.errors import GalenaError

# The probabilities (n,) that a model gives inputs (n, features).
Said: TypeAlias = Callable[[Matrix], Floats]

# Of rows whose distribution is compared, so many say it.
_SAMPLE = 20_000
# Leads read at a time. 300,000 with 60 inputs each took 228 MB at once, and take 113 so.
_BLOCK = 20_000


@dataclass(frozen=True)
class Served:
    """Scores in the order in which they were served; outcome, probability: (n,).

    rival: (n,), what another model says of the same inputs; None where it was not asked.
    """

    outcome: Bools
    probability: Floats
    rival: Floats | None = None


def newest(reader: BulkReader, tenant_id: str, *, days: int, until: datetime) -> Served:
    """Of the scores whose horizon has ended by a time and in the `days` before it, those that are
    the first that their lead ever had, whichever model made them: with a month's horizon, one that
    is trained every month is replaced before any of its own has matured.

    The first in these days would be another score at each look.
    """
    horizon = (
        f"(SELECT make_interval(days => horizon_days) FROM crm.tenants"
        f" WHERE tenant_id = {literal(tenant_id)})"
    )
    frame = reader.frame(
        _FIRST.format(
            tenant=literal(tenant_id),
            horizon=horizon,
            until=literal(until),
            where=f"s.calculated_at > {literal(until)} - {horizon} - interval '{int(days)} days'",
            inputs="",
        )
        + _EVER.format(tenant=literal(tenant_id))
        + _IN_ORDER
    )
    return Served(frame["outcome"].to_numpy(), frame["probability"].to_numpy())


def of_version(
    reader: BulkReader,
    tenant_id: str,
    version: int,
    *,
    since: datetime,
    horizon_days: int,
    features: int,
    until: datetime,
    rival: Said | None = None,
) -> Served:
    """Of this version's scores since a time whose horizon has ended by another, the first of each
    lead; features: of the version, whose inputs are given to a rival."""
    query = _FIRST.format(
        tenant=literal(tenant_id),
        horizon=f"interval '{int(horizon_days)} days'",
        until=literal(until),
        where=f"s.model_version = {int(version)} AND s.calculated_at >= {literal(since)}{{block}}",
        inputs=", s.inputs" if rival else "",
    )
    if rival is None:
        frame = reader.frame(query.format(block="") + _IN_ORDER)
        return Served(frame["outcome"].to_numpy(), frame["probability"].to_numpy())
    parts = [
        block.select(
            "calculated_at",
            "outcome",
            "probability",
            pl.Series("rival", rival(_matrix(block["inputs"], features))),
        )
        for block in _blocks(reader, query)
    ]
    if not parts:
        return Served(np.zeros(0, dtype=np.bool_), np.zeros(0), np.zeros(0))
    # By lead_id they stand in order already.
    frame = pl.concat(parts).sort("calculated_at", maintain_order=True)
    return Served(*(frame[name].to_numpy() for name in ("outcome", "probability", "rival")))


def _blocks(reader: BulkReader, query: str) -> Iterator[pl.DataFrame]:
    """What the query finds, by ranges of lead_id that are found beforehand (as
    crm.open_leads)."""
    ends = reader.frame(
        "SELECT max(lead_id) AS upto FROM (SELECT lead_id, row_number() OVER (ORDER BY lead_id)"
        f" AS number FROM ({query.format(block='')}) found) numbered"
        f" GROUP BY (number - 1) / {_BLOCK} ORDER BY 1"
    )["upto"]
    last = ""
    for upto in ends:
        within = f" AND s.lead_id > {literal(last)} AND s.lead_id <= {literal(upto)}"
        yield reader.frame(query.format(block=within) + " ORDER BY h.lead_id")
        last = upto


# The outcome of a lead's first score does not change as more mature, so that asked again the answer
# begins with the same rows.
_FIRST = (
    "SELECT h.*, coalesce(l.converted_at <= h.calculated_at + {horizon}, false) AS outcome FROM"
    " (SELECT DISTINCT ON (s.lead_id) s.lead_id, s.calculated_at, s.probability{inputs}"
    "  FROM ml.lead_score_history s WHERE s.tenant_id = {tenant} AND {where}"
    "  AND s.calculated_at <= {until} - {horizon} ORDER BY s.lead_id, s.calculated_at) h"
    " JOIN crm.leads l ON l.tenant_id = {tenant} AND l.lead_id = h.lead_id"
)
# One look into the index for each lead: the history is many times as long as the list of leads.
_EVER = (
    " WHERE h.calculated_at = (SELECT p.calculated_at FROM ml.lead_score_history p"
    " WHERE p.tenant_id = {tenant} AND p.lead_id = h.lead_id ORDER BY p.calculated_at LIMIT 1)"
)
_IN_ORDER = " ORDER BY h.calculated_at, h.lead_id"


def of_week(
    reader: BulkReader, tenant_id: str, monday: datetime, *, until: datetime
) -> pl.DataFrame:
    """Of the scores of the week from a time on whose horizon has ended by another, the first of
    each lead and version: version, probability, outcome, and the base rate known when the version
    was trained."""
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
        f" WHERE s.tenant_id = {mine} AND s.calculated_at >= {literal(monday)}"
        f"  AND s.calculated_at < {literal(monday)} + interval '7 days'"
        f"  AND s.calculated_at <= {literal(until)} - make_interval(days => m.horizon_days)"
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


def newest_inputs(
    reader: BulkReader, tenant_id: str, spec: FeatureSpec, version: int
) -> tuple[Matrix, Floats]:
    """Of the open leads' present scores by this version, some 20,000 of them: the inputs
    (n, features) and the probabilities (n,)."""
    rows = (
        "FROM ml.lead_scores l JOIN ml.lead_score_history h USING (tenant_id, lead_id,"
        f" calculated_at) WHERE l.tenant_id = {literal(tenant_id)}"
        f" AND h.model_version = {int(version)}"
    )
    count: int = reader.frame(f"SELECT count(*) {rows}").item()
    frame = reader.frame(f"SELECT h.probability, h.inputs {rows} AND {_one_in(count)}")
    return _matrix(frame["inputs"], len(spec.features)), frame["probability"].to_numpy()


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
