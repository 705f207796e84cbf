"""A model's probabilities are corrected as the outcomes allow, and only where that helps."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, logit

from ml import calibration
from ml.algorithm import Bools, Floats
from ml.calibration import Calibrated, choose, curve, line, newest_rate, offset, straight
from ml.curve import Curve
from ml.linear import Linear
from ml.tables import Tables

ROWS, WINDOWS = 1_500, 5


def chosen(
    true: Callable[[Floats, float], Floats], *, seed: int = 6, rows: int = ROWS
) -> tuple[Calibrated, list[Floats], list[Bools]]:
    """Of windows whose true log-odds are true(the model's, time from 0 to 1); half of each window
    is known as the next one begins."""
    random = np.random.default_rng(seed)
    raw = [random.normal(-1, 1, rows) for _ in range(WINDOWS)]
    outcome = [
        random.random(rows) < expit(true(z, number / (WINDOWS - 1))) for number, z in enumerate(raw)
    ]
    known = [max(0, number * rows - rows // 2) for number in range(WINDOWS)]
    return choose(raw, outcome, known, np.arange(WINDOWS * rows)), raw, outcome


@pytest.mark.parametrize("seed", range(5))
def test_what_is_right_stays_as_it_is(seed: int) -> None:
    found, raw, _ = chosen(lambda z, _: z, seed=seed)
    assert found.calibration.kind == "as it is"
    assert all((one is z) for one, z in zip(found.log_odds, raw, strict=True))
    np.testing.assert_allclose(found.calibration.of(raw[0]), raw[0])


def test_a_slope_is_found() -> None:
    found, raw, outcome = chosen(lambda z, _: 0.4 * z - 0.5)
    assert found.calibration.kind == "line"
    np.testing.assert_allclose(found.calibration.of(raw[0]), 0.4 * raw[0] - 0.5, atol=0.25)
    # By what was known as they began: nothing of the first two windows.
    np.testing.assert_array_equal(found.log_odds[0], raw[0])
    assert expit(found.log_odds[-1]).mean() == pytest.approx(outcome[-1].mean(), abs=0.03)


def test_a_rate_that_moves_is_followed() -> None:
    """Each model lags behind a rate that rises; the newest rows say by how much."""
    found, raw, outcome = chosen(lambda z, time: z + 0.6 + time)
    assert found.calibration.kind == "newest rate"
    newest = np.concatenate(raw)[-2_000:]
    rate = np.concatenate(outcome)[-2_000:].mean()
    assert expit(found.calibration.of(newest)).mean() == pytest.approx(rate, abs=1e-6)
    off = [abs(expit(z).mean() - outcome[-1].mean()) for z in (raw[-1], found.log_odds[-1])]
    assert off[1] < 0.5 * off[0]


def test_a_bent_model_gets_a_curve() -> None:
    found, _, _ = chosen(lambda z, _: np.where(z < -0.5, z - 2, z + 2), rows=8_000)
    assert found.calibration.kind == "curve"
    grid = np.linspace(-5, 4, 200)
    assert (np.diff(found.calibration.of(grid)) > 0).all()
    assert found.calibration.of(np.array([-1.5, 1.5])) == pytest.approx([-3.5, 3.5], abs=0.7)


def test_a_rate_that_moves_to_and_fro_is_not_followed() -> None:
    """The offset of the past would make the next window worse."""
    found, _, _ = chosen(lambda z, time: z + (1.0 if round(time * 4) % 2 else -1.0))
    assert found.calibration.kind == "as it is"


@pytest.mark.parametrize("learn", [newest_rate, line])
def test_below_100_outcomes_of_a_kind_nothing_is_learnt(
    learn: Callable[[Floats, Bools], calibration.Calibration | None],
) -> None:
    log_odds, outcome = np.linspace(-2, 2, 400), np.arange(400) < 99
    assert learn(log_odds, outcome) is None
    assert learn(log_odds, ~outcome) is None
    assert learn(log_odds, np.arange(400) < 100) is not None
    assert learn(log_odds[:0], outcome[:0]) is None


def test_below_1_000_outcomes_of_a_kind_there_is_no_curve() -> None:
    random = np.random.default_rng(1)
    log_odds = random.normal(size=3_000)
    outcome = np.zeros(3_000, bool)
    outcome[np.argsort(log_odds)[-999:]] = True
    assert curve(log_odds, outcome) is None
    assert curve(np.zeros(3_000), np.arange(3_000) % 2 == 0) is None, "nothing is ranked"


def test_the_line_is_that_of_most_likelihood_within_its_bounds() -> None:
    random = np.random.default_rng(2)
    log_odds = random.normal(size=20_000)

    def slope(steep: float) -> float:
        found = line(log_odds, random.random(20_000) < expit(steep * log_odds - 1))
        assert found is not None
        return float(np.diff(found.after)[0])

    assert slope(0.6) == pytest.approx(0.6, abs=0.06)
    assert slope(-1.0) == pytest.approx(0.1), "what ranks the wrong way round is not reversed"
    assert slope(8.0) == pytest.approx(3.0)


def test_what_is_applied_to_a_predictor_is_what_was_learnt() -> None:
    predictor = Tables.constant(3, -0.7)
    matrix = np.zeros((2, 3), np.float32)
    bent = calibration.Calibration("curve", np.array([-1.0, 0.0, 2.0]), np.array([-2.0, 0.0, 0.5]))
    for found in (straight("line", 0.5, -1.0), straight("as it is"), bent):
        served = found.applied(predictor)
        assert isinstance(served, Curve) == (found is bent)
        np.testing.assert_allclose(served.raw(matrix), found.of(np.full(2, -0.7)), atol=1e-12)
    assert not isinstance(predictor, Linear)


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
    if spread == 0:
        assert shift == pytest.approx(logit(rate), abs=1e-6)
