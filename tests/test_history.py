"""Labelled snapshots in one order, whatever order they came in; what may be left out of them."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from ml.history import History
from ml.spec import Column, Dropped, FeatureSpec

SPEC = FeatureSpec(
    (Column("seats", "numeric"), Column("industry", "categorical", ("a", "(other)"))),
    ("call",),
    (Dropped("empty", "no value in any row"),),
)
WIDTH = len(SPEC.features)
FIRST = datetime(2025, 1, 1, tzinfo=UTC)


def frame(rows: int) -> pl.DataFrame:
    """Two leads at each moment, the one with a conversion; features tell the row."""
    return pl.DataFrame(
        {
            "lead_id": [f"lead-{(7 * row) % 10}" for row in range(rows)],
            "snapshot_at": [FIRST + timedelta(days=row // 2) for row in range(rows)],
            "label": [row % 2 == 0 for row in range(rows)],
            "label_known_at": [FIRST + timedelta(days=30 + row // 2) for row in range(rows)],
            "features": [[float(row)] * WIDTH for row in range(rows)],
        },
        schema_overrides={"features": pl.List(pl.Float32)},
    )


def test_any_order_of_rows_gives_the_same_history() -> None:
    rows = frame(20)
    one, other = History.of(SPEC, rows), History.of(SPEC, rows.sample(20, shuffle=True, seed=3))
    for name in ("lead", "matrix", "label", "snapshot_at", "label_known_at"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    assert (np.diff(one.snapshot_at) >= np.timedelta64(0)).all()


def test_what_belongs_to_a_row_stays_with_it() -> None:
    history = History.of(SPEC, frame(20).reverse())
    row = history.matrix[:, 0].astype(int)
    assert (history.matrix == row[:, None]).all()
    np.testing.assert_array_equal(history.label, row % 2 == 0)
    assert len(np.unique(history.lead)) == 10
    np.testing.assert_array_equal(history.lead, 7 * row % 10)
    assert history.snapshot_at[0] == np.datetime64("2025-01-01", "us")


def test_features_may_be_lists_or_arrays_and_there_may_be_none() -> None:
    rows = frame(6)
    as_array = rows.with_columns(pl.col("features").cast(pl.Array(pl.Float32, WIDTH)))
    np.testing.assert_array_equal(History.of(SPEC, as_array).matrix, History.of(SPEC, rows).matrix)
    nothing = History.of(SPEC, rows.clear())
    assert nothing.matrix.shape == (0, WIDTH)
    assert nothing.matrix.dtype == np.float32


def test_an_attribute_that_is_left_out_takes_its_column_along_and_leaves_its_reason() -> None:
    history = History.of(SPEC, frame(6))
    columns = np.tile(np.arange(WIDTH, dtype=np.float32), (6, 1))
    history = replace(history, matrix=columns)
    less = history.without({"seats": "it leaks", "nothing": "there is no such attribute"})
    assert [column.name for column in less.spec.columns] == ["industry"]
    assert less.spec.dropped == (*SPEC.dropped, Dropped("seats", "it leaks"))
    assert less.matrix[0].tolist() == list(range(1, WIDTH))
    assert [f.name for f in less.spec.features] == [f.name for f in SPEC.features][1:]


def test_directions_are_of_attributes_and_never_of_activity() -> None:
    history = History.of(SPEC, frame(6))
    sample = history.sample(np.array([4, 5]), {"seats": "decreasing", "gone": "increasing"})
    assert sample.monotone == (-1, *[0] * (WIDTH - 1))
    assert sample.matrix.tolist() == history.matrix[4:].tolist()
    assert history.sample(np.array([0]), {"seats": "increasing"}).monotone[0] == 1


def test_a_label_from_the_future_is_refused() -> None:
    history = History.of(SPEC, frame(6))
    history.known_by(FIRST + timedelta(days=32))
    with pytest.raises(ValueError, match=r"label_known_at: 2025-02-02.* in row 4 is after"):
        history.known_by(FIRST + timedelta(days=31))


def test_rows_that_do_not_belong_together_are_refused() -> None:
    history = History.of(SPEC, frame(6))
    with pytest.raises(ValueError, match=rf"matrix has shape \(6, 2\).*\(6, {WIDTH}\)"):
        replace(history, matrix=history.matrix[:, :2])
    with pytest.raises(ValueError, match=r"have \[6, 4, 6\] rows, label 6: take them from one"):
        replace(history, snapshot_at=history.snapshot_at[:4])
    with pytest.raises(ValueError, match="snapshot_at goes back in time: sort the rows, or use"):
        replace(history, snapshot_at=history.snapshot_at[::-1])
