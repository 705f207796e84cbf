"""What the cells of a column stand for: texts, times, numbers, JSON.

Everything works on whole columns; a cell that cannot be read becomes null.
"""

import json
from datetime import timedelta

import polars as pl

# Found at the start of any time that is read; it also keeps the year at four digits, of which the
# parser would accept fewer.
_DATE = r"^([0-9]{4}-[0-9]{2}-[0-9]{2}|[0-9]{1,2}[./][0-9]{1,2}[./][0-9]{4})( |$)"
_SLASHED = r"^\s*[0-9]{1,2}/[0-9]{1,2}/[0-9]{4}"
_ISO_DATE = "%Y-%m-%d"
_CLOCKS = ("", " %H:%M:%S%.f", " %H:%M", " %I:%M:%S %p", " %I:%M %p")
_OFFSET_CLOCKS = (" %H:%M:%S%.f%#z", " %H:%M%#z")

_NUMBER = r"^-?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"
_COMMA_NUMBER = r"^-?([0-9]+|[0-9]{1,3}(\.[0-9]{3})+)(,[0-9]+)?$"
# Post codes, telephone numbers, the ids of other systems: digits, and no numbers.
_CODE = r"^-?(0[0-9]+|[0-9]{16,})$"
_NUMERIC_SHARE = 0.99


def without_nul(text: str) -> str:
    """The text with a visible sign for each NUL character, which PostgreSQL cannot store."""
    return text.replace("\0", "\N{SYMBOL FOR NULL}")


def as_text(column: pl.Series) -> pl.Series:
    """Each cell as a CSV file would have it: whole floats without point, times in ISO 8601."""
    match column.dtype:
        case pl.Float32() | pl.Float64():
            whole = column.cast(pl.Int64, strict=False)
            is_whole = (whole == column) & (column.abs() < 2.0**53)
            return whole.cast(pl.String).zip_with(
                is_whole.fill_null(value=False), column.cast(pl.String)
            )
        case pl.Datetime(time_zone=None):
            return column.dt.strftime("%Y-%m-%dT%H:%M:%S%.6f")
        case pl.Datetime():
            return column.dt.convert_time_zone("UTC").dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ")
        case pl.Duration():
            return column.dt.to_string("iso")
        case dtype if dtype.is_nested():
            return to_json(column).set(column.is_null(), None)
        case _:
            return column.cast(pl.String)


def trimmed(text: pl.Series) -> pl.Series:
    """The text without blanks around it; null where nothing is left."""
    bare = text.str.strip_chars()
    return bare.set(bare == "", None)


def has_slashed_dates(text: pl.Series) -> bool:
    """Whether there are dates such as 03/04/2026, whose first number may be day or month."""
    return bool(text.str.contains(_SLASHED).any())


def times(
    text: pl.Series, *, zone: str = "UTC", day_first: bool = False, end_of_day: bool = False
) -> pl.Series:
    """The moments that texts stand for, as UTC.

    Read are ISO 8601, 31.12.2026, and 12/31/2026 or, if day_first, 31/12/2026; each with or without
    a time of day, an ISO one with or without an offset.
    zone: whose clock is meant without an offset. Of an hour that its clock shows twice it is the
        first; an hour that it skips is read as the next.
    end_of_day: whether a date alone means its last second, not its first.
    """
    stamp = (
        text.str.strip_chars()
        .str.replace(r"^([0-9./-]+)(T|,? +)", "${1} ")
        .str.replace(r" ?(UTC|GMT)$", "Z")
    )
    stamp = stamp.set(~stamp.str.contains(_DATE), None)
    dates = (_ISO_DATE, "%d.%m.%Y", "%d/%m/%Y" if day_first else "%m/%d/%Y")
    forms = [(date, clock) for date in dates for clock in _CLOCKS]
    forms += [(_ISO_DATE, clock) for clock in _OFFSET_CLOCKS]
    nothing = pl.Series([None], dtype=pl.Datetime("us", "UTC"))
    found = nothing.new_from_index(0, len(text)).alias(text.name)
    for date, clock in forms:
        if found.null_count() == stamp.null_count():
            break
        read = stamp.str.to_datetime(date + clock, time_unit="us", strict=False)
        if clock not in _OFFSET_CLOCKS:
            read = _localised(_last_second(read) if end_of_day and not clock else read, zone)
        found = found.zip_with(found.is_not_null(), read)
    return found


def numbers(text: pl.Series, *, decimal_comma: bool = False) -> pl.Series:
    """The numbers that texts stand for; whole ones as integers if all are.

    decimal_comma: in a column where 1,5 occurs, points separate thousands.
    """
    bare = text.str.strip_chars()
    form = _NUMBER
    if decimal_comma and bare.str.contains(r"^-?[0-9.]+,[0-9]+$").any():
        form = _COMMA_NUMBER
    written = bare.set(~bare.str.contains(form), None)
    if form == _COMMA_NUMBER:
        written = written.str.replace_all(".", "", literal=True).str.replace(",", ".")
    if written.str.contains(r"^-?[0-9]{1,15}$").all():
        return written.cast(pl.Int64)
    number = written.cast(pl.Float64, strict=False)
    return number.set(~number.is_finite(), None)


def json_values(column: pl.Series, *, typed: bool, decimal_comma: bool = False) -> pl.Series:
    """Each cell as JSON text; what is no finite number, and the empty text, as null.

    typed: the column's own type says what its cells are. Otherwise they are numbers if nearly all
        of them can be, the few that cannot stay texts; a column of codes (01067) has no numbers.
    """
    if typed and (
        column.dtype.is_numeric() or column.dtype.is_nested() or column.dtype == pl.Boolean
    ):
        return to_json(column.cast(pl.Float64) if column.dtype.is_decimal() else column)
    text = trimmed(as_text(column))
    if typed or text.str.contains(_CODE).any():
        return to_json(text)
    number = numbers(text, decimal_comma=decimal_comma)
    if number.count() < _NUMERIC_SHARE * text.count():
        return to_json(text)
    return to_json(number).zip_with(number.is_not_null(), to_json(text))


def json_objects(values: pl.DataFrame) -> pl.Series:
    """One JSON object (text) per row, of columns that hold JSON text, under the columns' names."""
    parts: list[pl.Expr] = [pl.repeat("{", values.height)]
    for position, name in enumerate(values.columns):
        key = json.dumps(name, ensure_ascii=False) + ":"
        parts += [pl.lit(f",{key}" if position else key), pl.nth(position)]
    return values.select(pl.concat_str(*parts, pl.lit("}"))).to_series()


def to_json(column: pl.Series) -> pl.Series:
    """Each cell as JSON text by its type; null and what is no finite number as null."""
    objects = column.alias("v").to_frame().to_struct().struct.json_encode()
    return objects.str.strip_prefix('{"v":').str.strip_suffix("}").alias(column.name)


def _last_second(midnight: pl.Series) -> pl.Series:
    return midnight + timedelta(days=1, seconds=-1)


def _localised(time: pl.Series, zone: str) -> pl.Series:
    exact = _on_clock(time, zone)
    return exact.zip_with(exact.is_not_null(), _on_clock(time + timedelta(hours=1), zone))


def _on_clock(time: pl.Series, zone: str) -> pl.Series:
    local = time.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null")
    return local.dt.convert_time_zone("UTC")
