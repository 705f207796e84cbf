"""What rescorings did and how soon: an outbox of what Dagster is to be told, and the figures."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, func, text

from warehouse.database import Database
from warehouse.queue import Claim
from warehouse.schema import rescorings


def record(
    connection: Connection,
    tenant_id: str,
    claimed: Claim,
    *,
    leads: int,
    model_version: int,
    run_id: str,
) -> None:
    """Note what became of a claim, in the transaction that writes its scores.

    leads: how many have a new score; the other leads of the claim lost theirs.
    """
    delays = func.array(
        text(
            "SELECT extract(epoch FROM clock_timestamp() - at)::real"
            " FROM unnest(CAST(:live_since AS timestamptz[])) at"
        ).bindparams(live_since=list(claimed.live_since))
    )
    connection.execute(
        rescorings.insert().values(
            tenant_id=tenant_id,
            run_id=run_id,
            model_version=model_version,
            scored_at=claimed.as_of,
            leads=leads,
            removed=len(claimed.lead_ids) - leads,
            changes=len(claimed.change_ids),
            delays=delays,
        )
    )


@dataclass(frozen=True)
class Report:
    """A tenant's rescorings that Dagster has not been told of, added up.

    oldest_change_s, median_change_s: the longest and the median time from a change to its score,
        in seconds; None when all were of bulk loads.
    """

    rescoring_ids: Sequence[int]
    leads: int
    removed: int
    changes: int
    model_version: int
    scored_at: datetime
    oldest_change_s: float | None
    median_change_s: float | None


def unreported_tenants(database: Database) -> list[tuple[str, float]]:
    """Tenants with something to report and since how many seconds, the longest first."""
    with database.operator() as connection:
        rows = connection.execute(
            text(
                "SELECT r.tenant_id, extract(epoch FROM clock_timestamp() - min(r.scored_at))"
                " FROM ml.rescorings r JOIN crm.tenants t USING (tenant_id)"
                " WHERE r.reported_at IS NULL AND t.status <> 'removing'"
                " GROUP BY r.tenant_id ORDER BY 2 DESC"
            )
        )
        return [(tenant_id, float(seconds)) for tenant_id, seconds in rows]


def unreported(connection: Connection, tenant_id: str) -> Report | None:
    """What is to be reported of the tenant; no other transaction reports it meanwhile."""
    row = connection.execute(_UNREPORTED, {"tenant_id": tenant_id}).one()
    return Report(*row) if row.rescoring_ids else None


_UNREPORTED = text(
    "WITH mine AS MATERIALIZED (SELECT * FROM ml.rescorings"
    " WHERE tenant_id = :tenant_id AND reported_at IS NULL FOR UPDATE SKIP LOCKED),"
    " delay AS (SELECT unnest(delays) AS s FROM mine)"
    " SELECT array_agg(rescoring_id) AS rescoring_ids, sum(leads), sum(removed), sum(changes),"
    " max(model_version), max(scored_at), (SELECT max(s)::float8 FROM delay),"
    " (SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY s) FROM delay) FROM mine"
)


def reported(connection: Connection, tenant_id: str, report: Report) -> None:
    """Note that Dagster has been told."""
    connection.execute(
        rescorings.update()
        .where(
            rescorings.c.tenant_id == tenant_id,
            rescorings.c.rescoring_id.in_(report.rescoring_ids),
        )
        .values(reported_at=func.now())
    )


@dataclass(frozen=True)
class Health:
    """How rescoring stands.

    queued: changes in the queue, of active tenants. tenants: those that have any that are due.
    oldest_s: age of the oldest change that is due, bulk loads left out, 0 without one. leads,
    p50_s, p95_s, max_s: of the last hour's rescorings, seconds from a lead's oldest change to its
    score; None without any.
    """

    queued: int
    tenants: int
    oldest_s: float
    leads: int
    p50_s: float | None
    p95_s: float | None
    max_s: float | None


def health(database: Database) -> Health:
    """The figures over all tenants, at the time of the call."""
    with database.operator() as connection:
        return Health(*connection.execute(_HEALTH).one())


_HEALTH = text(
    "WITH delay AS (SELECT unnest(delays) AS s FROM ml.rescorings"
    " WHERE scored_at > now() - interval '1 hour'),"
    " due AS (SELECT count(DISTINCT q.tenant_id) AS tenants,"
    "  coalesce(extract(epoch FROM clock_timestamp()"
    "   - min(q.changed_at) FILTER (WHERE q.priority >= 0)), 0)::float8 AS oldest"
    "  FROM crm.rescore_queue q JOIN crm.tenants t USING (tenant_id)"
    "  WHERE q.due_at <= clock_timestamp() AND t.status = 'active')"
    " SELECT (SELECT count(*) FROM crm.rescore_queue q JOIN crm.tenants t USING (tenant_id)"
    "  WHERE t.status = 'active'), due.tenants, due.oldest, count(s),"
    " percentile_cont(0.5) WITHIN GROUP (ORDER BY s),"
    " percentile_cont(0.95) WITHIN GROUP (ORDER BY s), max(s)::float8"
    " FROM due LEFT JOIN delay ON true GROUP BY due.tenants, due.oldest"
)
