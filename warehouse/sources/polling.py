"""Polling: which rows of a table changed since it was last read, by a column that says when.

A row is found if it is committed within the overlap of the time that it bears. What is committed
later, what changes without a new time, and what is deleted is found by reading the table whole.
"""

from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection

from warehouse.sources.connecting import SourceError
from warehouse.sources.tables import BLOCK, SourceRow, TableReader

# A sweep's own duration: `now` is the time when it began.
_SWEEP = timedelta(minutes=1)


@dataclass(frozen=True)
class Watermark:
    """How far a table has been read. Passes go from the overlap before `newest` to the end.

    newest: the newest time seen, by the source's own clock. seen_at: when it was, by ours.
    settled: the overlap before `newest` was read again when all that it could get had come, so that
        only what is newer is read: a quiet table costs nothing.
    began: when the pass began that is under way; position: the row it has reached; reached: the
        newest time in it.
    """

    newest: datetime | None
    seen_at: datetime
    settled: bool = False
    began: datetime | None = None
    position: tuple[Any, ...] | None = None
    reached: datetime | None = None


def next_block(
    connection: Connection,
    table: TableReader,
    mark: Watermark,
    overlap: timedelta,
    now: datetime,
) -> tuple[list[SourceRow], Watermark]:
    """The next rows of the table's pass, and the watermark once they are written. The pass is over
    when that has no position."""
    since = mark.newest
    if since is not None and not mark.settled:
        since -= overlap
    rows = table.since(connection, since, mark.position, strict=mark.settled)
    began = mark.began or now
    reached = max(filter(None, [mark.reached, *(_time(table, row) for row in rows)]), default=None)
    if len(rows) == BLOCK:
        last = rows[-1]
        position = (last.updated_at, *last.position)
        return rows, replace(mark, began=began, position=position, reached=reached)
    if reached is not None and (mark.newest is None or reached > mark.newest):
        return rows, Watermark(reached, seen_at=now)
    settled = mark.settled or began >= mark.seen_at + overlap + _SWEEP
    return rows, Watermark(mark.newest, mark.seen_at, settled)


def start(connection: Connection, table: TableReader, now: datetime) -> Watermark:
    """The watermark of a table that is about to be read whole."""
    newest = table.newest(connection)
    return Watermark(None if newest is None else _checked(table, newest), seen_at=now)


def to_json(mark: Watermark) -> dict[str, Any]:
    return {
        "newest": _packed(mark.newest),
        "seen_at": mark.seen_at.isoformat(),
        "settled": mark.settled,
        "began": mark.began and mark.began.isoformat(),
        "position": mark.position and [_packed(value) for value in mark.position],
        "reached": _packed(mark.reached),
    }


def from_json(document: dict[str, Any]) -> Watermark:
    return Watermark(
        newest=_unpacked(document["newest"]),
        seen_at=datetime.fromisoformat(document["seen_at"]),
        settled=document["settled"],
        began=document["began"] and datetime.fromisoformat(document["began"]),
        position=document["position"] and tuple(map(_unpacked, document["position"])),
        reached=_unpacked(document["reached"]),
    )


def _time(table: TableReader, row: SourceRow) -> datetime:
    return _checked(table, row.updated_at)


def _checked(table: TableReader, value: Any) -> datetime:
    if not isinstance(value, datetime):
        raise SourceError(
            f"Table {table.source.name}, updated_at: {table.source.updated_at!r} has values of type"
            f" {type(value).__name__}; expected a date with time: name a column that has one."
        )
    return value


def _packed(value: Any) -> Any:
    match value:
        case datetime():
            return {"datetime": value.isoformat()}
        case date():
            return {"date": value.isoformat()}
        case Decimal():
            return {"decimal": str(value)}
        case None | int() | float() | str():
            return value
        case _:
            return str(value)


def _unpacked(value: Any) -> Any:
    match value:
        case {"datetime": str(written)}:
            return datetime.fromisoformat(written)
        case {"date": str(written)}:
            return date.fromisoformat(written)
        case {"decimal": str(written)}:
            return Decimal(written)
        case _:
            return value
