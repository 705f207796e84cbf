"""Rows of a source as records here: written, set aside, or deleted, each remembered by its key."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import polars as pl
from sqlalchemy import Connection, text

from warehouse import bulk, crm, schema
from warehouse.imports.checking import check
from warehouse.imports.reading import Source
from warehouse.sources.frames import digests, frame, named_by_key
from warehouse.sources.tables import BLOCK, SourceRow, TableReader

_ID = {
    "leads": "lead_id",
    "customers": "customer_id",
    "deals": "deal_id",
    "interactions": "interaction_id",
}


@dataclass(frozen=True)
class Written:
    """What became of rows of the source: read; records written and deleted; rows set aside."""

    read: int = 0
    written: int = 0
    deleted: int = 0
    rejected: int = 0

    def __add__(self, other: "Written") -> "Written":
        return Written(
            self.read + other.read,
            self.written + other.written,
            self.deleted + other.deleted,
            self.rejected + other.rejected,
        )

    @property
    def changes(self) -> int:
        return self.written + self.deleted + self.rejected


@dataclass(frozen=True)
class _Known:
    """What is remembered of a row."""

    digest: str
    record_id: str | None
    rejected: bool


@dataclass(frozen=True)
class Writer:
    """Writes rows of one source, in the caller's transaction.

    now: times more than a day later are rejected. arrived: when the rows' facts became known, where
        the mapping does not say; None takes them for known from each row's beginning, as a first
        import does. recheck: judge rows that were set aside once more, though they did not change.
    """

    connection: Connection
    tenant_id: str
    source_id: str
    now: datetime
    arrived: datetime | None
    recheck: bool

    def write(self, table: TableReader, rows: Sequence[SourceRow]) -> Written:
        """Write the rows that are not as they were when they were last read."""
        known = self._known(table, [row.key for row in rows])
        said = digests(table, rows)
        fresh = [
            row
            for row in {row.key: row for row in rows}.values()
            if (before := known.get(row.key)) is None
            or before.digest != said[row.key]
            or (self.recheck and before.rejected)
        ]
        if not fresh:
            return Written(read=len(rows))
        name = f"{self.source_id}/{table.source.name}"
        source = Source(
            name=name,
            rows=frame(table, name, fresh),
            lines=pl.Series("line", range(len(fresh)), dtype=pl.Int64),
            malformed=pl.DataFrame(
                schema={"line": pl.Int64, "reason": pl.String, "cells": pl.String}
            ),
            typed=True,
            decimal_comma=False,
        )
        checked = check(source, table.mapping, self.now)
        bad = {int(json.loads(row)["line"]) for row in checked.rejected["row"]}
        # The records stand in the order of the rows that were not rejected.
        good = [row for line, row in enumerate(fresh) if line not in bad]
        id_column = _ID[table.mapping.table]
        ids = dict(
            zip((row.key for row in good), checked.records[id_column].to_list(), strict=True)
        )

        written = crm.upsert(
            self.connection,
            self.tenant_id,
            table.mapping.table,
            self._dated(table, checked.records),
        )
        self._set_aside(name, known, fresh, checked.rejected)
        # A row that is set aside leaves the record that it was before as it stands.
        old_ids = {key: before.record_id for key, before in known.items()}
        new_ids = {row.key: ids.get(row.key, old_ids.get(row.key)) for row in fresh}
        self._remember(table, fresh, said, new_ids, {row.key for row in fresh} - ids.keys())
        left = [old for key in ids if (old := old_ids.get(key)) not in (None, ids[key])]
        deleted = self._delete_unclaimed(table.mapping.table, left)
        return Written(len(rows), written, deleted, len(checked.rejected))

    def forget(self, table: str, keys: Iterable[str]) -> Written:
        """Delete the records of rows that are gone; table: its name in the source."""
        gone = self.connection.execute(
            text(
                "DELETE FROM crm.source_keys WHERE tenant_id = :tenant_id"
                " AND source_id = :source_id AND source_table = :table AND key = ANY(:keys)"
                " RETURNING key, record_table, record_id, rejected"
            ),
            {**self._mine(), "table": table, "keys": list(keys)},
        ).all()
        self._take_back(f"{self.source_id}/{table}", [row.key for row in gone if row.rejected])
        deleted = 0
        for record_table in {row.record_table for row in gone}:
            ids = [row.record_id for row in gone if row.record_table == record_table]
            deleted += self._delete_unclaimed(record_table, ids)
        return Written(deleted=deleted)

    def forget_all(self, table: str, but: str | None = None) -> Written:
        """Forget the rows of a table, in blocks; but: a table with the keys that are to stay."""
        others = f"AND NOT EXISTS (SELECT FROM {but} b WHERE b.key = k.key)" if but else ""
        query = text(
            "SELECT key FROM crm.source_keys k WHERE tenant_id = :tenant_id"
            f" AND source_id = :source_id AND source_table = :table {others} LIMIT {BLOCK}"
        )
        written = Written()
        while keys := self.connection.scalars(query, {**self._mine(), "table": table}).all():
            written += self.forget(table, keys)
        return written

    def _mine(self) -> dict[str, Any]:
        return {"tenant_id": self.tenant_id, "source_id": self.source_id}

    def _known(self, table: TableReader, keys: list[str]) -> dict[str, _Known]:
        found = self.connection.execute(
            text(
                "SELECT key, digest, record_id, rejected FROM crm.source_keys"
                " WHERE tenant_id = :tenant_id AND source_id = :source_id"
                " AND source_table = :table AND key = ANY(:keys)"
            ),
            {**self._mine(), "table": table.source.name, "keys": keys},
        )
        return {key: _Known(*known) for key, *known in found}

    def _dated(self, table: TableReader, records: pl.DataFrame) -> pl.DataFrame:
        if self.arrived is None or table.mapping.known_at is not None:
            return records
        return records.with_columns(known_at=pl.lit(self.arrived, pl.Datetime("us", "UTC")))

    def _set_aside(
        self,
        source: str,
        known: dict[str, _Known],
        fresh: Sequence[SourceRow],
        rejected: pl.DataFrame,
    ) -> None:
        """Replace what was set aside of these rows."""
        self._take_back(
            source, [row.key for row in fresh if row.key in known and known[row.key].rejected]
        )
        crm.reject(self.connection, self.tenant_id, source, named_by_key(rejected, fresh))

    def _take_back(self, source: str, keys: list[str]) -> None:
        if keys:
            self.connection.execute(
                text(
                    "DELETE FROM crm.rejected_rows WHERE tenant_id = :tenant_id"
                    " AND source = :source AND row ->> 'key' = ANY(:keys)"
                ),
                {"tenant_id": self.tenant_id, "source": source, "keys": keys},
            )

    def _remember(
        self,
        table: TableReader,
        fresh: Sequence[SourceRow],
        said: dict[str, str],
        ids: dict[str, str | None],
        rejected: set[str],
    ) -> None:
        frame = pl.DataFrame(
            {
                "source_id": self.source_id,
                "source_table": table.source.name,
                "key": pl.Series([row.key for row in fresh], dtype=pl.String),
                "digest": pl.Series([said[row.key] for row in fresh], dtype=pl.String),
                "record_table": table.mapping.table,
                "record_id": pl.Series([ids[row.key] for row in fresh], dtype=pl.String),
                "rejected": pl.Series([row.key in rejected for row in fresh], dtype=pl.Boolean),
            }
        )
        bulk.upsert(self.connection, self.tenant_id, schema.source_keys, frame)

    def _delete_unclaimed(self, record_table: str, record_ids: Sequence[str | None]) -> int:
        """Delete the records that no row of any source stands for any more; return their number.

        The past of a lead goes with it: what is gone from the CRM must not linger here.
        """
        ids = [one for one in record_ids if one is not None]
        if not ids:
            return 0
        column = _ID[record_table]
        gone = self.connection.scalars(
            text(
                f"DELETE FROM crm.{record_table} r WHERE r.tenant_id = :tenant_id"
                f" AND r.{column} = ANY(:ids) AND NOT EXISTS (SELECT FROM crm.source_keys k"
                "  WHERE k.tenant_id = :tenant_id AND k.record_table = :record_table"
                f"  AND k.record_id = r.{column}) RETURNING r.{column}"
            ),
            {"tenant_id": self.tenant_id, "record_table": record_table, "ids": ids},
        ).all()
        if record_table == "leads" and gone:
            self.connection.execute(
                text(
                    "DELETE FROM crm.attribute_history"
                    " WHERE tenant_id = :tenant_id AND lead_id = ANY(:ids)"
                ),
                {"tenant_id": self.tenant_id, "ids": list(gone)},
            )
        return len(gone)
