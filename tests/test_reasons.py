"""The words of a reason follow the rules that the module states, which the database shares."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.model import ConfidenceTable, Evidence, Model
from ml.reasons import Reason, effect, number, strongest, words
from ml.spec import Column, Factor, FeatureSpec
from ml.tables import Tables

SPEC = FeatureSpec(
    (
        Column("job", "categorical", ("clerk", "retired", "(other)")),
        Column("newsletter", "boolean"),
        Column("age", "numeric"),
        Column("signup", "date"),
    ),
    (),
)
ANY_RATE = ConfidenceTable(np.zeros(0), np.zeros(1), np.ones(1), np.zeros(1, dtype=np.int64))
MODEL = Model(
    SPEC,
    Tables.constant(len(SPEC.features), -2.0),
    ANY_RATE,
    Evidence("own_model", 100, 20),
    datetime(2026, 3, 1, tzinfo=UTC),
    30,
)


def reasons(weights: list[float], values: list[float], k: int = 3) -> list[Reason]:
    return strongest(MODEL, np.array(weights, np.float32), np.array(values, np.float32), k)


def test_the_strongest_reasons_come_first_with_their_words() -> None:
    found = reasons([0.5, -1.0, 0.25, 0.0, 2.0], [1, 0, 41.5, 3, 12])
    assert found == [
        Reason(
            "age of the lead",
            2.0,
            12.0,
            "12 days since the lead was created (multiplies the odds by 7.39)",
        ),
        Reason("newsletter", -1.0, None, "newsletter: no (divides the odds by 2.72)"),
        Reason("job", 0.5, None, "job: retired (multiplies the odds by 1.65)"),
    ]


def test_equal_weights_keep_the_order_of_the_factors() -> None:
    columns = tuple(Column(f"c{position}", "numeric") for position in range(60))
    spec = FeatureSpec(columns, ())
    model = replace(MODEL, spec=spec, predictor=Tables.constant(len(spec.features), 0.0))
    weights = np.tile(np.array([0.25, -0.5, 0.5], np.float32), 21)[:61]
    found = strongest(model, weights, np.zeros(61, np.float32), 5)
    assert [reason.factor for reason in found] == ["c1", "c2", "c4", "c5", "c7"]


def test_a_factor_that_adds_nothing_is_no_reason() -> None:
    assert reasons([0, 0, 0, 0, 0], [0, 1, 30, 3, 2]) == []
    assert [reason.factor for reason in reasons([0, 0, 0, 0.1, 0], [0, 1, 30, 3, 2])] == ["signup"]
    assert len(reasons([1, 2, 3, 4, 5], [0, 1, 30, 3, 2], k=2)) == 2


@pytest.mark.parametrize("unknown", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_known_is_said_to_be(unknown: float) -> None:
    found = reasons([1, 1, 1, 1, 1], [unknown] * 5, k=5)
    assert [reason.value for reason in found] == [None] * 5
    assert [reason.explanation.partition(" (")[0] for reason in found] == [
        "job: not known",
        "newsletter: not known",
        "age: not known",
        "signup: not known",
        "age of the lead: not known",
    ]


def test_a_value_is_shown_in_its_template() -> None:
    shown = [
        words(factor, value) for factor, value in zip(SPEC.factors, [2, 1, 0.5, 9], strict=False)
    ]
    assert shown == ["job: (other)", "newsletter: yes", "age: 0.5", "signup: 9 days ago"]
    odd = Factor("{a} %s", (0,), 0, "{a} %s: {value}")
    assert words(odd, 1.0) == "{a} %s: 1"


@pytest.mark.parametrize(
    ("weight", "expected"),
    [
        (0.588, "multiplies the odds by 1.8"),
        (-0.588, "divides the odds by 1.8"),
        (0.003, "hardly changes the odds"),
        (-0.003, "hardly changes the odds"),
        (-0.01, "divides the odds by 1.01"),
    ],
)
def test_an_effect_is_what_the_weight_does_to_the_odds(weight: float, expected: str) -> None:
    assert effect(weight) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (3.0, "3"),
        (100.0, "100"),
        (0.5, "0.5"),
        (-2.50, "-2.5"),
        (0.125, "0.13"),
        (-0.125, "-0.13"),
        (1.005, "1.01"),
        (0.004, "0"),
        (-0.0, "0"),
        (-0.004, "0"),
        (1234567.891, "1234567.89"),
        (1e22, "10000000000000000000000"),
    ],
)
def test_a_number_has_at_most_two_decimals(value: float, expected: str) -> None:
    assert number(value) == expected


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_any_number_is_near_what_it_says(value: float) -> None:
    text = number(value)
    tolerance = Decimal("0.005") + abs(Decimal(value)) * Decimal("1e-14")
    assert abs(Decimal(text) - Decimal(value)) <= tolerance
    assert "e" not in text.lower()
