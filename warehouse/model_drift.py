"""Whether the scores that were served still mean what they say: they against what happened."""

from contextlib import suppress
from datetime import datetime

import numpy as np
from sqlalchemy import Connection, text

from ml import drift
from ml.drift import OutcomeDrift
from warehouse import alerts, tenants
from warehouse.database import Database
from warehouse.errors import TenantNotFoundError

ALERT = "model_drift"


def outcomes(connection: Connection, tenant_id: str, *, now: datetime) -> OutcomeDrift:
    """Test the champion's scores whose horizon has ended by now, one of each lead, the first.

    A score counts when its horizon has ended, also where its lead converted long before: early news
    is of conversions alone.
    """
    rows = connection.execute(_MATURED, {"tenant_id": tenant_id, "now": now}).all()
    happened = np.array([row.converted for row in rows], dtype=np.bool_)
    return drift.outcomes(happened, np.array([row.probability for row in rows], dtype=np.float64))


def watch(database: Database, *, now: datetime) -> int:
    """Test every active tenant; raise an alert where its scores have drifted, and resolve it where
    they have not. Returns how many have."""
    drifted = 0
    for tenant in tenants.find_all(database):
        if tenant.status != "active":
            continue
        with suppress(TenantNotFoundError), database.tenant(tenant.tenant_id) as connection:
            found = outcomes(connection, tenant.tenant_id, now=now)
            drifted += found.alarm
            if found.alarm:
                alerts.raise_alert(connection, tenant.tenant_id, ALERT, "", found.sentence)
            else:
                alerts.resolve(connection, tenant.tenant_id, ALERT, [""])
    return drifted


_MATURED = text(
    "SELECT"
    "  h.probability, coalesce(l.converted_at <= h.calculated_at"
    "   + make_interval(days => m.horizon_days), false) AS converted"
    " FROM (SELECT DISTINCT ON (s.lead_id) s.lead_id, s.calculated_at, s.probability,"
    "   s.model_version FROM ml.lead_score_history s JOIN ml.model_aliases a"
    "   ON a.tenant_id = s.tenant_id AND a.alias = 'champion' AND a.version = s.model_version"
    "  WHERE s.tenant_id = :tenant_id ORDER BY s.lead_id, s.calculated_at) h"
    " JOIN ml.models m ON m.tenant_id = :tenant_id AND m.version = h.model_version"
    " JOIN crm.leads l ON l.tenant_id = :tenant_id AND l.lead_id = h.lead_id"
    " WHERE h.calculated_at + make_interval(days => m.horizon_days) <= :now"
    " ORDER BY h.calculated_at + make_interval(days => m.horizon_days), h.lead_id"
)
