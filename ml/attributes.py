"""A lead's attributes, from the JSON text of the CRM to one number per column and row.

There is one reading for training, batch and live scoring: every value first becomes its text (a
number its shortest form, a nested value its JSON), then a number by the kind of its column. So a
type that surprises (a number where strings were, "12" where numbers were) costs nothing but that
value, and a row's numbers never depend on the rows beside it.
"""

import json
import math
from collections.abc import Mapping, Sequence
from io import BytesIO

import polars as pl

from ml.spec import DAY_US, Column

_LOCAL_TIMES = ("%Y-%m-%d", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%dT%H:%M")
_OFFSET_TIMES = ("%Y-%m-%dT%H:%M:%S%.f%#z", "%Y-%m-%dT%H:%M%#z")
_BOOLEANS = {"true": 1, "yes": 1, "false": 0, "no": 0}


def read(attributes: pl.Series, names: Sequence[str]) -> pl.DataFrame:
    """The text of each named attribute: one String column per name, one row per JSON object.

    null: a name that is not there or is null, and every name of a row that is no JSON object.
    """
    if not names:
        return pl.DataFrame(height=len(attributes))
    line = pl.lit(attributes).str.replace_all("\n", " ", literal=True).str.strip_chars_start()
    lines = pl.select(
        pl.when(line.str.starts_with("{")).then(line).otherwise(pl.lit("{}"))
    ).to_series()
    return _decode(lines, dict.fromkeys(names, pl.String()))


def number(text: pl.Expr) -> pl.Expr:
    """Float64 the text stands for; null where it is not a number."""
    return text.cast(pl.Float64, strict=False)


def boolean(text: pl.Expr) -> pl.Expr:
    """1 for true and yes, 0 for false and no, in any case of letters; null for all else."""
    return text.str.to_lowercase().replace_strict(_BOOLEANS, default=None, return_dtype=pl.Float64)


def time(text: pl.Expr) -> pl.Expr:
    """Datetime of an ISO 8601 date (its midnight) or time; null where it is neither.

    Date and time may stand apart by T or a blank; without an offset they are UTC.
    """
    iso = text.str.replace(" ", "T", literal=True)
    return pl.coalesce(
        *(
            iso.str.to_datetime(form, time_unit="us", time_zone="UTC", strict=False)
            for form in _LOCAL_TIMES
        ),
        *(iso.str.to_datetime(form, time_unit="us", strict=False) for form in _OFFSET_TIMES),
    )


def encode(text: pl.Expr, column: Column, as_of: pl.Expr) -> pl.Expr:
    """The Float32 of a column's text, null where it is missing or cannot be read as its kind.

    numeric: its value; beyond float32 it is missing. boolean: 0 or 1. date: days from it to
    as_of, negative if it lies ahead. text: characters. categorical: the code of its category,
    OTHER's for every value that has none.
    """
    match column.kind:
        case "numeric":
            value = number(text)
        case "boolean":
            value = boolean(text)
        case "date":
            value = (as_of - time(text)).dt.total_microseconds() / DAY_US
        case "text":
            value = pl.when(text != "").then(text.str.len_chars())
        case "categorical":
            value = _code(text, column.categories)
    single = value.cast(pl.Float32)
    return pl.when(single.is_finite()).then(single)


def _code(text: pl.Expr, categories: Sequence[str]) -> pl.Expr:
    *known, _ = categories
    code = text.cast(pl.Enum(known), strict=False).to_physical()
    return pl.when(text != "").then(code.fill_null(len(known)))


def _decode(lines: pl.Series, schema: Mapping[str, pl.DataType]) -> pl.DataFrame:
    file = BytesIO()
    lines.to_frame().write_csv(file, include_header=False, quote_style="never")
    file.seek(0)
    try:
        return pl.read_ndjson(file, schema=schema)
    except pl.exceptions.ComputeError:
        readable = pl.Series([_without_huge_numbers(line) for line in lines])
    if not readable.equals(lines):
        return _decode(readable, schema)
    # The reader says that a line is bad but not which: halve until it stands alone.
    if len(lines) == 1:
        return _decode(pl.Series(["{}"]), schema)
    half = len(lines) // 2
    return pl.concat([_decode(lines[:half], schema), _decode(lines[half:], schema)])


def _without_huge_numbers(line: str) -> str:
    """The line with null for each number that the reader refuses; any other line as it is."""
    refused = []

    def whole(text: str) -> int | None:
        if len(text) <= 40 and -(2**127) <= int(text) < 2**128:
            return int(text)
        refused.append(text)
        return None

    def real(text: str) -> float | None:
        if math.isfinite(float(text)):
            return float(text)
        refused.append(text)
        return None

    try:
        values = json.loads(line, parse_int=whole, parse_float=real, parse_constant=real)
    except (ValueError, RecursionError):
        return line
    return json.dumps(values) if refused else line
