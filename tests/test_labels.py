"""Training learns from moments at which leads were open, chosen without a look at their end."""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.labels import snapshots

CREATED = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
MINUTE = timedelta(minutes=1)
INSTANT = timedelta(microseconds=1)
HORIZON = 30 * DAY
FIRST = CREATED + MINUTE
TIME = pl.Datetime("us", "UTC")

Lead = tuple[str, datetime | None, datetime | None, datetime | None]


def frame(*rows: Lead) -> pl.DataFrame:
    names = ("created_at", "converted_at", "closed_at")
    schema = {"lead_id": pl.String} | dict.fromkeys(names, TIME)
    return pl.DataFrame(rows, schema=schema, orient="row")


def first(
    converted: datetime | None = None, closed: datetime | None = None
) -> tuple[bool, datetime] | None:
    """Label of the snapshot a minute after creation, and when it was known."""
    lead = frame(("lead", CREATED, converted, closed))
    found = snapshots(lead, as_of=CREATED + 100 * DAY, per_lead=1)
    return found.row(0)[-2:] if found.height else None


@pytest.mark.parametrize(
    ("converted", "closed", "label", "known"),
    [
        (None, None, False, FIRST + HORIZON),
        (FIRST + INSTANT, None, True, FIRST + INSTANT),
        (FIRST + HORIZON, None, True, FIRST + HORIZON),
        (FIRST + HORIZON + INSTANT, None, False, FIRST + HORIZON),
        (None, FIRST + 3 * DAY, False, FIRST + 3 * DAY),
        (None, FIRST + HORIZON + DAY, False, FIRST + HORIZON),
        (FIRST + 5 * DAY, FIRST + 3 * DAY, True, FIRST + 5 * DAY),
        (FIRST + 3 * DAY, FIRST + 5 * DAY, True, FIRST + 3 * DAY),
    ],
)
def test_a_label_is_a_conversion_within_the_horizon(
    converted: datetime | None, closed: datetime | None, label: bool, known: datetime
) -> None:
    assert first(converted, closed) == (label, known)


def test_a_lead_that_is_not_open_any_more_has_no_snapshot() -> None:
    assert first(converted=FIRST) is None
    assert first(closed=FIRST) is None


def test_a_horizon_that_is_not_over_gives_no_label_even_if_the_outcome_is_known() -> None:
    lead = frame(("lead", CREATED, FIRST + DAY, None))
    assert snapshots(lead, as_of=FIRST + HORIZON).height == 1
    assert snapshots(lead, as_of=FIRST + HORIZON - INSTANT).height == 0
    open_lead = frame(("lead", CREATED, None, None))
    as_of = FIRST + HORIZON + 20 * DAY
    assert (snapshots(open_lead, as_of=as_of)["snapshot_at"] <= as_of - HORIZON).all()


def test_snapshots_stand_on_a_grid_with_a_phase_of_the_leads_own() -> None:
    leads = frame(*((f"lead-{i}", CREATED, None, None) for i in range(200)))
    found = snapshots(leads, as_of=CREATED + 365 * DAY)
    phases = []
    for (lead_id,), own in found.group_by("lead_id", maintain_order=True):
        start, *grid = own["snapshot_at"]
        assert start == FIRST, lead_id
        (phase,) = {(moment - FIRST) % (7 * DAY) for moment in grid}
        phases.append(phase / DAY)
    assert np.histogram(phases, bins=7, range=(0, 7))[0].min() >= 10


def test_a_lead_gives_at_most_per_lead_snapshots_spread_over_its_time() -> None:
    leads = frame(*((f"lead-{i}", CREATED, None, None) for i in range(100)))
    found = snapshots(leads, as_of=CREATED + 365 * DAY, per_lead=6)
    assert found.group_by("lead_id").len()["len"].unique().to_list() == [6]
    assert found["lead_id"].unique(maintain_order=True).to_list() == leads["lead_id"].to_list()
    for _, own in found.group_by("lead_id"):
        gaps = own["snapshot_at"].diff().drop_nulls()[1:]
        assert set(gaps) <= {63 * DAY, 70 * DAY}
    short = snapshots(leads, as_of=CREATED + HORIZON + 15 * DAY, per_lead=6)
    assert set(short.group_by("lead_id").len()["len"]) == {3, 4}


