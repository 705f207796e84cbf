"""Tables and columns of a source by their names, whatever these are, and what tables have."""

from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Result,
    Select,
    TableClause,
    column,
    inspect,
    quoted_name,
    select,
    table,
)


def column_named(name: str) -> ColumnElement[Any]:
    return column(quoted_name(name, quote=True))


def table_named(full_name: str) -> TableClause:
    schema, dot, name = full_name.partition(".")
    if not dot:
        return table(quoted_name(schema, quote=True))
    return table(quoted_name(name, quote=True), schema=quoted_name(schema, quote=True))


def first_rows(
    connection: Connection, name: str, limit: int
) -> tuple[list[str], list[tuple[Any, ...]]]:
    """A table's columns and some of its rows."""
    statement: Select[Any] = (
        select(column("*", is_literal=True)).select_from(table_named(name)).limit(limit)
    )
    with connection.begin():
        found: Result[Any] = connection.execute(statement)
        return list(found.keys()), [tuple(row) for row in found]


def primary_key(connection: Connection, name: str) -> list[str]:
    """The columns of a table's primary key; none if it has none."""
    found = table_named(name)
    with connection.begin():
        return list(
            inspect(connection).get_pk_constraint(found.name, found.schema)["constrained_columns"]
        )
