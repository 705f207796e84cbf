import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np
import pytest
from numpy.typing import NDArray

from ml import logistic
from ml.calibration import platt
from ml.metrics import figures
from ml.model import dumps
from ml.scoring import score
from ml.spec import OTHER, Column, FeatureSpec
from ml.training import Trained, train

INDUSTRIES = (*"abcdef", OTHER)
CITIES = (*(f"city {i}" for i in range(60)), OTHER)
SPEC = FeatureSpec(
    (
        Column("seats", "numeric"),
        Column("budget", "numeric"),
        Column("industry", "categorical", INDUSTRIES),
        Column("noise", "numeric"),
        Column("city", "categorical", CITIES),
    ),
    (),
)
CITY = 4
AFTER = datetime(2026, 1, 1, tzinfo=UTC)
START = np.datetime64("2025-01-01", "us")


@dataclass(frozen=True)
class Tenant:
    """Snapshots of a stated process: seats, budget and industry matter; noise and city do not."""

    matrix: NDArray[np.float32]
    label: NDArray[np.bool_]
    snapshot_at: NDArray[np.datetime64]
    label_known_at: NDArray[np.datetime64]
    true: NDArray[np.float64]

    def train(self, seed: int = 0) -> Trained:
        return train(
            SPEC,
            self.matrix,
            self.label,
            self.snapshot_at,
            self.label_known_at,
            trained_at=AFTER,
            horizon_days=30,
            seed=seed,
        )

    def take(self, rows: NDArray[np.intp] | slice) -> "Tenant":
        return Tenant(*(values[rows] for values in vars(self).values()))


def tenant(rows: int, *, base: float = -2.0, drift: float = 0.0, seed: int = 0) -> Tenant:
    """Rows 20 minutes apart, outcomes known 30 days later; drift moves the log-odds end to end."""
    random = np.random.default_rng(seed)
    seats, budget, noise = random.normal(size=(3, rows))
    industry = random.integers(0, 6, rows)
    log_odds = base + 0.8 * seats + 0.8 * (budget > 0.5) + 0.3 * (industry - 2.5)
    true = 1 / (1 + np.exp(-log_odds - drift * np.linspace(0, 1, rows)))
    seats[random.random(rows) < 0.05] = np.nan
    age = np.zeros(rows)
    columns = [seats, budget, industry, noise, random.integers(0, 60, rows), age]
    snapshot_at = START + np.arange(rows) * np.timedelta64(20, "m")
    label_known_at = snapshot_at + np.timedelta64(30, "D")
    label = random.random(rows) < true
    return Tenant(
        np.column_stack(columns).astype(np.float32), label, snapshot_at, label_known_at, true
    )


@pytest.fixture(scope="module")
def acme() -> Tenant:
    return tenant(12_000)


@pytest.fixture(scope="module")
def trained(acme: Tenant) -> Trained:
    return acme.train()


def test_the_model_comes_near_the_best_possible_one(acme: Tenant, trained: Trained) -> None:
    hold_out = trained.report.hold_out
    assert hold_out is not None
    rows = slice(-hold_out.windows["hold_out"].rows, None)
    best = figures(acme.label[rows], acme.true[rows])
    assert hold_out.model.auc > best.auc - 0.03
    assert hold_out.model.log_loss < best.log_loss + 0.015
    assert hold_out.model.ece < best.ece + 0.02
    assert hold_out.model.lift10 > 2
    assert hold_out.logistic.auc > best.auc - 0.03
    assert hold_out.base_rate.log_loss > hold_out.model.log_loss + 0.02
    assert hold_out.base_rate.auc == 0.5


def test_what_has_no_effect_ranks_last(trained: Trained) -> None:
    assert trained.report.hold_out is not None
    importance = trained.report.hold_out.importance
    assert set(list(importance)[:3]) == {"seats", "budget", "industry"}
    assert importance["age of the lead"] == 0
    assert list(importance.values()) == sorted(importance.values(), reverse=True)


def test_categories_are_sets_and_no_numbers() -> None:
    """Every other city converts well: seen as a number, the city would say little."""
    random = np.random.default_rng(8)
    cities = tenant(12_000)
    even = cities.matrix[:, CITY] % 2 == 0
    cities = replace(cities, label=random.random(12_000) < np.where(even, 0.35, 0.05))
    hold_out = cities.train().report.hold_out
    assert hold_out is not None
    best = figures(cities.label[-1_500:], np.where(even, 0.35, 0.05)[-1_500:])
    assert hold_out.model.auc > best.auc - 0.03
    assert next(iter(hold_out.importance)) == "city"


def test_without_any_effect_scores_hardly_differ() -> None:
    blind = tenant(6_000)
    blind = replace(blind, label=np.random.default_rng(4).random(6_000) < 0.2)
    model = blind.train().model
    assert score(model, blind.matrix).probability.std() < 0.02


