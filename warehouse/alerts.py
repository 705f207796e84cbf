"""Alerts: what a person should know of a tenant, until it is well again."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, func, select, text
from sqlalchemy.dialects.postgresql import insert

from warehouse.database import Database
from warehouse.schema import alerts


@dataclass(frozen=True)
class Alert:
    """kind: what went wrong, such as rescoring_failed. subject: with what, such as a lead's id."""

    kind: str
    subject: str
    message: str
    raised_at: datetime


def raise_alert(
    connection: Connection, tenant_id: str, kind: str, subject: str, message: str
) -> None:
    """Open an alert, or give the one that is open for the same kind and subject this message."""
    statement = insert(alerts).values(
        tenant_id=tenant_id, kind=kind, subject=subject, message=message
    )
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=["tenant_id", "kind", "subject"],
            index_where=text("resolved_at IS NULL"),
            set_={"message": message},
        )
    )


def resolve(
    connection: Connection,
    tenant_id: str,
    kind: str,
    subjects: Sequence[str],
    *,
    others: bool = False,
) -> None:
    """Close the open alerts of this kind about these subjects: they are well again. others: about
    any but these."""
    among = alerts.c.subject.not_in if others else alerts.c.subject.in_
    connection.execute(
        alerts.update()
        .where(
            alerts.c.tenant_id == tenant_id,
            alerts.c.kind == kind,
            among(subjects),
            alerts.c.resolved_at.is_(None),
        )
        .values(resolved_at=func.now())
    )


def open_alerts(connection: Connection, tenant_id: str) -> list[Alert]:
    """The tenant's open alerts, newest first."""
    rows = connection.execute(
        select(*(alerts.c[name] for name in Alert.__dataclass_fields__))
        .where(alerts.c.tenant_id == tenant_id, alerts.c.resolved_at.is_(None))
        .order_by(alerts.c.raised_at.desc(), alerts.c.alert_id.desc())
    )
    return [Alert(*row) for row in rows]


def count_open(database: Database) -> dict[str, int]:
    """Open alerts per tenant, of tenants that have any and are not being removed."""
    with database.operator() as connection:
        rows = connection.execute(
            text(
                "SELECT a.tenant_id, count(*) FROM ml.alerts a JOIN crm.tenants t USING (tenant_id)"
                " WHERE a.resolved_at IS NULL AND t.status <> 'removing'"
                " GROUP BY a.tenant_id ORDER BY a.tenant_id"
            )
        )
        return {tenant_id: int(number) for tenant_id, number in rows}


class StoredAlerts:
    """ai.stores.Alerts in ml.alerts, each in a transaction of its own."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def raise_alert(self, tenant_id: str, kind: str, subject: str, message: str) -> None:
        with self._database.tenant(tenant_id) as connection:
            raise_alert(connection, tenant_id, kind, subject, message)

    def resolve(self, tenant_id: str, kind: str, subject: str) -> None:
        with self._database.tenant(tenant_id) as connection:
            resolve(connection, tenant_id, kind, [subject])
