"""Bank Marketing, 41,188 real telephone calls, as the leads of one tenant (see ATTRIBUTION.md).

Each call is a lead and `y`, whether the client took the deposit, its outcome, known a day later.
The file gives the month and the weekday of a call but no date. Its rows are in date order, so the
dates are found by walking: each run of equal weekdays is one day, the next such weekday of the
month, and a month that goes backwards begins a new year. The walk stays within every month of
the file from May 2008 to November 2010. The calls of a day are spread evenly from 09:00 to 17:00
UTC, in file order.

`duration` is in the file but is no attribute: it is known only once the call is over, when the
outcome is known as well, and it gives that outcome away.
"""

from collections.abc import Callable, Iterable, Iterator
from datetime import date, datetime, timedelta
from pathlib import Path

import polars as pl

from examples.simulator.live import Change

OPEN_LEADS = 2_000
FIRST_YEAR = 2008
CALLING_HOURS = timedelta(hours=9), timedelta(hours=17)
OUTCOME_AFTER = timedelta(days=1)

NOT_ATTRIBUTES = ("y", "duration")
NEVER_CONTACTED = 999

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAYS = ("mon", "tue", "wed", "thu", "fri")


def calls() -> pl.DataFrame:
    """The data set as published: 41,188 rows in date order, 21 columns under their own names."""
    return pl.read_parquet(Path(__file__).with_name("bank-marketing.parquet"))


def leads() -> pl.DataFrame:
    """The calls as CRM leads, in file order; the last 2,000 are open.

    Returns lead_id ("call-00001" ...), account_id (null), created_at, converted_at, closed_at,
    attributes (JSON text) and known_at (= created_at); times are UTC. A closed call has exactly
    one of converted_at and closed_at, a day after created_at. Missing values, which the data
    set writes as "unknown" and, in `pdays`, as 999, are null.
    """
    is_open = pl.int_range(pl.len()) >= pl.len() - OPEN_LEADS
    outcome_at = pl.when(~is_open).then(pl.col("created_at") + OUTCOME_AFTER)
    return _dated_calls().select(
        "lead_id",
        pl.lit(None, pl.String).alias("account_id"),
        "created_at",
        pl.when(pl.col("converted")).then(outcome_at).alias("converted_at"),
        pl.when(~pl.col("converted")).then(outcome_at).alias("closed_at"),
        "attributes",
        pl.col("created_at").alias("known_at"),
    )


def withheld_outcomes() -> pl.DataFrame:
    """What became of the open leads: lead_id, at (when it is known), converted (bool)."""
    return (
        _dated_calls()
        .tail(OPEN_LEADS)
        .select("lead_id", (pl.col("created_at") + OUTCOME_AFTER).alias("at"), "converted")
    )


def live_events(time_of: Callable[[int], datetime]) -> Iterator[list[Change]]:
    """The open calls end one after the other, in file order, one change each.

    time_of: when a change becomes known, by the number of changes before it. The outcome's own time
    stays that of the file, for a score speaks of the days after the call.
    """
    open_calls = leads().tail(OPEN_LEADS).iter_rows(named=True)
    outcomes = withheld_outcomes().iter_rows(named=True)
    for sent, (call, outcome) in enumerate(zip(open_calls, outcomes, strict=True)):
        ended = "converted_at" if outcome["converted"] else "closed_at"
        at = time_of(sent)
        yield [Change(at, "leads", {**call, ended: outcome["at"], "known_at": at})]


def _dated_calls() -> pl.DataFrame:
    """lead_id, created_at, converted and attributes of every call, in file order."""
    rows = calls()
    day_run = pl.struct("month", "day_of_week").rle_id()
    position = pl.int_range(pl.len()).over(day_run) / pl.len().over(day_run)
    opens, closes = CALLING_HOURS
    return rows.select(
        pl.format("call-{}", pl.int_range(1, pl.len() + 1).cast(pl.String).str.zfill(5)).alias(
            "lead_id"
        ),
        (_dates(rows).cast(pl.Datetime("us", "UTC")) + opens + position * (closes - opens)).alias(
            "created_at"
        ),
        (pl.col("y") == "yes").alias("converted"),
        _attributes(rows).struct.json_encode().alias("attributes"),
    )


def _attributes(rows: pl.DataFrame) -> pl.Series:
    known = rows.drop(NOT_ATTRIBUTES).with_columns(
        pl.col(pl.String).replace("unknown", None), pl.col("pdays").replace(NEVER_CONTACTED, None)
    )
    return known.to_struct()


def _dates(rows: pl.DataFrame) -> pl.Series:
    """The date of each row, by the walk that the module's docstring describes."""
    runs = rows.select(pl.struct("month", "day_of_week").rle().struct.unnest())
    days = pl.Series("date", list(_walk(runs["value"].struct.unnest().iter_rows())), pl.Date)
    return runs.select(days, "len").select(pl.col("date").repeat_by("len").explode()).to_series()


def _walk(runs: Iterable[tuple[str, str]]) -> Iterator[date]:
    """Turn the (month, weekday) of each run into the first date that fits after the one before."""
    day = date(FIRST_YEAR, 1, 1)
    for month_name, weekday_name in runs:
        month, weekday = _MONTHS.index(month_name) + 1, _WEEKDAYS.index(weekday_name)
        if month != day.month:
            day = date(day.year + (month < day.month), month, 1)
        day += timedelta((weekday - day.weekday()) % 7)
        yield day
