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
DAYS = 60


def outcomes(connection: Connection, tenant_id: str, *, now: datetime) -> OutcomeDrift:
    """Test the scores whose horizon has ended by now and in the last 60 days, the first of a lead,
    whichever model made it: with a month's horizon, one that is trained every month is replaced
    before any of its own has matured.

    A score counts when its horizon has ended, also where its lead converted long before: early news
    is of conversions alone.
    """
    asked = {"tenant_id": tenant_id, "now": now, "days": DAYS}
    rows = connection.execute(_MATURED, asked).all()
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
    "SELECT h.probability, coalesce(l.converted_at <= h.calculated_at"
    "  + make_interval(days => t.horizon_days), false) AS converted"
    " FROM crm.tenants t"
    " CROSS JOIN LATERAL (SELECT DISTINCT ON (s.lead_id) s.lead_id, s.calculated_at, s.probability"
    "  FROM ml.lead_score_history s WHERE s.tenant_id = t.tenant_id"
    "   AND s.calculated_at <= :now - make_interval(days => t.horizon_days)"
    "   AND s.calculated_at > :now - make_interval(days => t.horizon_days + :days)"
    "  ORDER BY s.lead_id, s.calculated_at) h"
    " JOIN crm.leads l ON l.tenant_id = t.tenant_id AND l.lead_id = h.lead_id"
    " WHERE t.tenant_id = :tenant_id ORDER BY h.calculated_at, h.lead_id"
)
