"""The drift watch: alarms where the bank's calls shift, none where the same rows are shuffled."""

import json
from dataclasses import asdict
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray

from ml.drift import LEAST_PSI, TOLERANCE, InputDrift, inputs, outcomes
from ml.metrics import Floats
from ml.spec import OTHER, Column, FeatureSpec
from tests.test_leakage import Rows, bank_with_duration

TRAINED_ON = 20_000
WINDOW = 1_000
LAST_EIGHTH = 36_040


def expit(log_odds: Floats | float) -> Floats:
    odds: Floats = np.exp(np.asarray(log_odds))
    return odds / (1 + odds)


def probabilities(rows: Rows) -> Floats:
    """Of all rows, by a booster fitted on the first TRAINED_ON."""
    import lightgbm as lgb

    categorical = [i for i, feature in enumerate(rows.spec.features) if feature.categorical]
    fit = lgb.Dataset(
        rows.matrix[:TRAINED_ON], rows.label[:TRAINED_ON], categorical_feature=categorical
    )
    parameters = {"objective": "binary", "max_depth": 2, "num_threads": 1, "verbosity": -1}
    found: Floats = np.asarray(lgb.train(parameters, fit, 100).predict(rows.matrix))
    return found


@cache
def calls() -> Rows:
    return bank_with_duration().without("duration")


@cache
def shuffled(seed: int) -> Rows:
    return calls().take(np.random.default_rng(seed).permutation(len(calls().label)))


def input_drift(rows: Rows, said: Floats, window: slice) -> list[str]:
    found = inputs(
        rows.spec,
        rows.matrix[:TRAINED_ON],
        rows.matrix[window],
        trained_score=said[:TRAINED_ON],
        newest_score=said[window],
    )
    assert len(found) == len(rows.spec.features) + 1
    return [drift.name for drift in found if drift.alarm]


def test_the_banks_drift_is_seen_long_before_the_last_eighth() -> None:
    rows = calls()
    said = probabilities(rows)
    drift = outcomes(rows.label[TRAINED_ON:], said[TRAINED_ON:])
    assert drift.alarm
    assert drift.alarm_after is not None
    assert 4_000 < drift.alarm_after < 8_000 < LAST_EIGHTH - TRAINED_ON
    assert drift.observed > 2 * drift.predicted
    ends = [TRAINED_ON + drift.alarm_after - 1, TRAINED_ON + drift.alarm_after]
    alarms = [outcomes(rows.label[TRAINED_ON:end], said[TRAINED_ON:end]).alarm for end in ends]
    assert alarms == [False, True]


@pytest.mark.parametrize("seed", range(3))
def test_the_same_rows_shuffled_raise_no_alarm(seed: int) -> None:
    rows = shuffled(seed)
    said = probabilities(rows)
    assert not outcomes(rows.label[TRAINED_ON:], said[TRAINED_ON:]).alarm
    windows = range(TRAINED_ON, len(rows.label) - WINDOW, WINDOW)
    moved = [input_drift(rows, said, slice(start, start + WINDOW)) for start in windows]
    assert len(moved) == 21
    assert sum(map(len, moved)) == 0


def drawn(true: Floats, seed: int = 0) -> NDArray[np.bool_]:
    drawn: NDArray[np.bool_] = np.random.default_rng(seed).random(len(true)) < true
    return drawn


@pytest.mark.parametrize("shift", [0.9, -0.9])
def test_a_shift_is_found_after_many_good_outcomes_and_dated(shift: float) -> None:
    said = expit(np.random.default_rng(1).normal(-1, 1, 30_000))
    log_odds = np.log(said / (1 - said))
    true = expit(log_odds + shift * (np.arange(30_000) >= 20_000))
    drift = outcomes(drawn(true), said)
    assert drift.alarm_after is not None
    assert 20_000 < drift.alarm_after < 20_600
    assert drift.rows == pytest.approx(10_000, abs=300)
    assert (drift.observed > drift.predicted) == (shift > 0)
    assert drift.sentence == (
        f"of the newest {drift.rows:,} outcomes {drift.observed:.1%} converted, the scores said "
        f"{drift.predicted:.1%}: the scores no longer mean what they say"
    )
    assert json.loads(json.dumps(asdict(drift)))["alarm"] is True


@pytest.mark.parametrize("sign", [1, -1])
def test_a_shift_within_the_tolerance_is_no_drift_however_long(sign: int) -> None:
    said = expit(np.random.default_rng(2).normal(-2, 1, 200_000))
    true = expit(np.log(said / (1 - said)) + 0.8 * sign * TOLERANCE)
    drift = outcomes(drawn(true), said)
    assert not drift.alarm
    assert drift.rows == 200_000
    assert drift.sentence.endswith(": within the tolerance")


