"""What has happened to a tenant, told to whoever asks, and sent to its webhook where it has one."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, func, select, text

from warehouse.database import Database
from warehouse.schema import events, webhooks


@dataclass(frozen=True)
class Event:
    """Something that has happened.

    message_id: the same at every attempt to deliver it. kind: such as prediction.completed.
    payload: what is to be known of it, as JSON. due_at: when the webhook is next to get it; None
    when it has it, or is not to get it. attempts: to deliver it. error: why the last one failed.
    """

    event_id: int
    message_id: str
    at: datetime
    kind: str
    payload: Mapping[str, Any]
    due_at: datetime | None
    delivered_at: datetime | None
    attempts: int
    error: str | None


def record(connection: Connection, tenant_id: str, kind: str, payload: Mapping[str, Any]) -> None:
    """Note an event, in the transaction that makes it true; the tenant's webhook gets it soon."""
    has_webhook = select(webhooks.c.tenant_id).where(webhooks.c.tenant_id == tenant_id)
    connection.execute(
        events.insert().values(
            tenant_id=tenant_id,
            message_id=f"msg_{uuid.uuid4().hex}",
            kind=kind,
            payload=dict(payload),
            due_at=func.now() if connection.scalar(has_webhook) else None,
        )
    )


def find_all(
    connection: Connection, tenant_id: str, *, after: int = 0, limit: int = 100
) -> list[Event]:
    """The tenant's events behind the one with this id, the oldest first."""
    return _found(connection, tenant_id, events.c.event_id > after, limit)


def due(connection: Connection, tenant_id: str, *, now: datetime, limit: int) -> list[Event]:
    """The events that the tenant's webhook is to get now, the oldest first."""
    return _found(connection, tenant_id, events.c.due_at <= now, limit)


def tenants_with_due(database: Database, *, now: datetime) -> list[str]:
    """The tenants that have such events, by id."""
    with database.operator() as connection:
        found = connection.scalars(
            text(
                "SELECT DISTINCT e.tenant_id FROM ml.events e JOIN crm.tenants t USING (tenant_id)"
                " WHERE e.due_at <= :now AND t.status <> 'removing' ORDER BY e.tenant_id"
            ),
            {"now": now},
        )
        return list(found)


def delivered(connection: Connection, tenant_id: str, event_id: int, *, now: datetime) -> None:
    """The webhook has taken the event."""
    _note(connection, tenant_id, event_id, due_at=None, delivered_at=now, error=None)


def failed(
    connection: Connection, tenant_id: str, event_id: int, error: str, *, due_at: datetime | None
) -> None:
    """The webhook has not taken the event. due_at: of the next attempt; None is the end of them."""
    _note(connection, tenant_id, event_id, due_at=due_at, error=error)


def drop_due(connection: Connection, tenant_id: str) -> None:
    """Let no event wait any more."""
    connection.execute(events.update().where(events.c.tenant_id == tenant_id).values(due_at=None))


def _note(connection: Connection, tenant_id: str, event_id: int, **facts: Any) -> None:
    connection.execute(
        events.update()
        .where(events.c.tenant_id == tenant_id, events.c.event_id == event_id)
        .values(attempts=events.c.attempts + 1, **facts)
    )


def _found(connection: Connection, tenant_id: str, condition: Any, limit: int) -> list[Event]:
    rows = connection.execute(
        select(*(events.c[name] for name in Event.__dataclass_fields__))
        .where(events.c.tenant_id == tenant_id, condition)
        .order_by(events.c.event_id)
        .limit(limit)
    )
    return [Event(**row._mapping) for row in rows]
