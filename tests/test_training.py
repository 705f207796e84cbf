"""A training's model is the best that the outcomes allow, and its report says what it is worth."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy.special import expit

from ml.algorithm import Algorithm, Bools, Floats, Matrix
from ml.algorithms.boosted_tables import BoostedTables
from ml.comparison import losses
from ml.history import History
from ml.leakage import Writes, WrittenAfter
from ml.metrics import figures
from ml.model import dumps
from ml.report import HoldOut
from ml.scoring import score
from ml.settings import TrainingSettings
from ml.spec import Dropped
from ml.training import FEWER_ROUNDS, Trained
from tests.planted import (
    BUDGET,
    CITY,
    INDUSTRY,
    NOISE,
    SEATS,
    SPEC,
    START,
    measured,
    planted,
    shuffled,
    trained_on,
    usual,
)

ROWS = 6_000
WINDOW = ROWS // 10


@pytest.fixture(scope="module")
def acme() -> History:
    return planted(ROWS)


@pytest.fixture(scope="module")
def trained(acme: History) -> Trained:
    return trained_on(acme)


@pytest.fixture(scope="module")
def hold_out(trained: Trained) -> HoldOut:
    return measured(trained)


def drawn(history: History, log_odds: Floats, seed: int = 1) -> History:
    label = np.random.default_rng(seed).random(len(log_odds)) < expit(log_odds)
    return replace(history, label=label)


def test_the_model_comes_near_the_best_possible_one(acme: History, hold_out: HoldOut) -> None:
    judged = slice(-ROWS // 2, None)
    best = figures(acme.label[judged], expit(usual(acme.matrix[judged])))
    assert hold_out.model.auc > best.auc - 0.03
    assert hold_out.window_auc > best.auc - 0.03
    assert hold_out.model.log_loss < best.log_loss + 0.015
    assert hold_out.model.ece < best.ece + 0.02
    assert hold_out.model.lift10 > 2
    assert hold_out.base_rate.log_loss > hold_out.model.log_loss + 0.02
    assert hold_out.against_base_rate.better
    assert set(hold_out.candidates) == {"boosted_tables", "logistic_regression", FEWER_ROUNDS}
    assert hold_out.coverage == pytest.approx(0.9, abs=0.1)


def test_what_has_no_effect_ranks_last(hold_out: HoldOut) -> None:
    importance = hold_out.importance
    assert set(list(importance)[:3]) == {"seats", "budget", "industry"}
    assert importance["age of the lead"] == 0
    assert list(importance.values()) == sorted(importance.values(), reverse=True)


def test_categories_are_sets_and_no_numbers() -> None:
    """Every other city converts well: seen as a number, the city would say little."""

    def by_city(matrix: Matrix) -> Floats:
        return np.where(matrix[:, CITY] % 2 == 0, -1.0, -2.5)

    cities = planted(2 * ROWS, by_city)
    found = measured(trained_on(cities))
    judged = slice(-ROWS, None)
    best = figures(cities.label[judged], expit(by_city(cities.matrix[judged])))
    assert found.window_auc > best.auc - 0.03
    assert next(iter(found.importance)) == "city"


@pytest.mark.parametrize("seed", range(4))
def test_a_random_tenant_is_served_its_base_rate(acme: History, seed: int) -> None:
    random = shuffled(acme, seed)
    trained = trained_on(random)
    assert trained.model.evidence.stage == "base_rate"
    assert (trained.report.lacking or "").startswith("no signal (p = ")
    assert len(set(score(trained.model, random.matrix).probability)) == 1


def test_a_model_that_is_worse_than_the_base_rate_does_not_serve() -> None:
    """What told outcomes in the past has turned round since."""
    few = planted(3_000)
    effect = np.where(np.arange(3_000) < 1_500, 3, -1)
    trained = trained_on(drawn(few, effect * np.nan_to_num(few.matrix[:, SEATS]) - 1))
    found = measured(trained)
    assert (trained.report.signal or 0) < 0.02
    assert trained.model.evidence.stage == "base_rate"
    assert found.against_base_rate.worse
    assert trained.report.lacking == (
        f"worse: log-loss {found.model.log_loss:.4f} on outcomes it had not seen, the base rate's "
        f"{found.base_rate.log_loss:.4f}"
    )


def linear(matrix: Matrix) -> Floats:
    known = np.nan_to_num(matrix).astype(np.float64)
    return np.asarray(-1.5 + known[:, SEATS] + known[:, BUDGET] - known[:, NOISE])


def joint(matrix: Matrix) -> Floats:
    known = np.nan_to_num(matrix).astype(np.float64)
    both = np.sign(known[:, SEATS] * known[:, BUDGET])
    return np.asarray(-1.5 + 0.5 * (known[:, SEATS] + known[:, BUDGET]) + 1.5 * both)


FIRST_TABLES = TrainingSettings(algorithms=("boosted_tables", "logistic_regression"))
FIRST_REGRESSION = TrainingSettings(algorithms=("logistic_regression", "boosted_tables"))


@pytest.mark.parametrize("settings", [None, FIRST_TABLES, FIRST_REGRESSION])
@pytest.mark.parametrize(
    ("process", "better"), [(linear, "logistic_regression"), (joint, "boosted_tables")]
)
def test_the_better_algorithm_serves(
    settings: TrainingSettings | None, process: Callable[[Matrix], Floats], better: str
) -> None:
    trained = trained_on(planted(3_000, process), settings=settings)
    assert trained.report.algorithm == better
    assert trained.report.hyperparameters.keys() == {better}
    candidates = measured(trained).candidates
    default = next(iter(candidates))
    assert candidates[default].against_default is None
    for name, found in candidates.items():
        if name != default:
            assert found.against_default is not None
            assert found.against_default.better == (
                found.figures.log_loss < candidates[default].figures.log_loss
            )


@pytest.mark.parametrize("settings", [FIRST_TABLES, FIRST_REGRESSION])
def test_the_default_serves_where_chance_explains_the_difference(
    settings: TrainingSettings,
) -> None:
    """One category tells all there is, and either algorithm learns it."""
    history = planted(3_000, lambda matrix: np.where(matrix[:, INDUSTRY] == 2, 0.5, -1.5))
    history = replace(history, matrix=history.matrix.copy())
    history.matrix[:, [SEATS, BUDGET, NOISE, CITY]] = 1
    trained = trained_on(history, settings=settings)
    default, other = measured(trained).candidates.items()
    assert trained.report.algorithm == default[0] == settings.algorithms[0]
    assert other[1].against_default is not None
    assert not other[1].against_default.better


def test_windows_lie_in_each_models_future_and_fill_the_newer_half(
    acme: History, hold_out: HoldOut
) -> None:
    assert hold_out.validation == "rolling windows"
    assert [window.rows for window in hold_out.windows] == [WINDOW] * 5
    for earlier, later in pairwise(hold_out.windows):
        assert earlier.last < later.first
    times = acme.snapshot_at.astype("datetime64[us]")
    newest, middle = (times[row].item().replace(tzinfo=UTC) for row in (-1, ROWS // 2))
    assert (hold_out.windows[0].first, hold_out.windows[-1].last) == (middle, newest)
    assert [window.converted for window in hold_out.windows] == [
        acme.label[start : start + WINDOW].sum() for start in range(ROWS // 2, ROWS, WINDOW)
    ]


def test_the_model_that_serves_is_made_of_all_rows(acme: History, trained: Trained) -> None:
    fitted = trained.report.fitted_on
    assert fitted is not None
    evidence = trained.model.evidence
    assert evidence.stage == "own_model"
    assert evidence.outcomes == fitted.rows == ROWS
    assert evidence.converted == fitted.converted == acme.label.sum()
    assert trained.report.lacking is None
    assert trained.report.calibration == "as it is"


@pytest.mark.parametrize("days", [1, 30])
def test_no_model_has_seen_its_window_or_the_month_before_it(days: int) -> None:
    """Nothing tells who converts but the city, and that is a new one every five days or so. Each
    window begins in the middle of a city's time, so that the rows just before it would tell.

    Outcomes that are known sooner than the horizon change nothing: training leaves them out.
    """
    random = np.random.default_rng(1)
    few = planted(ROWS)
    city = (np.arange(ROWS) + 50) // 100
    rate = np.where(random.random(61) < 0.5, -0.2, -3.0)[city]
    # A little that tells for good, for else there is no signal and nothing is measured.
    seats = np.nan_to_num(few.matrix[:, SEATS]) > 2
    blocks = replace(
        drawn(few, rate + 3.0 * seats),
        matrix=few.matrix.copy(),
        label_known_at=few.snapshot_at + np.timedelta64(days, "D"),
    )
    blocks.matrix[:, CITY] = city % 60
    for found in measured(trained_on(blocks)).candidates.values():
        assert found.window_auc == pytest.approx(0.5, abs=0.06)


def test_the_labels_of_a_window_do_not_move_the_scores_it_is_judged_by() -> None:
    """Turned round, a window's outcomes take its AUC from a to 1 - a, if its scores stand still."""
    few = planted(3_000)
    newest = slice(-300, None)

    def window_auc(outcome: Bools) -> dict[str, float]:
        label = few.label.copy()
        label[newest] = outcome
        found = measured(trained_on(replace(few, label=label)))
        return {name: one.window_auc for name, one in found.candidates.items()}

    true, other = few.label[newest], np.random.default_rng(1).random(300) < 0.3
    sums = [
        {name: auc + window_auc(~outcome)[name] for name, auc in window_auc(outcome).items()}
        for outcome in (true, other)
    ]
    assert sums[0] == pytest.approx(sums[1], abs=1e-9)