def test_false_alarms_are_as_rare_as_stated() -> None:
    """At the very edge of the tolerance: 40 x 10,000 outcomes, one alarm in 1,000,000 is stated."""
    said = expit(np.random.default_rng(3).normal(-2, 1, 10_000))
    true = expit(np.log(said / (1 - said)) + TOLERANCE)
    assert sum(outcomes(drawn(true, seed), said).alarm for seed in range(40)) <= 1


def test_certain_probabilities_and_no_outcomes_are_read() -> None:
    assert not outcomes(np.empty(0, np.bool_), np.empty(0)).alarm
    assert not outcomes(np.array([True, False] * 50), np.array([1.0, 0.0] * 50)).alarm
    wrong = outcomes(np.ones(50, np.bool_), np.zeros(50))
    assert wrong.alarm
    assert np.isfinite(wrong.evidence)


SPEC = FeatureSpec(
    (Column("size", "numeric"), Column("origin", "categorical", ("event", "web", OTHER))), ()
)


def compared(size: Floats, origin: Floats, newest_size: Floats, newest_origin: Floats) -> list[str]:
    def matrix(*columns: Floats) -> NDArray[np.float32]:
        return np.column_stack([*columns, np.zeros(len(columns[0]))]).astype(np.float32)

    found = inputs(
        SPEC,
        matrix(size, origin),
        matrix(newest_size, newest_origin),
        trained_score=expit(size),
        newest_score=expit(newest_size),
    )
    return [drift.name for drift in found if drift.alarm]


def test_inputs_that_move_are_named() -> None:
    random = np.random.default_rng(4)
    size, origin = random.normal(size=5_000), random.integers(0, 2, 5_000).astype(float)
    same = random.normal(size=500), random.integers(0, 2, 500).astype(float)
    assert compared(size, origin, *same) == []
    assert compared(size, origin, same[0] + 1, same[1]) == ["size", "score"]
    assert compared(size, origin, same[0], np.where(random.random(500) < 0.8, 0, 1)) == ["origin"]
    # A category that the training had never seen, and values that go missing.
    assert compared(size, origin, same[0], np.full(500, 2.0)) == ["origin"]
    emptied = np.where(random.random(500) < 0.3, np.nan, same[1])
    assert compared(size, origin, same[0], emptied) == ["origin"]


def test_a_small_shift_is_no_alarm_however_certain() -> None:
    random = np.random.default_rng(5)
    size, newest = random.normal(size=(2, 100_000))
    spec = FeatureSpec((Column("size", "numeric"),), ())
    matrices = [np.column_stack([v, np.zeros(100_000)]).astype(np.float32) for v in (size, newest)]
    matrices[1][:, 0] += 0.1
    found = inputs(spec, *matrices, trained_score=expit(size), newest_score=expit(newest))
    moved = found[0]
    assert isinstance(moved, InputDrift)
    assert moved.p_value < 1e-20
    assert moved.psi < LEAST_PSI
    assert not moved.alarm
    assert moved.sentence == "size: as in the training (PSI 0.01, 0.25 matters)"
    assert json.loads(json.dumps(asdict(moved)))["name"] == "size"


def city_drift(trained: Floats, newest: Floats) -> InputDrift:
    spec = FeatureSpec((Column("city", "categorical", (*map(str, range(200)), OTHER)),), ())
    matrices = [
        np.column_stack([codes, np.zeros(len(codes))]).astype(np.float32)
        for codes in (trained, newest)
    ]
    scores = [np.full(len(codes), 0.1) for codes in (trained, newest)]
    return inputs(spec, *matrices, trained_score=scores[0], newest_score=scores[1])[0]


def test_what_chance_makes_is_no_alarm_however_large() -> None:
    random = np.random.default_rng(6)
    trained = random.integers(0, 100, 5_000).astype(float)
    found = [city_drift(trained, random.integers(0, 100, 150).astype(float)) for _ in range(20)]
    assert all(drift.psi > LEAST_PSI for drift in found)
    assert not any(drift.alarm for drift in found)


def test_many_rare_new_categories_are_an_alarm_together() -> None:
    random = np.random.default_rng(7)
    trained, newest = random.integers(0, 5, 5_000), random.integers(5, 150, 150)
    assert city_drift(trained.astype(float), newest.astype(float)).alarm
    partly = np.where(random.random(150) < 0.3, newest, random.integers(0, 5, 150))
    assert city_drift(trained.astype(float), partly.astype(float)).alarm


def test_few_rows_say_nothing_of_inputs() -> None:
    matrix, score = np.zeros((99, 3), np.float32), np.zeros(99)
    assert inputs(SPEC, matrix, matrix, trained_score=score, newest_score=score) == ()
