"""A source's replication slot and publication in PostgreSQL: their state, the slot's way on.

https://www.postgresql.org/docs/current/functions-admin.html#FUNCTIONS-REPLICATION
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, text

from warehouse.sources.connecting import DatabaseSaysError, SourceError
from warehouse.sources.mapping import SourceMapping, SourceTable

# Schema and name of a table.
Name = tuple[str, str]

OBJECT_IN_USE = "55006"


@dataclass(frozen=True)
class SlotTable:
    """A mapped table as the source knows it. types: of the key's columns."""

    source: SourceTable
    name: Name
    types: tuple[str, ...]


@dataclass(frozen=True)
class Slot:
    """The slot's state. confirmed: read up to there; lag_bytes: log written since.

    wal_status: reserved, extended, unreserved or lost, as PostgreSQL has it.
    """

    confirmed: int
    lag_bytes: int
    wal_status: str


def find_slot(connection: Connection, slot_name: str) -> Slot | None:
    """The slot; None when there is none of this name for this database."""
    with connection.begin():
        row = connection.execute(
            text(
                "SELECT confirmed_flush_lsn::text,"
                " pg_wal_lsn_diff(pg_current_wal_lsn(), confirmed_flush_lsn)::bigint,"
                " wal_status FROM pg_replication_slots"
                " WHERE slot_name = :slot AND plugin = 'pgoutput'"
                " AND database = current_database()"
            ),
            {"slot": slot_name},
        ).one_or_none()
    if row is None or row[0] is None:
        return None
    return Slot(lsn(row[0]), int(row[1]), str(row[2]))


def end_of_log(connection: Connection) -> int:
    """Up to where the source's log is safely on its disk."""
    with connection.begin():
        return lsn(connection.scalar(text("SELECT pg_current_wal_flush_lsn()::text")) or "0/0")


def slot_tables(connection: Connection, mapping: SourceMapping) -> list[SlotTable]:
    """The mapped tables by the names that the log uses. Raises SourceError if one is missing."""
    return [_slot_table(connection, table) for table in mapping.tables]


def advance(connection: Connection, slot_name: str, upto: int) -> None:
    """Let the source drop its log up to there. While another session reads the slot nothing is
    done: the next reading does it."""
    try:
        with connection.begin():
            connection.execute(
                text("SELECT pg_replication_slot_advance(:slot, CAST(:upto AS pg_lsn))"),
                {"slot": slot_name, "upto": lsn_text(upto)},
            )
    except DatabaseSaysError as error:
        if error.code != OBJECT_IN_USE:
            raise


def drop(connection: Connection, slot_name: str) -> None:
    """Drop the slot, if there is one, so that the source keeps no log for it."""
    with connection.begin():
        connection.execute(
            text(
                "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots"
                " WHERE slot_name = :slot"
            ),
            {"slot": slot_name},
        )


def unpublished(connection: Connection, slot_name: str, tables: Sequence[SlotTable]) -> list[str]:
    """What the publication lacks, each as a sentence: nothing may change unseen."""
    with connection.begin():
        publication = connection.execute(
            text(
                "SELECT pubinsert AND pubupdate AND pubdelete AND pubtruncate"
                " FROM pg_publication WHERE pubname = :name"
            ),
            {"name": slot_name},
        ).one_or_none()
        published = {
            (schema, name): filtered
            for schema, name, filtered in connection.execute(
                text(
                    "SELECT schemaname, tablename, to_jsonb(t) ->> 'rowfilter' IS NOT NULL"
                    " FROM pg_publication_tables t WHERE pubname = :name"
                ),
                {"name": slot_name},
            )
        }
    if publication is None:
        return [f"there is no publication {slot_name}"]
    missing = []
    if not publication[0]:
        missing.append(
            f"the publication {slot_name} leaves out inserts, updates, deletes or truncates"
        )
    for table in tables:
        if table.name not in published:
            missing.append(f"the publication {slot_name} lacks the table {table.source.name}")
        elif published[table.name]:
            missing.append(f"the publication {slot_name} filters the rows of {table.source.name}")
    return missing


def unidentified(connection: Connection, table: SlotTable) -> list[str]:
    """The key's columns that the log does not have of a row that is deleted."""
    schema, name = table.name
    with connection.begin():
        identity = set(
            connection.scalars(
                text(
                    "SELECT a.attname FROM pg_class c"
                    " JOIN pg_namespace n ON n.oid = c.relnamespace"
                    " JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0"
                    " LEFT JOIN pg_index i ON i.indrelid = c.oid"
                    "  AND CASE c.relreplident WHEN 'd' THEN i.indisprimary"
                    "   WHEN 'i' THEN i.indisreplident END"
                    " WHERE n.nspname = :schema AND c.relname = :name"
                    " AND (c.relreplident = 'f' OR a.attnum = ANY(i.indkey))"
                ),
                {"schema": schema, "name": name},
            )
        )
    return [column for column in table.source.key if column not in identity]


def lsn(written: str) -> int:
    """A place in the log, such as 0/16B3748, as a number of bytes."""
    high, _, low = written.partition("/")
    return (int(high, 16) << 32) + int(low, 16)


def lsn_text(number: int) -> str:
    return f"{number >> 32:X}/{number & 0xFFFFFFFF:X}"


def _slot_table(connection: Connection, table: SourceTable) -> SlotTable:
    quote = connection.dialect.identifier_preparer.quote_identifier
    schema, name = table.schema_and_name
    full = quote(name) if schema is None else f"{quote(schema)}.{quote(name)}"
    with connection.begin():
        found = connection.execute(
            text(
                "SELECT n.nspname, c.relname, array(SELECT format_type(a.atttypid, a.atttypmod)"
                "  FROM unnest(CAST(:key AS text[])) WITH ORDINALITY k (name, position)"
                "  JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = k.name"
                "  AND NOT a.attisdropped ORDER BY k.position)"
                " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
                " WHERE c.oid = to_regclass(:name)"
            ),
            {"name": full, "key": list(table.key)},
        ).one_or_none()
    if found is None:
        raise SourceError(
            f"The source has no table {table.name}: mend its name in the mapping, or write it as"
            " SCHEMA.TABLE."
        )
    if len(found[2]) < len(table.key):
        raise SourceError(
            f"Table {table.name} lacks a column of the key {', '.join(table.key)}: mend the"
            " mapping."
        )
    return SlotTable(table, (found[0], found[1]), tuple(found[2]))
