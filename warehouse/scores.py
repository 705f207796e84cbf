"""Lead scores: written with their history in one transaction, read through the serving views."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import polars as pl
from sqlalchemy import Connection, text

from warehouse import bulk
from warehouse.schema import lead_score_history, lead_scores

_CURRENT = [column.name for column in lead_scores.columns if column.name != "tenant_id"]


def replace_all(connection: Connection, tenant_id: str, scores: Iterator[pl.DataFrame]) -> int:
    """Make these the tenant's scores: write them with their history, drop those of other leads.

    scores: blocks with the columns of ml.lead_score_history but tenant_id, all of one
    calculated_at. Readers see the old scores until the transaction ends. Returns the number
    written.
    """
    written = 0
    calculated_at: datetime | None = None
    for block in scores:
        calculated_at = calculated_at or block["calculated_at"][0]
        write(connection, tenant_id, block)
        written += block.height
    connection.execute(
        text(
            "DELETE FROM ml.lead_scores WHERE tenant_id = :tenant_id"
            " AND calculated_at IS DISTINCT FROM :calculated_at"
        ),
        {"tenant_id": tenant_id, "calculated_at": calculated_at},
    )
    return written


def write(connection: Connection, tenant_id: str, scores: pl.DataFrame) -> None:
    """Write scores (columns of ml.lead_score_history but tenant_id) and their history."""
    connection.execute(
        text("SELECT ml.ensure_history_partition(:at)"), {"at": scores["calculated_at"][0]}
    )
    staging = bulk.stage(connection, lead_score_history, scores)
    names = ", ".join(scores.columns)
    current = ", ".join(_CURRENT)
    assignments = ", ".join(f"{name} = EXCLUDED.{name}" for name in _CURRENT if name != "lead_id")
    parameters = {"tenant_id": tenant_id}
    connection.exec_driver_sql(
        f"INSERT INTO ml.lead_score_history (tenant_id, {names})"
        f" SELECT %(tenant_id)s, {names} FROM {staging}",
        parameters,
    )
    connection.exec_driver_sql(
        f"INSERT INTO ml.lead_scores (tenant_id, {current})"
        f" SELECT %(tenant_id)s, {current} FROM {staging}"
        f" ON CONFLICT (tenant_id, lead_id) DO UPDATE SET {assignments}",
        parameters,
    )


@dataclass(frozen=True)
class ServedScore:
    """A lead's score as a reader of the serving view gets it."""

    lead_id: str
    score: int
    probability: float
    percentile: float
    confidence: float
    evidence: dict[str, Any]
    reasoning: list[dict[str, Any]]
    model_version: int
    calculated_at: datetime


def top(connection: Connection, tenant_id: str, limit: int) -> Sequence[ServedScore]:
    """The tenant's leads with the highest probability, as served."""
    columns = ", ".join(ServedScore.__dataclass_fields__)
    rows = connection.execute(
        text(
            f"SELECT {columns} FROM serving.lead_scores_v1 WHERE tenant_id = :tenant_id"
            " ORDER BY probability DESC, lead_id LIMIT :limit"
        ),
        {"tenant_id": tenant_id, "limit": limit},
    )
    return [ServedScore(*row) for row in rows]


def published(connection: Connection, tenant_id: str) -> dict[str, int]:
    """The serving views and how many rows of the tenant each shows."""
    names = connection.scalars(
        text("SELECT viewname FROM pg_views WHERE schemaname = 'serving' ORDER BY viewname")
    ).all()
    return {
        f"serving.{name}": connection.scalar(
            text(f'SELECT count(*) FROM serving."{name}" WHERE tenant_id = :tenant_id'),
            {"tenant_id": tenant_id},
        )
        or 0
        for name in names
    }


@dataclass(frozen=True)
class Freshness:
    """How many leads have a score, when the newest was calculated, how many have expired."""

    scores: int
    newest: datetime | None
    expired: int


def freshness(connection: Connection, tenant_id: str) -> Freshness:
    row = connection.execute(
        text(
            "SELECT count(*), max(calculated_at), count(*) FILTER (WHERE expires_at < now())"
            " FROM ml.lead_scores WHERE tenant_id = :tenant_id"
        ),
        {"tenant_id": tenant_id},
    ).one()
    return Freshness(*row)
