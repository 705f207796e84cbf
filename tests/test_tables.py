"""The tables agree with LightGBM's own predict and pred_contrib, whatever the booster."""

import json
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ml.bins import ZERO
from ml.blend import read
from ml.tables import BLOCK_ROWS, Tables

Matrix = NDArray[np.float32]

SMALL = {
    "objective": "binary",
    "max_depth": 2,
    "num_leaves": 4,
    "learning_rate": 0.3,
    "min_data_in_leaf": 3,
    "min_data_per_group": 3,
    "min_sum_hessian_in_leaf": 1e-6,
    "cat_smooth": 1.0,
    "bagging_freq": 1,
    "num_threads": 1,
    "deterministic": True,
    "seed": 1,
    "verbose": -1,
}

# With what the release before the one that packs tables said of its rows.
FORMER = "tables_of_former_layout.json"

KINDS = ["real", "count", "constant", "sparse", "tiny", "huge", "empty", "category"]

TRAININGS = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 2**32 - 1),
        "rows": st.sampled_from([400, 60, 12]),
        "kinds": st.lists(st.sampled_from(KINDS), min_size=2, max_size=6),
        "missing": st.sampled_from([0.2, 0.0]),
        "weighted": st.booleans(),
        "rounds": st.sampled_from([25, 5, 1]),
        "params": st.fixed_dictionaries(
            {
                "num_leaves": st.sampled_from([4, 3, 2]),
                "learning_rate": st.sampled_from([0.05, 0.7]),
                "max_bin": st.sampled_from([4, 255]),
                "max_cat_to_onehot": st.sampled_from([1, 4]),
                "boosting": st.sampled_from(["gbdt", "dart"]),
                "boost_from_average": st.booleans(),
                "use_missing": st.sampled_from([True, True, False]),
                "zero_as_missing": st.sampled_from([False, False, True]),
                "bagging_fraction": st.sampled_from([1.0, 0.6]),
                "objective": st.sampled_from(["binary", "regression"]),
            }
        ),
    }
)


def train(
    matrix: Matrix,
    target: NDArray[Any],
    *,
    categorical: tuple[int, ...] = (),
    weight: NDArray[np.float64] | None = None,
    rounds: int = 12,
    **params: Any,
) -> Any:
    data = lgb.Dataset(matrix, target, weight=weight, categorical_feature=list(categorical))
    return lgb.train({**SMALL, **params}, data, rounds)


def compiled(booster: Any) -> Tables:
    """Compiled and read back from its JSON, since what serves is always read from JSON."""
    text = json.dumps(Tables.compile(booster.dump_model()).to_json(), allow_nan=False)
    return Tables.from_json(json.loads(text))


def assert_agrees(tables: Tables, booster: Any, matrix: Matrix) -> None:
    expected = booster.predict(matrix, pred_contrib=True, num_threads=1)
    raw = booster.predict(matrix, raw_score=True, num_threads=1)
    np.testing.assert_allclose(tables.base, expected[:, -1], rtol=0, atol=1e-9)
    np.testing.assert_allclose(tables.contributions(matrix), expected[:, :-1], rtol=0, atol=1e-9)
    np.testing.assert_allclose(tables.raw(matrix), raw, rtol=0, atol=1e-9)


def column(kind: str, rows: int, random: np.random.Generator) -> NDArray[Any]:
    """Values of one of the kinds of column that CRMs, or trouble, are made of."""
    made: dict[str, NDArray[Any]] = {
        "real": random.normal(size=rows),
        "count": random.poisson(2.0, rows),
        "constant": np.full(rows, 3.0),
        "sparse": random.normal(size=rows) * (random.random(rows) < 0.3),
        "tiny": random.choice([-2, -1, -0.5, 0, 0.5, 1, 2], rows) * ZERO,
        "huge": random.choice([-3e38, -1e10, 0.0, 1e10, 3e38], rows),
        "empty": np.full(rows, np.nan),
        "category": random.integers(0, random.integers(1, 40), rows),
    }
    return made[kind]