def test_early_knowledge_of_conversions_does_not_raise_the_rate() -> None:
    """A conversion is known on its day, its absence after 30: neither may crowd out the other."""
    few = planted(3_000)
    day_after = few.snapshot_at + np.timedelta64(1, "D")
    early = replace(few, label_known_at=np.where(few.label, day_after, few.label_known_at))
    one, other = trained_on(early), trained_on(few)
    assert dumps(one.model) == dumps(other.model)
    assert one.report == other.report


def test_outcomes_known_later_than_the_horizon_move_the_models_further_back(acme: History) -> None:
    sooner = START + (acme.snapshot_at - START) // 2
    known = sooner + np.timedelta64(74, "D")  # the first window begins after 75 days
    trained = trained_on(replace(acme, snapshot_at=sooner, label_known_at=known))
    converted, others = acme.label[:40].sum(), 40 - acme.label[:40].sum()
    assert trained.report.lacking == (
        f"{converted} converted and {others} other snapshots to fit a first model, "
        "expected at least 50 of each"
    )
    assert trained.model.evidence.stage == "prior_model"


def newest_probability(trained: Trained, history: History, log_odds: Floats) -> tuple[float, float]:
    """Mean probability of the newest window's rows, and their true rate."""
    newest = slice(-WINDOW, None)
    probability = score(trained.model, history.matrix[newest]).probability
    return float(probability.mean()), float(expit(log_odds[newest]).mean())


