"""What churn is learnt from: customers as they were known, within the time that records cover."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl

from ml import churn
from ml.history import History

TIME = pl.Datetime("us", "UTC")
BEGIN = datetime(2025, 1, 1, tzinfo=UTC)
AS_OF = BEGIN + timedelta(days=400)
DAY = timedelta(days=1)
NO_INTERACTIONS = pl.DataFrame(
    schema={"customer_id": pl.String, "kind": pl.String, "occurred_at": TIME, "known_at": TIME}
)


def history(
    left_after: Mapping[str, float | None],
    *,
    won_at: datetime = BEGIN - 700 * DAY,
    versions: list[tuple[str, datetime, str]] | None = None,
) -> History:
    """Of customers won at won_at who left so many days after BEGIN, None: who are there still."""
    customers = pl.DataFrame(
        {
            "customer_id": list(left_after),
            "created_at": [won_at] * len(left_after),
            "churned_at": [None if d is None else BEGIN + d * DAY for d in left_after.values()],
        },
        schema_overrides={"created_at": TIME, "churned_at": TIME},
    )
    known = versions or [(name, won_at, "{}") for name in left_after]
    frame = pl.DataFrame(
        known, schema={"customer_id": pl.String, "known_at": TIME, "attributes": pl.String},
        orient="row",
    )  # fmt: skip
    return churn.history(customers, frame, NO_INTERACTIONS, as_of=AS_OF, horizon_days=30)


def naive(time: datetime) -> np.datetime64:
    return np.datetime64(time.replace(tzinfo=None), "us")


def test_there_are_snapshots_from_the_first_who_left_to_a_horizon_before_the_last() -> None:
    """Who left before the records begin is not in them: nobody would seem to leave then."""
    many = {f"c{i}": float(i) for i in range(10, 200, 10)} | {f"d{i}": None for i in range(30)}
    found = history(many)
    assert found.snapshot_at.min() > naive(BEGIN + 10 * DAY)
    assert found.snapshot_at.max() <= naive(BEGIN + 160 * DAY)
    assert found.label_known_at.max() <= naive(BEGIN + 190 * DAY)
    assert len(found.label) > 100
    _, at_once = np.unique(found.snapshot_at, return_counts=True)
    assert at_once.max() <= 3


def test_the_label_is_that_the_customer_left_within_the_horizon() -> None:
    many = {f"c{i}": float(i) for i in range(10, 300, 3)} | {f"d{i}": None for i in range(20)}
    told = [
        (name, BEGIN - 600 * DAY, f'{{"leaves": {9_999 if day is None else day}}}')
        for name, day in many.items()
    ]
    found = history(many, versions=told)
    leaves = (found.matrix[:, 0] * 86_400_000_000).astype("timedelta64[us]") + naive(BEGIN)
    soon = (leaves > found.snapshot_at) & (leaves <= found.snapshot_at + np.timedelta64(30, "D"))
    assert 0.05 < found.label.mean() < 0.5
    assert (found.label == soon).all()


def test_the_age_is_that_of_the_customer_and_is_called_so() -> None:
    found = history({f"c{i}": float(i) for i in range(1, 200, 3)})
    assert found.spec.features[-1].name == "age of the customer"
    assert found.matrix[:, -1].min() > 700


def test_attributes_are_those_known_before_each_snapshot() -> None:
    many = {f"c{i}": float(i) for i in range(1, 300, 2)}
    switched = BEGIN + 150 * DAY
    versions = [
        version
        for number, name in enumerate(many)
        for version in (
            (name, BEGIN - 600 * DAY, f'{{"users": {number % 5}}}'),
            (name, switched, f'{{"users": {100 + number % 5}}}'),
        )
    ]
    found = history(many, versions=versions)
    users = found.matrix[:, 0]
    later = found.snapshot_at > naive(switched)
    assert later.any()
    assert users[later].min() >= 100
    assert users[~later].max() < 100


def test_where_nobody_left_there_is_nothing_to_learn_from() -> None:
    found = history({"c1": None, "c2": None})
    assert len(found.label) == 0
    assert found.spec.subject == "customer"
    assert len(history({"c1": 5.0, "c2": None}).label) == 0