def test_windows_follow_each_other_with_the_horizon_between(acme: Tenant, trained: Trained) -> None:
    assert trained.report.hold_out is not None
    judged = trained.report.hold_out.windows
    served = trained.report.windows
    for earlier, later in (
        (judged["fit"], judged["calibrate"]),
        (judged["calibrate"], judged["hold_out"]),
        (served["fit"], served["calibrate"]),
    ):
        assert (later.first - earlier.last).days >= 30
    newest = acme.snapshot_at[-1].item().replace(tzinfo=UTC)
    assert judged["hold_out"].last == served["calibrate"].last == newest
    rows = [window.rows for window in judged.values()]
    assert np.array(rows) / sum(rows) == pytest.approx([0.6, 0.2, 0.2], abs=0.01)
    evidence = trained.model.evidence
    assert evidence.stage == "own_model"
    assert evidence.outcomes == sum(window.rows for window in served.values())
    assert evidence.converted == sum(window.converted for window in served.values())


def test_the_measured_model_never_sees_the_hold_out(acme: Tenant, trained: Trained) -> None:
    assert trained.report.hold_out is not None
    label = acme.label.copy()
    hold_out = slice(-trained.report.hold_out.windows["hold_out"].rows, None)
    label[hold_out] = ~label[hold_out]
    other = replace(acme, label=label).train().report.hold_out
    assert other is not None
    assert other.importance == trained.report.hold_out.importance
    assert other.model.auc == pytest.approx(1 - trained.report.hold_out.model.auc)
    assert other.base_rate.brier != trained.report.hold_out.base_rate.brier


def test_early_knowledge_of_conversions_does_not_raise_the_rate(acme: Tenant) -> None:
    """A conversion is known on its day, its absence after 30: neither may crowd out the other."""
    day_after = acme.snapshot_at + np.timedelta64(1, "D")
    known = np.where(acme.label, day_after, acme.label_known_at)
    served = replace(acme, label_known_at=known).train().report.windows
    assert (served["calibrate"].first - served["fit"].last).days >= 30
    for window in served.values():
        assert window.converted / window.rows == pytest.approx(acme.label.mean(), abs=0.03)


def test_what_serves_knows_the_newest_rate() -> None:
    rising = tenant(12_000, base=-3.0, drift=2.5)
    trained = rising.train()
    newest = trained.report.windows["calibrate"]
    probability = score(trained.model, rising.matrix[-newest.rows :]).probability
    assert probability.mean() == pytest.approx(newest.converted / newest.rows, abs=0.005)
    assert newest.converted / newest.rows > 1.5 * rising.label.mean()


def test_the_interval_of_a_score_holds_its_rate(trained: Trained) -> None:
    fresh = tenant(20_000, seed=9)
    scores = score(trained.model, fresh.matrix)
    confidence = trained.model.confidence
    log_odds = np.log(scores.probability / (1 - scores.probability))
    bins = np.searchsorted(confidence.edges, log_odds)
    rate = np.bincount(bins, weights=fresh.label) / np.bincount(bins)
    held = (confidence.low <= rate) & (rate <= confidence.high)
    assert len(held) >= 10
    assert held.mean() > 0.7
    assert ((scores.confidence > 0) & (scores.confidence < 1)).all()


def test_the_same_rows_in_any_order_give_the_same_bytes(acme: Tenant) -> None:
    few = acme.take(slice(6_000))
    shuffled = few.take(np.random.default_rng(5).permutation(6_000))
    one, again, other = few.train(), shuffled.train(), few.train(seed=1)
    assert dumps(one.model) == dumps(again.model)
    assert one.report == again.report
    assert dumps(one.model) != dumps(other.model)


def test_the_report_is_plain_json(trained: Trained) -> None:
    document = trained.report.to_json()
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert document["hold_out"]["windows"]["fit"]["first"] == "2025-01-01T00:00:00+00:00"
    assert document["hold_out"]["model"].keys() == {
        "auc", "log_loss", "brier", "ece", "lift10"
    }  # fmt: skip


def test_progress_goes_from_nothing_to_all(acme: Tenant) -> None:
    told: list[float] = []
    train(
        SPEC,
        *(acme.matrix, acme.label, acme.snapshot_at, acme.label_known_at),
        trained_at=AFTER,
        horizon_days=30,
        progress=lambda _step, done: told.append(done),
    )
    assert told == sorted(told)
    assert (told[0], told[-1]) == (0, 1)


def few_converted(acme: Tenant) -> Tenant:
    label = acme.label.copy()
    label[np.flatnonzero(label)[40:]] = False
    return replace(acme, label=label)


def few_others(acme: Tenant) -> Tenant:
    return replace(few_converted(acme), label=~few_converted(acme).label)


