import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from ml import logistic
from ml.metrics import figures
from ml.model import dumps
from ml.scoring import score
from ml.spec import OTHER, Column, FeatureSpec
from ml.training import HoldOut, Trained, train

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

    def hold_out(self) -> HoldOut:
        found = self.train().report.hold_out
        assert found is not None
        return found

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


@pytest.fixture(scope="module")
def hold_out(trained: Trained) -> HoldOut:
    assert trained.report.hold_out is not None
    return trained.report.hold_out


def judged(hold_out: HoldOut) -> int:
    """How many of a tenant's rows, the newest, are in windows."""
    return sum(window.rows for window in hold_out.windows)


def test_the_model_comes_near_the_best_possible_one(acme: Tenant, hold_out: HoldOut) -> None:
    rows = slice(-judged(hold_out), None)
    best = figures(acme.label[rows], acme.true[rows])
    assert hold_out.model.auc > best.auc - 0.03
    assert hold_out.window_auc["model"] > best.auc - 0.03
    assert hold_out.model.log_loss < best.log_loss + 0.015
    assert hold_out.model.ece < best.ece + 0.02
    assert hold_out.model.lift10 > 2
    assert hold_out.logistic.auc > best.auc - 0.03
    assert hold_out.window_auc["logistic"] > best.auc - 0.03
    assert hold_out.base_rate.log_loss > hold_out.model.log_loss + 0.02
    assert hold_out.slope == pytest.approx(1, abs=0.2)


def test_what_has_no_effect_ranks_last(hold_out: HoldOut) -> None:
    importance = hold_out.importance
    assert set(list(importance)[:3]) == {"seats", "budget", "industry"}
    assert importance["age of the lead"] == 0
    assert list(importance.values()) == sorted(importance.values(), reverse=True)


def test_categories_are_sets_and_no_numbers() -> None:
    """Every other city converts well: seen as a number, the city would say little."""
    random = np.random.default_rng(8)
    cities = tenant(12_000)
    rate = np.where(cities.matrix[:, CITY] % 2 == 0, 0.35, 0.05)
    cities = replace(cities, label=random.random(12_000) < rate)
    hold_out = cities.hold_out()
    rows = slice(-judged(hold_out), None)
    assert hold_out.window_auc["model"] > figures(cities.label[rows], rate[rows]).auc - 0.03
    assert next(iter(hold_out.importance)) == "city"


@pytest.mark.parametrize("seed", [4, 5, 6])
def test_a_model_that_beats_no_base_rate_does_not_serve(seed: int) -> None:
    blind = tenant(6_000)
    blind = replace(blind, label=np.random.default_rng(seed).random(6_000) < 0.2)
    trained = blind.train()
    assert trained.model.evidence.stage == "base_rate"
    assert trained.report.rounds == 0
    measured = trained.report.hold_out
    assert measured is not None
    assert measured.model.log_loss >= measured.base_rate.log_loss
    assert trained.report.lacking == (
        f"log-loss {measured.model.log_loss:.4f} on outcomes it had not seen, expected less "
        f"than the base rate's {measured.base_rate.log_loss:.4f}"
    )
    assert len(set(score(trained.model, blind.matrix).probability)) == 1


def test_windows_lie_in_each_models_future_and_fill_the_newer_half(
    acme: Tenant, hold_out: HoldOut
) -> None:
    assert [window.rows for window in hold_out.windows] == [1_200] * 5
    for earlier, later in pairwise(hold_out.windows):
        assert earlier.last < later.first
    times = acme.snapshot_at.astype("datetime64[us]")
    newest, middle = (times[row].item().replace(tzinfo=UTC) for row in (-1, 6_000))
    assert (hold_out.windows[0].first, hold_out.windows[-1].last) == (middle, newest)
    assert [window.converted for window in hold_out.windows] == [
        acme.label[start : start + 1_200].sum() for start in range(6_000, 12_000, 1_200)
    ]


def test_the_model_that_serves_is_made_of_all_rows(acme: Tenant, trained: Trained) -> None:
    fitted = trained.report.fitted_on
    assert fitted is not None
    evidence = trained.model.evidence
    assert evidence.stage == "own_model"
    assert evidence.outcomes == fitted.rows == 12_000
    assert evidence.converted == fitted.converted == acme.label.sum()
    assert trained.report.lacking is None
    assert trained.report.rounds >= 50


def in_blocks(rows: int, known_after: np.timedelta64) -> Tenant:
    """Nothing tells who converts but the city, and that is a new one for every 600 rows.

    Every window begins in the middle of a block, so that the rows just before it would tell.
    """
    blocks = tenant(rows)
    city = (np.arange(rows) + 300) // 600
    random = np.random.default_rng(1)
    blocks.matrix[:, CITY] = city
    label = random.random(rows) < np.where(random.random(60) < 0.5, 0.45, 0.05)[city]
    return replace(blocks, label=label, label_known_at=blocks.snapshot_at + known_after)


