"""For tests of sources: a second PostgreSQL database as a tenant's CRM, and what came from it."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, create_engine, make_url, text

from warehouse import tenants
from warehouse.alerts import Alert, open_alerts
from warehouse.database import Database
from warehouse.errors import GalenaError
from warehouse.sources import registry, sync
from warehouse.sources.mapping import parse_source_mapping
from warehouse.sources.owner import setup_sql
from warehouse.sources.registry import CrmSource
from warehouse.sources.writing import Written

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
PASSWORD = "s3cr:t/p@ss"
CONTACTS: dict[str, Any] = {
    "table": "leads",
    "key": "id",
    "created_at": "created",
    "converted_at": "won",
    "ignore": ["internal"],
}
CALLS: dict[str, Any] = {
    "table": "interactions",
    "key": ["contact", "number"],
    "lead_id": "contact",
    "kind": "kind",
    "occurred_at": "at",
    "text": "note",
}
LOGGED = {"tables": {"contacts": CONTACTS, "Calls": CALLS}}
POLLED = {
    "tables": {
        "contacts": {**CONTACTS, "updated_at": "changed"},
        "Calls": {**CALLS, "updated_at": "changed"},
    }
}
SCHEMA = (
    "CREATE TABLE contacts (id int PRIMARY KEY, created timestamptz DEFAULT '2026-11-01',"
    " won timestamptz, country text, employees numeric(12, 2), internal bytea,"
    " changed timestamptz DEFAULT clock_timestamp())",
    "ALTER TABLE contacts ALTER country SET STORAGE EXTERNAL",
    'CREATE TABLE "Calls" (contact int, number int, kind text,'
    " at timestamptz DEFAULT '2026-11-02', note text,"
    " changed timestamptz DEFAULT clock_timestamp(), PRIMARY KEY (contact, number))",
)


@dataclass
class Crm:
    """A tenant with a CRM in a database of its own. owner_url: whoever may write there."""

    database: Database
    tenant_id: str
    owner_url: str
    source_id: str = "crm"
    now: datetime = NOW

    @property
    def variable(self) -> str:
        return f"{self.tenant_id}_{self.source_id}_URL".replace("-", "_").upper()

    def add(self, document: dict[str, Any]) -> None:
        with self.database.tenant(self.tenant_id) as connection:
            mapping = parse_source_mapping(document, "crm.yaml")
            registry.add(connection, self.tenant_id, self.source_id, self.variable, mapping)

    def prepare(self) -> None:
        """Run what the command prints for the source's owner, in PostgreSQL."""
        role = f"reader_{self.source().slot_name}"
        url = make_url(self.owner_url).set(username=role, password=PASSWORD)
        os.environ[self.variable] = url.render_as_string(hide_password=False)
        script = re.sub(r"--.*", "", setup_sql(self.source()))
        with self.owner() as connection:
            for statement in filter(str.strip, script.split(";")):
                connection.exec_driver_sql(statement)
            connection.exec_driver_sql(f"ALTER ROLE {role} PASSWORD '{PASSWORD}'")
            database = make_url(self.owner_url).database
            connection.exec_driver_sql(f"GRANT CONNECT ON DATABASE {database} TO {role}")

    @contextmanager
    def owner(self) -> Iterator[Connection]:
        engine = create_engine(self.owner_url, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            yield connection
        engine.dispose()

    def write(self, *statements: str) -> None:
        with self.owner() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)

    def there(self, query: str) -> list[tuple[Any, ...]]:
        with self.owner() as connection:
            return [tuple(row) for row in connection.exec_driver_sql(query)]

    def load(self) -> Written:
        return sync.load(self.database, self.tenant_id, self.source_id, self.now)

    def sweep(self, after: timedelta = timedelta()) -> sync.Reading:
        self.now += after
        return sync.sweep(self.database, self.tenant_id, self.source_id, self.now)

    def source(self) -> CrmSource:
        with self.database.tenant(self.tenant_id) as connection:
            return registry.find(connection, self.tenant_id, self.source_id)

    def here(self, query: str) -> list[tuple[Any, ...]]:
        with self.database.tenant(self.tenant_id) as connection:
            return [tuple(row) for row in connection.execute(text(query))]

    def leads(self) -> dict[str, Any]:
        """Each lead's country, by id."""
        return dict(self.here("SELECT lead_id, attributes ->> 'country' FROM crm.leads"))

    def calls(self) -> set[tuple[Any, ...]]:
        return set(self.here("SELECT lead_id, kind, text FROM crm.interactions"))

    def alerts(self) -> list[Alert]:
        with self.database.tenant(self.tenant_id) as connection:
            return open_alerts(connection, self.tenant_id)

    def drop_slots(self) -> None:
        self.write(
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots"
            " WHERE database = current_database()"
        )


def new_crm(database: Database, tenant_id: str, owner_url: str) -> Crm:
    """A tenant with an empty CRM of two tables."""
    if tenant_id not in [tenant.tenant_id for tenant in tenants.find_all(database)]:
        tenants.add(database, tenant_id)
    crm = Crm(database, tenant_id, owner_url)
    crm.write(*SCHEMA)
    return crm


def problem(action: Any) -> str:
    """What the action's GalenaError says."""
    try:
        action()
    except GalenaError as error:
        return str(error)
    raise AssertionError("it went well")
