"""Connections to the warehouse: bound to one tenant for a transaction, or the operator's."""

import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import polars as pl
from sqlalchemy import Connection, create_engine, text

from warehouse.errors import GalenaError, TenantNotFoundError

SLUG = re.compile(r"[a-z0-9][a-z0-9-]{1,62}")


class Database:
    """The warehouse as the application's login sees it.

    url: libpq URL of a login that is galena_app or a member of it.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        # Parameters name tenants and leads, and an error's text outlives them in logs.
        self._engine = create_engine(url, pool_size=4, pool_pre_ping=True, hide_parameters=True)

    @contextmanager
    def tenant(self, tenant_id: str) -> Iterator[Connection]:
        """A transaction that sees and writes this tenant's rows alone.

        It holds the tenant's row against removal until it ends, so that nothing is written for a
        tenant that is gone. Raises TenantNotFoundError when there is no such tenant.
        """
        with self._engine.begin() as connection:
            _bind(connection, tenant_id)
            if connection.scalar(_HOLD_TENANT) is None:
                raise TenantNotFoundError(tenant_id)
            yield connection

    @contextmanager
    def erasing(self, tenant_id: str) -> Iterator[Connection]:
        """A transaction bound to a tenant whose status is removing, to delete its rows.

        It begins when the last transaction that holds the tenant has ended: rows that one wrote
        late are seen, and deleted too.
        """
        with self._engine.begin() as connection:
            _bind(connection, tenant_id)
            connection.execute(_AWAIT_HOLDERS)
            yield connection

    @contextmanager
    def operator(self) -> Iterator[Connection]:
        """A transaction that sees the list of tenants, and no tenant's data."""
        with self._engine.begin() as connection:
            connection.execute(text("SET LOCAL ROLE galena_operator"))
            yield connection

    @contextmanager
    def reader(self, tenant_id: str) -> Iterator["BulkReader"]:
        """A read-only snapshot of this tenant's rows for bulk reads, by Arrow's ADBC driver.

        One connection of its own: it may be read in a thread while another transaction writes.
        Raises TenantNotFoundError when there is no such tenant.
        """
        from adbc_driver_postgresql import dbapi

        _check_slug(tenant_id)
        with closing(dbapi.connect(self.url)) as connection, connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            cursor.execute(f"SELECT set_config('galena.tenant_id', '{tenant_id}', true)")
            cursor.fetchall()
            reader = BulkReader(cursor)
            if reader.frame("SELECT 1 FROM crm.tenants WHERE status <> 'removing'").is_empty():
                raise TenantNotFoundError(tenant_id)
            yield reader

    @contextmanager
    def alone(self, name: str) -> Iterator[Connection | None]:
        """Hold the lock of this name; None when another process has it.

        It goes with the connection, so that it ends with the process, however that ends.
        """
        with self._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            if connection.scalar(_TRY_NAME, {"name": name}):
                try:
                    yield connection
                finally:
                    # Not back into the pool with a lock on it.
                    connection.invalidate()
            else:
                yield None

    def is_held(self, name: str) -> bool:
        """Whether some process holds the lock of this name, without disturbing who wants it."""
        with self._engine.connect() as connection:
            return bool(connection.scalar(_IS_HELD, {"name": name}))

    def refuse_superuser(self) -> None:
        """Raise GalenaError when the login is one that PostgreSQL applies no policies to."""
        with self._engine.connect() as connection:
            unbound = connection.scalar(
                text("SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user")
            )
        if unbound:
            raise GalenaError(
                "GALENA_DATABASE_URL names a login that no row-level security binds (a superuser,"
                " or BYPASSRLS), so that tenants would not be kept apart: name galena_app's."
            )

    def close(self) -> None:
        self._engine.dispose()


class BulkReader:
    """Reads whole results as polars frames. Queries take no parameters: the driver streams only
    those without (COPY), so what varies is composed with `literal`."""

    def __init__(self, cursor: Any) -> None:
        self._cursor = cursor

    def frame(self, query: str) -> pl.DataFrame:
        self._cursor.execute(query)
        frame = pl.from_arrow(self._cursor.fetch_arrow_table())
        assert isinstance(frame, pl.DataFrame)
        return frame


def literal(value: object) -> str:
    """The value as an SQL literal, quoted and escaped."""
    from psycopg import sql

    return sql.Literal(value).as_string(None)


# FOR KEY SHARE: any number of transactions may hold the row, and its DELETE waits for them.
_HOLD_TENANT = text(
    "SELECT 1 FROM crm.tenants WHERE tenant_id = crm.current_tenant() AND status <> 'removing'"
    " FOR KEY SHARE"
)

_AWAIT_HOLDERS = text("SELECT 1 FROM crm.tenants WHERE tenant_id = crm.current_tenant() FOR UPDATE")


# Of the two-key kind, whose keys pg_locks shows as they are.
_TRY_NAME = text("SELECT pg_try_advisory_lock(hashtext('galena'), hashtext(:name))")
_IS_HELD = text(
    "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND granted"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    " AND classid = (hashtext('galena')::bigint & 4294967295)::oid"
    " AND objid = (hashtext(:name)::bigint & 4294967295)::oid AND objsubid = 2)"
)


def _bind(connection: Connection, tenant_id: str) -> None:
    _check_slug(tenant_id)
    # true: for this transaction only; a session setting would survive in the pool.
    connection.execute(
        text("SELECT set_config('galena.tenant_id', :tenant_id, true)"), {"tenant_id": tenant_id}
    )


def _check_slug(tenant_id: str) -> None:
    if not SLUG.fullmatch(tenant_id):
        raise TenantNotFoundError(tenant_id)
