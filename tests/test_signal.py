"""A signal is said to be there seldom where there is none, and found where there is one."""

import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import binom, kstest

from ml import signal
from ml.history import History
from ml.spec import OTHER, Column, FeatureSpec
from tests.planted import planted

SPEC = FeatureSpec(
    (
        Column("a", "numeric"),
        Column("b", "numeric"),
        Column("kind", "categorical", ("x", "y", "z", OTHER)),
    ),
    (),
)


def few(seed: int, effect: float, leads: int = 60, per_lead: int = 3) -> History:
    """Leads of which about a fifth convert, with several snapshots each; `a` has the effect."""
    random = np.random.default_rng(seed)
    columns = random.normal(size=(leads, len(SPEC.features)))
    columns[:, 2] = random.choice(4, leads, p=[0.6, 0.3, 0.08, 0.02])
    label = random.random(leads) < expit(effect * columns[:, 0] - 1.4)
    lead = random.permutation(np.repeat(np.arange(leads), per_lead))
    matrix = columns[lead].astype(np.float32)
    matrix[:, 1] += random.normal(0, 0.2, len(lead))
    matrix[:, 3] = random.uniform(0, 30, len(lead))
    at = np.datetime64("2025-01-01", "us") + np.arange(len(lead)) * np.timedelta64(1, "h")
    return History(SPEC, lead, matrix, label[lead], at, at)


def test_without_a_signal_every_p_value_is_as_probable() -> None:
    """Two in 100 are below 0.02. Were snapshots shuffled instead of leads, nearly all would be."""
    found = np.array([signal.p_value(few(seed, 0.0), seed) for seed in range(300)])
    below = int((found < signal.LEVEL).sum())
    assert binom.ppf(0.001, 300, signal.LEVEL) <= below <= binom.ppf(0.999, 300, signal.LEVEL)
    assert kstest(found, "uniform").pvalue > 0.01


def test_a_planted_signal_is_found_with_a_dozen_conversions() -> None:
    found = [signal.p_value(few(seed, 1.5), seed) < signal.LEVEL for seed in range(60)]
    assert np.mean(found) > 0.7


def test_one_column_of_many_leads_is_found() -> None:
    """Its effect is small, and 60 cities and other columns say nothing."""
    history = planted(6_000, lambda matrix: -2.0 + 0.2 * matrix[:, 3].astype(float))
    assert signal.p_value(history, 0) < signal.LEVEL


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("converted", [0, 3])
def test_outcomes_or_columns_that_never_vary_show_nothing(converted: int) -> None:
    history = few(0, 0.0)
    history.matrix[:] = 1.0
    history.label[:] = history.lead < converted
    assert signal.p_value(history, 0) == 1


def test_the_same_seed_gives_the_same_p_value() -> None:
    history = few(5, 0.5)
    assert signal.p_value(history, 7) == signal.p_value(history, 7)