TABLES = TrainingSettings(algorithms=("boosted_tables",))


@pytest.mark.parametrize(("seed", "drift"), [(0, 2.0), (1, 3.0), (2, -3.0)])
def test_a_rate_that_moves_is_followed(seed: int, drift: float) -> None:
    """No column tells of it: the model alone lags, a correction by the newest outcomes does not."""
    rows = planted(ROWS, lambda matrix: usual(matrix) - drift / 2 + 1.5, drift=drift, seed=seed)
    moving = replace(rows, label_known_at=rows.snapshot_at + np.timedelta64(6, "D"))
    trained = trained_on(moving, settings=TABLES, horizon_days=6)
    assert trained.report.calibration in ("newest rate", "line")
    now = usual(moving.matrix) + drift / 2 + 1.5
    probability, rate = newest_probability(trained, moving, now)
    assert probability == pytest.approx(rate, abs=0.03)
    assert abs(rate - moving.label.mean()) > 0.1
    assert measured(trained).window_auc > 0.65


@pytest.mark.parametrize("seed", range(3))
def test_no_movement_is_invented(seed: int) -> None:
    still = planted(ROWS, seed=seed)
    trained = trained_on(still, settings=TABLES)
    assert trained.report.calibration == "as it is"
    probability, rate = newest_probability(trained, still, usual(still.matrix))
    assert probability == pytest.approx(rate, abs=0.03)


def test_a_time_without_conversions_is_no_certainty(acme: History) -> None:
    """The newest of what the first window knows: a base rate of 0 would cost 34 a conversion."""
    label = acme.label.copy()
    label[2_000:2_400] = False
    found = measured(trained_on(replace(acme, label=label)))
    assert found.base_rate.log_loss < 1
    assert found.model.log_loss < 1


