"""What a load looks like: its columns' kinds, gaps and ranges, its times and outcomes."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

import polars as pl

from ml import attributes
from warehouse.loads.limits import LEAST_ROWS

# As imports find kinds: fewer exceptions than this do not make a column of numbers one of texts.
_KIND_SHARE = 0.99
_FIRST = 1000
_NAMED = 200
READ = {"number": attributes.number, "boolean": attributes.boolean, "date": attributes.time}
KEYS = {
    "leads": "lead_id",
    "customers": "customer_id",
    "deals": "deal_id",
    "interactions": "interaction_id",
}
BEGINNINGS = dict.fromkeys(KEYS, "created_at") | {"interactions": "occurred_at"}
ENDS = ("converted_at", "closed_at", "churned_at")
_NEWEST_SHARE = 20


@dataclass(frozen=True)
class ColumnProfile:
    """A column's values.

    kind: number, boolean, date or text. missing: rows without a value. low, high: the 1 % and 99 %
    quantiles of numbers.
    """

    kind: str
    missing: int
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Profile:
    """What later loads are measured against.

    newest: when the newest record began; recent: when the newest twentieth began, None of few
    records. ended, converted: leads. twins: records that say what another says under another id.
    read: rows of the load; set_aside: those whose cells cannot be used; repeated: those whose id an
    earlier row has.
    """

    rows: int
    columns: dict[str, ColumnProfile]
    newest: datetime | None = None
    recent: datetime | None = None
    ended: int = 0
    converted: int = 0
    twins: int = 0
    read: int = 0
    set_aside: int = 0
    repeated: int = 0

    def to_json(self) -> dict[str, Any]:
        """As JSON; from_json reads it."""
        times = {name: getattr(self, name) for name in ("newest", "recent")}
        return asdict(self) | {name: time and time.isoformat() for name, time in times.items()}

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> "Profile":
        times = {
            name: document[name] and datetime.fromisoformat(document[name])
            for name in ("newest", "recent")
        }
        columns = {name: ColumnProfile(**one) for name, one in document["columns"].items()}
        return cls(**{**document, **times, "columns": columns})


@dataclass(frozen=True)
class Records:
    """A load's records, read for its figures.

    times: its times, microseconds, UTC; texts: every other column but the key, and every attribute,
    as text.
    """

    table: str
    times: pl.DataFrame
    texts: pl.DataFrame

    @property
    def rows(self) -> int:
        return self.times.height


def read(table: str, frame: pl.DataFrame, names: Sequence[str] | None = None) -> Records:
    """The records of a frame as crm.upsert takes it; names: of its attributes, if not those that
    some rows of it have."""
    times = [name for name in frame.columns if name in (BEGINNINGS[table], *ENDS)]
    fields = [
        name
        for name in frame.columns
        if name not in (KEYS[table], *times, "known_at", "attributes")
    ]
    texts = frame.select(pl.col(fields).cast(pl.String))
    if "attributes" in frame.columns:
        found = attribute_names(frame["attributes"]) if names is None else names
        # A field of the table stands for an attribute of the same name.
        texts = texts.hstack(
            attributes.read(frame["attributes"], [name for name in found if name not in fields])
        )
    return Records(table, frame.select(times), texts)


def attribute_names(objects: pl.Series) -> list[str]:
    """The names that some of the objects have: all where, as in a file, each has the same."""
    some = objects.gather_every(max(1, len(objects) // _NAMED))
    return list(dict.fromkeys(name for one in some for name in json.loads(one or "{}")))


def profile(records: Records, **counts: int) -> Profile:
    """The figures of the records; counts: those that the records themselves do not tell."""
    begins = records.times[BEGINNINGS[records.table]]
    newest = begins.max()
    assert newest is None or isinstance(newest, datetime)
    return Profile(
        rows=records.rows,
        columns={column.name: _column(column) for column in records.texts},
        newest=newest,
        recent=_recent(begins),
        **_outcomes(records),
        **counts,
    )


def _recent(begins: pl.Series) -> datetime | None:
    rank = begins.len() // _NEWEST_SHARE
    if rank < LEAST_ROWS // 3:
        return None
    found = begins.top_k(rank).min()
    assert isinstance(found, datetime)
    return found


def _outcomes(records: Records) -> dict[str, int]:
    if records.table != "leads":
        return {}
    converted = records.times["converted_at"].is_not_null()
    ended = converted | records.times["closed_at"].is_not_null()
    return {"ended": int(ended.sum()), "converted": int(converted.sum())}


def _column(text: pl.Series) -> ColumnProfile:
    filled = text.filter(text != "")
    missing = text.len() - filled.len()
    kind = _kind(filled)
    if kind != "number":
        return ColumnProfile(kind, missing)
    numbers = finite(filled)
    return ColumnProfile(kind, missing, numbers.quantile(0.01), numbers.quantile(0.99))


def _kind(filled: pl.Series) -> str:
    if filled.len() < LEAST_ROWS:
        return "text"
    for kind in READ:
        # Reading all of a long text as a date costs more than all else.
        if all(_are(kind, some) for some in (filled.head(_FIRST), filled)):
            return kind
    return "text"


def _are(kind: str, filled: pl.Series) -> bool:
    return readable(kind, filled) >= _KIND_SHARE * filled.len()


def readable(kind: str, filled: pl.Series) -> int:
    """How many of the texts are of this kind."""
    if kind == "text":
        return filled.len()
    return filled.to_frame("v").select(READ[kind](pl.col("v")).count()).item()  # type: ignore[no-any-return]


def finite(filled: pl.Series) -> pl.Series:
    """The numbers that the texts stand for."""
    values = filled.to_frame("v").select(attributes.number(pl.col("v"))).to_series()
    return values.filter(values.is_finite())


def days(span: timedelta) -> float:
    return span / timedelta(days=1)