def trained(training: dict[str, Any]) -> tuple[Any, Matrix]:
    """A booster on random columns, with the matrix it was trained on."""
    random = np.random.default_rng(training["seed"])
    kinds, rows = training["kinds"], training["rows"]
    matrix = np.column_stack([column(kind, rows, random) for kind in kinds]).astype(np.float32)
    matrix[random.random(matrix.shape) < training["missing"]] = np.nan
    signal = np.nan_to_num(np.clip(matrix, -5, 5)) @ random.normal(size=len(kinds))
    target = signal + random.normal(size=rows) > np.median(signal)
    booster = train(
        matrix,
        target,
        categorical=tuple(place for place, kind in enumerate(kinds) if kind == "category"),
        weight=random.random(rows) + 0.1 if training["weighted"] else None,
        rounds=training["rounds"],
        **training["params"],
    )
    return booster, matrix


def never_seen(tables: Tables, random: np.random.Generator, rows: int = 300) -> Matrix:
    """Rows made of each threshold and its neighbours, and of what training had none of."""
    columns = []
    for position in range(tables.features):
        known = tables.bins[position].examples if position in tables.bins else np.zeros(1)
        with np.errstate(over="ignore"):
            near = known.astype(np.float32)
        above = np.nextafter(near, np.float32(np.inf))
        below = np.nextafter(near, np.float32(-np.inf))
        around_zero = np.array([-2, -1, -0.5, -0.0, 0, 0.5, 1, 2]) * ZERO
        others = [np.nan, np.inf, -np.inf, -7, -1, -0.5, 0.5, 2.7, 31, 32, 500, 3e9]
        values = np.concatenate([near, above, below, around_zero, others])
        columns.append(random.choice(values, rows))
    return np.column_stack(columns).astype(np.float32)


@settings(deadline=None, max_examples=250)
@given(training=TRAININGS)
def test_tables_agree_with_lightgbm_on_random_boosters(training: dict[str, Any]) -> None:
    booster, matrix = trained(training)
    tables = compiled(booster)
    assert_agrees(tables, booster, matrix)
    assert_agrees(tables, booster, never_seen(tables, np.random.default_rng(training["seed"])))


@settings(deadline=None, max_examples=25)
@given(training=TRAININGS)
def test_json_keeps_every_bit(training: dict[str, Any]) -> None:
    booster, matrix = trained(training)
    tables = Tables.compile(booster.dump_model())
    again = compiled(booster)
    assert again.base == tables.base
    np.testing.assert_array_equal(again.contributions(matrix), tables.contributions(matrix))
    assert again.to_json() == tables.to_json()


@pytest.mark.parametrize(
    "params", [{}, {"zero_as_missing": True}, {"use_missing": False}], ids=["nan", "zero", "none"]
)
def test_zeros_and_missing_values_go_where_lightgbm_sends_them(params: Any) -> None:
    random = np.random.default_rng(0)
    matrix = random.normal(size=(2000, 3)).astype(np.float32)
    matrix[random.random(matrix.shape) < 0.3] = 0
    matrix[random.random(matrix.shape) < 0.2] = np.nan
    target = (np.isnan(matrix[:, 0]) | (matrix[:, 0] > 1)) ^ (matrix[:, 1] == 0)
    booster = train(matrix, target, rounds=60, **params)
    tables = compiled(booster)
    assert_agrees(tables, booster, matrix)
    assert_agrees(tables, booster, never_seen(tables, random))


def test_a_missing_value_that_training_never_had_counts_as_zero() -> None:
    random = np.random.default_rng(0)
    matrix = random.normal(size=(400, 3)).astype(np.float32)
    booster = train(matrix, matrix[:, 0] * matrix[:, 1] > 0)
    tables = compiled(booster)
    unknown = np.full((1, 3), np.nan, dtype=np.float32)
    assert_agrees(tables, booster, unknown)
    assert tables.raw(unknown) == tables.raw(np.zeros((1, 3), dtype=np.float32))


def test_an_unseen_category_counts_as_none_of_the_known() -> None:
    random = np.random.default_rng(0)
    codes = random.integers(0, 40, size=(2000, 2)).astype(np.float32)
    booster = train(codes, (codes[:, 0] % 3 == 0) ^ (codes[:, 1] % 4 == 0), categorical=(0, 1))
    tables = compiled(booster)
    unseen = np.array([[40], [41], [63], [64], [1e6], [3e9], [-1], [-40], [np.nan]])
    matrix = np.column_stack([np.repeat(unseen, 40), np.tile(np.arange(40), len(unseen))])
    assert_agrees(tables, booster, matrix.astype(np.float32))
    assert len(np.unique(tables.raw(matrix.astype(np.float32))[::40])) == 1


