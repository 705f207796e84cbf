import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score, roc_curve

from ml import metrics

# Few distinct probabilities, so that most rows tie.
pairs = st.lists(
    st.tuples(st.booleans(), st.sampled_from([0.01, 0.2, 0.25, 0.5, 0.9])), min_size=2, max_size=60
).filter(lambda rows: len({outcome for outcome, _ in rows}) == 2)


@settings(deadline=None)
@given(pairs)
def test_figures_are_those_of_scikit_learn(rows: list[tuple[bool, float]]) -> None:
    outcome, probability = (np.array(column) for column in zip(*rows, strict=True))
    found = metrics.figures(outcome, probability)
    assert found.auc == pytest.approx(roc_auc_score(outcome, probability))
    assert found.log_loss == pytest.approx(log_loss(outcome, probability))
    assert found.brier == pytest.approx(brier_score_loss(outcome, probability))


@settings(deadline=None)
@given(pairs, st.integers(0, 2**32 - 1))
def test_the_order_of_rows_changes_no_figure(rows: list[tuple[bool, float]], seed: int) -> None:
    outcome, probability = (np.array(column) for column in zip(*rows, strict=True))
    order = np.random.default_rng(seed).permutation(len(rows))
    one = metrics.figures(outcome, probability)
    other = metrics.figures(outcome[order], probability[order])
    assert vars(one) == pytest.approx(vars(other))


def test_a_constant_probability_ranks_nothing_and_is_off_by_its_distance() -> None:
    outcome = np.arange(200) % 4 == 0
    found = metrics.figures(outcome, np.full(200, 0.4))
    assert (found.auc, found.lift10) == pytest.approx((0.5, 1.0))
    assert found.ece == pytest.approx(0.15)


def test_lift_is_the_top_tenth_over_all() -> None:
    probability = np.linspace(0, 1, 100)
    outcome = np.zeros(100, dtype=bool)
    outcome[[95, 96, 97, 98, 99, 0, 1, 2, 3, 4]] = True
    assert metrics.figures(outcome, probability).lift10 == pytest.approx(0.5 / 0.1)


def test_calibration_parts_all_rows_into_bins_of_equal_mass() -> None:
    probability = np.linspace(0.1, 0.4, 1500)
    outcome = np.random.default_rng(1).random(1500) < probability
    points = metrics.calibration(outcome, probability)
    assert [point.rows for point in points] == [100] * 15
    assert sum(point.converted for point in points) == outcome.sum()
    assert [point.predicted for point in points] == sorted(point.predicted for point in points)
    assert points[3].observed == pytest.approx(outcome[300:400].mean())
    assert points[3].predicted == pytest.approx(probability[300:400].mean())


def test_certainty_that_was_wrong_costs_much_but_not_everything() -> None:
    assert 30 < metrics.log_loss(np.array([True]), np.array([0.0])) < 40


@pytest.mark.parametrize("outcome", [[True, True], [False, False]])
def test_outcomes_of_one_kind_are_refused(outcome: list[bool]) -> None:
    with pytest.raises(ValueError, match="of 2 rows converted, expected rows of both kinds"):
        metrics.figures(np.array(outcome), np.array([0.2, 0.3]))


@settings(deadline=None)
@given(pairs)
def test_the_roc_is_that_of_scikit_learn_and_has_its_area(rows: list[tuple[bool, float]]) -> None:
    outcome, probability = (np.array(column) for column in zip(*rows, strict=True))
    others, converted, _ = roc_curve(outcome, probability, drop_intermediate=False)
    points = np.array(metrics.roc(outcome, probability))
    np.testing.assert_allclose(points, np.column_stack([others, converted]), atol=1e-12)
    assert np.trapezoid(points[:, 1], points[:, 0]) == pytest.approx(
        metrics.auc(outcome, probability)
    )


def test_of_many_rows_the_roc_has_about_100_points() -> None:
    random = np.random.default_rng(2)
    probability = random.random(5_000)
    outcome = random.random(5_000) < probability
    points = metrics.roc(outcome, probability)
    assert (points[0], points[-1], len(points)) == ((0, 0), (1, 1), 101)
    area = np.trapezoid([y for _, y in points], [x for x, _ in points])
    assert area == pytest.approx(metrics.auc(outcome, probability), abs=0.002)


def test_gains_are_the_share_of_the_converted_among_the_top() -> None:
    probability = np.linspace(1, 0, 100)
    outcome = np.zeros(100, dtype=bool)
    outcome[[0, 1, 2, 7, 12, 50, 60, 70, 80, 99]] = True
    gains = metrics.gains(outcome, probability)
    assert len(gains) == 21
    assert gains[:4] == pytest.approx((0, 0.3, 0.4, 0.5))
    assert gains[-2:] == pytest.approx((0.9, 1))
    assert metrics.gains(outcome, np.full(100, 0.5)) == pytest.approx(np.linspace(0, 1, 21))


@settings(deadline=None)
@given(pairs, st.integers(0, 2**32 - 1))
def test_the_order_of_rows_changes_no_curve(rows: list[tuple[bool, float]], seed: int) -> None:
    outcome, probability = (np.array(column) for column in zip(*rows, strict=True))
    order = np.random.default_rng(seed).permutation(len(rows))
    for curve in (metrics.roc, metrics.gains):
        np.testing.assert_allclose(
            curve(outcome, probability), curve(outcome[order], probability[order]), atol=1e-12
        )
