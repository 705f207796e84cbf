"""The queue of changed leads: who waits, what one scorer takes, what fails and is tried again.

Writers only append to it (triggers on crm.leads and crm.interactions). A scorer takes the rows of
some of a tenant's buckets, which are its own until the transaction ends, and deletes exactly those
in the transaction that writes the scores: a crash leaves them, and a change that commits later is
simply a later row.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, text

from warehouse import alerts, crm
from warehouse.database import Database

MOST_ATTEMPTS = 3
# Seconds before the second and the third attempt.
_BACKOFF = (5, 30)
_ALERT = "rescoring_failed"
# What the alert about a tenant as a whole is about.
_WHOLE_TENANT = ""


@dataclass(frozen=True)
class Waiting:
    """A tenant with changes that are due: the highest priority, the oldest change and its age."""

    tenant_id: str
    priority: int
    oldest_at: datetime
    age_s: float


def waiting(database: Database) -> list[Waiting]:
    """The active tenants with changes that are due."""
    with database.operator() as connection:
        return [Waiting(*row) for row in connection.execute(_WAITING)]


# From tenant to tenant through the index, so that it costs what waits, however many tenants there
# are and however long their queues.
_WAITING = text(
    "WITH RECURSIVE queued AS ("
    "  (SELECT tenant_id FROM crm.rescore_queue ORDER BY tenant_id LIMIT 1)"
    "  UNION ALL SELECT (SELECT q.tenant_id FROM crm.rescore_queue q"
    "   WHERE q.tenant_id > queued.tenant_id ORDER BY q.tenant_id LIMIT 1)"
    "  FROM queued WHERE queued.tenant_id IS NOT NULL)"
    " SELECT t.tenant_id, next.priority, oldest.changed_at,"
    " extract(epoch FROM clock_timestamp() - oldest.changed_at)::float8"
    " FROM queued JOIN crm.tenants t USING (tenant_id)"
    " CROSS JOIN LATERAL (SELECT priority FROM crm.rescore_queue q"
    "  WHERE q.tenant_id = t.tenant_id AND q.due_at <= clock_timestamp()"
    "  ORDER BY q.priority DESC, q.change_id LIMIT 1) next"
    " CROSS JOIN LATERAL (SELECT changed_at FROM crm.rescore_queue q"
    "  WHERE q.tenant_id = t.tenant_id AND q.due_at <= clock_timestamp()"
    "  ORDER BY q.change_id LIMIT 1) oldest"
    " WHERE t.status = 'active' AND NOT EXISTS (SELECT FROM crm.rescore_failures f"
    "  WHERE f.tenant_id = t.tenant_id AND f.lead_id = ''"
    "  AND coalesce(f.retry_at > clock_timestamp(), true))"
)


@dataclass(frozen=True)
class Claim:
    """Changed leads that one transaction has to itself.

    live_since: when each lead changed first, of those that a bulk load alone changed nothing.
    as_of: a time after each of the changes, by the database's clock: the scores' calculated_at.
    """

    lead_ids: Sequence[str]
    change_ids: Sequence[int]
    live_since: Sequence[datetime]
    as_of: datetime


def claim(connection: Connection, tenant_id: str, most: int) -> Claim | None:
    """Take up to `most` due changes of the tenant, the highest priority first.

    None when there are none, or when others have them: another scorer, or a scoring of all leads.
    """
    rows = connection.execute(_DUE, {"tenant_id": tenant_id, "most": most}).all()
    if not rows:
        return None
    buckets = sorted({row.bucket for row in rows})
    # More than one transaction's worth: leave half of the buckets to other scorers.
    share = len(buckets) if len(rows) < most else (len(buckets) + 1) // 2
    taken = set(
        connection.scalars(
            _LOCK_BUCKETS, {"tenant_id": tenant_id, "buckets": buckets, "share": share}
        ).all()
    )
    change_ids = [row.change_id for row in rows if row.bucket in taken]
    # Read again: between the first look and the lock another scorer may have been through.
    found = connection.execute(_CLAIMED, {"tenant_id": tenant_id, "change_ids": change_ids}).all()
    if not found:
        return None
    return Claim(
        lead_ids=[row.lead_id for row in found],
        change_ids=[change_id for row in found for change_id in row.change_ids],
        live_since=[row.live_since for row in found if row.live_since is not None],
        as_of=max(row.as_of for row in found),
    )


# No row while a scoring of all leads has the tenant: the lock is asked for once, before the rows.
_DUE = text(
    "SELECT change_id, bucket FROM crm.rescore_queue WHERE tenant_id = :tenant_id"
    " AND (SELECT pg_try_advisory_xact_lock_shared("
    "  hashtext('ml.lead_scores'), hashtext(:tenant_id)))"
    " AND due_at <= clock_timestamp() ORDER BY priority DESC, change_id LIMIT :most"
)
_LOCK_BUCKETS = text(
    "SELECT bucket FROM unnest(CAST(:buckets AS integer[])) bucket"
    " WHERE pg_try_advisory_xact_lock(hashtext('crm.rescore_queue ' || :tenant_id), bucket)"
    " LIMIT :share"
)
_CLAIMED = text(
    "SELECT lead_id, array_agg(change_id) AS change_ids,"
    " min(changed_at) FILTER (WHERE priority >= 0) AS live_since,"
    " greatest(clock_timestamp(), max(changed_at) + interval '1 microsecond') AS as_of"
    " FROM crm.rescore_queue WHERE tenant_id = :tenant_id AND change_id = ANY(:change_ids)"
    " GROUP BY lead_id"
)


def finish(connection: Connection, tenant_id: str, claimed: Claim) -> None:
    """Delete the claimed changes, and what is known of earlier failures of their leads."""
    _delete(connection, tenant_id, claimed)
    _forget_failures(connection, tenant_id, [*claimed.lead_ids, _WHOLE_TENANT])


def finish_all(connection: Connection, tenant_id: str) -> None:
    """Delete all changes that are visible now, for a scoring of all leads that reads after this.

    Failures are forgotten: that scoring includes their leads, but for those that it cannot read,
    whose changes stay.
    """
    connection.execute(
        text(f"DELETE FROM crm.rescore_queue WHERE tenant_id = :tenant_id {_READABLE}"),
        {"tenant_id": tenant_id},
    )
    failed = connection.scalars(
        text(f"SELECT lead_id FROM crm.rescore_failures WHERE tenant_id = :tenant_id {_READABLE}"),
        {"tenant_id": tenant_id},
    )
    _forget_failures(connection, tenant_id, failed.all())


_READABLE = (
    "AND lead_id NOT IN (SELECT lead_id FROM crm.leads WHERE tenant_id = :tenant_id"
    f" AND NOT ({crm.READABLE}))"
)


def _delete(connection: Connection, tenant_id: str, claimed: Claim) -> None:
    connection.execute(
        text(
            "DELETE FROM crm.rescore_queue"
            " WHERE tenant_id = :tenant_id AND change_id = ANY(:change_ids)"
        ),
        {"tenant_id": tenant_id, "change_ids": list(claimed.change_ids)},
    )


def _forget_failures(connection: Connection, tenant_id: str, lead_ids: Sequence[str]) -> None:
    forgotten = connection.scalars(
        text(
            "DELETE FROM crm.rescore_failures WHERE tenant_id = :tenant_id"
            " AND lead_id = ANY(:lead_ids) RETURNING lead_id"
        ),
        {"tenant_id": tenant_id, "lead_ids": list(lead_ids)},
    ).all()
    if forgotten:
        alerts.resolve(connection, tenant_id, _ALERT, forgotten)


def fail_lead(connection: Connection, tenant_id: str, claimed: Claim, reason: str) -> None:
    """Note that the one lead of this claim could not be scored: its changes are due again later.

    After MOST_ATTEMPTS the claimed changes are set aside with an alert, until the lead changes
    again.
    """
    (lead_id,) = claimed.lead_ids
    attempts = _count_failure(connection, tenant_id, lead_id, reason)
    if attempts < MOST_ATTEMPTS:
        connection.execute(
            text(
                "UPDATE crm.rescore_queue"
                " SET due_at = clock_timestamp() + make_interval(secs => :seconds)"
                " WHERE tenant_id = :tenant_id AND lead_id = :lead_id"
            ),
            {"tenant_id": tenant_id, "lead_id": lead_id, "seconds": _BACKOFF[attempts - 1]},
        )
        return
    # These and no others: a change that came meanwhile may have mended the lead.
    _delete(connection, tenant_id, claimed)
    message = f"Lead {lead_id} could not be scored in {attempts} attempts: {reason}"
    alerts.raise_alert(connection, tenant_id, _ALERT, lead_id, message)


def fail_tenant(connection: Connection, tenant_id: str, reason: str) -> None:
    """Note that none of the tenant's leads can be scored: it is its turn again later, or, after
    MOST_ATTEMPTS, with an alert, when a scoring of all its leads has succeeded or retry() was
    called. Its changes stay in the queue."""
    attempts = _count_failure(connection, tenant_id, _WHOLE_TENANT, reason)
    if attempts >= MOST_ATTEMPTS:
        message = f"No lead of the tenant could be scored in {attempts} attempts: {reason}"
        alerts.raise_alert(connection, tenant_id, _ALERT, _WHOLE_TENANT, message)


def _count_failure(connection: Connection, tenant_id: str, lead_id: str, reason: str) -> int:
    """How often it has failed now; sets when it may be tried again."""
    attempts: int = connection.execute(
        text(
            "INSERT INTO crm.rescore_failures AS f (tenant_id, lead_id, attempts, reason)"
            " VALUES (:tenant_id, :lead_id, 1, :reason)"
            " ON CONFLICT (tenant_id, lead_id) DO UPDATE SET attempts = f.attempts + 1,"
            " reason = EXCLUDED.reason, failed_at = clock_timestamp() RETURNING attempts"
        ),
        {"tenant_id": tenant_id, "lead_id": lead_id, "reason": reason},
    ).scalar_one()
    seconds = _BACKOFF[attempts - 1] if attempts < MOST_ATTEMPTS else None
    connection.execute(
        text(
            "UPDATE crm.rescore_failures"
            " SET retry_at = clock_timestamp() + make_interval(secs => :seconds)"
            " WHERE tenant_id = :tenant_id AND lead_id = :lead_id"
        ),
        {"tenant_id": tenant_id, "lead_id": lead_id, "seconds": seconds},
    )
    return attempts


def retry(connection: Connection, tenant_id: str) -> int:
    """Let all leads that failed, and the tenant as a whole, be tried again at once; return how many
    leads."""
    failed = connection.scalars(
        text("SELECT lead_id FROM crm.rescore_failures WHERE tenant_id = :tenant_id"),
        {"tenant_id": tenant_id},
    ).all()
    _forget_failures(connection, tenant_id, failed)
    leads = [lead_id for lead_id in failed if lead_id != _WHOLE_TENANT]
    # Changes that were set aside are no longer queued; those that wait have a time to wait for.
    connection.execute(
        text(
            "UPDATE crm.rescore_queue SET due_at = clock_timestamp()"
            " WHERE tenant_id = :tenant_id AND due_at > clock_timestamp()"
        ),
        {"tenant_id": tenant_id},
    )
    connection.execute(
        text(
            "INSERT INTO crm.rescore_queue (tenant_id, lead_id, priority)"
            " SELECT :tenant_id, unnest(CAST(:lead_ids AS text[])), 100"
        ),
        {"tenant_id": tenant_id, "lead_ids": leads},
    )
    return len(leads)


def lane(database: Database) -> AbstractContextManager[Connection | None]:
    """Be the one rescoring run in flight; None when another is.

    The lock goes with its connection, which the caller may ask whether it is still there: it ends
    with the process, however that ends.
    """
    return database.alone(_LANE)


def lane_is_taken(database: Database) -> bool:
    """Whether a rescoring run is alive."""
    return database.is_held(_LANE)


_LANE = "galena rescoring run"


def add_open_leads(connection: Connection, tenant_id: str, *, wait_s: float = 0.0) -> None:
    """Queue all open leads, behind what changes, such as for another model. wait_s: for what would
    score them all anyway, and take them from the queue."""
    connection.execute(
        text(
            "INSERT INTO crm.rescore_queue (tenant_id, lead_id, priority, due_at)"
            " SELECT tenant_id, lead_id, -1, clock_timestamp() + make_interval(secs => :wait_s)"
            " FROM crm.leads WHERE tenant_id = :tenant_id"
            " AND converted_at IS NULL AND closed_at IS NULL"
        ),
        {"tenant_id": tenant_id, "wait_s": wait_s},
    )
