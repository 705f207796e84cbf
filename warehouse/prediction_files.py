"""Batches of predictions from a CSV or Parquet file, a row for each item, read block by block."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from sqlalchemy import Connection

from warehouse import models, prediction_items, prediction_jobs
from warehouse.errors import GalenaError
from warehouse.imports import values
from warehouse.imports.mapping import CustomersMapping, LeadsMapping, Mapping, check_columns
from warehouse.imports.reading import Source, read_blocks
from warehouse.imports.records import MOST_ATTRIBUTES, unmapped

_BLOCK = 20_000
_SHOWN_CHARACTERS = 80
# Which columns are what, where no mapping says so.
_IDS = ("id", "lead_id", "customer_id", "deal_id")
_CREATED_AT = "created_at"
# A number such as 1.234,5 where semicolons separate the cells.
_COMMA_NUMBER = r"^-?([0-9]+|[0-9]{1,3}(\.[0-9]{3})+),[0-9]+$"


@dataclass(frozen=True)
class _Layout:
    """What the file's columns are. id, created_at: the columns' names, None without one."""

    id: str | None
    created_at: str | None
    attributes: list[str]
    timezone: str
    day_first: bool | None


def queue_file(
    connection: Connection,
    tenant_id: str,
    path: Path,
    mapping: Mapping | None = None,
    *,
    version: int | None = None,
    requested_by: str,
) -> str:
    """Queue a prediction for each row of a CSV or Parquet file; return the job's id.

    mapping: of leads or customers, as for an import: which columns are id and created_at, and which
    are left out; every other column is an attribute, and a row without an id fails alone. Without a
    mapping the id is a column id, lead_id, customer_id or deal_id, or else the row's number.
    version: as prediction_items.queue_ids. Rows do not become records of the tenant, and have no
    interactions. Raises GalenaError for a file that cannot be read, or does not fit the mapping.
    """
    if mapping is not None and not isinstance(mapping, LeadsMapping | CustomersMapping):
        raise GalenaError(f"The mapping is for {mapping.table}; expected leads or customers.")
    chosen = prediction_items.model(connection, tenant_id, version)

    read = [
        column.name for column in models.load(connection, tenant_id, chosen.version).spec.columns
    ]

    def fill(job_id: str) -> int:
        done = 0
        for source in read_blocks(path, _BLOCK):
            if read and not set(read) & set(source.rows.columns):
                raise GalenaError(
                    f"{source.name} has none of the columns that model version {chosen.version}"
                    f" reads: {', '.join(read[:20])}."
                )
            items = _items(source, mapping, done)
            prediction_items.add(connection, tenant_id, job_id, done, items)
            done += items.height
        return done

    return prediction_jobs.create(
        connection,
        tenant_id,
        chosen.version,
        "row",
        fill,
        input={"file": os.fsencode(path.name).decode(errors="replace")},
        requested_by=requested_by,
    )


def _items(
    source: Source, mapping: LeadsMapping | CustomersMapping | None, done: int
) -> pl.DataFrame:
    """The block's rows as items, in the order of the file's lines."""
    layout = _layout(source, mapping)
    numbers = pl.Series(range(done + 1, done + 1 + source.rows.height), dtype=pl.Int64)
    ids = numbers.cast(pl.String) if layout.id is None else _text(source, layout.id)
    named = prediction_items.judged_ids(ids, layout.id or "row")
    attributes = _attributes(source, layout.attributes)
    created_at, wrong = _created_at(source, layout)
    nul = attributes.str.contains(r"\u0000", literal=True)
    rows = named.select(
        line=source.lines,
        subject_id="subject_id",
        attributes=attributes.set(nul, "{}"),
        created_at=created_at,
        error=pl.coalesce(
            "error",
            wrong,
            pl.when(nul).then(pl.lit("a cell holds a NUL character; expected text without")),
        ),
    )
    malformed = source.malformed.select(
        "line",
        subject_id=pl.format("line {}", "line"),
        attributes=pl.lit(None, pl.String),
        created_at=pl.lit(None, pl.Datetime("us", "UTC")),
        error=pl.format("line {}: {}", "line", "reason"),
    )
    return pl.concat([rows, malformed]).sort("line").drop("line")


def _layout(source: Source, mapping: LeadsMapping | CustomersMapping | None) -> _Layout:
    there = source.rows.columns
    if mapping is None:
        named = next((name for name in _IDS if name in there), None)
        created_at = _CREATED_AT if _CREATED_AT in there else None
        left = [name for name in there if name not in (named, created_at)]
        layout = _Layout(named, created_at, left, "UTC", None)
    else:
        check_columns(mapping, source.name, there)
        layout = _Layout(
            mapping.id,
            mapping.created_at,
            unmapped(source, mapping),
            mapping.timezone,
            mapping.day_first,
        )
    if len(layout.attributes) > MOST_ATTRIBUTES:
        raise GalenaError(
            f"{source.name} has {len(layout.attributes)} columns that would be attributes; expected"
            f" at most {MOST_ATTRIBUTES}: list those that say nothing under ignore of a mapping."
        )
    return layout


def _text(source: Source, column: str) -> pl.Series:
    return values.trimmed(values.as_text(source.rows[column]))


def _attributes(source: Source, names: Iterable[str]) -> pl.Series:
    """A JSON object per row. Cells of CSV are texts, whose numbers the model reads: what one row
    becomes depends on no other."""
    cells = []
    for name in names:
        if source.typed:
            cells.append(values.json_values(source.rows[name], typed=True))
            continue
        text = _text(source, name)
        if source.decimal_comma:
            plain = text.str.replace_all(".", "", literal=True).str.replace(",", ".", literal=True)
            text = plain.zip_with(text.str.contains(_COMMA_NUMBER).fill_null(value=False), text)
        cells.append(values.to_json(text.alias(name)))
    frame = pl.DataFrame(cells) if cells else pl.DataFrame(height=source.rows.height)
    return values.json_objects(frame)


def _created_at(source: Source, layout: _Layout) -> tuple[pl.Series, pl.Series]:
    """When each row's record was created, null where nothing says so, and what is wrong with it."""
    nothing = pl.Series([None], dtype=pl.String).new_from_index(0, source.rows.height)
    text = nothing if layout.created_at is None else _text(source, layout.created_at)
    if layout.day_first is None and values.has_slashed_dates(text):
        raise GalenaError(
            f"{source.name}: {layout.created_at} has dates such as 03/04/2026, and nothing says"
            " whether the day or the month stands first: say day_first in a mapping."
        )
    times = values.times(text, zone=layout.timezone, day_first=bool(layout.day_first))
    rows = pl.DataFrame({"text": text, "time": times})
    wrong = rows.select(
        pl.when(pl.col("text").is_not_null() & pl.col("time").is_null()).then(
            pl.format(
                f"{layout.created_at}: '{{}}' is no time; expected one such as 2026-02-28 or"
                " 2026-02-28 14:30",
                pl.col("text").str.head(_SHOWN_CHARACTERS),
            )
        )
    ).to_series()
    return times, wrong
