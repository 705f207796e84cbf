"""The audit log: who decided what about a tenant, when and why."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, text

from ml.kinds import Name
from warehouse.schema import audit_log


def note(
    connection: Connection, tenant_id: str, action: str, details: Mapping[str, Any], *, actor: str
) -> None:
    """Write an entry, in the transaction that does what it tells of."""
    connection.execute(
        audit_log.insert().values(
            tenant_id=tenant_id, actor=actor, action=action, details=dict(details)
        )
    )


@dataclass(frozen=True)
class Decision:
    """An entry of the audit log about a model: who did what to which version, when and why.

    action: such as model.champion (it began to serve), model.rollback, model.approve, test.started.
    version: None where a training was asked for.
    """

    at: datetime
    actor: str
    action: str
    name: Name
    version: int | None
    why: str


def of_models(connection: Connection, tenant_id: str, name: Name | None = None) -> list[Decision]:
    """What was decided about the tenant's models, of one or of all, the oldest first."""
    rows = connection.execute(_OF_MODELS, {"tenant_id": tenant_id, "name": name})
    return [Decision(**row._mapping) for row in rows]


# Of releases that knew one model, entries have no name.
_OF_MODELS = text(
    "SELECT at, actor, action, coalesce(details ->> 'name', 'lead_model') AS name,"
    " coalesce(details ->> 'version', details ->> 'challenger')::int AS version,"
    " coalesce(details ->> 'why', details ->> 'verdict', '') AS why"
    " FROM ml.audit_log WHERE tenant_id = :tenant_id"
    " AND (action LIKE 'model.%' OR action LIKE 'test.%' OR action = 'training.ask')"
    " AND (CAST(:name AS text) IS NULL OR coalesce(details ->> 'name', 'lead_model') = :name)"
    " ORDER BY entry_id"
)
