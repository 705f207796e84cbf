"""Lead scores: written with their history in one transaction, read through the serving views."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import polars as pl
from sqlalchemy import Connection, text

from warehouse import bulk
from warehouse.database import Database
from warehouse.schema import lead_score_history, lead_scores, score_rankings

_ONE_AT_A_TIME = text(
    "SELECT pg_advisory_xact_lock(hashtext('ml.lead_scores'), hashtext(:tenant_id))"
)


def ensure_partitions(database: Database) -> None:
    """Make sure that the history has a place for scores of today and tomorrow.

    In a short transaction of its own: whoever else needs the same new month waits for its end.
    """
    with database.operator() as connection:
        for days in (0, 1):
            connection.execute(
                text("SELECT ml.ensure_history_partition(now() + make_interval(days => :days))"),
                {"days": days},
            )


def begin_anew(connection: Connection, tenant_id: str) -> None:
    """Let the scores written after this, in this transaction, be all that the tenant has.

    Readers see the old scores until the transaction ends; another that begins anew waits for it.
    Deleting and inserting a million rows took two thirds of the time of overwriting them.
    """
    connection.execute(_ONE_AT_A_TIME, {"tenant_id": tenant_id})
    connection.execute(
        text("DELETE FROM ml.lead_scores WHERE tenant_id = :tenant_id"), {"tenant_id": tenant_id}
    )


def now(connection: Connection) -> datetime:
    """The time by the database's clock, which also stamps when a fact became known: with another
    clock, a fact of this moment could lie in the future of the score made for it."""
    found: datetime = connection.scalar(text("SELECT clock_timestamp()"))
    return found


def remove(connection: Connection, tenant_id: str, lead_ids: Sequence[str]) -> None:
    """Delete these leads' scores; their history stays."""
    connection.execute(
        text(
            "DELETE FROM ml.lead_scores WHERE tenant_id = :tenant_id AND lead_id = ANY(:lead_ids)"
        ),
        {"tenant_id": tenant_id, "lead_ids": list(lead_ids)},
    )


def newest_ranking(connection: Connection, tenant_id: str) -> datetime | None:
    """When the tenant's leads were last ranked; None before the first time."""
    found: datetime | None = connection.scalar(
        text("SELECT max(ranked_at) FROM ml.score_rankings WHERE tenant_id = :tenant_id"),
        {"tenant_id": tenant_id},
    )
    return found


@dataclass(frozen=True)
class Stamp:
    """What the scores of one transaction have in common. ranked_at names their ranking, which has
    to be there when the transaction ends: see rank()."""

    model_version: int
    calculated_at: datetime
    expires_at: datetime
    ranked_at: datetime
    run_id: str


def write(connection: Connection, tenant_id: str, scores: pl.DataFrame, stamp: Stamp) -> None:
    """Write scores of leads that have none, and their history; see ensure_partitions().

    scores: lead_id, score, probability, confidence, contributions and inputs.
    """
    staging = bulk.stage(connection, lead_score_history, scores)
    same = {**vars(stamp), "tenant_id": tenant_id}
    for table in (lead_score_history, lead_scores):
        names = [column.name for column in table.columns]
        values = ", ".join(f"%({name})s" if name in same else name for name in names)
        connection.exec_driver_sql(
            f"INSERT INTO {table.fullname} ({', '.join(names)}) SELECT {values} FROM {staging}",
            {name: value for name, value in same.items() if name in names},
        )


def rank(
    connection: Connection,
    tenant_id: str,
    ranked_at: datetime,
    quantiles: Sequence[float],
    *,
    whole: bool = True,
) -> None:
    """Store what percentiles are read from: ascending probabilities at equal shares of leads.

    whole: whether these were all of the tenant's open leads.
    """
    connection.execute(
        score_rankings.insert().values(
            tenant_id=tenant_id, ranked_at=ranked_at, quantiles=list(quantiles), whole=whole
        )
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