@pytest.mark.parametrize("days", [1, 30])
def test_no_model_has_seen_its_window_or_the_month_before_it(days: int) -> None:
    """Whoever knew rows of a city would know the rate of its other rows.

    With a gap of a day the logistic regression's AUC is 0.65: trees leave small cities alone.
    Outcomes that are known sooner than the horizon change nothing: training leaves them out.
    """
    measured = in_blocks(12_000, np.timedelta64(days, "D")).hold_out()
    assert measured.window_auc["model"] == pytest.approx(0.5, abs=0.02)
    assert measured.window_auc["logistic"] == pytest.approx(0.5, abs=0.02)


def test_the_labels_of_a_window_do_not_move_the_scores_it_is_judged_by() -> None:
    """Turned round, a window's outcomes take its AUC from a to 1 - a, if its scores stand still."""
    few = tenant(6_000)
    newest = slice(-600, None)

    def window_auc(outcome: NDArray[np.bool_]) -> dict[str, float]:
        label = few.label.copy()
        label[newest] = outcome
        return dict(replace(few, label=label).hold_out().window_auc)

    true, other = few.label[newest], np.random.default_rng(1).random(600) < 0.3
    sums = [
        {name: auc + window_auc(~outcome)[name] for name, auc in window_auc(outcome).items()}
        for outcome in (true, other)
    ]
    assert sums[0] == pytest.approx(sums[1], abs=1e-9)


def test_early_knowledge_of_conversions_does_not_raise_the_rate(
    acme: Tenant, trained: Trained
) -> None:
    """A conversion is known on its day, its absence after 30: neither may crowd out the other."""
    day_after = acme.snapshot_at + np.timedelta64(1, "D")
    known = np.where(acme.label, day_after, acme.label_known_at)
    early = replace(acme, label_known_at=known).train()
    assert dumps(early.model) == dumps(trained.model)
    assert early.report == trained.report


def test_outcomes_known_later_than_the_horizon_move_the_models_further_back(acme: Tenant) -> None:
    known = acme.snapshot_at.copy()
    known += np.timedelta64(83, "D")  # the first window begins after 83 days and 8 hours
    lacking = replace(acme, label_known_at=known).train().report.lacking
    assert lacking == (
        "2 converted and 22 other snapshots to fit a first model, expected at least 50 of each"
    )


def test_what_serves_knows_the_newest_rate() -> None:
    rising = tenant(12_000, base=-3.0, drift=2.5)
    newest = slice(-12_000 // 5, None)
    probability = score(rising.train().model, rising.matrix[newest]).probability
    rate = rising.label[newest].mean()
    assert probability.mean() == pytest.approx(rate, abs=0.005)
    assert rate > 1.5 * rising.label.mean()


def test_a_fifth_without_conversions_is_no_certainty(acme: Tenant) -> None:
    """To the first window 3,840 rows are known; a base rate of 0 would cost 34 per conversion."""
    label = acme.label.copy()
    label[3_000:3_840] = False
    measured = replace(acme, label=label).hold_out()
    assert measured.base_rate.log_loss < 1
    assert measured.model.log_loss < 1


def test_a_moving_rate_neither_flattens_nor_steepens_the_model() -> None:
    assert tenant(12_000, base=-3.0, drift=2.5).hold_out().slope == pytest.approx(1, abs=0.25)


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
    assert document["fitted_on"]["first"] == "2025-01-01T00:00:00+00:00"
    assert [window["rows"] for window in document["hold_out"]["windows"]] == [1_200] * 5
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


def few_judged(acme: Tenant) -> Tenant:
    label = acme.label.copy()
    label[6_000:] = False
    label[6_000 + 60 * np.arange(99)] = True
    return replace(acme, label=label)


def one_week(acme: Tenant) -> Tenant:
    return acme.take(slice(500))


def one_time(acme: Tenant) -> Tenant:
    still = np.full(len(acme.label), START)
    return replace(acme, snapshot_at=still, label_known_at=still + np.timedelta64(30, "D"))


def in_turns(acme: Tenant) -> Tenant:
    """Each window holds outcomes of one kind."""
    label = acme.label.copy()
    label[6_000:] = np.arange(6_000) // 1_200 % 2
    return replace(acme, label=label)


@pytest.mark.parametrize(
    ("change", "lacking"),
    [
        (few_converted, "40 converted and"),
        (few_others, "40 other snapshots to fit a first model, expected at least 50 of each"),
        (few_judged, "99 converted and 5901 other snapshots to judge models by, expected at"),
        (one_week, "0 converted and 0 other snapshots to fit a first model"),
        (one_time, "0 converted and 0 other snapshots to fit a first model, expected at least 50"),
        (in_turns, "0 converted and 0 other snapshots to judge models by, expected at least 100"),
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
    assert trained.report.rounds == 0
    scores = score(trained.model, little.matrix)
    assert not scores.contributions.any()
    recent = trained.report.fitted_on
    assert recent is not None
    assert trained.model.evidence.outcomes == recent.rows
    assert scores.probability == pytest.approx(recent.converted / recent.rows, abs=0.003)
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
    assert trained.report.fitted_on is None
    assert trained.report.hold_out is None


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
