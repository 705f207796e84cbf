"""What the owner of a source's database has to do: the SQL to run once, and what is missing."""

from contextlib import suppress

from sqlalchemy import Connection, make_url, text

from warehouse.errors import GalenaError
from warehouse.sources import slots
from warehouse.sources.connecting import SourceError, url_of
from warehouse.sources.registry import CrmSource
from warehouse.sources.tables import reader

_SETUP = """\
-- Run by the owner of the database, in it, once. PostgreSQL 14 or newer, on its primary server.

-- The log must say which rows change. If it is not set yet, the server has to be restarted:
--   ALTER SYSTEM SET wal_level = 'logical';

-- Without a bound the server keeps its log until it is read: if nobody reads it for long, its disk
-- fills. With one, the slot is lost before that, and everything is read anew once it was made anew.
-- Take what the disk can spare, and rather a day's log than an hour's.
ALTER SYSTEM SET max_slot_wal_keep_size = '10GB';
SELECT pg_reload_conf();

-- A login that reads these tables and the log, and writes nothing.
-- Give it a password with psql's \\password {role}
CREATE ROLE {role} LOGIN REPLICATION;
{grants}

-- Every table needs a primary key (or another REPLICA IDENTITY): without one, PostgreSQL refuses
-- UPDATE and DELETE on a table once it is published.
CREATE PUBLICATION {slot} FOR TABLE {tables}
  WITH (publish = 'insert, update, delete, truncate', publish_via_partition_root = true);

-- From here on nothing is lost.
SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput');
"""

_POLLED_SETUP = """\
-- Run by the owner of the database, in it, once; write it as your database has it.

-- A login that reads these tables and writes nothing.
CREATE USER {role};
{grants}

-- Polling reads by these columns: each needs an index, and a new time with every change of a row.
{indexes}
"""


def setup_sql(source: CrmSource) -> str:
    """The SQL that the source's owner runs once; it has no password."""
    role, quote = (
        source.slot_name,
        make_url("postgresql://").get_dialect()().identifier_preparer.quote,
    )
    with suppress(SourceError):
        url = url_of(source.url_variable)
        role = url.username or role
        quote = url.get_dialect()().identifier_preparer.quote
    tables = source.mapping.tables
    names = [".".join(map(quote, table.name.split(".", 1))) for table in tables]
    schemas = {table.schema_and_name[0] or "" for table in tables} - {""}
    grants = [f"GRANT USAGE ON SCHEMA {quote(schema)} TO {quote(role)};" for schema in schemas]
    grants += [f"GRANT SELECT ON {name} TO {quote(role)};" for name in names]
    if source.mapping.polled:
        indexes = [
            f"CREATE INDEX {quote(f'{table.schema_and_name[1]}_changed')} ON {name}"
            f" ({quote(table.updated_at or '')});"
            for name, table in zip(names, tables, strict=True)
        ]
        return _POLLED_SETUP.format(
            role=quote(role), grants="\n".join(grants), indexes="\n".join(indexes)
        )
    return _SETUP.format(
        role=quote(role),
        grants="\n".join(sorted(grants)),
        slot=source.slot_name,
        tables=", ".join(names),
    )


def missing(there: Connection, source: CrmSource) -> list[str]:
    """What keeps the source from being read, each as a sentence; empty when nothing does."""
    if not source.mapping.polled and there.dialect.name != "postgresql":
        return [f"it is {there.dialect.name}: name updated_at in every table, so that it is polled"]
    found = [] if source.mapping.polled else _missing_for_log(there, source)
    for table in source.mapping.tables:
        try:
            rows = next(reader(there, table).blocks(there))
            if table.updated_at and rows:
                reader(there, table).newest(there)
        except GalenaError as error:
            found.append(f"table {table.name}: {error}")
    return found


def _missing_for_log(there: Connection, source: CrmSource) -> list[str]:
    with there.begin():
        version, level, standby, replicates = there.execute(
            text(
                "SELECT current_setting('server_version_num')::int, current_setting('wal_level'),"
                " pg_is_in_recovery(), rolreplication OR rolsuper"
                " FROM pg_roles WHERE rolname = current_user"
            )
        ).one()
    found = []
    if version < 140_000:
        found.append(f"its version is {version // 10_000}; expected PostgreSQL 14 or newer")
    if standby:
        found.append("it is a standby; expected the primary server")
    if level != "logical":
        found.append(f"wal_level is {level}; expected logical")
    if not replicates:
        found.append("the login may not read the log; expected ALTER ROLE ... REPLICATION")
    try:
        tables = slots.slot_tables(there, source.mapping)
    except SourceError as error:
        return [*found, str(error)]
    found += slots.unpublished(there, source.slot_name, tables)
    for table in tables:
        if lacking := slots.unidentified(there, table):
            found.append(
                f"table {table.source.name}: its replica identity lacks {', '.join(lacking)};"
                " expected a primary key with the key's columns, or REPLICA IDENTITY FULL"
            )
    if slots.find_slot(there, source.slot_name) is None:
        found.append(f"there is no replication slot {source.slot_name}")
    return found
