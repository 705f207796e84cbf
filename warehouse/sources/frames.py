"""Rows of a source as frames: such as imports check, and of those that were set aside."""

import json
import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, time
from decimal import Decimal
from hashlib import blake2b
from typing import Any

import polars as pl

from warehouse.errors import GalenaError
from warehouse.sources.tables import OWN_ID, SourceRow, TableReader

_REPEATED = ("row is repeated", "id is repeated")
_LINE = re.compile(r"line ([0-9]+)(?: already)?$")
# As of every record's id.
_LONGEST_ID = 255


def digests(table: TableReader, rows: Sequence[SourceRow]) -> dict[str, str]:
    """Per key, of what the row says and how it is read: another mapping changes every row."""
    how = blake2b(repr((table.mapping, table.columns)).encode(), digest_size=16)
    found = {}
    for row in rows:
        digest = how.copy()
        digest.update(repr(row.values).encode(errors="surrogatepass"))
        found[row.key] = digest.hexdigest()
    return found


def frame(table: TableReader, source: str, rows: Sequence[SourceRow]) -> pl.DataFrame:
    """The rows' columns, each with the type that its values have; source: begins own ids."""
    cells = zip(table.columns, zip(*(row.values for row in rows), strict=True), strict=True)
    columns = [series(table.source.name, name, values) for name, values in cells]
    if table.mapping.id == OWN_ID:
        # Not the key alone: another table, too, may have a row 1.
        columns.append(pl.Series(OWN_ID, [_own_id(f"{source}/{row.key}") for row in rows]))
    return pl.DataFrame(columns)


def _own_id(text: str) -> str:
    if len(text) <= _LONGEST_ID:
        return text
    return blake2b(text.encode(), digest_size=16).hexdigest()


def named_by_key(rejected: pl.DataFrame, fresh: Sequence[SourceRow]) -> pl.DataFrame:
    """The rejected rows named by their keys; lines are those of files."""
    documents = [json.loads(row) for row in rejected["row"]]
    rows = [
        json.dumps({"key": fresh[int(row["line"])].key, "cells": row["cells"]}) for row in documents
    ]
    reasons = [
        _LINE.sub(lambda found: f"the row with key {fresh[int(found[1])].key!r}", reason)
        if kind in _REPEATED
        else reason
        for kind, reason in zip(rejected["kind"], rejected["reason"], strict=True)
    ]
    return pl.DataFrame(
        {"row": rows, "reason": reasons}, schema={"row": pl.String, "reason": pl.String}
    )


def series(table: str, name: str, values: Sequence[Any]) -> pl.Series:
    """A table's column: of whole numbers, numbers, booleans, times or dates if all its values are
    of the kind, and of texts otherwise."""
    plain = [_plain(table, name, value) for value in values]
    kinds = {type(value) for value in plain if value is not None}
    if kinds == {datetime}:
        aware = {value.tzinfo is not None for value in plain if value is not None}
        if aware == {True}:
            return pl.Series(
                name,
                [value and value.astimezone(UTC) for value in plain],
                dtype=pl.Datetime("us", "UTC"),
            )
        if aware == {False}:
            return pl.Series(name, plain, dtype=pl.Datetime("us"))
    if kinds == {date}:
        return pl.Series(name, plain, dtype=pl.Date)
    if kinds == {bool}:
        return pl.Series(name, plain, dtype=pl.Boolean)
    if kinds == {int} and all(value is None or abs(value) < 2**63 for value in plain):
        return pl.Series(name, plain, dtype=pl.Int64)
    if kinds and kinds <= {int, float}:
        return pl.Series(name, plain, dtype=pl.Float64)
    texts = [None if value is None else str(value) for value in plain]
    return pl.Series(name, texts, dtype=pl.String)


def _plain(table: str, name: str, value: Any) -> Any:
    match value:
        case None | bool() | int() | float() | str() | datetime() | date():
            return value
        case Decimal():
            if not value.is_finite():
                return None
            return int(value) if value == value.to_integral_value() else float(value)
        case bytes() | bytearray() | memoryview():
            raise GalenaError(
                f"Table {table}, column {name!r}: holds bytes; expected text, numbers or times:"
                " list the column under ignore."
            )
        case dict() | list():
            return json.dumps(value, ensure_ascii=False, default=str)
        case time():
            return value.isoformat()
        case _:
            return str(value)