def test_the_interval_of_a_score_holds_its_rate(trained: Trained) -> None:
    fresh = planted(20_000, seed=9)
    scores = score(trained.model, fresh.matrix)
    table = trained.model.confidence
    bins = np.searchsorted(table.edges, np.log(scores.probability / (1 - scores.probability)))
    rate = np.bincount(bins, expit(usual(fresh.matrix))) / np.bincount(bins)
    held = (table.low <= rate) & (rate <= table.high)
    assert len(held) >= 10
    assert held.mean() > 0.7
    assert ((scores.confidence > 0) & (scores.confidence < 1)).all()


@pytest.mark.parametrize("algorithms", [("boosted_tables",), ("logistic_regression",), ()], ids=str)
def test_what_serves_holds_the_directions_that_the_tenant_states(
    algorithms: tuple[Any, ...],
) -> None:
    """Of seats, whose effect turns round; and of budget, against what the outcomes say."""

    def turning(matrix: Matrix) -> Floats:
        known = np.nan_to_num(matrix).astype(np.float64)
        return np.asarray(known[:, SEATS] - 0.7 * known[:, SEATS] ** 2 + 0.5 * known[:, BUDGET] - 1)

    history = planted(3_000, turning)
    told = {SEATS: "increasing", BUDGET: "decreasing"}
    monotone: Any = {SPEC.columns[place].name: direction for place, direction in told.items()}
    steps = []
    free: Any = {}
    for directions in (monotone, free):
        settings = TrainingSettings(algorithms=algorithms, monotone=directions)
        predictor = trained_on(history, settings=settings).model.predictor
        for place, direction in told.items():
            grid = np.linspace(-4, 4, 161, dtype=np.float32)
            rows = np.repeat(history.matrix[:40], len(grid), axis=0)
            rows[:, place] = np.tile(grid, 40)
            moved = np.diff(predictor.raw(rows).reshape(40, len(grid)), axis=1)
            steps.append(float((moved if direction == "increasing" else -moved).min()))
    assert min(steps[:2]) >= -1e-9
    assert min(steps[2:]) < -1e-3


@pytest.fixture(scope="module")
def leaking() -> History:
    """`noise` is written once a lead has converted."""
    history = planted(2_000)
    history.matrix[:, NOISE] = np.where(history.label, 1.0, np.nan)
    return history


def test_a_column_that_leaks_is_left_out_and_named(leaking: History) -> None:
    trained = trained_on(leaking)
    assert {suspect.column for suspect in trained.report.suspects} == {"noise"}
    assert trained.report.kept == ()
    assert "noise" not in [column.name for column in trained.model.spec.columns]
    (dropped,) = trained.model.spec.dropped
    reasons = [f"the leakage audit: {suspect.sentence}" for suspect in trained.report.suspects]
    assert dropped.name == "noise"
    assert dropped.reason in reasons
    assert 0.6 < measured(trained).model.auc < 0.8


def test_a_suspect_that_the_tenant_keeps_is_used_and_still_named(leaking: History) -> None:
    trained = trained_on(leaking, settings=TrainingSettings(keep=frozenset({"noise"})))
    assert {suspect.column for suspect in trained.report.suspects} == {"noise"}
    assert trained.report.kept == ("noise",)
    assert trained.model.spec == SPEC
    assert measured(trained).model.auc > 0.99


def test_writings_after_the_outcome_are_evidence_too() -> None:
    writes = WrittenAfter(Writes(200, 2, 150), Writes(1_000, 5, 5))
    trained = trained_on(planted(600), written_after={"budget": writes})
    assert [suspect.evidence for suspect in trained.report.suspects] == ["history"]
    assert "budget" not in [column.name for column in trained.model.spec.columns]


def test_what_the_tenant_drops_is_never_used() -> None:
    settings = TrainingSettings(drop=frozenset({"budget", "city"}))
    trained = trained_on(planted(2_000), settings=settings)
    assert [c.name for c in trained.model.spec.columns] == ["seats", "industry", "noise"]
    assert trained.model.predictor.features == 4
    assert {drop.name for drop in trained.model.spec.dropped} == {"budget", "city"}
    assert trained.report.suspects == ()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"drop": ["colour"]}, "drop: the leads have no attribute 'colour'; correct or remove it"),
        ({"keep": ["colour"]}, "keep: the leads have no attribute 'colour'"),
        ({"monotone": {"colour": "increasing"}}, "monotone: the leads have no attribute 'colour'"),
        ({"fairness": {"groups": {"colour": []}}}, "fairness.groups: the leads have no attribute"),
        ({"monotone": {"city": "increasing"}}, "monotone: 'city' has categories, expected a num"),
        (
            {"monotone": {"seats": "increasing"}, "algorithms": ["naive_bayes"]},
            "algorithms: naive_bayes cannot hold the monotone attributes seats; leave out one",
        ),
        ({"fairness": {"groups": {"city": [1]}}}, r"edges of 'city' are \(1.0,\), expected none"),
        ({"fairness": {"groups": {"seats": []}}}, r"edges of 'seats' are \(\), expected ascending"),
    ],
)
def test_settings_that_cannot_be_held_are_one_clear_error(
    settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message) as refused:
        trained_on(planted(600), settings=TrainingSettings.model_validate(settings))
    assert "\n" not in str(refused.value)


