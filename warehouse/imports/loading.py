"""Imports a file: what it says goes into the warehouse, and what it cannot say is set aside."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy import delete

from warehouse import crm, schema
from warehouse.database import Database
from warehouse.errors import GalenaError
from warehouse.imports.checking import check
from warehouse.imports.mapping import Mapping
from warehouse.imports.proposing import propose_mapping
from warehouse.imports.reading import read_table


@dataclass(frozen=True)
class ImportReport:
    """What became of a file's rows: read = written + unchanged + all that are rejected.

    table: where the records are. mapping: what the columns were taken for.
    read: rows of the file, without the header and without empty ones.
    written: records that are new or changed; unchanged: those that were there as they are.
    rejected: the number of rows set aside in crm.rejected_rows, per kind of reason, most first.
    unused: columns stored nowhere: neither mapped nor ignored, in a table without attributes.
    """

    table: str
    mapping: Mapping
    read: int
    written: int
    unchanged: int
    rejected: dict[str, int]
    unused: list[str]


def import_file(
    database: Database,
    tenant_id: str,
    path: Path,
    mapping: Mapping | None = None,
    *,
    table: str | None = None,
    now: datetime,
    progress: Callable[[str, float], None] | None = None,
) -> ImportReport:
    """Write the records of a CSV or Parquet file, in one transaction.

    mapping: what the columns are; None takes the one proposed for the file.
    table: what the file must hold; None leaves that to the mapping.
    now: the time of the import; what lies more than a day after it is rejected.
    progress: told the step that begins and the share of the import that is done.

    Importing a file again changes nothing. Rows that are rejected replace those rejected from a
    file of the same name. Raises GalenaError if the file or the mapping cannot be used.
    """
    tell = progress or (lambda _step, _share: None)
    tell("reading", 0.0)
    source = read_table(path)
    if mapping is None:
        mapping = propose_mapping(source.rows, table).mapping(source.name)
    elif table not in (None, mapping.table):
        raise GalenaError(f"The mapping is for {mapping.table}, not for {table}: choose one.")
    tell("checking", 0.2)
    checked = check(source, mapping, now)
    tell("writing", 0.5)
    with database.tenant(tenant_id) as connection:
        written = crm.upsert(connection, tenant_id, mapping.table, checked.records)
        rejections = schema.rejected_rows
        connection.execute(
            delete(rejections).where(
                rejections.c.tenant_id == tenant_id, rejections.c.source == source.name
            )
        )
        crm.reject(connection, tenant_id, source.name, checked.rejected)
    tell("done", 1.0)
    return ImportReport(
        table=mapping.table,
        mapping=mapping,
        read=len(source.rows) + len(source.malformed),
        written=written,
        unchanged=len(checked.records) - written,
        rejected=dict(Counter(checked.rejected["kind"]).most_common()),
        unused=checked.unused,
    )
