import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import expit

from ml.calibration import offset, slope

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def windows(steep: float, shifts: list[float], rows: int) -> tuple[list[Floats], list[Bools]]:
    """Per window, log-odds of a model and outcomes: the true ones are steep * model + shift."""
    random = np.random.default_rng(6)
    log_odds = [random.normal(-1, 1, rows) for _ in shifts]
    outcome = [
        random.random(rows) < expit(steep * z + shift)
        for z, shift in zip(log_odds, shifts, strict=True)
    ]
    return log_odds, outcome


def test_calibrated_log_odds_have_the_slope_1() -> None:
    assert slope(*windows(1.0, [0.0] * 5, 20_000)) == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("steep", [0.4, 0.8, 1.2])
def test_a_rate_that_moves_from_window_to_window_says_nothing_of_the_slope(steep: float) -> None:
    log_odds, outcome = windows(steep, [-2.0, 1.5, 0.0, -1.0, 2.5], 20_000)
    assert slope(log_odds, outcome) == pytest.approx(steep, abs=0.04)
    # A model that rates whole windows the wrong way round is as good within each of them.
    moved = [z + 3 * number for number, z in enumerate(log_odds)]
    assert slope(moved, outcome) == pytest.approx(steep, abs=0.04)


def test_the_slope_keeps_its_bounds() -> None:
    log_odds, outcome = windows(1.0, [0.0, 0.5], 5_000)
    assert slope([-z for z in log_odds], outcome) == 0.1
    assert slope([z / 10 for z in log_odds], outcome) == 1.5
    assert slope([np.sign(z) for z in log_odds], [z > 0 for z in log_odds]) == 1.5


def test_windows_of_one_kind_leave_the_slope_to_the_others() -> None:
    log_odds, outcome = windows(0.7, [0.0, 0.5], 5_000)
    alone = slope(log_odds, outcome)
    none, all_ = np.zeros(5_000, bool), np.ones(5_000, bool)
    other = slope([*log_odds, *log_odds], [*outcome, none, all_])
    assert other == pytest.approx(alone, abs=0.01)


def test_without_windows_a_model_is_taken_at_its_word() -> None:
    assert slope([], []) == 1


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.floats(-30, 30), st.booleans()), min_size=2, max_size=50).filter(
        lambda rows: len({outcome for _, outcome in rows}) == 2
    )
)
def test_the_mean_probability_is_the_rate(rows: list[tuple[float, bool]]) -> None:
    log_odds, outcome = (np.array(column) for column in zip(*rows, strict=True))
    shift = offset(log_odds, outcome)
    assert expit(log_odds + shift).mean() == pytest.approx(outcome.mean(), abs=1e-6)


@pytest.mark.parametrize(("happened", "rate"), [(False, 0.005), (True, 0.995)])
@pytest.mark.parametrize("spread", [0.0, 1.0, 200.0])
def test_outcomes_of_one_kind_stay_half_an_outcome_from_certainty(
    happened: bool, rate: float, spread: float
) -> None:
    log_odds = np.linspace(-spread, spread, 100)
    shift = offset(log_odds, np.full(100, happened))
    assert expit(log_odds + shift).mean() == pytest.approx(rate, abs=1e-6)
