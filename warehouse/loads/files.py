"""An import as a load: what is to be known of it before and after its records are written."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import polars as pl
from sqlalchemy import Connection

from warehouse import bulk, crm
from warehouse.loads import stored
from warehouse.loads.expectations import prepare
from warehouse.loads.figures import Facts
from warehouse.loads.limits import LEAST_ROWS
from warehouse.loads.profile import KEYS, Records, read
from warehouse.loads.publishing import Load, judged, one_at_a_time, publish
from warehouse.loads.verdicts import Verdict

_REPEATED = "id is repeated"
_WAY_OUT = (
    "All its rows are still in the file: mend it, or publish it as it is, as what later files are"
    " measured against, with `galena import --accept`."
)


def source_of(name: str) -> str:
    """The source of a file: its name with # for each number, since exports are named by dates."""
    return re.sub(r"\d+", "#", name)


@dataclass(frozen=True)
class FileLoad:
    """A file's records, read for the checks. left_out: as a Load's."""

    source: str
    table: str
    records: Records
    ids: pl.DataFrame
    read: int
    rejected: Mapping[str, int]
    left_out: frozenset[str]

    def begin(self, connection: Connection, tenant_id: str) -> "Begun":
        """Note what the records will overwrite; before they are written, in that transaction."""
        one_at_a_time(connection, tenant_id, self.source, self.table)
        staging = bulk.stage(connection, crm.TABLES[self.table], self.ids)
        ids = f"SELECT {KEYS[self.table]} FROM {staging}"
        if self.table == "leads":
            stored.remember_conversions(connection, tenant_id)
        return Begun(self, ids, stored.known(connection, tenant_id, self.table, ids))


@dataclass(frozen=True)
class Begun:
    """A load whose records are being written. ids: a query of theirs; known: those there were."""

    load: FileLoad
    ids: str
    known: int

    def check(
        self,
        connection: Connection,
        tenant_id: str,
        written: int,
        now: datetime,
        accepted_by: str | None,
    ) -> Verdict | None:
        """Judge the load, its records written (written: new or changed ones), and keep the verdict.
        Raises LoadBlockedError."""
        load = self.load
        taken_back, converted = (
            stored.conversions_taken_back(connection, tenant_id, self.ids)
            if load.table == "leads"
            else (0, 0)
        )
        facts = Facts(
            whole=False,
            read=load.read,
            set_aside=sum(load.rejected.values()) - load.rejected.get(_REPEATED, 0),
            repeated=load.rejected.get(_REPEATED, 0),
            why=next(iter(load.rejected), ""),
            changed=max(0, written - (load.records.rows - self.known)),
            taken_back=taken_back,
            converted_before=converted,
        )
        twins = stored.twins(connection, tenant_id, load.table, self.ids)
        verdict = judged(
            connection,
            tenant_id,
            Load(load.source, load.table, load.records, facts, twins, load.left_out),
            now,
            accepted_by,
        )
        if verdict is not None:
            publish(connection, tenant_id, [verdict], _WAY_OUT)
        return verdict


def file_load(
    name: str,
    table: str,
    records: pl.DataFrame,
    *,
    read_rows: int,
    rejected: Mapping[str, int],
    left_out: frozenset[str],
) -> FileLoad | None:
    """A file's records as a load; None if they are too few to be judged.

    name: the file's. read_rows: the file's rows; rejected: of them, per reason, most first.
    """
    if read_rows < LEAST_ROWS:
        return None
    prepare()
    return FileLoad(
        source_of(name),
        table,
        read(table, records),
        records.select(KEYS[table]),
        read_rows,
        rejected,
        left_out,
    )
