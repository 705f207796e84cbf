"""Tells the rows of a file that can be records from those that cannot, and why not."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import polars as pl

from warehouse.imports import values
from warehouse.imports.mapping import InteractionsMapping, LeadsMapping, Mapping, check_columns
from warehouse.imports.reading import Source
from warehouse.imports.records import (
    BEGINNINGS,
    hashed_ids,
    read_fields,
    record,
    says,
    unmapped,
)

# PostgreSQL's index takes 2.7 kB a key; an identifier of 255 characters has at most 1 kB.
_LONGEST_ID = 255
_EARLIEST = datetime.fromisoformat("1900-01-01T00:00:00+00:00")
# Clocks differ, and the end of today may be tomorrow in UTC.
_GRACE = timedelta(days=1)
_SHOWN_CHARACTERS = 80
_OUTCOME_DATES = ("converted_at", "closed_at", "outcome_at")
_READABLE = {
    "at": "no time; expected one such as 2026-02-28 or 2026-02-28 14:30",
    "amount": "no number; expected one such as 1200.50",
}


@dataclass(frozen=True)
class Checked:
    """What becomes of a file's rows.

    records: the rows that can be written; columns as crm.upsert takes them.
    rejected: the rows that cannot: kind (the reason without the row's own values), reason, and
        row (JSON text: the line, and the cells as they stand in the file).
    unused: columns that are stored nowhere, since the table has no attributes.
    """

    records: pl.DataFrame
    rejected: pl.DataFrame
    unused: list[str]


@dataclass(frozen=True)
class _Check:
    """A reason to reject rows. kind: for counting; fails, reason: over columns of read_fields."""

    kind: str
    fails: pl.Expr
    reason: pl.Expr


def check(source: Source, mapping: Mapping, now: datetime) -> Checked:
    """Sort the source's rows into records and rejected rows.

    now: times later than a day after it are rejected.
    Raises GalenaError where the mapping does not fit the file as a whole.
    """
    check_columns(mapping, source.name, source.rows.columns)
    texts = pl.DataFrame([values.as_text(column) for column in source.rows])
    fields = read_fields(source, texts, mapping)
    unused = [] if "attributes" in fields.columns else unmapped(source, mapping)
    stored = [name for name in texts.columns if name not in (*mapping.ignore, *unused)]
    fields = fields.with_columns(_column_with_nul(source, texts.select(stored)))

    good, bad = _judged(fields, [*_cell_checks(mapping), *_record_checks(mapping, now)])
    good = good.select("line", **record(mapping))
    records, repeated = _first_of_each_id(good, mapping)

    rejected = _with_rows(pl.concat([bad, repeated]).sort("line"), source, texts)
    return Checked(records, pl.concat([rejected, _malformed(source)]), unused)


def _judged(fields: pl.DataFrame, checks: Iterable[_Check]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The rows that pass every check; and of the others line, kind and reason, of the first."""
    bad = [pl.DataFrame(schema={"line": pl.Int64, "kind": pl.String, "reason": pl.String})]
    for check in checks:
        fails = fields.select(check.fails.fill_null(value=False)).to_series()
        if fails.any():
            failed = fields.filter(fails)
            bad.append(failed.select("line", pl.lit(check.kind).alias("kind"), reason=check.reason))
            fields = fields.filter(~fails)
    return fields, pl.concat(bad)


def _cell_checks(mapping: Mapping) -> Iterator[_Check]:
    """Each cell by itself: there where it must be, and readable."""
    yield _Check(
        "a cell holds a NUL character",
        pl.col("nul").is_not_null(),
        pl.format("'{}': holds a NUL character; expected text without", "nul"),
    )
    for field, info in type(mapping).model_fields.items():
        if field not in mapping.columns():
            continue
        text = pl.col(f"{field} text")
        if info.is_required() or field == "id":
            yield _Check(
                f"{field} is missing",
                text.is_null(),
                pl.lit(f"{field}: the cell is empty; expected a value in every row"),
            )
        readable = _READABLE.get("at" if field.endswith("_at") else field)
        if readable is not None:
            yield _Check(
                f"{field} cannot be read",
                text.is_not_null() & pl.col(field).is_null(),
                pl.format(f"{field}: '{{}}' is {readable}", _shown(text)),
            )
        if field == "id" or field.endswith("_id"):
            yield _Check(
                f"{field} is too long",
                text.str.len_chars() > _LONGEST_ID,
                pl.format(
                    f"{field}: '{{}}...' has {{}} characters; expected at most {_LONGEST_ID}",
                    _shown(text),
                    text.str.len_chars(),
                ),
            )


def _record_checks(mapping: Mapping, now: datetime) -> Iterator[_Check]:
    """The record that the cells make: what has to fit together."""
    columns = record(mapping)
    latest = now + _GRACE
    beginning = next(name for name in columns if name in BEGINNINGS)
    for name, time in columns.items():
        if not name.endswith("_at"):
            continue
        yield _Check(
            f"{name} is out of range",
            ~time.is_between(_EARLIEST, latest),
            pl.format(
                f"{name}: {{}} lies outside of {_EARLIEST:%Y} to {latest:%Y-%m-%d}, a day from now",
                _time(time),
            ),
        )
        if name not in (beginning, "known_at"):
            yield _Check(
                f"{name} lies before {beginning}",
                time < pl.col(beginning),
                pl.format(
                    f"{name}: {{}} lies before {beginning}, {{}}", _time(time), _time(beginning)
                ),
            )
    match mapping:
        case LeadsMapping(outcome=outcome) if outcome is not None:
            converted, lost = says("outcome", outcome.converted), says("outcome", outcome.lost)
            dates = [field for field in mapping.columns() if field in _OUTCOME_DATES]
            yield _Check(
                "outcome has no date",
                (converted & columns["converted_at"].is_null())
                | (lost & columns["closed_at"].is_null()),
                pl.format(
                    f"outcome: '{{}}' has no date; expected one in {' or '.join(dates)}",
                    _shown(pl.col("outcome text")),
                ),
            )
        case InteractionsMapping():
            yield _Check(
                "neither lead_id nor customer_id",
                pl.col("lead_id").is_null() & pl.col("customer_id").is_null(),
                pl.lit("lead_id, customer_id: both are empty; expected one"),
            )


def _first_of_each_id(records: pl.DataFrame, mapping: Mapping) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The records (without line) whose id no earlier one has, and the rejected others."""
    key = records.columns[1]
    hashed = isinstance(mapping, InteractionsMapping) and mapping.id is None
    if hashed:
        records = records.with_columns(hashed_ids(records))
    first_line = pl.col("line").min().over(key)
    reason = (
        pl.format("the row says the same as line {}", first_line)
        if hashed
        else pl.format("id: '{}' is the id of line {} already", _shown(pl.col(key)), first_line)
    )
    judged = records.with_columns(reason.alias("reason"), first=first_line == pl.col("line"))
    repeated = judged.filter(~pl.col("first")).select(
        "line", pl.lit("row is repeated" if hashed else "id is repeated").alias("kind"), "reason"
    )
    return judged.filter("first").drop("line", "reason", "first"), repeated


def _column_with_nul(source: Source, texts: pl.DataFrame) -> pl.Series:
    """Per row the name of the first column that holds a NUL character, which JSON escapes."""
    found = [pl.lit(None, pl.String)]
    for name in texts.columns:
        nul = r"\u0000" if source.rows[name].dtype.is_nested() else "\0"
        holds = pl.col(name).str.contains(nul, literal=True)
        found.append(pl.when(holds).then(pl.lit(name)))
    return texts.select(pl.coalesce(found)).to_series().alias("nul")


def _with_rows(rejected: pl.DataFrame, source: Source, texts: pl.DataFrame) -> pl.DataFrame:
    cells = texts.filter(source.lines.is_in(rejected["line"].implode()))
    visible = pl.DataFrame([values.to_json(_without_nul(column)) for column in cells])
    return _as_rejected(rejected, values.json_objects(visible))


def _malformed(source: Source) -> pl.DataFrame:
    rejected = source.malformed.with_columns(kind=pl.lit("row is malformed"))
    return _as_rejected(rejected, source.malformed["cells"])


def _as_rejected(rejected: pl.DataFrame, cells: pl.Series) -> pl.DataFrame:
    row = pl.DataFrame([rejected["line"].cast(pl.String), cells.alias("cells")])
    return rejected.select("kind", "reason", values.json_objects(row).alias("row"))


def _without_nul(column: pl.Series) -> pl.Series:
    return column.str.replace_all("\0", values.without_nul("\0"), literal=True)


def _shown(text: pl.Expr) -> pl.Expr:
    return text.str.head(_SHOWN_CHARACTERS)


def _time(time: pl.Expr | str) -> pl.Expr:
    expr = pl.col(time) if isinstance(time, str) else time
    return expr.dt.strftime("%Y-%m-%d %H:%M:%S UTC")
