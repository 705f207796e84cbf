"""Rows of a source's tables: in blocks, by their keys, or since a time."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    Select,
    and_,
    bindparam,
    cast,
    func,
    or_,
    select,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import NullType, Text, UserDefinedType

from warehouse.errors import GalenaError
from warehouse.imports.mapping import CustomersMapping, LeadsMapping, Mapping, check_columns
from warehouse.imports.values import without_nul
from warehouse.sources.mapping import SourceTable
from warehouse.sources.names import column_named, first_rows, table_named

# Rows read, checked and written at a time: bounds memory.
BLOCK = 5_000
_LONGEST_KEY = 200
# The column of a record's id where the mapping names none.
OWN_ID = "galena_id"


@dataclass(frozen=True)
class SourceRow:
    """key: as text, the same whenever and by whatever way it is read. position: the key's values as
    the driver gives them. updated_at: None where the table is not polled. values: of the columns.
    """

    key: str
    position: tuple[Any, ...]
    updated_at: Any
    values: tuple[Any, ...]


@dataclass(frozen=True)
class TableReader:
    """A table of the source, with the columns that it has now.

    columns: those that are read: mapped ones, attributes, the key. mapping: for these columns and
    OWN_ID, if its id is that.
    """

    source: SourceTable
    columns: tuple[str, ...]
    mapping: Mapping
    postgresql: bool

    def blocks(self, connection: Connection) -> Iterator[list[SourceRow]]:
        """All rows, in the order of their keys, each block by a statement of its own: no long
        transaction holds up the source's own upkeep."""
        key = [column_named(name) for name in self.source.key]
        last: tuple[Any, ...] | None = None
        while True:
            beyond = [] if last is None else [_greater(key, last)]
            statement = self._select().where(*beyond).order_by(*key).limit(BLOCK)
            rows = self._read(connection, statement)
            yield rows
            if len(rows) < BLOCK:
                return
            last = rows[-1].position

    def of_keys(
        self, connection: Connection, keys: Sequence[tuple[str, ...]], types: Sequence[str]
    ) -> list[SourceRow]:
        """The rows with these keys, as PostgreSQL's log writes them; types: of the key's columns
        in PostgreSQL."""
        # Beside the table's own columns, which have no prefix.
        names = [f"galena_key_{position}" for position in range(len(self.source.key))]
        columns = [cast(list(texts), ARRAY(Text)) for texts in zip(*keys, strict=True)]
        changed = func.unnest(*columns).table_valued(*names, name="changed").render_derived()
        same = [
            column_named(name) == cast(changed.c[text], _Named(type_name))
            for name, text, type_name in zip(self.source.key, names, types, strict=True)
        ]
        statement = self._select(table_named(self.source.name).join(changed, and_(*same)))
        return self._read(connection, statement)

    def since(
        self,
        connection: Connection,
        updated_at: Any,
        position: tuple[Any, ...] | None,
        strict: bool,
    ) -> list[SourceRow]:
        """The next block of rows last changed at a time or later (strict: later), oldest first.

        updated_at: None means all that have a time. position: only rows behind this one: its time,
        and its key's values.
        """
        assert self.source.updated_at is not None
        changed = column_named(self.source.updated_at)
        key = [column_named(name) for name in self.source.key]
        conditions: list[ColumnElement[bool]] = [changed.is_not(None)]
        if updated_at is not None:
            conditions.append(
                changed > _value(updated_at) if strict else changed >= _value(updated_at)
            )
        if position is not None:
            conditions.append(_greater([changed, *key], position))
        statement = self._select().where(*conditions).order_by(changed, *key).limit(BLOCK)
        return self._read(connection, statement)

    def newest(self, connection: Connection) -> Any:
        """The newest time that a row changed; None when no row has one."""
        assert self.source.updated_at is not None
        statement = select(func.max(column_named(self.source.updated_at))).select_from(
            table_named(self.source.name)
        )
        with connection.begin():
            return connection.scalar(statement)

    def _select(self, rows: FromClause | None = None) -> Select[Any]:
        """The columns, the key's values, the time of the last change, the key as text."""
        key = [column_named(name) for name in self.source.key]
        wanted = [*map(column_named, self.columns), *key]
        wanted.append(column_named(self.source.updated_at or self.source.key[0]))
        if self.postgresql:
            # By the type's output function, as the log has it; a cast writes some types otherwise.
            wanted += [func.format("%s", one) for one in key]
        labelled = [one.label(f"c{number}") for number, one in enumerate(wanted)]
        return select(*labelled).select_from(
            table_named(self.source.name) if rows is None else rows
        )

    def _read(self, connection: Connection, statement: Select[Any]) -> list[SourceRow]:
        with connection.begin():
            rows = connection.execute(statement).all()
        return [self._row(tuple(row)) for row in rows]

    def _row(self, cells: tuple[Any, ...]) -> SourceRow:
        width, parts = len(self.columns), len(self.source.key)
        position = cells[width : width + parts]
        texts = cells[-parts:] if self.postgresql else position
        updated_at = cells[width + parts] if self.source.updated_at else None
        return SourceRow(key_text(texts), position, updated_at, cells[:width])


def reader(connection: Connection, source: SourceTable) -> TableReader:
    """The table as it is now. Raises GalenaError for a column of the mapping that it lacks."""
    columns, _ = first_rows(connection, source.name, 0)
    mapping = source.mapping
    check_columns(mapping, f"Table {source.name}", columns)
    named = {"key": source.key, "updated_at": (source.updated_at,) if source.updated_at else ()}
    for field, names in named.items():
        for name in names:
            if name not in columns:
                there = ", ".join(repr(one) for one in columns)
                raise GalenaError(
                    f"Table {source.name} has no column {name!r}, named by {field}; it has {there}."
                )
    fields = set(mapping.columns().values())
    wanted = {*fields, *source.key}
    if isinstance(mapping, LeadsMapping | CustomersMapping):
        wanted |= set(columns) - {*mapping.ignore, source.updated_at}
    # The key is read to know the row by, and is no attribute.
    unmapped_key = [name for name in source.key if name not in fields]
    return TableReader(
        source,
        tuple(name for name in columns if name in wanted),
        mapping.model_copy(update={"ignore": unmapped_key, "id": mapping.id or OWN_ID}),
        postgresql=connection.dialect.name == "postgresql",
    )


def key_text(values: Sequence[Any]) -> str:
    """A key as one text, short enough for an index (2.7 kB)."""
    texts = [str(value) for value in values]
    text = texts[0] if len(texts) == 1 else json.dumps(texts, ensure_ascii=False)
    if len(text) > _LONGEST_KEY:
        digest = blake2b(text.encode(errors="surrogatepass"), digest_size=16).hexdigest()
        text = f"{text[:_LONGEST_KEY]} {digest}"
    return without_nul(text)


def _greater(columns: Sequence[ColumnElement[Any]], values: Sequence[Any]) -> ColumnElement[bool]:
    """Row-wise comparison, spelt out: not every database compares rows."""
    return or_(
        *(
            and_(
                *(
                    before == _value(value)
                    for before, value in zip(columns[:depth], values, strict=False)
                ),
                columns[depth] > _value(values[depth]),
            )
            for depth in range(len(columns))
        )
    )


def _value(value: Any) -> ColumnElement[Any]:
    # Without a type: SQLAlchemy would cast it to what it takes the value for.
    return bindparam(None, value, type_=NullType(), unique=True)


class _Named(UserDefinedType[Any]):
    """A type by its name in the source."""

    cache_ok = True

    def __init__(self, name: str) -> None:
        self.name = name

    def get_col_spec(self, **_: Any) -> str:
        return self.name
