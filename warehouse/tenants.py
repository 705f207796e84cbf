"""The tenants: who there is, how one comes, pauses and goes, and the logins of its readers."""

import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, get_args

from psycopg import sql
from sqlalchemy import Connection, create_engine, make_url, text

from warehouse import schema
from warehouse.database import SLUG, Database
from warehouse.errors import GalenaError, TenantNotFoundError

Status = Literal["active", "paused", "removing"]

DEFAULT_HORIZON_DAYS = 30
_COLUMNS = "tenant_id, name, status, horizon_days, created_at"


@dataclass(frozen=True)
class Tenant:
    """One customer of the installation.

    status: active; paused (kept as it is, nothing is computed); removing (its data is going).
    horizon_days: a score is the probability that the lead converts within so many days.
    """

    tenant_id: str
    name: str
    status: Status
    horizon_days: int
    created_at: datetime


def add(
    database: Database, tenant_id: str, name: str = "", horizon_days: int = DEFAULT_HORIZON_DAYS
) -> bool:
    """Add a tenant; False when it is there already.

    tenant_id: its slug, 2 to 63 of a-z, 0-9 and '-', for good. name: for people, default the slug.
    horizon_days: within which a conversion counts, 1 to 365: about the length of its sales cycle.
    """
    if not SLUG.fullmatch(tenant_id):
        raise GalenaError(
            f"A tenant's id has 2 to 63 of a-z, 0-9 and '-' and starts with a letter or digit;"
            f" {tenant_id!r} does not: choose another."
        )
    with database.operator() as connection:
        added = connection.execute(
            text(
                "INSERT INTO crm.tenants (tenant_id, name, horizon_days)"
                " VALUES (:tenant_id, :name, :horizon_days) ON CONFLICT DO NOTHING"
            ),
            {"tenant_id": tenant_id, "name": name or tenant_id, "horizon_days": horizon_days},
        )
        return added.rowcount == 1


def find_all(database: Database) -> list[Tenant]:
    """Every tenant, by id."""
    with database.operator() as connection:
        rows = connection.execute(text(f"SELECT {_COLUMNS} FROM crm.tenants ORDER BY tenant_id"))
        return [Tenant(*row) for row in rows]


def find(connection: Connection) -> Tenant:
    """The tenant that the connection is bound to."""
    return Tenant(*connection.execute(text(f"SELECT {_COLUMNS} FROM crm.tenants")).one())


def set_status(database: Database, tenant_id: str, status: Status) -> None:
    assert status in get_args(Status)
    with database.operator() as connection:
        changed = connection.execute(
            text("UPDATE crm.tenants SET status = :status WHERE tenant_id = :tenant_id"),
            {"tenant_id": tenant_id, "status": status},
        )
        if not changed.rowcount:
            raise TenantNotFoundError(tenant_id)


def erase(database: Database, tenant_id: str, owner_url: str) -> dict[str, int]:
    """Delete every row of the tenant and its readers' logins; return the rows deleted per table.

    The tenant's status turns to removing first, so that no new transaction binds to it; then the
    running ones are waited for. Safe to repeat after a crash.
    """
    set_status(database, tenant_id, "removing")
    _drop_readers(owner_url, tenant_id)
    deleted = {}
    with database.erasing(tenant_id) as connection:
        # The queue last: deleted leads are changed leads, too.
        kept = (schema.tenants, schema.readers, schema.rescore_queue)
        children_first = [t for t in reversed(schema.metadata.sorted_tables) if t not in kept]
        for table in (*children_first, schema.rescore_queue):
            deleted[table.fullname] = connection.exec_driver_sql(
                f"DELETE FROM {table.fullname}"
            ).rowcount
    with database.operator() as connection:
        connection.execute(
            text("DELETE FROM crm.tenants WHERE tenant_id = :tenant_id"), {"tenant_id": tenant_id}
        )
    return deleted


def add_reader(owner_url: str, tenant_id: str, role_name: str) -> str:
    """Create a login that reads this tenant's serving views and nothing else; return its URL.

    The login is bound to the tenant by a row of crm.readers. Its password is in the URL and is
    stored nowhere: calling again for the same name sets a new one.
    """
    password = secrets.token_urlsafe(24)
    engine = create_engine(owner_url)
    try:
        with engine.begin() as connection:
            _create_reader(connection, tenant_id, role_name, password)
    finally:
        engine.dispose()
    url = make_url(owner_url).set(username=role_name, password=password)
    return url.render_as_string(hide_password=False)


