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
from warehouse.loads.files import file_load
from warehouse.loads.publishing import publishing
from warehouse.loads.verdicts import Verdict


@dataclass(frozen=True)
class ImportReport:
    """What became of a file's rows: read = written + unchanged + all that are rejected.

    table: where the records are. mapping: what the columns were taken for.
    read: rows of the file, without the header and without empty ones.
    written: records that are new or changed; unchanged: those that were there as they are.
    rejected: the number of rows set aside in crm.rejected_rows, per kind of reason, most first.
    unused: columns stored nowhere: neither mapped nor ignored, in a table without attributes.
    verdict: what the data checks said; None of a file too small to be judged.
    """

    table: str
    mapping: Mapping
    read: int
    written: int
    unchanged: int
    rejected: dict[str, int]
    unused: list[str]
    verdict: Verdict | None


def import_file(
    database: Database,
    tenant_id: str,
    path: Path,
    mapping: Mapping | None = None,
    *,
    table: str | None = None,
    now: datetime,
    accepted_by: str | None = None,
    progress: Callable[[str, float], None] | None = None,
) -> ImportReport:
    """Write the records of a CSV or Parquet file, in one transaction.

    mapping: what the columns are; None takes the one proposed for the file.
    table: what the file must hold; None leaves that to the mapping.
    now: the time of the import; what lies more than a day after it is rejected.
    accepted_by: who wants the file published though the data checks would block it.
    progress: told the step that begins and the share of the import that is done.

    Importing a file again changes nothing. Rows that are rejected replace those rejected from a
    file of the same name. Raises GalenaError if the file or the mapping cannot be used, and
    LoadBlockedError if what it says would spoil scores (docs/data-checks.md).
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
    rejected = dict(Counter(checked.rejected["kind"]).most_common())
    rows = len(source.rows) + len(source.malformed)
    load = file_load(
        source.name,
        mapping.table,
        checked.records,
        read_rows=rows,
        rejected=rejected,
        left_out=frozenset((*mapping.ignore, *mapping.columns().values())),
    )
    tell("writing", 0.5)
    with publishing(database, tenant_id) as connection:
        begun = load.begin(connection, tenant_id) if load else None
        written = crm.upsert(connection, tenant_id, mapping.table, checked.records)
        rejections = schema.rejected_rows
        connection.execute(
            delete(rejections).where(
                rejections.c.tenant_id == tenant_id, rejections.c.source == source.name
            )
        )
        crm.reject(connection, tenant_id, source.name, checked.rejected)
        verdict = begun.check(connection, tenant_id, written, now, accepted_by) if begun else None
    tell("done", 1.0)
    return ImportReport(
        table=mapping.table,
        mapping=mapping,
        read=rows,
        written=written,
        unchanged=len(checked.records) - written,
        rejected=rejected,
        unused=checked.unused,
        verdict=verdict,
    )
