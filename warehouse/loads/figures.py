"""A load beside the last good one, figure by figure: each with what was found and expected."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import log

import polars as pl

from warehouse.loads.limits import far, grown, interval
from warehouse.loads.profile import ColumnProfile, Profile, Records, days, finite, readable


@dataclass(frozen=True)
class Facts:
    """What the records themselves do not tell.

    whole: all that the source has, so that what is missing is gone. read, set_aside, repeated: as a
    Profile's; why: the reason why most were set aside. changed: records that were there and are
    overwritten. taken_back: converted leads that are not any more; converted_before: of how many in
    the load.
    """

    whole: bool
    read: int = 0
    set_aside: int = 0
    repeated: int = 0
    why: str = ""
    changed: int = 0
    taken_back: int = 0
    converted_before: int = 0


@dataclass(frozen=True)
class Figure:
    """check: a Limit's. column: '' is the load as a whole. value: the larger the worse."""

    check: str
    column: str
    value: float
    found: str
    expected: str


def figures(
    records: Records, now: Profile, before: Profile | None, facts: Facts
) -> Iterator[Figure]:
    """What can be said of the load; before: the last good load's profile, None of a first load."""
    yield from _rows_set_aside(now, before or Profile(0, {}), facts.why)
    yield from _conversions(facts)
    if before is None:
        yield Figure(
            "duplicates in a first load",
            "",
            interval(now.twins, now.rows)[0],
            f"{_share(now.twins, now.rows)} of the rows say the same as another under another id",
            "few that do",
        )
        return
    if facts.whole:
        yield from _volume(now, before)
    if not now.rows:
        return
    yield from _schema(now, before)
    for name, then in before.columns.items():
        if name in now.columns:
            yield from _column(records.texts[name], now, then, before.rows)
    yield from _duplicates(now, before)
    yield from _freshness(now, before, facts)
    yield from _outcomes(now, before)


def _rows_set_aside(now: Profile, before: Profile, why: str) -> Iterator[Figure]:
    why = f", most because {why}" if why else ""
    for check, count, count_before, what in (
        ("rows set aside", now.set_aside, before.set_aside, f"cannot be used{why}"),
        ("repeated ids", now.repeated, before.repeated, "have the id of an earlier row"),
    ):
        yield Figure(
            check,
            "",
            # Of a first load there is nothing to be as bad as.
            grown(count, now.read, count_before, before.read)
            if before.read
            else interval(count, now.read)[0],
            f"{_share(count, now.read)} of the rows {what}",
            f"at most a few more than the {_share(count_before, before.read)} of the last good load"
            if before.read
            else "at most a few",
        )


def _conversions(facts: Facts) -> Iterator[Figure]:
    if facts.converted_before:
        yield Figure(
            "conversions taken back",
            "converted_at",
            interval(facts.taken_back, facts.converted_before)[0],
            f"{facts.taken_back:,} of {facts.converted_before:,} converted leads are not converted",
            "leads that converted to stay so",
        )


def _volume(now: Profile, before: Profile) -> Iterator[Figure]:
    found, expected = f"{now.rows:,} rows", f"about the {before.rows:,} of the last good load"
    if before.rows:
        gone = max(0, before.rows - now.rows)
        yield Figure("fewer rows", "", interval(gone, before.rows)[0], found, expected)
        yield Figure("more rows", "", now.rows / before.rows, found, expected)


def _schema(now: Profile, before: Profile) -> Iterator[Figure]:
    for name, then in before.columns.items():
        filled = before.rows - then.missing
        if name not in now.columns:
            yield Figure(
                "schema",
                name,
                interval(filled, before.rows)[0],
                "the column is gone",
                f"it to be there: {_share(filled, before.rows)} of the last good load's rows had a"
                " value",
            )
    for name in now.columns:
        if name not in before.columns:
            yield Figure("new column", name, 1, "the column is new", "those of the last good load")


def _column(text: pl.Series, now: Profile, then: ColumnProfile, rows: int) -> Iterator[Figure]:
    name, missing = text.name, now.columns[text.name].missing
    yield Figure(
        "nulls",
        name,
        grown(missing, now.rows, then.missing, rows),
        f"{_share(missing, now.rows)} of the rows have no value",
        f"about the {_share(then.missing, rows)} of the last good load",
    )
    if then.kind == "text":
        return
    filled = text.filter(text != "")
    unreadable = filled.len() - readable(then.kind, filled)
    yield Figure(
        "kind",
        name,
        interval(unreadable, filled.len())[0],
        f"{_share(unreadable, filled.len())} of the values are no {then.kind}",
        f"a {then.kind} in each row, as in the last good load",
    )
    if then.low is not None and then.high is not None:
        low, high, least = far(then.low, then.high)
        numbers = finite(filled)
        small = (numbers > 0) & (numbers < least)
        outside = int((small | ~numbers.is_between(low, high)).sum())
        yield Figure(
            "ranges",
            name,
            interval(outside, numbers.len())[0],
            f"{_share(outside, numbers.len())} of the numbers are far from those before",
            f"numbers as in the last good load, where 98 % lay in {then.low:g} to {then.high:g}",
        )


def _duplicates(now: Profile, before: Profile) -> Iterator[Figure]:
    yield Figure(
        "duplicates",
        "",
        grown(now.twins, now.rows, before.twins, before.rows),
        f"{_share(now.twins, now.rows)} of the rows say the same as another under another id",
        f"about the {_share(before.twins, before.rows)} of the last good load",
    )


def _freshness(now: Profile, before: Profile, facts: Facts) -> Iterator[Figure]:
    if now.newest is None or before.newest is None:
        return
    found = f"the newest record is of {now.newest:%Y-%m-%d %H:%M}"
    if facts.whole:
        if before.recent is not None:
            yield Figure(
                "freshness of a whole reading",
                "",
                days(before.recent - now.newest),
                found,
                f"some of the time since {before.recent:%Y-%m-%d %H:%M}, as in the last good load",
            )
    # A few changed records, or some that are there already, are not an old file.
    elif facts.changed and now.rows >= before.rows / 2:
        yield Figure(
            "freshness of a file",
            "",
            days(before.newest - now.newest),
            found,
            f"one as new as the last good load's, of {before.newest:%Y-%m-%d %H:%M}",
        )


def _outcomes(now: Profile, before: Profile) -> Iterator[Figure]:
    if not now.ended or not before.ended:
        return
    low, high = (_log_odds(share) for share in interval(now.converted, now.ended))
    low_before, high_before = (
        _log_odds(share) for share in interval(before.converted, before.ended)
    )
    found = f"{_share(now.converted, now.ended)} of the ended leads converted"
    expected = f"about the {_share(before.converted, before.ended)} of the last good load"
    moved = max(low - high_before, low_before - high)
    yield Figure("outcomes", "converted_at", moved, found, expected)
    yield Figure("one outcome only", "converted_at", _rarer(now, before), found, expected)


def _rarer(now: Profile, before: Profile) -> float:
    """By which factor the one or the other outcome surely became rarer."""
    low, high = interval(now.converted, now.ended)
    low_before, high_before = interval(before.converted, before.ended)
    return max(low_before / high, (1 - high_before) / max(1 - low, 1e-9))


def _log_odds(share: float) -> float:
    inside = min(max(share, 1e-9), 1 - 1e-9)
    return log(inside / (1 - inside))


def _share(count: int, of: int) -> str:
    return f"{count / of:.1%}" if of else "none"
