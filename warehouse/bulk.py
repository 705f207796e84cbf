"""Bulk writes: frames go into a temporary table by binary COPY, from there by one statement.

COPY is refused on tables with policies, and one INSERT ... SELECT checks them all the same.
"""

import itertools
from collections.abc import Sequence

import polars as pl
from sqlalchemy import Connection, Table
from sqlalchemy.dialects import postgresql

# A transaction may stage rows for the same table twice.
_numbers = itertools.count(1)

# Rows encoded at a time: 16 MB of lead scores, so that encoding never holds the whole frame twice.
_BATCH = 32_768


def upsert(connection: Connection, tenant_id: str, table: Table, frame: pl.DataFrame) -> int:
    """Insert the frame's rows or overwrite those with the same key; return the rows that changed.

    frame: columns named as the table's, without tenant_id; columns left out take their default.
        Rows equal to what is there are left alone. Keys must not repeat within the frame.
    """
    staging = stage(connection, table, frame)
    key = [column.name for column in table.primary_key]
    values = [name for name in frame.columns if name not in key]
    compared = [name for name in values if name != "known_at"]
    assignments = ", ".join(f'"{name}" = EXCLUDED."{name}"' for name in values)
    mine = ", ".join(f't."{name}"' for name in compared)
    theirs = ", ".join(f'EXCLUDED."{name}"' for name in compared)
    return connection.exec_driver_sql(
        f"INSERT INTO {table.fullname} AS t (tenant_id, {_names(frame.columns)}) "
        f"SELECT %(tenant_id)s, {_casts(table, frame.columns)} FROM {staging} "
        f"ON CONFLICT ({_names(key)}) DO UPDATE SET {assignments} "
        f"WHERE ({mine}) IS DISTINCT FROM ({theirs})",
        {"tenant_id": tenant_id},
    ).rowcount


def insert(connection: Connection, tenant_id: str, table: Table, frame: pl.DataFrame) -> int:
    """Append the frame's rows (columns as for upsert); return their number."""
    staging = stage(connection, table, frame)
    return connection.exec_driver_sql(
        f"INSERT INTO {table.fullname} (tenant_id, {_names(frame.columns)}) "
        f"SELECT %(tenant_id)s, {_casts(table, frame.columns)} FROM {staging}",
        {"tenant_id": tenant_id},
    ).rowcount


def stage(connection: Connection, table: Table, frame: pl.DataFrame) -> str:
    """Copy the frame into a temporary table and return that table's name.

    JSON stands there as text. The temporary table goes with the transaction.
    """
    name = f"staging_{table.name}_{next(_numbers)}"
    columns = ", ".join(f'"{column}" {_staging_type(table, column)}' for column in frame.columns)
    connection.exec_driver_sql(f"CREATE TEMPORARY TABLE {name} ({columns}) ON COMMIT DROP")
    copy_into(connection, f"pg_temp.{name}", frame)
    return f"pg_temp.{name}"


def copy_into(connection: Connection, target: str, frame: pl.DataFrame) -> None:
    """Binary COPY of the frame's columns, in order, into a table without policies."""
    from pgpq import ArrowToPostgresBinaryEncoder

    table = frame.to_arrow(compat_level=pl.CompatLevel.oldest())
    encoder = ArrowToPostgresBinaryEncoder(table.schema)
    driver_connection = connection.connection.driver_connection
    assert driver_connection is not None
    with (
        driver_connection.cursor() as cursor,
        cursor.copy(f"COPY {target} ({_names(frame.columns)}) FROM STDIN (FORMAT BINARY)") as copy,
    ):
        copy.write(encoder.write_header())
        for batch in table.to_batches(max_chunksize=_BATCH):
            copy.write(encoder.write_batch(batch))
        copy.write(encoder.finish())


def _staging_type(table: Table, column: str) -> str:
    kind = table.columns[column].type
    if isinstance(kind, postgresql.JSONB):
        return "text"
    return kind.compile(dialect=postgresql.dialect())  # type: ignore[no-untyped-call]


def _casts(table: Table, columns: Sequence[str]) -> str:
    return ", ".join(
        f'"{column}"::jsonb'
        if isinstance(table.columns[column].type, postgresql.JSONB)
        else f'"{column}"'
        for column in columns
    )


def _names(columns: Sequence[str]) -> str:
    return ", ".join(f'"{column}"' for column in columns)
