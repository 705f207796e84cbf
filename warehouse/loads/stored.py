"""What the data checks read in the database, in the transaction that publishes a load."""

from io import BytesIO

import polars as pl
from sqlalchemy import Connection, text

from warehouse import crm
from warehouse.database import literal
from warehouse.loads.profile import BEGINNINGS, ENDS, KEYS, Records, read

_BEFORE = "pg_temp.converted_before"


def records(connection: Connection, tenant_id: str, table: str, ids: str | None = None) -> Records:
    """The tenant's records as the transaction sees them; ids: a query of those that are meant.

    By COPY in the caller's connection: no other would see what it has not committed.
    """
    mine = f"tenant_id = {literal(tenant_id)}" + (f" AND {KEYS[table]} IN ({ids})" if ids else "")
    columns = [c.name for c in crm.TABLES[table].c if c.name not in ("tenant_id", "known_at")]
    times = [name for name in columns if name in (BEGINNINGS[table], *ENDS)]
    # As numbers: PostgreSQL knows times that no datetime holds.
    wanted = [
        f"CASE WHEN {name} BETWEEN '0001-01-02' AND '9999-12-30'"
        f" THEN (extract(epoch FROM {name}) * 1000000)::bigint END AS {name}"
        if name in times
        else name
        for name in columns
    ]
    frame = _copied(connection, f"SELECT {', '.join(wanted)} FROM crm.{table} WHERE {mine}")
    frame = frame.with_columns(
        pl.col(times).cast(pl.Int64).cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    )
    if "attributes" not in columns:
        return read(table, frame)
    names = connection.exec_driver_sql(
        f"SELECT DISTINCT jsonb_object_keys(attributes) FROM crm.{table}"
        f" WHERE {mine} AND jsonb_typeof(attributes) = 'object' ORDER BY 1".replace("%", "%%")
    )
    return read(table, frame, list(names.scalars()))


def twins(connection: Connection, tenant_id: str, table: str, ids: str | None = None) -> int:
    """How many records (ids: of these) say the same as another of the tenant's under another id."""
    said = [
        c.name for c in crm.TABLES[table].c if c.name not in ("tenant_id", "known_at", KEYS[table])
    ]
    content = ", ".join(said)
    found: int = connection.scalar(
        text(
            f"WITH content AS (SELECT {KEYS[table]} AS id,"
            f" hash_record_extended(ROW({content}), 0) AS digest"
            f" FROM crm.{table} WHERE tenant_id = :tenant_id),"
            " repeated AS (SELECT digest FROM content GROUP BY digest HAVING count(*) > 1)"
            " SELECT count(*) FROM content JOIN repeated USING (digest)"
            + (f" WHERE id IN ({_bound(ids)})" if ids else "")
        ),
        {"tenant_id": tenant_id},
    )
    return found


def known(connection: Connection, tenant_id: str, table: str, ids: str) -> int:
    """How many of these records there are."""
    found: int = connection.scalar(
        text(
            f"SELECT count(*) FROM crm.{table}"
            f" WHERE tenant_id = :tenant_id AND {KEYS[table]} IN ({_bound(ids)})"
        ),
        {"tenant_id": tenant_id},
    )
    return found


def rows_read(
    connection: Connection, tenant_id: str, source_id: str, source_table: str
) -> tuple[int, int]:
    """How many rows a table of a source has, and how many of them are set aside."""
    row = connection.execute(
        text(
            "SELECT count(*), count(*) FILTER (WHERE rejected) FROM crm.source_keys"
            " WHERE tenant_id = :tenant_id AND source_id = :source_id AND source_table = :table"
        ),
        {"tenant_id": tenant_id, "source_id": source_id, "table": source_table},
    ).one()
    return int(row[0]), int(row[1])


def remember_conversions(connection: Connection, tenant_id: str) -> None:
    """Note which leads are converted, before a load is written."""
    connection.execute(
        text(
            f"CREATE TEMPORARY TABLE {_BEFORE.removeprefix('pg_temp.')} ON COMMIT DROP AS"
            " SELECT lead_id FROM crm.leads"
            " WHERE tenant_id = :tenant_id AND converted_at IS NOT NULL"
        ),
        {"tenant_id": tenant_id},
    )


def conversions_taken_back(connection: Connection, tenant_id: str, ids: str) -> tuple[int, int]:
    """Of these leads: how many were converted and are not any more, and how many were."""
    row = connection.execute(
        text(
            "SELECT count(*) FILTER (WHERE l.converted_at IS NULL), count(*) FROM crm.leads l"
            f" JOIN {_BEFORE} USING (lead_id)"
            f" WHERE l.tenant_id = :tenant_id AND l.lead_id IN ({_bound(ids)})"
        ),
        {"tenant_id": tenant_id},
    ).one()
    return int(row[0]), int(row[1])


def _bound(query: str) -> str:
    """A query whose colons are no parameters."""
    return query.replace(":", r"\:")


def _copied(connection: Connection, query: str) -> pl.DataFrame:
    driver_connection = connection.connection.driver_connection
    assert driver_connection is not None
    file = BytesIO()
    with (
        driver_connection.cursor() as cursor,
        cursor.copy(f"COPY ({query}) TO STDOUT (FORMAT csv, HEADER)") as copy,
    ):
        for block in copy:
            file.write(block)
    file.seek(0)
    return pl.read_csv(file, infer_schema=False)