def test_an_attribute_that_has_no_feature_today_may_be_named_in_settings() -> None:
    """A column may be empty for a while: the tenant's settings need not be changed for that."""
    history = planted(600)
    empty = replace(SPEC, dropped=(Dropped("colour", "no value in any row"),))
    settings = TrainingSettings.model_validate(
        {
            "monotone": {"colour": "increasing"},
            "keep": ["colour"],
            "drop": ["colour"],
            "fairness": {"groups": {"colour": [1], "industry": []}},
        }
    )
    trained = trained_on(replace(history, spec=empty), settings=settings)
    assert trained.model.spec.dropped == empty.dropped
    assert trained.report.fairness is not None


def test_groups_are_compared_by_band_and_by_category_even_of_what_the_model_lacks() -> None:
    settings = TrainingSettings.model_validate(
        {"drop": ["seats"], "fairness": {"groups": {"seats": [-1, 1], "industry": []}}}
    )
    history = planted(3_000)
    trained = trained_on(history, settings=settings)
    assert trained.report.fairness is not None
    groups = {(g.attribute, g.group): g for g in trained.report.fairness.groups}
    bands = ["-1 to 1", "1 and above", "below -1", "not known"]
    assert [name for attribute, name in groups if attribute == "seats"] == bands
    assert [name for attribute, name in groups if attribute == "industry"] == list("abcdef")
    judged = slice(1_500, None)
    low = np.nan_to_num(history.matrix[judged, SEATS], nan=9) < -1
    found = groups["seats", "below -1"]
    assert (found.rows, found.converted) == (low.sum(), history.label[judged][low].sum())
    assert found.predicted == pytest.approx(found.conversion_rate, abs=0.15)
    assert found.selected < groups["industry", "f"].selected


def frame(history: History) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "lead_id": [f"{code:09d}" for code in history.lead],
            "snapshot_at": pl.Series(history.snapshot_at).dt.replace_time_zone("UTC"),
            "label": history.label,
            "label_known_at": pl.Series(history.label_known_at).dt.replace_time_zone("UTC"),
            "features": history.matrix.tolist(),
        },
        schema_overrides={"features": pl.List(pl.Float32)},
    )


@pytest.mark.parametrize("rows", [400, 3_000])
def test_the_same_rows_in_any_order_give_the_same_bytes(rows: int) -> None:
    few = frame(planted(rows, per_lead=2))
    in_order, mixed = (History.of(SPEC, some) for some in (few, few.sample(rows, shuffle=True)))
    one, again, other = trained_on(in_order), trained_on(mixed), trained_on(in_order, seed=1)
    assert one.model.evidence.stage == ("own_model" if rows == 3_000 else "prior_model")
    assert dumps(one.model) == dumps(again.model)
    assert one.report == again.report
    assert dumps(one.model) != dumps(other.model)


def test_a_search_finds_the_hyperparameters_that_serve() -> None:
    asked: list[float] = []
    windows: list[list[int]] = []

    def search(
        algorithm: type[Algorithm],
        evaluate: Callable[[Algorithm, Callable[[int, float], None]], float],
    ) -> Algorithm:
        assert algorithm is BoostedTables
        found = BoostedTables(rounds=30, learning_rate=0.1)
        windows.append([])
        asked.append(evaluate(found, lambda window, _loss: windows[-1].append(window)))
        return found

    trained = trained_on(planted(2_000), settings=TABLES, search=search)
    assert trained.report.hyperparameters["boosted_tables"]["rounds"] == 30
    assert windows == [[0, 1, 2]], "the later windows judge what was found"
    assert trained.report.calibration == "as it is"
    unseen = trained.unseen
    assert unseen is not None
    outcome = unseen.history.label[np.concatenate(unseen.windows[:3])]
    assert asked == [pytest.approx(losses(outcome, np.concatenate(unseen.log_odds[:3])).mean())]