def _create_reader(connection: Connection, tenant_id: str, role_name: str, password: str) -> None:
    owner = connection.scalar(
        text("SELECT tenant_id FROM crm.readers WHERE role_name = :role"), {"role": role_name}
    )
    if owner not in (None, tenant_id):
        raise GalenaError(f"The login {role_name!r} reads another tenant: choose another name.")
    role = sql.Identifier(role_name).as_string(None)
    exists = connection.scalar(
        text("SELECT 1 FROM pg_roles WHERE rolname = :role"), {"role": role_name}
    )
    if exists and owner is None:
        raise GalenaError(f"A login {role_name!r} exists and is no reader: choose another name.")
    verb = "ALTER" if exists else "CREATE"
    # Its digest, as psql's \password does: a server that logs statements would keep the password.
    driver_connection = connection.connection.driver_connection
    assert driver_connection is not None
    digest = driver_connection.pgconn.encrypt_password(
        password.encode(), role_name.encode(), b"scram-sha-256"
    )
    quoted = sql.Literal(digest.decode()).as_string(None)
    connection.exec_driver_sql(f"{verb} ROLE {role} LOGIN PASSWORD {quoted}")
    connection.exec_driver_sql(f"GRANT galena_reader TO {role}")
    connection.execute(
        text(
            "INSERT INTO crm.readers (tenant_id, role_name) VALUES (:tenant_id, :role)"
            " ON CONFLICT DO NOTHING"
        ),
        {"tenant_id": tenant_id, "role": role_name},
    )


def _drop_readers(owner_url: str, tenant_id: str) -> None:
    engine = create_engine(owner_url)
    try:
        with engine.begin() as connection:
            roles = connection.scalars(
                text("DELETE FROM crm.readers WHERE tenant_id = :tenant_id RETURNING role_name"),
                {"tenant_id": tenant_id},
            ).all()
            for role in roles:
                connection.exec_driver_sql(
                    f"DROP ROLE IF EXISTS {sql.Identifier(role).as_string(None)}"
                )
    finally:
        engine.dispose()


def awaiting_first_run(database: Database) -> list[str]:
    """The active tenants that have open leads and whose leads were never all scored by a trained
    model."""
    with database.operator() as connection:
        untrained = connection.scalars(_NEVER_RANKED_SINCE_TRAINING).all()
    return [tenant_id for tenant_id in untrained if _has_open_leads(database, tenant_id)]


def not_ranked_since(database: Database, since: datetime) -> list[str]:
    """The active tenants whose leads were not all scored since a time, by id."""
    with database.operator() as connection:
        found = connection.scalars(
            text(
                "SELECT t.tenant_id FROM crm.tenants t WHERE t.status = 'active'"
                " AND NOT EXISTS (SELECT FROM ml.score_rankings r"
                "  WHERE r.tenant_id = t.tenant_id AND r.whole AND r.ranked_at >= :since)"
                " ORDER BY 1"
            ),
            {"since": since},
        )
        return list(found)


def _has_open_leads(database: Database, tenant_id: str) -> bool:
    """Not if the tenant is gone meanwhile."""
    try:
        with database.tenant(tenant_id) as connection:
            return bool(connection.scalar(_OPEN, {"tenant_id": tenant_id}))
    except TenantNotFoundError:
        return False


# The model is registered before the scores, and the ranking written after them: a run that ended
# half way has the one without the other.
_NEVER_RANKED_SINCE_TRAINING = text(
    "SELECT t.tenant_id FROM crm.tenants t WHERE t.status = 'active' AND coalesce("
    " (SELECT max(r.ranked_at) FROM ml.score_rankings r"
    "   WHERE r.tenant_id = t.tenant_id AND r.whole)"
    " < (SELECT min(m.trained_at) FROM ml.models m"
    "   WHERE m.tenant_id = t.tenant_id AND m.feature_set > 0), true) ORDER BY t.tenant_id"
)
_OPEN = text(
    "SELECT EXISTS (SELECT FROM crm.leads WHERE tenant_id = :tenant_id"
    " AND converted_at IS NULL AND closed_at IS NULL)"
)
