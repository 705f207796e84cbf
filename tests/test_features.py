"""A tenant's own columns become features, the same ones in training, batch and live scoring."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from numpy.typing import NDArray

from ml.features import MAX_CATEGORIES, MAX_COLUMNS, MAX_KINDS, build, infer
from ml.interactions import LOOKBACK_DAYS
from ml.spec import OTHER, Column, Dropped, FeatureSpec

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
CREATED = NOW - timedelta(days=40)
TIME = pl.Datetime("us", "UTC")
LEADS = pl.Schema(
    {"lead_id": pl.String(), "created_at": TIME, "as_of": TIME, "attributes": pl.String()}
)
EVENTS = pl.Schema(
    {"lead_id": pl.String(), "kind": pl.String(), "occurred_at": TIME, "known_at": TIME}
)

Event = tuple[str, str, datetime, datetime]


def sample(rows: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    return pl.DataFrame({"attributes": [json.dumps(row) for row in rows]})


def column_of(*values: object) -> Column | Dropped:
    """What infer makes of one attribute with these values."""
    spec = infer(sample([{"x": value} for value in values]), [])
    verdicts: list[Column | Dropped] = [*spec.columns, *spec.dropped]
    assert len(verdicts) == 1
    return verdicts[0]


def leads(*attributes: str | None, as_of: datetime = NOW) -> pl.DataFrame:
    return pl.DataFrame(
        [(f"lead-{i}", CREATED, as_of, text) for i, text in enumerate(attributes)],
        schema=LEADS,
        orient="row",
    )


def events(*rows: Event) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=EVENTS, orient="row")


def event(ago: timedelta, kind: str = "email", lead: str = "lead-0") -> Event:
    return lead, kind, NOW - ago, NOW - ago


def read_as(kind: Any, *values: object, categories: tuple[str, ...] = ()) -> list[float | None]:
    """The feature of one column for these values, missing as None."""
    spec = FeatureSpec((Column("x", kind, categories),), ())
    rows = (json.dumps({"x": value}) for value in values)
    feature = build(spec, leads(*rows), events())[:, 0]
    return [None if np.isnan(value) else value for value in feature.tolist()]


def activity(
    *rows: Event, kinds: tuple[str, ...] = ("call", "email"), as_of: datetime = NOW
) -> dict[str, float]:
    """The features of one lead without attributes, by name."""
    spec = FeatureSpec((), kinds)
    matrix = build(spec, leads("{}", as_of=as_of), events(*rows))
    names = [feature.name for feature in spec.features]
    return dict(zip(names, matrix[0].tolist(), strict=True))


def same_bytes(one: NDArray[np.float32], other: NDArray[np.float32]) -> bool:
    return (
        one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()
    )


DAYS = [f"2026-01-{day:02}" for day in range(1, 29)]
NAMES = [f"{first} {last}" for first in ("Ada", "Grace", "Alan") for last in "ABCDEFGHIJ"]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (range(30), "numeric"),
        ([0.5, 1, 2.25] * 10, "numeric"),
        ([str(i) for i in range(30)], "numeric"),
        ([*range(99), "unknown"], "numeric"),
        ([*[10, 20, 50] * 33, "unknown"], "numeric"),
        ([1, 2, *[None] * 98], "numeric"),
        ([*range(80), *["unknown"] * 20], "numeric"),
        ([*[10, 20, 50] * 20, *["unknown"] * 20], "categorical"),
        ([*DAYS, "soon", "later"], "date"),
        ([1, "2", None, ""] * 10, "numeric"),
        ([True, False] * 10, "boolean"),
        (["yes", "No"] * 10, "boolean"),
        (["true", False, None] * 10, "boolean"),
        (["yes", "no", "unknown"] * 10, "categorical"),
        ([True, None] * 10, "boolean"),
        (DAYS, "date"),
        ([f"{day}T08:30:00Z" for day in DAYS], "date"),
        ([f"{day} 08:30:00.5+02:00" for day in DAYS], "date"),
        (["web", "fair"] * 10, "categorical"),
        (["web", 7, True] * 10, "categorical"),
        ([["web"], ["web", "fair"]] * 10, "categorical"),
        (["web", None] * 10, "categorical"),
        (NAMES, "text"),
        (["a long note, the same twice over, and never a category" * 3, "x"] * 10, "text"),
    ],
)
def test_a_columns_kind_is_inferred_from_its_values(values: Sequence[object], kind: str) -> None:
    column = column_of(*values)
    assert isinstance(column, Column), column
    assert column.kind == kind


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ([7] * 30, "the same"),
        (["web"] * 30, "the same"),
        (["x" * 70 + str(i) for i in range(10, 40)], "the same"),
        ([None, ""] * 15, "filled in 0 of 30"),
        ([None] * 29 + [1], "filled in 1 of 30"),
        ([f"lead-{i}" for i in range(30)], "an identifier"),
        ([f"someone{i}@example.com" for i in range(30)], "an identifier"),
        (["nan"] * 30, "the same"),
    ],
)
def test_a_column_that_says_nothing_is_dropped_with_its_reason(
    values: Sequence[object], reason: str
) -> None:
    column = column_of(*values)
    assert isinstance(column, Dropped), column
    assert column.reason.startswith(reason)


def test_rare_values_have_no_category_of_their_own() -> None:
    often = ["web"] * 500 + ["fair"] * 480
    column = column_of(*often, *["fax"] * 19, *[OTHER] * 20)
    assert column == Column("x", "categorical", ("fair", "web", OTHER))
    column = column_of(*often, *["fax"] * 20)
    assert column == Column("x", "categorical", ("fair", "fax", "web", OTHER))


def test_the_most_frequent_categories_are_kept() -> None:
    cities = [f"city {i:03}" for i in range(MAX_CATEGORIES + 20)]
    column = column_of(*(city for city in cities for _ in range(100)), *cities[-1:] * 5)
    assert isinstance(column, Column)
    assert column.categories == (*cities[: MAX_CATEGORIES - 1], cities[-1], OTHER)


def test_the_most_filled_columns_are_read_and_the_others_counted() -> None:
    rows = [{f"x{i:03}": row % 3 for i in range(MAX_COLUMNS)} for row in range(60)]
    rows += [{f"y{i}": row for i in range(7)} for row in range(50)]
    spec = infer(sample(rows), [])
    assert [column.name for column in spec.columns] == sorted(rows[0])
    assert [dropped.name for dropped in spec.dropped] == ["(7 more)"]


def test_a_spec_depends_on_nothing_but_the_rows() -> None:
    rows = [{"b": i % 7, "a": "web" if i % 2 else None, "id": f"n{i}"} for i in range(100)]
    spec = infer(sample(rows), ["email", "call", "email"])
    assert spec == infer(
        sample([dict(reversed(row.items())) for row in rows[::-1]]), ["call", "email"]
    )
    assert [column.name for column in spec.columns] == ["a", "b"]
    assert [dropped.name for dropped in spec.dropped] == ["id"]
    assert spec.interaction_kinds == ("call", "email")


def test_rows_that_cannot_be_read_teach_nothing() -> None:
    rows = sample([{"x": i} for i in range(30)])
    unreadable = pl.DataFrame({"attributes": ['{"y": ', "[1]", "", None]})
    assert infer(pl.concat([rows, unreadable]), []) == infer(rows, [])


def test_only_the_first_kinds_get_counts() -> None:
    kinds = [f"kind {i:02}" for i in range(MAX_KINDS + 5)]
    assert infer(sample([]), kinds[::-1]).interaction_kinds == tuple(kinds[5:])


def test_numbers() -> None:
    surprises = ["n/a", "", None, True, [1], "inf", "nan", 1e300, "1e999"]
    assert read_as("numeric", 1.5, "1.5", -2, "1e3", *surprises) == [
        *(1.5, 1.5, -2, 1000),
        *[None] * len(surprises),
    ]


def test_booleans() -> None:
    values = (True, "true", "YES", False, "No", "maybe", 1, None)
    assert read_as("boolean", *values) == [1, 1, 1, 0, 0, None, None, None]


def test_dates_become_days_until_as_of() -> None:
    values = ("2026-02-28", "2026-02-28T12:00:00Z", "2026-02-28 13:00+01:00", "2026-03-02")
    assert read_as("date", *values, "soon", None) == [1.5, 1, 1, -0.5, None, None]


def test_texts_become_their_length() -> None:
    assert read_as("text", "grüße", "日本", 12, "", None) == [5, 2, 2, None, None]


def test_unseen_categories_are_other_and_missing_ones_are_missing() -> None:
    categories = ("1", "web", OTHER)
    values = ("web", 1, 1.0, "1", "telex", OTHER, "", None)
    codes = [1, 0, 0, 0, 2, 2, None, None]
    assert read_as("categorical", *values, categories=categories) == codes


@given(unseen=st.text(min_size=1).filter(lambda value: value not in ("fair", "web")))
def test_every_unseen_text_is_other(unseen: str) -> None:
    assert read_as("categorical", unseen, "web", categories=("fair", "web", OTHER)) == [2, 1]


@pytest.mark.parametrize(
    "bad",
    [
        "",
        "   ",
        "[]",
        "null",
        '{"a": ',
        '{"a": 1} {"a": 2}',
        '{}\n{"a": 7}',
        '{"b": NaN',
        '{"b": ' + "[" * 5000 + "]" * 5000 + "}",
        None,
    ],
)
def test_a_row_that_cannot_be_read_is_missing_alone(bad: str | None) -> None:
    spec = FeatureSpec((Column("a", "numeric"),), ())
    matrix = build(spec, leads('{"a": 1}', bad, '\n{"a":\n3}', '{"a": "4"}'), events())
    assert_array_equal(matrix[:, 0], [1, np.nan, 3, 4])


@pytest.mark.parametrize("huge", ["1" + "0" * 400, "1e999", "NaN", "-Infinity", str(2**128)])
def test_a_number_too_large_to_read_costs_no_other_value(huge: str) -> None:
    spec = FeatureSpec((Column("a", "numeric"), Column("b", "numeric")), ())
    rows = leads(f'{{"a": {huge}, "b": 2}}', f'{{"b": 3, "c": [{huge}]}}', '{"a": 4}')
    matrix = build(spec, rows, events())
    assert_array_equal(matrix[:, :2], [[np.nan, 2], [np.nan, 3], [4, np.nan]])


def test_only_what_was_known_before_as_of_counts() -> None:
    hour = timedelta(hours=1)
    second = timedelta(microseconds=1)
    heard_late = ("lead-0", "email", NOW - hour, NOW + hour)
    heard_now = ("lead-0", "email", NOW - hour, NOW)
    happens_now = ("lead-0", "email", NOW, NOW - hour)
    planned = ("lead-0", "email", NOW + hour, NOW - hour)
    other_lead = event(hour, lead="lead-1")
    nothing = activity()
    assert activity(heard_late, heard_now, happens_now, planned, other_lead) == pytest.approx(
        nothing, nan_ok=True
    )
    assert nothing["interactions: email in 90 d"] == 0
    just_before = ("lead-0", "email", NOW - second, NOW - second)
    assert activity(just_before)["interactions: email in 1 d"] == 1


def test_each_row_has_its_own_as_of() -> None:
    spec = FeatureSpec((Column("x", "date"),), ("email",))
    times = [NOW - timedelta(days=days) for days in (0, 2, 9)]
    rows = pl.concat(leads('{"x": "2026-02-01"}', as_of=as_of) for as_of in times)
    happened = events(*(event(timedelta(days=days)) for days in (1, 5, 5, 20)))
    matrix = build(spec, rows, happened)
    names = [feature.name for feature in spec.features]
    assert matrix[:, names.index("x")].tolist() == [28.5, 26.5, 19.5]
    assert matrix[:, names.index("interactions: email in 7 d")].tolist() == [3, 2, 0]
    assert matrix[:, names.index("recency of interactions")].tolist() == [1, 3, 11]
    assert matrix[:, names.index("age of the lead")].tolist() == [40, 38, 31]


def test_counts_by_kind_and_window() -> None:
    days = (0.5, 1, 1.5, 7, 8, 30, 31, 90)
    counts = activity(*(event(timedelta(days=d)) for d in days), event(timedelta(days=3), "call"))
    assert [counts[f"interactions: email in {d} d"] for d in (1, 7, 30, 90)] == [2, 4, 6, 8]
    assert [counts[f"interactions: call in {d} d"] for d in (1, 7, 30, 90)] == [0, 1, 1, 1]


def test_recency_trend_and_breadth() -> None:
    ago = [event(timedelta(days=days)) for days in (2, 3, 20, 25, 29, 40)]
    found = activity(*ago, event(timedelta(days=35), "call"))
    assert found["recency of interactions"] == 2
    assert found["trend of interactions"] == np.float32(2 - 5 * 7 / 30)
    assert found["breadth of interactions"] == 1
    nothing = activity()
    assert np.isnan(nothing["recency of interactions"])
    assert nothing["trend of interactions"] == nothing["breadth of interactions"] == 0


def test_a_new_kind_is_activity_without_a_count_of_its_own() -> None:
    day = timedelta(days=1)
    found = activity(event(3 * day), event(day, "fax"), event(2 * day, "sms"))
    assert found["recency of interactions"] == 1
    assert found["breadth of interactions"] == 2
    assert found["interactions: email in 7 d"] + found["interactions: call in 7 d"] == 1


def test_what_is_older_than_the_lookback_need_not_be_read() -> None:
    edge = timedelta(days=LOOKBACK_DAYS)
    assert activity(event(edge))["recency of interactions"] == LOOKBACK_DAYS
    assert activity(event(edge + timedelta(microseconds=1))) == pytest.approx(
        activity(), nan_ok=True
    )


def test_a_tenant_without_interactions_has_no_features_of_them() -> None:
    spec = infer(sample([{"x": i} for i in range(30)]), [])
    assert [feature.name for feature in spec.features] == ["x", "age of the lead"]
    assert build(spec, leads(), events()).shape == (0, 2)
    assert build(FeatureSpec((), ("email",)), leads(), events()).shape == (0, 8)
    assert infer(sample([]), []).columns == ()


HOSTILE = ["*", "^.*$", "a,b", '"', "{value}", "age of the lead", "attribute: age of the lead"]
HOSTILE += ["interactions: email", "interactions: email in 30 d", "as_of", "x\ny", "", "naïve 日本"]


def test_no_name_of_a_column_collides_with_another_feature() -> None:
    spec = infer(sample([dict.fromkeys(HOSTILE, i) for i in range(30)]), ["email", "email in 30 d"])
    assert sorted(HOSTILE) == [column.name for column in spec.columns]
    names = [feature.name for feature in spec.features]
    assert len(set(names)) == len(names) == len(HOSTILE) + 2 * 4 + 4
    assert len({factor.name for factor in spec.factors}) == len(HOSTILE) + 2 + 4
    matrix = build(spec, leads(json.dumps(dict.fromkeys(HOSTILE, 5))), events(event(timedelta(1))))
    assert matrix[0, : len(HOSTILE)].tolist() == [5] * len(HOSTILE)


def test_factors_share_out_the_features() -> None:
    columns = (
        Column("day", "date"),
        Column("member", "boolean"),
        Column("note", "text"),
        Column("source", "categorical", ("web", OTHER)),
    )
    spec = FeatureSpec(columns, ("call", "email"))
    positions = [position for factor in spec.factors for position in factor.features]
    assert positions == list(range(len(spec.features)))
    factors = {factor.name: factor for factor in spec.factors}
    assert spec.features[factors["interactions: email"].shown].name == "interactions: email in 30 d"
    assert factors["interactions: email"].template == "email: {value} in 30 days"
    assert factors["day"].template == "day: {value} days ago"
    assert factors["note"].template == "note: {value} characters long"
    assert factors["source"].categories == ("web", OTHER)
    assert factors["member"].categories == ("no", "yes")
    assert [f.name for f in spec.features if f.categorical] == ["source"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(DAYS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
KEYS = st.sampled_from(["a", "b", "*", "interactions: email"]) | st.text(max_size=3)
ROWS = st.lists(st.dictionaries(KEYS, JSON, max_size=6), min_size=1, max_size=40)


@settings(deadline=None)
@given(seen=ROWS, later=ROWS, ascii_only=st.booleans())
def test_any_attributes_give_a_matrix(
    seen: list[dict[str, Any]], later: list[dict[str, Any]], ascii_only: bool
) -> None:
    spec = infer(sample([*seen, *seen, *seen]), ["email"])
    assert FeatureSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec
    rows = leads(*(json.dumps(row, ensure_ascii=ascii_only) for row in [*seen, *later]))
    matrix = build(spec, rows, events(event(timedelta(days=1))))
    assert matrix.shape == (len(seen) + len(later), len(spec.features))
    assert matrix.dtype == np.float32
    assert not np.isinf(matrix).any()
    for position, feature in enumerate(spec.features):
        if feature.categorical:
            codes = matrix[:, position][~np.isnan(matrix[:, position])]
            assert set(codes) <= set(range(len(feature.categories)))


VALUES = JSON | st.sampled_from(["web", "fair", "yes", 10**400, float("inf"), 0.1, "0.1", 1e-7])
TIMES = st.datetimes(datetime(2025, 11, 1), datetime(2026, 3, 2), timezones=st.just(UTC))
LEAD_IDS = st.sampled_from(["lead-0", "lead-1", "lead-2"])
KINDS = st.sampled_from(["email", "call", "fax"])
MIXED = FeatureSpec(
    (
        Column("a", "numeric"),
        Column("b", "boolean"),
        Column("c", "categorical", ("fair", "web", OTHER)),
        Column("d", "date"),
        Column("e", "text"),
    ),
    ("call", "email"),
)


@settings(deadline=None)
@given(
    rows=st.lists(
        st.tuples(LEAD_IDS, TIMES, TIMES, st.dictionaries(st.sampled_from("abcde"), VALUES)),
        min_size=1,
        max_size=20,
    ),
    happened=st.lists(st.tuples(LEAD_IDS, KINDS, TIMES, TIMES), max_size=30),
)
def test_a_row_alone_equals_the_row_in_a_batch_byte_for_byte(
    rows: list[tuple[str, datetime, datetime, dict[str, Any]]], happened: list[Event]
) -> None:
    batch = pl.DataFrame(
        [(*row[:3], json.dumps(row[3])) for row in rows], schema=LEADS, orient="row"
    )
    matrix = build(MIXED, batch, events(*happened))
    for position, (lead, *_) in enumerate(rows):
        own = events(*(entry for entry in happened[::-1] if entry[0] == lead))
        assert same_bytes(build(MIXED, batch[position], own)[0], matrix[position])


def test_a_row_in_a_large_batch_equals_the_row_alone() -> None:
    random = np.random.default_rng(0)
    rows = [
        {"a": number, "b": bool(number > 0), "c": "web", "d": DAYS[i % 28], "e": "x" * (i % 9)}
        for i, number in enumerate(random.normal(size=5000).tolist())
    ]
    batch = leads(*map(json.dumps, rows))
    ago = random.uniform(0, 100, 15_000)
    happened = events(
        *(event(timedelta(days=days), "call", f"lead-{i % 5000}") for i, days in enumerate(ago))
    )
    matrix = build(MIXED, batch, happened)
    for part in (slice(0, 1), slice(1, 8), slice(8, 2500), slice(2500, 5000)):
        assert same_bytes(build(MIXED, batch[part], happened), np.asfortranarray(matrix[part]))
