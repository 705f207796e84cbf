"""Which tenants are due to be trained again, and why."""

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, text

from warehouse import alerts, tenants, training_settings
from warehouse.database import Database
from warehouse.errors import GalenaError, TenantNotFoundError

# Of a tenant that could not be trained.
ALERT = "training_failed"


@dataclass(frozen=True)
class Standing:
    """What decides whether a tenant is due.

    trained_at: when the last training of its CRM's records began, or its model was trained if no
    job tells of that; of a training whose model was not better, too: the next would find the same.
    rows: labelled snapshots that it learnt from. ended_then, ended_now: leads that had converted or
    been closed; ended_then is None where no job tells of it. drifted: an alert is open since then.
    """

    trained_at: datetime
    rows: int
    ended_then: int | None
    ended_now: int
    drifted: bool


@dataclass(frozen=True)
class Due:
    """A tenant that is due. why: in words. rows: labelled snapshots of its last training."""

    tenant_id: str
    why: str
    rows: int
    trained_at: datetime


def standing(connection: Connection, tenant_id: str) -> Standing | None:
    """None of a tenant that was never trained: its first run is the sensor `tenants`' to ask for,
    and of one that is being trained."""
    row = connection.execute(_STANDING, {"tenant_id": tenant_id}).one()
    if row.trained_at is None or row.under_way:
        return None
    return Standing(row.trained_at, row.rows, row.ended_then, row.ended_now, row.drifted)


def why_due(connection: Connection, tenant_id: str, *, now: datetime) -> Due | None:
    """Why the tenant is due as of now, by its own settings; None when it is not."""
    found = standing(connection, tenant_id)
    if found is None:
        return None
    rules = training_settings.find(connection, tenant_id).retraining
    days = (now - found.trained_at).total_seconds() / 86_400
    reasons = []
    if rules.on_drift and found.drifted:
        reasons.append("its scores have drifted")
    if found.ended_then is not None:
        new = found.ended_now - found.ended_then
        share = new / max(found.ended_then, 1)
        if share >= rules.new_outcomes:
            reasons.append(f"{new:,} new outcomes beside {found.ended_then:,} ({share:.0%})")
    if days >= rules.after_days:
        reasons.append(f"trained {days:.0f} days ago, {rules.after_days} or more are due")
    if not reasons:
        return None
    return Due(tenant_id, "; ".join(reasons), found.rows, found.trained_at)


def due(database: Database, *, now: datetime) -> list[Due]:
    """The active tenants that are due as of now, those trained longest ago first."""
    found: list[Due] = []
    for tenant in tenants.find_all(database):
        if tenant.status != "active":
            continue
        with suppress(TenantNotFoundError), database.tenant(tenant.tenant_id) as connection:
            try:
                one = why_due(connection, tenant.tenant_id, now=now)
            except GalenaError as error:
                # Its settings cannot be read: the others' night goes on.
                alerts.raise_alert(connection, tenant.tenant_id, ALERT, "", str(error))
                continue
            if one is not None:
                found.append(one)
    return sorted(found, key=lambda one: (one.trained_at, one.tenant_id))


# greatest() and max() leave out what is NULL. A job that learnt from a file says nothing of how old
# the knowledge of the CRM is.
_STANDING = text(
    "WITH last AS (SELECT started_at, training_data FROM ml.training_jobs"
    "  WHERE tenant_id = :tenant_id AND model_name = 'lead_model' AND status = 'completed'"
    "  AND NOT coalesce(training_data ? 'file', false) ORDER BY started_at DESC LIMIT 1),"
    " serving AS (SELECT m.trained_at, f.rows FROM ml.model_aliases a"
    "  JOIN ml.models m USING (tenant_id, version)"
    "  LEFT JOIN ml.feature_sets f USING (tenant_id, feature_set)"
    "  WHERE a.tenant_id = :tenant_id AND a.name = 'lead_model' AND a.alias = 'champion'"
    "  AND m.feature_set > 0),"
    " trained AS (SELECT greatest((SELECT started_at FROM last), (SELECT trained_at FROM serving))"
    "  AS at)"
    " SELECT trained.at AS trained_at,"
    " coalesce((SELECT (training_data ->> 'rows')::int FROM last), (SELECT rows FROM serving), 0)"
    "  AS rows,"
    " (SELECT (training_data ->> 'ended_leads')::bigint FROM last) AS ended_then,"
    " (SELECT count(*) FROM crm.leads WHERE tenant_id = :tenant_id"
    "  AND (converted_at IS NOT NULL OR closed_at IS NOT NULL)) AS ended_now,"
    " EXISTS (SELECT FROM ml.alerts WHERE tenant_id = :tenant_id AND kind = 'model_drift'"
    "  AND resolved_at IS NULL AND raised_at > trained.at) AS drifted,"
    " EXISTS (SELECT FROM ml.training_jobs WHERE tenant_id = :tenant_id"
    "  AND model_name = 'lead_model' AND status IN ('queued', 'running')) AS under_way FROM trained"
)