def test_the_choice_of_moments_does_not_know_how_the_lead_ends() -> None:
    as_of = CREATED + 400 * DAY
    open_for_ever = snapshots(frame(("lead", CREATED, None, None)), as_of=as_of)
    for days in range(0, 370, 5):
        ends = CREATED + days * DAY
        for lead in (("lead", CREATED, ends, None), ("lead", CREATED, None, ends)):
            found = snapshots(frame(lead), as_of=as_of)["snapshot_at"]
            assert found.equals(open_for_ever.filter(pl.col("snapshot_at") < ends)["snapshot_at"])


def test_a_constant_rate_of_conversion_is_found_at_every_age() -> None:
    random = np.random.default_rng(0)
    days = random.uniform(0, 365, 20_000)
    until = days + random.exponential(100, len(days))
    leads = frame(
        *(
            (f"lead-{i}", CREATED + start * DAY, CREATED + end * DAY, None)
            for i, (start, end) in enumerate(zip(days.tolist(), until.tolist(), strict=True))
        )
    )
    found = snapshots(leads, as_of=CREATED + 365 * DAY)
    months = (found["snapshot_at"] - found["created_at"]).dt.total_days() // 30
    rates = found.group_by(months.alias("month")).agg(pl.col("label").mean(), pl.len())
    expected = 1 - np.exp(-30 / 100)
    for month, rate, rows in rates.filter(pl.col("len") > 500).iter_rows():
        assert rate == pytest.approx(expected, abs=4 * np.sqrt(0.19 / rows)), month


def test_the_choice_is_the_same_on_every_machine_and_in_every_order() -> None:
    leads = frame(*((f"lead-{i}", CREATED, None, None) for i in range(50)))
    found = snapshots(leads, as_of=CREATED + 365 * DAY)
    assert found["snapshot_at"][:4].to_list() == [
        datetime(2026, 1, 1, 0, 1, tzinfo=UTC),
        datetime(2026, 2, 9, 9, 28, 3, tzinfo=UTC),
        datetime(2026, 6, 1, 9, 28, 3, tzinfo=UTC),
        datetime(2026, 9, 21, 9, 28, 3, tzinfo=UTC),
    ]
    backwards = snapshots(leads.reverse(), as_of=CREATED + 365 * DAY)
    assert backwards.sort("lead_id", "snapshot_at").equals(found.sort("lead_id", "snapshot_at"))
    alone = snapshots(leads[7:8], as_of=CREATED + 365 * DAY)
    assert alone.equals(found.filter(pl.col("lead_id") == "lead-7"))


def test_no_leads_give_no_snapshots() -> None:
    undated = frame(("lead", None, None, None))
    for leads in (frame(), undated):
        found = snapshots(leads, as_of=CREATED)
        assert found.schema == {
            "lead_id": pl.String,
            "created_at": TIME,
            "snapshot_at": TIME,
            "label": pl.Boolean,
            "label_known_at": TIME,
        }
        assert found.is_empty()


MOMENTS = st.none() | st.datetimes(
    datetime(2025, 6, 1), datetime(2026, 6, 1), timezones=st.just(UTC)
)


@settings(deadline=None)
@given(
    rows=st.lists(st.tuples(st.text(), MOMENTS, MOMENTS, MOMENTS), max_size=10),
    horizon=st.integers(1, 90),
    every=st.integers(1, 30),
    per_lead=st.integers(1, 9),
)
def test_whatever_the_leads_a_snapshot_is_open_and_its_label_known_by_as_of(
    rows: list[Lead], horizon: int, every: int, per_lead: int
) -> None:
    as_of = datetime(2026, 4, 1, tzinfo=UTC)
    unique = [(f"{i} {row[0]}", *row[1:]) for i, row in enumerate(rows)]
    found = snapshots(
        frame(*unique), as_of=as_of, horizon_days=horizon, every_days=every, per_lead=per_lead
    ).join(frame(*unique).drop("created_at"), on="lead_id")
    moment, ends = pl.col("snapshot_at"), pl.col("snapshot_at") + timedelta(days=horizon)
    holds = found.select(
        moment > pl.col("created_at"),
        is_open=pl.min_horizontal("converted_at", "closed_at", pl.lit(as_of)) > moment,
        over=ends <= as_of,
        known=pl.col("label_known_at").is_between(moment, ends),
        label=pl.col("label") == (pl.col("converted_at") <= ends).fill_null(value=False),
    )
    assert all(holds.select(pl.all().all()).row(0))
    assert (found.group_by("lead_id").len()["len"] <= per_lead).all()
    assert found.unique(["lead_id", "snapshot_at"]).height == found.height
