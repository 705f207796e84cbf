"""Reads a CSV or Parquet file: the cells of its rows, and the rows that have none."""

import csv
import json
import os
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from io import StringIO
from itertools import islice
from pathlib import Path
from typing import TextIO

import polars as pl

from warehouse.errors import GalenaError
from warehouse.imports.values import without_nul

_DELIMITERS = ",;\t|"
_SAMPLE_CHARACTERS = 65_536
_PARQUET_MAGIC = b"PAR1"
_CSV_SUFFIXES = (".csv", ".tsv", ".txt")
# Rows held as Python lists before they become a frame: bounds memory at no cost in speed.
_CHUNK = 20_000


@dataclass(frozen=True)
class Source:
    """The rows of one file.

    name: the file's name without its folder.
    rows: one column per column of the file; from CSV all are strings, an empty cell is null.
    lines: where each row begins: its line in the CSV file, whose header is on line 1, or its
        number in the Parquet file, from 1.
    malformed: CSV rows that are no row of this table: line, reason, cells (JSON text).
    typed: whether the file itself gives its columns types (Parquet).
    decimal_comma: whether 1,5 may stand for 1.5: so where semicolons separate the cells.
    """

    name: str
    rows: pl.DataFrame
    lines: pl.Series
    malformed: pl.DataFrame
    typed: bool
    decimal_comma: bool


def read_table(path: Path) -> Source:
    """Read a file whole.

    CSV: separated by comma, semicolon, tab or bar, whichever fits; UTF-8, with or without a mark
    (BOM); cells quoted by ", which stands doubled within. Rows without any content are skipped.
    Raises GalenaError for a file that is neither CSV nor Parquet, or cannot be read at all.
    """
    return next(read_blocks(path, None))


def read_blocks(path: Path, rows: int | None) -> Iterator[Source]:
    """Read a file as read_table does, in blocks of so many rows: memory does not grow with it.

    The first block may be empty, as that of a file that has a header alone.
    """
    name = os.fsencode(path.name).decode(errors="replace")
    try:
        with path.open("rb") as file:
            start = file.read(len(_PARQUET_MAGIC))
        if start == _PARQUET_MAGIC:
            yield from _parquet_blocks(path, name, rows)
        elif path.suffix.lower() in _CSV_SUFFIXES:
            yield from _csv_blocks(path, name, rows)
        else:
            raise GalenaError(
                f"{name} is neither CSV ({', '.join(_CSV_SUFFIXES)}) nor Parquet (.parquet):"
                " save it as one of them."
            )
    except OSError as error:
        reason = error.strerror or str(error)
        raise GalenaError(f"{name} cannot be read: {reason}: check the path.") from error
    except UnicodeDecodeError as error:
        raise GalenaError(_not_utf8(path, name)) from error


def _parquet_blocks(path: Path, name: str, rows: int | None) -> Iterator[Source]:
    start = 0
    try:
        for frame in _parquet_frames(path, rows):
            yield _typed(frame, name, start)
            start += frame.height
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        reason = str(error).partition("\n")[0]
        raise GalenaError(f"{name} is damaged Parquet ({reason}): export it again.") from error


def _parquet_frames(path: Path, rows: int | None) -> Iterator[pl.DataFrame]:
    if rows is None:
        with path.open("rb") as file:
            yield pl.read_parquet(file)
        return
    scan = pl.scan_parquet(path, glob=False)
    height = scan.select(pl.len()).collect().item()
    for start in range(0, max(height, 1), rows):
        yield scan.slice(start, rows).collect()


def _typed(rows: pl.DataFrame, name: str, start: int) -> Source:
    rows.columns = _unique(rows.columns)
    for column in rows:
        if _holds_bytes(column.dtype):
            raise GalenaError(
                f"{name}, column {column.name!r}: holds bytes; expected text, numbers or times:"
                " write it as one of them, or leave it out."
            )
    lines = pl.Series("line", range(start + 1, start + len(rows) + 1), dtype=pl.Int64)
    return Source(name, rows, lines, _malformed([]), typed=True, decimal_comma=False)


def _holds_bytes(kind: pl.DataType | pl.datatypes.DataTypeClass) -> bool:
    match kind:
        case pl.Binary():
            return True
        case pl.List(inner=inner) | pl.Array(inner=inner):
            return _holds_bytes(inner)
        case pl.Struct(fields=fields):
            return any(_holds_bytes(field.dtype) for field in fields)
        case _:
            return False


def _csv_blocks(path: Path, name: str, rows: int | None) -> Iterator[Source]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        delimiter = _delimiter(file.read(_SAMPLE_CHARACTERS))
        file.seek(0)
        records = _records(file, delimiter)
        header = next(records, None)
        if header is None:
            raise GalenaError(f"{name} is empty: it needs a header line and rows.")
        line, columns = header
        if isinstance(columns, _Broken):
            raise GalenaError(f"{name}, line {line} (the header): {columns.reason}: mend it.")
        names = _unique(columns)
        while True:
            block, lines, malformed = _collect(islice(records, rows), names)
            yield Source(
                name,
                block,
                lines,
                _malformed(malformed),
                typed=False,
                decimal_comma=delimiter == ";",
            )
            if rows is None or len(lines) + len(malformed) < rows:
                return


