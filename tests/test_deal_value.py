"""Amounts of deals: what is planted comes back, what is not there is not claimed."""

import json
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from ml.deal_candidates import MEDIAN, Deals
from ml.deal_training import FEWEST, Trained, train
from ml.deal_value import DealValue
from ml.kinds import KINDS, predict
from ml.model import dumps
from ml.scoring import by_factor
from ml.spec import OTHER, Column, FeatureSpec

SPEC = FeatureSpec(
    (
        Column("seats", "numeric"),
        Column("plan", "categorical", ("basic", "pro", OTHER)),
        Column("noise", "numeric"),
    ),
    (),
    subject="deal",
)
TRAINED_AT = datetime(2026, 1, 1, tzinfo=UTC)


def deals(count: int, *, effect: float = 1.0, noise: float = 0.3, seed: int = 0) -> Deals:
    """Amounts of 1,000 x seats, doubled on the plan pro, times a log-normal factor."""
    random = np.random.default_rng(seed)
    matrix = np.zeros((count, len(SPEC.features)), np.float32)
    matrix[:, 0] = random.lognormal(2, 0.7, count)
    matrix[:, 1] = random.integers(0, 2, count)
    matrix[:, 2] = random.normal(size=count)
    matrix[random.random(count) < 0.05, 0] = np.nan
    seats = np.nan_to_num(matrix[:, 0].astype(np.float64), nan=8.0)
    log_amount = np.log(1_000) + effect * (np.log(seats) + np.log(2) * matrix[:, 1])
    won_at = np.datetime64("2025-01-01", "us") + np.arange(count) * np.timedelta64(4, "h")
    drawn = np.exp(log_amount + noise * random.normal(size=count))
    return Deals(SPEC, matrix, drawn, won_at, np.arange(count))


@pytest.fixture(scope="module")
def trained() -> Trained:
    return train(deals(1_500), trained_at=TRAINED_AT)


def test_amounts_are_said_nearly_as_well_as_can_be(trained: Trained) -> None:
    """The means without noise, exp(0.3^2 / 2) times the middle."""
    assert trained.report.lacking is None
    assert trained.model.evidence.stage == "own_model"
    new = deals(2_000, noise=0.0, seed=1)
    value = trained.model.values(new.matrix).value
    away = np.abs(value / (new.amount * np.exp(0.3**2 / 2)) - 1)
    assert np.median(away) < 0.06
    assert abs(value.sum() / (new.amount.sum() * np.exp(0.3**2 / 2)) - 1) < 0.04


def test_figures_are_those_of_deals_that_the_model_had_not_seen(trained: Trained) -> None:
    found = trained.report
    assert found.model is not None
    assert found.median is not None
    assert found.judged == 600
    assert found.model.mae < 0.6 * found.median.mae
    assert found.model.median_ape == pytest.approx(0.21, abs=0.04)
    assert found.model.r2_log > 0.75
    assert abs(found.model.coverage - 0.8) < 0.06
    assert next(iter(found.importance)) == "seats"


def test_the_interval_holds_four_of_five_new_amounts(trained: Trained) -> None:
    new = deals(3_000, seed=2)
    said = trained.model.values(new.matrix)
    inside = (said.low <= new.amount) & (new.amount <= said.high)
    assert inside.mean() == pytest.approx(0.8, abs=0.04)


def test_reasons_multiply_to_the_value(trained: Trained) -> None:
    matrix = deals(50, seed=3).matrix
    said = trained.model.values(matrix)
    middle = trained.model.base + said.contributions.astype(np.float64).sum(axis=1)
    assert said.value == pytest.approx(np.exp(middle) * trained.model.smearing)
    contributions, _ = by_factor(SPEC, trained.model.predictor, matrix)
    assert contributions[:, 1][matrix[:, 1] == 1].min() > contributions[:, 1][
        matrix[:, 1] == 0
    ].max() + np.log(1.6)


def test_where_nothing_tells_the_amount_the_median_serves_and_says_so() -> None:
    found = train(deals(800, effect=0.0), trained_at=TRAINED_AT)
    assert found.report.algorithm == MEDIAN
    assert found.model.evidence.stage == "base_rate"
    assert found.report.lacking is not None
    assert "not plainly better than the median" in found.report.lacking
    value = found.model.values(deals(5).matrix).value
    assert value == pytest.approx(np.full(5, 1_000 * np.exp(0.3**2 / 2)), rel=0.05)


def test_few_deals_have_the_median_and_are_told_how_many_it_takes() -> None:
    found = train(deals(40), trained_at=TRAINED_AT)
    assert found.report.lacking is not None
    assert f"40 won deals with an amount, at least {FEWEST}" in found.report.lacking
    with pytest.raises(ValueError, match="5 won deals with an amount, expected at least 20"):
        train(deals(5), trained_at=TRAINED_AT)


def test_a_deal_that_was_won_later_is_refused() -> None:
    with pytest.raises(ValueError, match="is after trained_at"):
        train(deals(200), trained_at=datetime(2025, 1, 5, tzinfo=UTC))
    with pytest.raises(ValueError, match="finite numbers above 0"):
        replace(deals(3), amount=np.array([1.0, 0.0, 2.0]))


def test_the_same_deals_in_any_order_give_the_same_document(trained: Trained) -> None:
    given = deals(1_500)
    order = np.random.default_rng(5).permutation(1_500)
    other = replace(
        given, matrix=given.matrix[order], amount=given.amount[order],
        won_at=given.won_at[order], buyer=given.buyer[order],
    )  # fmt: skip
    assert dumps(train(other, trained_at=TRAINED_AT).model) == dumps(trained.model)


def test_the_document_says_the_same_and_no_other_is_read(trained: Trained) -> None:
    again = KINDS["deal_value"].read(dumps(trained.model))
    assert isinstance(again, DealValue)
    matrix = deals(20, seed=4).matrix
    assert predict(again, matrix).equals(predict(trained.model, matrix))
    document = json.loads(dumps(trained.model))
    for field, broken, message in (
        ("smearing", -1.0, "expected a positive number"),
        ("low", 9.0, "ascending order"),
        ("predictor", {"kind": "unheard"}, "unheard"),
        ("spec", {**document["spec"], "columns": []}, "the spec makes 1"),
    ):
        with pytest.raises(ValueError, match=f"model document: .*{message}"):
            KINDS["deal_value"].read(json.dumps({**document, field: broken}).encode())