def test_the_report_is_plain_json(trained: Trained) -> None:
    document = trained.report.to_json()
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert document["fitted_on"]["first"] == "2025-01-01T00:00:00+00:00"
    assert [window["rows"] for window in document["hold_out"]["windows"]] == [WINDOW] * 5
    assert document["hold_out"]["model"].keys() == {
        "auc", "log_loss", "brier", "ece", "lift10"
    }  # fmt: skip


@pytest.mark.parametrize("rows", [0, 300, 3_000])
def test_progress_goes_from_nothing_to_all(rows: int) -> None:
    told: list[float] = []
    known: dict[str, float] = {}

    def progress(step: str, done: float, so_far: Any) -> None:
        assert step
        told.append(done)
        known.update(so_far)

    trained_on(planted(rows), progress=progress)
    assert told == sorted(told)
    assert (told[0], told[-1]) == (0, 1)
    assert "p_value" in known
    if rows == 3_000:
        assert len(told) > 100
        assert {"log_loss boosted_tables", "log_loss logistic_regression"} < known.keys()


@pytest.mark.parametrize(("rows", "share"), [(300, 0.3), (2_000, 0.4), (2_000, 0.9)])
def test_progress_may_end_the_training(rows: int, share: float) -> None:
    class EndedError(Exception):
        pass

    def end(_step: str, done: float, _so_far: Any) -> None:
        if done > share:
            raise EndedError

    with pytest.raises(EndedError):
        trained_on(planted(rows), progress=end)


def few_converted(acme: History) -> History:
    label = acme.label.copy()
    label[np.flatnonzero(label)[40:]] = False
    return replace(acme, label=label)


def few_others(acme: History) -> History:
    return replace(few_converted(acme), label=~few_converted(acme).label)


def few_judged(acme: History) -> History:
    label = acme.label.copy()
    label[ROWS // 2 :] = False
    label[ROWS // 2 + 30 * np.arange(99)] = True
    return replace(acme, label=label)


def one_time(acme: History) -> History:
    still = np.full(len(acme.label), START)
    return replace(acme, snapshot_at=still, label_known_at=still + np.timedelta64(30, "D"))


def in_turns(acme: History) -> History:
    """Each window holds outcomes of one kind."""
    label = acme.label.copy()
    label[ROWS // 2 :] = np.arange(ROWS // 2) // WINDOW % 2
    return replace(acme, label=label)


@pytest.mark.parametrize(
    ("change", "lacking"),
    [
        (few_converted, "40 converted and"),
        (few_others, "40 other snapshots to fit a first model, expected at least 50 of each"),
        (few_judged, "99 converted and 2901 other snapshots to judge models by, expected at"),
        (one_time, "0 converted and 0 other snapshots to fit a first model, expected at least 50"),
        (in_turns, "0 converted and 0 other snapshots to judge models by, expected at least 100"),
    ],
)
def test_too_few_outcomes_for_windows_give_no_model_of_its_own_and_say_so(
    acme: History, change: Callable[[History], History], lacking: str
) -> None:
    trained = trained_on(change(acme))
    assert trained.model.evidence.stage in ("prior_model", "base_rate")
    assert lacking in (trained.report.lacking or "")
    if trained.report.hold_out is not None:
        assert trained.report.hold_out.validation == "cross-validation by lead"
        assert trained.report.hold_out.model.log_loss < trained.report.hold_out.base_rate.log_loss


def test_a_label_from_the_future_is_refused(acme: History) -> None:
    late = acme.label_known_at.copy()
    late[7] = np.datetime64("2026-01-02", "us")
    with pytest.raises(ValueError, match=r"label_known_at: 2026-01-02.* in row 7 is after"):
        trained_on(replace(acme, label_known_at=late))


def test_loading_the_module_loads_no_learning_library() -> None:
    code = (
        "import sys, ml.training, ml.plots; "
        "print([m for m in ('lightgbm', 'sklearn', 'scipy', 'optuna', 'fairlearn', 'matplotlib')"
        " if m in sys.modules])"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    )
    assert loaded.stdout.strip() == "[]"