def _collect(
    records: Iterator[tuple[int, "list[str] | _Broken"]], columns: Sequence[str]
) -> tuple[pl.DataFrame, pl.Series, list[tuple[int, str, str]]]:
    """The rows as wide as the header, their lines, and the other ones."""
    frames = [pl.DataFrame(schema=dict.fromkeys(columns, pl.String))]
    chunk: list[list[str]] = []
    lines: list[int] = []
    malformed: list[tuple[int, str, str]] = []

    for line, cells in records:
        if isinstance(cells, _Broken):
            malformed.append((line, cells.reason, cells.text))
        elif len(cells) != len(columns):
            reason = f"the row has {len(cells)} cells; expected {len(columns)}, as in the header"
            malformed.append((line, reason, json.dumps([*map(without_nul, cells)])))
        else:
            chunk.append(cells)
            lines.append(line)
            if len(chunk) == _CHUNK:
                frames.append(_frame(columns, chunk))
                chunk = []
    if chunk:
        frames.append(_frame(columns, chunk))
    return pl.concat(frames), pl.Series("line", lines, dtype=pl.Int64), malformed


def _frame(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> pl.DataFrame:
    cells = zip(columns, zip(*rows, strict=True), strict=True)
    frame = pl.DataFrame([pl.Series(name, values, dtype=pl.String) for name, values in cells])
    return frame.with_columns(pl.when(pl.all() != "").then(pl.all()))


@dataclass(frozen=True)
class _Broken:
    """A line whose quotes do not pair up. text: the line, as JSON."""

    reason: str
    text: str


class _Lines:
    """The lines of a file, of which those that a broken row swallowed can be read again."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._again: deque[str] = deque()
        self.taken: list[str] = []

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._again.popleft() if self._again else next(self._file)
        self.taken.append(line)
        return line

    def give_back_all_but_first(self) -> str:
        first, *others = self.taken
        self._again.extendleft(reversed(others))
        return first


def _records(file: TextIO, delimiter: str) -> Iterator[tuple[int, list[str] | _Broken]]:
    """The line and the cells of each row with content.

    A quote that never closes would swallow the rows after it: only the line it stands on is
    broken, and reading goes on behind that line.
    """
    lines = _Lines(file)
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    line = 1
    while True:
        lines.taken.clear()
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            text = lines.give_back_all_but_first().rstrip("\r\n")
            reason = f"the row is no CSV ({error}); a quote within a quoted cell stands doubled"
            yield line, _Broken(reason, json.dumps(without_nul(text)))
            line += 1
            continue
        if any(cells):
            yield line, cells
        line += len(lines.taken)


def _delimiter(sample: str) -> str:
    """The delimiter by which most rows of the sample are as wide as the header, if wider than 1."""
    lines = list(StringIO(sample, newline=""))
    if len(sample) == _SAMPLE_CHARACTERS and len(lines) > 1:
        del lines[-1]

    def fit(delimiter: str) -> tuple[int, int]:
        widths: list[int] = []
        with suppress(csv.Error):
            widths.extend(len(cells) for cells in csv.reader(lines, delimiter=delimiter) if cells)
        width = widths[0] if widths else 1
        return (widths.count(width), width) if width > 1 else (0, 0)

    return max(_DELIMITERS, key=fit)


def _unique(header: Sequence[str]) -> list[str]:
    """The columns' names; one without gets its position, one that repeats its count."""
    names: dict[str, None] = {}
    for position, cell in enumerate(header, start=1):
        name = without_nul(cell.strip())
        # As a column's name, polars takes * and ^...$ for patterns.
        if name in ("", "*") or (name.startswith("^") and name.endswith("$")):
            name = f"column {name or position}"
        unique, count = name, 1
        while unique in names:
            count += 1
            unique = f"{name} ({count})"
        names[unique] = None
    return list(names)


def _malformed(rows: Sequence[tuple[int, str, str]]) -> pl.DataFrame:
    schema = {"line": pl.Int64, "reason": pl.String, "cells": pl.String}
    return pl.DataFrame(rows, schema=schema, orient="row")


def _not_utf8(path: Path, name: str) -> str:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                line.decode()
            except UnicodeDecodeError as error:
                return (
                    f"{name} is no UTF-8: line {number} has the byte 0x{line[error.start]:02x} at"
                    f" position {error.start + 1}: save it as UTF-8 (in Excel: 'CSV UTF-8')."
                )
    return f"{name} is no UTF-8: save it as UTF-8."