def one_week(acme: Tenant) -> Tenant:
    return acme.take(slice(500))


def one_time(acme: Tenant) -> Tenant:
    still = np.full(len(acme.label), START)
    return replace(acme, snapshot_at=still, label_known_at=still + np.timedelta64(30, "D"))


@pytest.mark.parametrize(
    ("change", "lacking"),
    [
        (few_converted, "window fit: 40 converted and"),
        (few_others, "40 other snapshots, expected at least 50 of each"),
        (one_week, "window calibrate: 0 converted and 0 other snapshots"),
        (one_time, "window calibrate: 0 converted and 0 other snapshots, expected at least 20"),
    ],
)
def test_too_few_outcomes_give_the_base_rate_and_say_so(
    acme: Tenant, change: Callable[[Tenant], Tenant], lacking: str
) -> None:
    little = change(acme)
    trained = little.train()
    assert trained.model.evidence.stage == "base_rate"
    assert lacking in (trained.report.lacking or "")
    assert trained.report.hold_out is None
    scores = score(trained.model, little.matrix)
    assert not scores.contributions.any()
    recent = trained.report.windows["recent"]
    assert trained.model.evidence.outcomes == recent.rows
    assert scores.probability == pytest.approx(recent.converted / recent.rows, abs=0.002)
    confidence = trained.model.confidence
    assert confidence.outcomes.tolist() == [recent.rows]
    assert confidence.low[0] < scores.probability[0] < confidence.high[0]


def test_a_base_rate_is_that_of_the_newest_rows() -> None:
    """Five years without a conversion say nothing of the month in which half convert."""
    label = np.zeros(10_000, dtype=bool)
    label[9_800::2] = True
    changed = replace(tenant(10_000), label=label).train()
    assert changed.model.evidence.stage == "base_rate"
    assert score(changed.model, np.zeros((1, 6), np.float32)).score == 50


def test_without_outcomes_nothing_is_known(acme: Tenant) -> None:
    trained = acme.take(slice(0)).train()
    scores = score(trained.model, acme.matrix[:3])
    assert trained.model.evidence.outcomes == 0
    assert scores.probability.tolist() == [0.5] * 3
    assert scores.confidence.tolist() == [0.0] * 3
    assert trained.report.windows == {}


def test_a_label_from_the_future_is_refused(acme: Tenant) -> None:
    late = acme.label_known_at.copy()
    late[7] = np.datetime64("2026-01-02", "us")
    with pytest.raises(ValueError, match=r"label_known_at: 2026-01-02.* in row 7 is after"):
        replace(acme, label_known_at=late).train()


def test_rows_that_do_not_belong_together_are_refused(acme: Tenant) -> None:
    with pytest.raises(ValueError, match=r"matrix has shape \(12000, 5\).*\(12000, 6\)"):
        replace(acme, matrix=acme.matrix[:, :5]).train()
    with pytest.raises(ValueError, match="snapshot_at and label_known_at have 12000, 9 and"):
        replace(acme, snapshot_at=acme.snapshot_at[:9]).train()


def test_platt_finds_the_line_and_never_turns_the_order_round() -> None:
    random = np.random.default_rng(2)
    raw = random.normal(size=50_000)
    outcome = random.random(50_000) < 1 / (1 + np.exp(-(1.7 * raw - 2.0)))
    assert platt(raw, outcome) == pytest.approx((1.7, -2.0), abs=0.06)
    slope, intercept = platt(-raw, outcome)
    assert slope == pytest.approx(0.01)
    assert 1 / (1 + np.exp(-intercept)) == pytest.approx(outcome.mean(), abs=0.005)


def test_platt_stays_finite_where_the_model_is_always_right() -> None:
    slope, intercept = platt(np.repeat([-1.0, 1.0], 50), np.repeat([False, True], 50))
    assert 1 < slope < 10
    assert intercept == pytest.approx(0, abs=1e-6)


def test_the_check_model_takes_every_matrix_that_features_make(acme: Tenant) -> None:
    fit, new = acme.matrix[:2_000].copy(), acme.matrix[2_000:4_000].copy()
    fit[:, 3], new[0, 1], fit[0, 1] = np.nan, np.inf, -np.inf
    new[:, 4] = len(CITIES) - 1
    new[::5, 2] = np.nan
    log_odds = logistic.log_odds(SPEC, fit, acme.label[:2_000], new)
    assert np.isfinite(log_odds).all()


def test_loading_the_module_loads_no_learning_library() -> None:
    code = (
        "import sys, ml.training, ml.plots; "
        "print([m for m in ('lightgbm', 'sklearn', 'scipy', 'matplotlib') if m in sys.modules])"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    )
    assert loaded.stdout.strip() == "[]"
