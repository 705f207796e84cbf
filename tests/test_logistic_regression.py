"""Logistic regression believes its columns as far as the outcomes bear it out."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit

from ml.algorithm import Sample
from ml.algorithms import logistic_regression
from ml.algorithms.logistic_regression import LogisticRegression
from ml.comparison import losses
from ml.linear import Linear
from ml.spec import Column, FeatureSpec

COLUMNS = 12
SPEC = FeatureSpec(tuple(Column(f"c{i}", "numeric") for i in range(COLUMNS)), ())
FREE = (0,) * (COLUMNS + 1)


def sample(rows: int, effect: float, seed: int = 0) -> Sample:
    """Two of twelve columns have the effect."""
    random = np.random.default_rng(seed)
    matrix = random.normal(size=(rows, COLUMNS + 1)).astype(np.float32)
    matrix[:, -1] = 0
    log_odds = effect * (matrix[:, 0] - matrix[:, 1]) - 1.0
    return Sample(SPEC, matrix, random.random(rows) < expit(log_odds), FREE)


def fit(learnt_from: Sample, width: float | None = None) -> Linear:
    return LogisticRegression(width).fit(learnt_from, seed=0, progress=lambda _share: None)


def loss(model: Linear, judged_by: Sample) -> float:
    return float(losses(judged_by.label, model.raw(judged_by.matrix)).mean())


def test_many_outcomes_give_the_coefficients_of_the_process() -> None:
    found = fit(sample(20_000, 0.7))
    np.testing.assert_allclose(found.coefficient[:2], [0.7, -0.7], atol=0.06)
    np.testing.assert_allclose(found.coefficient[2:], 0, atol=0.06)
    assert found.base == pytest.approx(-1, abs=0.06)


def test_few_outcomes_that_say_nothing_give_little_more_than_the_rate() -> None:
    nothing = sample(80, 0.0)
    cautious, bold = fit(nothing), fit(nothing, width=3.0)
    assert np.abs(cautious.coefficient).max() < 0.15 < np.abs(bold.coefficient).max()
    assert expit(cautious.raw(nothing.matrix)).mean() == pytest.approx(
        nothing.label.mean(), abs=0.02
    )


def test_the_width_is_as_good_as_the_best_on_rows_to_come() -> None:
    """Forty rows and a thousand, with a signal and without: none of the fixed widths suits all."""
    for rows, effect in ((40, 0.0), (40, 1.0), (1_000, 0.3)):
        found, best = [], []
        for seed in range(6):
            few, later = sample(rows, effect, seed), sample(4_000, effect, seed + 100)
            found.append(loss(fit(few), later))
            best.append([loss(fit(few, width), later) for width in logistic_regression.WIDTHS])
        assert np.mean(found) < np.mean(best, axis=0).min() + 0.03


def test_more_columns_than_the_curvature_allows_are_taken_with_the_middle_width(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    some = sample(300, 1.0)
    expected = fit(some, logistic_regression.MIDDLE_WIDTH).coefficient
    assert (fit(some).coefficient != expected).any()
    monkeypatch.setattr(logistic_regression, "MOST_COLUMNS", 5)
    np.testing.assert_array_equal(fit(some).coefficient, expected)


def test_a_direction_against_the_data_leaves_no_effect() -> None:
    some = sample(2_000, 1.0)
    held = fit(replace(some, monotone=(-1, 1, *FREE[2:])))
    assert held.coefficient[:2].tolist() == [0, 0]
    along = fit(replace(some, monotone=(1, -1, *FREE[2:])))
    np.testing.assert_allclose(along.coefficient, fit(some).coefficient, atol=1e-3)
