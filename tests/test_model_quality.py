"""Models of whole tenants: near the best possible one where it is known, sensible on real data."""

from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from examples import bank
from examples.simulator import PROFILES, SimulatedCrm, TenantProfile, oracle_probability, simulate
from ml import features, labels
from ml.history import History
from ml.metrics import auc
from ml.report import HoldOut
from ml.scoring import score
from ml.spec import FeatureSpec
from ml.training import FEWER_ROUNDS, Trained, train

NOW = datetime(2026, 6, 1, tzinfo=UTC)
HORIZON = timedelta(days=30)
JUDGED_ROWS = 8_000


@dataclass(frozen=True)
class Snapshots:
    """Labelled snapshots (as of ml.labels.snapshots, in order of time) and their features."""

    rows: pl.DataFrame
    spec: FeatureSpec
    matrix: NDArray[np.float32]

    def train(self, before: datetime) -> Trained:
        """Train on what was known at a time."""
        rows = self.rows.with_columns(features=self.matrix)
        known = rows.filter(pl.col("snapshot_at") + HORIZON <= before)
        return train(History.of(self.spec, known), trained_at=before, horizon_days=HORIZON.days)


def snapshots_of(
    leads: pl.DataFrame, versions: pl.DataFrame, interactions: pl.DataFrame, as_of: datetime
) -> Snapshots:
    """versions: lead_id, known_at and attributes of each version of each lead."""
    rows = labels.snapshots(leads, as_of=as_of).sort("snapshot_at", maintain_order=True)
    known = rows.join_asof(
        versions.select("lead_id", "known_at", "attributes").sort("known_at"),
        left_on="snapshot_at",
        right_on="known_at",
        by="lead_id",
        allow_exact_matches=False,
        check_sortedness=False,  # polars cannot, by lead; both are sorted above
    ).with_columns(as_of=pl.col("snapshot_at"))
    kinds = interactions["kind"].value_counts(sort=True)["kind"].to_list()
    spec = features.infer(known.select("attributes"), kinds)
    return Snapshots(rows, spec, features.build(spec, known, interactions))


def simulated(profile: TenantProfile, seed: int) -> tuple[SimulatedCrm, Snapshots]:
    crm = simulate(profile, seed, NOW)
    versions = pl.concat([crm.leads, crm.attribute_changes.select(crm.leads.columns)])
    interactions = crm.interactions.drop_nulls("lead_id")
    return crm, snapshots_of(crm.leads, versions, interactions, NOW)


def importance_of(trained: Trained) -> list[str]:
    assert trained.report.hold_out is not None
    return list(trained.report.hold_out.importance)


def test_the_model_of_20_000_leads_comes_near_the_best_possible_one() -> None:
    """Trained when 120 days had passed, judged on 8,000 later snapshots of known best chance."""
    profile = PROFILES["acme"]
    assert profile.leads == 20_000
    crm, all_ = simulated(profile, seed=1)
    trained_at = NOW - timedelta(days=60)
    trained = all_.train(trained_at)
    assert trained.model.evidence.stage == "own_model"
    assert importance_of(trained)[0] not in profile.noise_columns

    later = np.flatnonzero((all_.rows["snapshot_at"] >= trained_at).to_numpy())
    chosen = np.sort(np.random.default_rng(0).choice(later, JUDGED_ROWS, replace=False))
    rows = all_.rows[chosen]
    label = rows["label"].to_numpy()
    probability = score(trained.model, all_.matrix[chosen]).probability
    best = oracle_probability(crm, rows["lead_id"], rows["snapshot_at"])
    assert auc(label, probability) > auc(label, best) - 0.03
    assert probability.mean() == pytest.approx(best.mean(), rel=0.25)


@pytest.mark.parametrize("name", ["acme", "brio", "cielo"])
def test_a_column_without_effect_never_ranks_first(name: str) -> None:
    profile = PROFILES[name]
    _, all_ = simulated(profile, seed=2)
    ranked = importance_of(all_.train(NOW))
    assert set(profile.noise_columns) & set(ranked)
    assert ranked[0] not in profile.noise_columns


@pytest.fixture(scope="module")
def calls() -> Snapshots:
    leads = bank.leads()
    none = pl.DataFrame(
        schema={
            "lead_id": pl.String,
            "kind": pl.String,
            "occurred_at": pl.Datetime("us", "UTC"),
            "known_at": pl.Datetime("us", "UTC"),
        }
    )
    return snapshots_of(leads, leads, none, newest_outcome())


def newest_outcome() -> datetime:
    ended_at = bank.leads().select(pl.coalesce("converted_at", "closed_at").max()).item()
    assert isinstance(ended_at, datetime)
    return ended_at


@pytest.fixture(scope="module")
def bank_trained(calls: Snapshots) -> Trained:
    return calls.train(newest_outcome())


@pytest.fixture(scope="module")
def bank_hold_out(bank_trained: Trained) -> HoldOut:
    assert bank_trained.report.hold_out is not None
    return bank_trained.report.hold_out


def test_real_calls_are_measured_in_every_figure(bank_hold_out: HoldOut) -> None:
    candidates = bank_hold_out.candidates.values()
    assert {"boosted_tables", "logistic_regression", FEWER_ROUNDS} == set(bank_hold_out.candidates)
    for measured in (bank_hold_out.base_rate, *(found.figures for found in candidates)):
        assert np.isfinite(list(asdict(measured).values())).all()
    # What is known before a call says next to nothing within a window.
    assert all(0.4 < found.window_auc < 0.6 for found in candidates)
    assert len(bank_hold_out.windows) == 5


def test_of_real_calls_only_a_model_that_beats_the_base_rate_serves(
    bank_trained: Trained, bank_hold_out: HoldOut
) -> None:
    """A rate that goes from 5 to 33 % over the windows is hard to know beforehand."""
    assert bank_trained.model.evidence.stage == "own_model"
    assert bank_trained.report.lacking is None
    assert bank_hold_out.model.log_loss < bank_hold_out.base_rate.log_loss
    assert bank_hold_out.model.auc > bank_hold_out.base_rate.auc


def test_probabilities_of_real_calls_know_the_newest_rate(
    calls: Snapshots, bank_trained: Trained
) -> None:
    newest = slice(-calls.rows.height // 5, None)
    rate = calls.rows["label"].to_numpy()[newest].mean()
    probability = score(bank_trained.model, calls.matrix[newest]).probability
    assert probability.mean() == pytest.approx(rate, abs=0.01)
    assert 0 < probability.min() < probability.max() < 1
