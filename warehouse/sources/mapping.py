"""Which tables and columns of a CRM's database are which records: what a mapping file may say."""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from warehouse.errors import GalenaError
from warehouse.imports.mapping import Mapping, parse_mapping, read_yaml

_KEYS = ("tables", "overlap_minutes", "reconcile_hours")
_OVERLAP_MINUTES = 5.0
_RECONCILE_HOURS = 24.0


@dataclass(frozen=True)
class SourceTable:
    """One table of the source.

    name: as in the mapping file: TABLE or SCHEMA.TABLE. key: the columns that tell its rows apart.
    updated_at: the column that says when a row last changed, if the table is polled.
    mapping: which column is which field of a record, as for files.
    """

    name: str
    key: tuple[str, ...]
    updated_at: str | None
    mapping: Mapping

    @property
    def schema_and_name(self) -> tuple[str | None, str]:
        schema, dot, name = self.name.partition(".")
        return (schema, name) if dot else (None, schema)


@dataclass(frozen=True)
class SourceMapping:
    """What is read from a source.

    overlap: by how much polling reads again what it has read; reconcile_every: how often a polled
    source is read whole. document: the mapping file, as it is stored.
    """

    tables: tuple[SourceTable, ...]
    overlap: timedelta
    reconcile_every: timedelta
    document: dict[str, Any]

    @property
    def polled(self) -> bool:
        """Whether changes are found by polling and not in PostgreSQL's log."""
        return self.tables[0].updated_at is not None


def load_source_mapping(path: Path) -> SourceMapping:
    """Read a mapping file. Raises GalenaError, naming field, value and expectation."""
    return parse_source_mapping(read_yaml(path), path.name)


def parse_source_mapping(document: Any, name: str) -> SourceMapping:
    """The mapping that a YAML document is; name: what errors call it."""
    if not isinstance(document, dict) or not isinstance(document.get("tables"), dict):
        raise GalenaError(
            f"{name}, tables: it is missing; expected the source's tables by name, each with its"
            " mapping."
        )
    for key in document:
        if key not in _KEYS:
            raise GalenaError(f"{name}, {key} is no key; the closest is {_closest(key, _KEYS)!r}.")
    tables = tuple(_table(table, keys, name) for table, keys in document["tables"].items())
    if not tables:
        raise GalenaError(f"{name}, tables: there is none; expected one table at least.")
    unpolled = [table.name for table in tables if table.updated_at is None]
    if unpolled and len(unpolled) < len(tables):
        raise GalenaError(
            f"{name}, {unpolled[0]}, updated_at: it is missing, and other tables have it: a source"
            " is polled (updated_at in every table) or followed by its log (in none)."
        )
    overlap = _number(document, "overlap_minutes", _OVERLAP_MINUTES, (1, 1_440), name)
    hours = _number(document, "reconcile_hours", _RECONCILE_HOURS, (1, 720), name)
    if unpolled and len(document) > 1:
        raise GalenaError(
            f"{name}, {next(key for key in _KEYS[1:] if key in document)}: it is for polled sources"
            " only: leave it out, or name updated_at in every table."
        )
    return SourceMapping(tables, timedelta(minutes=overlap), timedelta(hours=hours), document)


def _table(table: str, keys: Any, name: str) -> SourceTable:
    place = f"{name}, {table}"
    if not isinstance(keys, dict):
        raise GalenaError(f"{place}: got {keys!r}; expected lines such as 'table: leads'.")
    fields = {field: value for field, value in keys.items() if field not in ("key", "updated_at")}
    key = keys.get("key")
    columns = tuple(key) if isinstance(key, list) else (key,)
    if not all(isinstance(column, str) and column for column in columns) or not columns:
        got = "it is missing" if key is None else f"got {key!r}"
        raise GalenaError(
            f"{place}, key: {got}; expected the column that tells its rows apart, or a list of"
            " columns."
        )
    if len(columns) == 1 and keys.get("table") != "interactions":
        fields.setdefault("id", columns[0])
    updated_at = keys.get("updated_at") or None
    if not isinstance(updated_at, str | None):
        raise GalenaError(f"{place}, updated_at: got {updated_at!r}; expected one column.")
    return SourceTable(table, columns, updated_at, parse_mapping(fields, place))


def _number(
    document: dict[str, Any], key: str, default: float, bounds: tuple[int, int], name: str
) -> float:
    try:
        number = float(document.get(key, default))
    except (TypeError, ValueError):
        number = float("nan")
    if not bounds[0] <= number <= bounds[1]:
        raise GalenaError(
            f"{name}, {key}: got {document[key]!r}; expected a number from {bounds[0]} to"
            f" {bounds[1]:,}."
        )
    return number


def _closest(name: str, options: Iterable[str]) -> str:
    (match,) = difflib.get_close_matches(name, options, n=1, cutoff=0)
    return match