def test_columns_without_information_contribute_nothing() -> None:
    random = np.random.default_rng(0)
    matrix = random.normal(size=(500, 4)).astype(np.float32)
    matrix[:, 1], matrix[:, 2] = np.nan, 7.0
    tables = compiled(train(matrix, matrix[:, 0] > 0))
    contributions = tables.contributions(matrix)
    assert (contributions[:, [1, 2]] == 0).all()
    assert np.abs(contributions[:, 0]).min() > 0.5


def test_columns_with_more_thresholds_than_a_byte_counts() -> None:
    random = np.random.default_rng(0)
    matrix = random.normal(size=(4000, 2)).astype(np.float32)
    matrix[::50] = np.nan
    target = np.sin(40 * matrix[:, 0]) * np.nan_to_num(matrix[:, 1]) > 0
    booster = train(matrix, target, rounds=400, max_bin=4000, min_data_in_bin=1)
    tables = compiled(booster)
    assert max(bins.size for bins in tables.bins.values()) > 256
    assert_agrees(tables, booster, never_seen(tables, random))


def test_more_rows_than_a_block_and_any_memory_layout() -> None:
    random = np.random.default_rng(0)
    matrix = random.normal(size=(BLOCK_ROWS + 7, 3)).astype(np.float32)
    booster = train(matrix[:500], matrix[:500, 0] + matrix[:500, 1] > 0)
    tables = compiled(booster)
    assert_agrees(tables, booster, matrix)
    by_column = tables.contributions(np.asfortranarray(matrix))
    np.testing.assert_array_equal(by_column, tables.contributions(matrix))
    assert tables.contributions(matrix[:0]).shape == (0, 3)


def test_a_random_forest_is_averaged_as_in_predict() -> None:
    random = np.random.default_rng(0)
    matrix = random.normal(size=(500, 3)).astype(np.float32)
    booster = train(matrix, matrix[:, 0] > 0.5, boosting="rf", bagging_fraction=0.5)
    probability = 1 / (1 + np.exp(-compiled(booster).raw(matrix)))
    np.testing.assert_allclose(probability, booster.predict(matrix, num_threads=1), atol=1e-12)


def test_a_calibration_scales_base_and_contributions() -> None:
    random = np.random.default_rng(0)
    matrix = random.normal(size=(500, 3)).astype(np.float32)
    tables = compiled(train(matrix, matrix[:, 0] * matrix[:, 1] > 0.2))
    scaled = tables.scaled(0.8, -1.5)
    np.testing.assert_allclose(scaled.raw(matrix), 0.8 * tables.raw(matrix) - 1.5, atol=1e-12)
    assert scaled.base == pytest.approx(0.8 * tables.base - 1.5)
    unscaled = scaled.contributions(matrix) / 0.8
    np.testing.assert_allclose(unscaled, tables.contributions(matrix), atol=1e-12)


def test_a_constant_gives_every_row_its_base() -> None:
    tables = Tables.from_json(Tables.constant(2, -2.5).to_json())
    matrix = np.array([[1, np.nan], [0, 3]], dtype=np.float32)
    assert tables.raw(matrix).tolist() == [-2.5, -2.5]
    assert tables.contributions(matrix).tolist() == [[0, 0], [0, 0]]


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"max_depth": 3, "num_leaves": 8}, "3 levels deep.*max_depth=2"),
        ({"objective": "multiclass", "num_class": 3}, "3 trees per iteration"),
        ({"objective": "regression", "linear_tree": True}, "linear_tree=false"),
    ],
)
def test_boosters_that_tables_cannot_hold_are_refused(params: Any, message: str) -> None:
    random = np.random.default_rng(0)
    matrix = random.normal(size=(500, 4)).astype(np.float32)
    target = np.digitize(matrix.sum(axis=1), [-1, 1]) if "num_class" in params else matrix[:, 0] > 0
    booster = train(matrix, target, **params)
    with pytest.raises(ValueError, match=message):
        Tables.compile(booster.dump_model())


