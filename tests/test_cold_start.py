"""What serves while outcomes are few: a careful model, what tenants share, or the base rate."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit

from ml.algorithm import Floats, Matrix, Sample
from ml.history import History
from ml.metrics import auc, log_loss
from ml.pooled_model import PooledModel
from ml.pooling import fit
from ml.scoring import score
from ml.spec import Column, FeatureSpec
from ml.training import base_rate
from ml.validation import by_lead
from tests.planted import SPEC, TRAINED_AT, measured, planted, shuffled, trained_on


def strong(matrix: Matrix) -> Floats:
    known = np.nan_to_num(matrix).astype(np.float64)
    return np.asarray(-2.0 + 1.5 * known[:, 0] - 1.5 * known[:, 3])


def converted_only(history: History, leads: int) -> History:
    """Only the first few of the leads that converted did."""
    kept = np.unique(history.lead[history.label])[:leads]
    return replace(history, label=history.label & np.isin(history.lead, kept))


def test_a_random_tenant_gets_the_base_rate_and_is_told_so() -> None:
    """Whatever the shuffle: two in 100 are taken for a signal, and must beat the base rate yet."""
    history = planted(300, strong, per_lead=2)
    assert trained_on(history).model.evidence.stage == "prior_model"
    random = [trained_on(shuffled(history, seed)) for seed in range(25)]
    served = [trained for trained in random if trained.model.evidence.stage == "base_rate"]
    assert len(served) >= 24
    for trained in served:
        assert "no signal" in (trained.report.lacking or "")
        assert len(set(score(trained.model, history.matrix).probability)) == 1


def test_a_signal_is_found_with_few_outcomes() -> None:
    history, later = planted(150, strong, seed=3), planted(4_000, strong, seed=4)
    assert history.label.sum() < 50
    trained = trained_on(history)
    assert trained.model.evidence.stage == "prior_model"
    assert trained.report.algorithm == "boosted_tables + logistic_regression"
    assert "expected at least 50 of each" in (trained.report.lacking or "")
    assert (trained.report.signal or 1) < 0.02

    found = measured(trained)
    assert found.validation == "cross-validation by lead"
    assert found.model.log_loss < found.base_rate.log_loss
    assert (found.windows, found.coverage) == ((), None)
    probability = score(trained.model, later.matrix).probability
    assert auc(later.label, probability) > 0.75
    assert found.model.auc == pytest.approx(auc(later.label, probability), abs=0.1)
    rate = np.full(4_000, history.label.mean())
    assert log_loss(later.label, probability) < log_loss(later.label, rate) - 0.03


def test_snapshots_of_a_lead_are_never_on_both_sides() -> None:
    """Else a model that knows a lead by heart would look as if it knew who converts."""
    history = planted(600, strong, per_lead=6)
    folds = by_lead(history, seed=0)
    everything = np.concatenate([fold.window for fold in folds])
    assert sorted(everything.tolist()) == list(range(600))
    converted = []
    for fold in folds:
        assert not set(history.lead[fold.fit]) & set(history.lead[fold.window])
        assert len(fold.fit) + len(fold.window) == 600
        converted.append(len(np.unique(history.lead[fold.window][history.label[fold.window]])))
    assert max(converted) - min(converted) <= 1


@pytest.mark.parametrize("converted", [0, 1, 2])
@pytest.mark.parametrize("of_others", [False, True])
def test_below_three_conversions_there_is_not_enough_evidence(
    converted: int, of_others: bool
) -> None:
    history = converted_only(planted(300, strong), converted)
    if of_others:
        history = replace(history, label=~history.label)
    trained = trained_on(history)
    assert trained.model.evidence.stage == "base_rate"
    assert (trained.report.lacking or "").startswith("not enough evidence: ")
    assert trained.report.hold_out is None


def test_snapshots_of_one_lead_that_converted_are_no_evidence() -> None:
    history = converted_only(planted(400, strong, per_lead=4), 1)
    assert history.label.sum() == 4
    trained = trained_on(history)
    assert trained.model.evidence.stage == "base_rate"
    assert "not enough evidence" in (trained.report.lacking or "")


def test_a_base_rate_is_that_of_the_newest_rows() -> None:
    """Five years without a conversion say nothing of the month in which half convert."""
    history = planted(4_000)
    history.label[:] = False
    history.label[3_800::2] = True
    trained = base_rate(history.label, history.snapshot_at, trained_at=TRAINED_AT, horizon_days=30)
    assert trained.model.evidence.stage == "base_rate"
    assert trained.report.lacking == "not trained yet"
    nothing = np.zeros((1, len(trained.model.spec.features)), np.float32)
    assert score(trained.model, nothing).score == 50


def test_without_outcomes_nothing_is_known() -> None:
    trained = trained_on(planted(0))
    scores = score(trained.model, np.zeros((3, len(SPEC.features)), np.float32))
    assert trained.model.evidence.outcomes == 0
    assert scores.probability.tolist() == [0.5] * 3
    assert scores.confidence.tolist() == [0.0] * 3
    assert trained.report.fitted_on is None
    assert trained.report.hold_out is None


# The columns of a tenant that has interactions, whose recency counts with every tenant alike.
ACTIVE = FeatureSpec((Column("size", "numeric"),), ("call",))
NAMES = [feature.name for feature in ACTIVE.features]
RECENCY, AGE = NAMES.index("recency of interactions"), NAMES.index("age of the lead")


def active(rows: int, seed: int, own: float = 0.0, base: float = -1.5) -> History:
    """Recently active leads convert; own: the effect of a column that no other tenant has."""
    random = np.random.default_rng(seed)
    matrix = random.gamma(1.0, 1.0, (rows, len(NAMES))).astype(np.float32)
    matrix[:, RECENCY], matrix[:, AGE] = random.uniform(0, 60, (2, rows))
    log_odds = base + 2.0 * (matrix[:, RECENCY] < 10) + own * (matrix[:, 0] - 1)
    drawn = planted(rows)
    label = random.random(rows) < expit(log_odds)
    return replace(drawn, spec=ACTIVE, matrix=matrix, label=label)


@pytest.fixture(scope="module")
def pooled() -> PooledModel:
    """Of four tenants."""
    tenants = [active(1_000, seed, base=-1.5 - 0.2 * seed) for seed in range(4)]
    free = (0,) * len(NAMES)
    return fit(Sample(ACTIVE, tenant.matrix, tenant.label, free) for tenant in tenants)


@pytest.mark.parametrize("rows", [0, 4, 25])
def test_without_outcomes_of_its_own_a_tenant_has_what_others_share(
    pooled: PooledModel, rows: int
) -> None:
    trained = trained_on(active(rows, 9), pooled=pooled)
    later = active(3_000, 10)
    assert trained.model.evidence.stage == "pooled_model"
    assert trained.report.algorithm == "pooled"
    scores = score(trained.model, later.matrix)
    assert auc(later.label, scores.probability) > 0.6
    assert scores.probability.mean() == pytest.approx(later.label.mean(), abs=0.12)
    assert trained_on(active(rows, 9)).model.evidence.stage == "base_rate"


def test_it_serves_until_the_tenants_own_outcomes_do_better(pooled: PooledModel) -> None:
    """Its own column says far more than what all share, once there are outcomes to learn it."""
    stages = [
        trained_on(active(rows, 9, own=0.8), pooled=pooled).model.evidence.stage
        for rows in (20, 500, 3_000)
    ]
    assert stages == ["pooled_model", "prior_model", "own_model"]
    likes = trained_on(active(200, 9), pooled=pooled)
    assert likes.model.evidence.stage == "pooled_model"
    assert set(measured(likes).candidates) >= {"pooled_model"}


def test_what_all_share_but_this_tenant_does_not_serve_it(pooled: PooledModel) -> None:
    other = active(300, 9)
    label = np.random.default_rng(1).random(300) < expit(-2.0 * (other.matrix[:, RECENCY] < 10))
    trained = trained_on(replace(other, label=label), pooled=pooled)
    assert trained.model.evidence.stage in ("prior_model", "base_rate")
