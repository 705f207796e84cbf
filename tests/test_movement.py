"""What moved between two scores adds up, within one model and across two, and says so in words."""

import math
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ml.model import ConfidenceTable, Evidence, Model
from ml.movement import Move, Scored, moves
from ml.scoring import score
from ml.spec import Column, FeatureSpec
from ml.tables import Tables
from tests.test_scoring import MODEL as TRAINED
from tests.test_scoring import leads

COLUMNS = (
    Column("job", "categorical", ("clerk", "retired", "(other)")),
    Column("newsletter", "boolean"),
    Column("age", "numeric"),
    Column("base", "numeric"),
)
ANY_RATE = ConfidenceTable(np.zeros(0), np.zeros(1), np.ones(1), np.zeros(1, dtype=np.int64))


def model(columns: tuple[Column, ...], kinds: tuple[str, ...] = (), base: float = -2.0) -> Model:
    spec = FeatureSpec(columns, kinds)
    return Model(
        spec,
        Tables.constant(len(spec.features), base),
        ANY_RATE,
        Evidence("own_model", 100, 20),
        datetime(2026, 3, 1, tzinfo=UTC),
        30,
    )


def scored(of: Model, weights: dict[str, float], values: dict[str, float]) -> Scored:
    """Weights by factor and values by feature; all others are 0."""
    return Scored(
        of,
        np.array([weights.get(factor.name, 0) for factor in of.spec.factors], np.float32),
        np.array([values.get(feature.name, 0) for feature in of.spec.features], np.float32),
    )


def moved(before: Scored, after: Scored) -> list[Move]:
    return [move for move in moves(before, after) if move.change]


@st.composite
def any_scored(draw: st.DrawFn) -> Scored:
    columns = draw(st.permutations(COLUMNS))[: draw(st.integers(0, len(COLUMNS)))]
    kinds = draw(st.sampled_from([(), ("visit",), ("call", "visit")]))
    of = model(tuple(columns), kinds, draw(st.floats(-8, 8)))
    weights = st.floats(-20, 20, width=32)
    return Scored(
        of,
        draw(arrays(np.float32, len(of.spec.factors), elements=weights)),
        draw(arrays(np.float32, len(of.spec.features))),
    )


@settings(deadline=None)
@given(any_scored(), any_scored())
def test_the_changes_add_up_also_across_models(before: Scored, after: Scored) -> None:
    found = moves(before, after)
    difference = after.log_odds - before.log_odds
    assert math.fsum(move.change for move in found) == pytest.approx(difference, abs=1e-12)
    assert math.fsum(move.before for move in found) == pytest.approx(before.log_odds, abs=1e-12)
    assert math.fsum(move.after for move in found) == pytest.approx(after.log_odds, abs=1e-12)
    names = [move.factor for move in found]
    both = {factor.name for side in (before, after) for factor in side.model.spec.factors}
    assert sorted(names, key=str) == sorted({None, *both}, key=str), "each once"
    strengths = [abs(move.change) for move in found]
    assert strengths == sorted(strengths, reverse=True)


def test_log_odds_are_those_of_the_served_probability_to_the_bit() -> None:
    matrix = leads(400, seed=7)
    scores = score(TRAINED, matrix)
    for row in range(len(matrix)):
        again = Scored(TRAINED, scores.contributions[row], matrix[row]).log_odds
        assert 1.0 / (1.0 + np.exp(-again)) == scores.probability[row]


def test_the_changes_of_a_trained_model_add_up_to_that_of_its_log_odds() -> None:
    matrix = leads(200, seed=8)
    scores = score(TRAINED, matrix)
    served = np.log(scores.probability) - np.log1p(-scores.probability)
    sides = [Scored(TRAINED, scores.contributions[row], matrix[row]) for row in range(200)]
    for row in range(0, 200, 2):
        total = math.fsum(move.change for move in moves(sides[row], sides[row + 1]))
        assert total == pytest.approx(served[row + 1] - served[row], abs=1e-9)


def test_within_a_model_each_factor_says_its_weight_and_value_before_and_after() -> None:
    of = model(COLUMNS, ("visit",))
    before = scored(of, {"job": 0.5, "age": 1.0}, {"job": 0, "age": 40, "newsletter": np.nan})
    after = scored(
        of,
        {"job": -0.25, "age": 1.0, "newsletter": 0.125, "interactions: visit": 1.5},
        {
            "job": 1,
            "age": 41,
            "newsletter": 1,
            "interactions: visit in 7 d": 6,
            "interactions: visit in 30 d": 6,
        },
    )
    assert moved(before, after) == [
        Move("interactions: visit", 0.0, 1.5, "visit: 0 -> 6 in 30 days"),
        Move("job", 0.5, -0.25, "job: clerk -> retired"),
        Move("newsletter", 0.0, 0.125, "newsletter: not known -> yes"),
    ]
    assert moves(before, after)[3] == Move(None, -2.0, -2.0, "the model's base")


def test_the_window_that_moved_is_named_where_the_one_shown_did_not() -> None:
    of = model((), ("visit",))
    thirty, seven = {"interactions: visit in 30 d": 4.0}, {"interactions: visit in 7 d": 4.0}
    before = scored(of, {"interactions: visit": 0.75}, {**thirty, **seven})
    quiet = scored(of, {"interactions: visit": 0.25}, thirty)
    assert moved(before, quiet)[0].words == "visit: 4 -> 0 in 7 days"
    same = scored(of, {"interactions: visit": 0.25}, {**thirty, **seven})
    assert moved(before, same)[0].words == "visit: 4 in 30 days", "only the weight moved"


def test_across_models_the_base_moves_and_factors_come_and_go() -> None:
    before = scored(
        model(COLUMNS[:2]), {"job": 0.5, "newsletter": 0.25}, {"job": 1, "newsletter": 1}
    )
    other_job = replace(COLUMNS[0], categories=("retired", "(other)"))
    after = scored(model((COLUMNS[2], other_job), base=-1.0), {"age": -0.125, "job": 0.75}, {})
    assert moved(before, after) == [
        Move(None, -2.0, -1.0, "the model's base moved"),
        Move("job", 0.5, 0.75, "job: retired"),
        Move("newsletter", 0.25, 0.0, "newsletter: yes (not in the model after)"),
        Move("age", 0.0, -0.125, "age: 0 (not in the model before)"),
    ]


def test_a_column_of_another_kind_is_said_with_both_sentences() -> None:
    number, date = Column("signup", "numeric"), Column("signup", "date")
    before = scored(model((number,)), {"signup": 0.5}, {"signup": 3})
    after = scored(model((date,)), {"signup": 1.0}, {"signup": 9})
    assert moved(before, after)[0].words == "signup: 3 -> signup: 9 days ago"


def test_equally_strong_changes_keep_the_order_base_later_models_factors_then_the_rest() -> None:
    weights = {column.name: 1.0 for column in COLUMNS}
    before = scored(model(COLUMNS[:1], base=0.0), {"job": 1.0}, {})
    after = scored(model(COLUMNS[:0:-1], base=1.0), weights, {})
    assert [move.factor for move in moved(before, after)] == [
        None,
        "base",
        "age",
        "newsletter",
        "job",
    ]


def test_weights_that_are_not_those_of_the_models_factors_are_refused() -> None:
    good = scored(model(COLUMNS), {}, {})
    with pytest.raises(ValueError, match="shorter"):
        moves(good, replace(good, contributions=good.contributions[:2]))