@pytest.mark.parametrize("matrix", [np.zeros((3, 4), np.float32), np.zeros((3, 2)), np.zeros(2)])
def test_a_matrix_of_another_shape_or_type_is_refused(matrix: Any) -> None:
    with pytest.raises(ValueError, match="model takes float32 of shape \\(rows, 2\\)"):
        Tables.constant(2, 0.0).contributions(matrix)


def test_a_document_whose_table_does_not_fit_its_bins_is_refused() -> None:
    matrix = np.random.default_rng(0).normal(size=(500, 2)).astype(np.float32)
    document = compiled(train(matrix, matrix[:, 0] * matrix[:, 1] > 0)).to_json()
    document["bins"][0]["edges"].pop()
    with pytest.raises(ValueError, match="the bins of their columns make it"):
        Tables.from_json(document)


@pytest.mark.parametrize(
    ("field", "changed", "message"),
    [
        ("shares", lambda text: text[32:], "shares, their groups make it"),
        ("shares", lambda _: "AAAA\n", "[Bb]ase64"),
        ("shares", lambda text: "AAAAAAAA8H8AAAAAAADwfwAAAAAAAPB/" + text[32:], "not all finite"),
        ("columns", lambda columns: [[0, 2], *columns[1:]], r"columns \[2\] have no bins"),
    ],
)
def test_a_damaged_document_is_refused(
    field: str, changed: Callable[[Any], Any], message: str
) -> None:
    matrix = np.random.default_rng(0).normal(size=(500, 3)).astype(np.float32)
    document = compiled(train(matrix[:, :2], matrix[:, 0] * matrix[:, 1] > 0)).to_json()
    document[field] = changed(document[field])
    with pytest.raises(ValueError, match=message):
        Tables.from_json(document)


def test_documents_of_former_releases_give_the_same_bits() -> None:
    """One that release 2 of the format wrote, with what its code said of six rows."""
    former = json.loads(Path(__file__).with_name("documents").joinpath(FORMER).read_text())
    rows = np.array(former["rows"], dtype=np.float32)
    for tables in (read(former["predictor"]), read(read(former["predictor"]).to_json())):
        assert tables.contributions(rows).tolist() == former["contributions"]
        assert tables.raw(rows).tolist() == former["raw"]


@settings(deadline=None, max_examples=25)
@given(training=TRAININGS)
def test_rows_say_the_same_to_the_bit_one_by_one_and_in_bulk(training: dict[str, Any]) -> None:
    booster, _ = trained(training)
    tables = compiled(booster)
    many = never_seen(tables, np.random.default_rng(training["seed"]), rows=2000)
    alone = np.concatenate([tables.contributions(many[i : i + 1]) for i in range(50)])
    np.testing.assert_array_equal(tables.contributions(many)[:50], alone)
    np.testing.assert_array_equal(
        tables.contributions(many)[:300], tables.contributions(many[:300])
    )


def test_a_document_can_be_read_by_hand() -> None:
    """As docs/decisions/sums-of-tables.md says."""
    random = np.random.default_rng(0)
    matrix = random.normal(size=(500, 2)).astype(np.float32)
    tables = compiled(train(matrix, matrix[:, 0] * matrix[:, 1] > 0))
    document = json.loads(json.dumps(tables.to_json()))
    groups = np.frombuffer(b64decode(document["groups"]), "<u2").tolist()
    shares = np.frombuffer(b64decode(document["shares"]), "<f8").tolist()
    sizes = {of["column"]: len(of["edges"]) + 2 for of in document["bins"]}
    edges = {of["column"]: of["edges"] for of in document["bins"]}
    row, found = [0.3, -0.2], [0.0, 0.0]
    for columns in document["columns"]:
        cell, cells = 0, 1
        for column in columns:
            mine, groups = groups[: sizes[column]], groups[sizes[column] :]
            cell = cell * (max(mine) + 1) + mine[sum(row[column] > edge for edge in edges[column])]
            cells *= max(mine) + 1
        for position, column in enumerate(columns):
            found[column] += shares[cell * len(columns) + position]
        shares = shares[cells * len(columns) :]
    assert found == tables.contributions(np.array([row], np.float32))[0].tolist()
