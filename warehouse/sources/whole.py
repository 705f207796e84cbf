"""A table of a source read whole: what differs is written, what is not there is deleted."""

import polars as pl
from sqlalchemy import Connection

from warehouse import bulk
from warehouse.sources.tables import TableReader
from warehouse.sources.writing import Writer, Written

_SEEN = "source_keys_seen"


def write_whole(writer: Writer, there: Connection, table: TableReader) -> Written:
    """Write the table's rows block by block; then delete the records of rows that no block had."""
    writer.connection.exec_driver_sql(f"DROP TABLE IF EXISTS pg_temp.{_SEEN}")
    writer.connection.exec_driver_sql(f"CREATE TEMPORARY TABLE {_SEEN} (key text) ON COMMIT DROP")
    written = Written()
    for rows in table.blocks(there):
        written += writer.write(table, rows)
        keys = pl.DataFrame({"key": [row.key for row in rows]}, schema={"key": pl.String})
        bulk.copy_into(writer.connection, f"pg_temp.{_SEEN}", keys)
    return written + writer.forget_all(table.source.name, but=f"pg_temp.{_SEEN}")
