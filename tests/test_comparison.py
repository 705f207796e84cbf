"""The interval of a difference holds it, also where rows are not independent of each other."""

import numpy as np
import pytest

from ml.algorithm import Floats
from ml.comparison import losses, paired

PAIRS = 500


def held(leads: int, per_lead: int, windows: int = 5) -> tuple[float, float]:
    """How often the true difference, 0.02, lies in the interval, and in the plain one.

    Rows of a lead have one difference, and stand anywhere in time.
    """
    random = np.random.default_rng(1)
    hits, plain_hits = 0, 0
    for _ in range(PAIRS):
        lead = random.permutation(np.repeat(np.arange(leads), per_lead))
        difference = random.normal(0.02, 0.1, leads)[lead]
        other = np.array_split(random.random(len(lead)), windows)
        parts = np.array_split(difference, windows)
        found = paired([a + b for a, b in zip(parts, other, strict=True)], other, lead)
        hits += found.low <= 0.02 <= found.high
        plain = 1.96 * difference.std(ddof=1) / np.sqrt(len(lead))
        plain_hits += abs(difference.mean() - 0.02) <= plain
    return hits / PAIRS, plain_hits / PAIRS


@pytest.mark.parametrize("per_lead", [1, 4, 10])
def test_19_intervals_in_20_hold_the_difference(per_lead: int) -> None:
    """The widest of three intervals holds it rather more often; the plain one of rows does not."""
    found, plain = held(1_000 // per_lead, per_lead)
    assert 0.94 <= found <= 0.99
    if per_lead > 1:
        assert plain < 0.8


def test_what_differs_from_window_to_window_is_not_known_from_its_rows() -> None:
    random = np.random.default_rng(2)
    hits = 0
    for _ in range(PAIRS):
        one = [random.normal(random.normal(0, 0.1), 0.1, 200) for _ in range(5)]
        found = paired(one, [np.zeros(200)] * 5, np.arange(1_000))
        hits += found.low <= 0 <= found.high
    assert hits / PAIRS == pytest.approx(0.95, abs=0.03)


def test_better_is_the_lower_log_loss_beyond_chance() -> None:
    random = np.random.default_rng(3)
    base = [random.random(400) for _ in range(5)]

    def beside(mean: float) -> list[Floats]:
        return [window + random.normal(mean, 0.1, 400) for window in base]

    lead = np.arange(2_000)
    better, worse, tie = (paired(beside(mean), base, lead) for mean in (-0.02, 0.02, 0.0))
    assert (better.better, better.worse) == (True, False)
    assert (worse.better, worse.worse) == (False, True)
    assert (tie.better, tie.worse) == (False, False)
    assert better.mean == pytest.approx(-0.02, abs=0.01)


def test_a_single_row_shows_nothing() -> None:
    found = paired([np.array([0.1])], [np.array([0.9])], np.zeros(1, np.intp))
    assert (found.better, found.worse) == (False, False)


def test_losses_are_those_of_probabilities_and_finite_for_any_log_odds() -> None:
    found = losses(np.array([True, False, True, False]), np.array([0.0, np.log(3), -800, 800]))
    np.testing.assert_allclose(found, [np.log(2), np.log(4), 800, 800])
