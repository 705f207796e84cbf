"""What is asked of a trained model before it may serve."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache

import numpy as np
import pytest

from ml.algorithm import Floats, Matrix
from ml.fairness import BiasAlarm, FairnessReport
from ml.gate import Comparison, Gate, Unseen, compare, judge
from ml.metrics import CalibrationPoint
from ml.model import Model
from ml.settings import Governance
from ml.spec import OTHER, Column, FeatureSpec
from ml.training import Trained
from ml.translation import translate
from tests.planted import INDUSTRY, SEATS, SPEC, START, measured, planted, trained_on

LENIENT, STRICT = Governance(), Governance(undecided="keep")
# The champions here were trained before any row was there, so that all rows are new to them.
BEFORE = datetime(2024, 12, 31, tzinfo=UTC)


@cache
def candidate() -> Trained:
    return trained_on(planted(4_000))


def unseen() -> Unseen:
    found = candidate().unseen
    assert found is not None
    return found


def other_way_round(matrix: Matrix) -> Floats:
    return -np.nan_to_num(matrix[:, SEATS]).astype(np.float64)


@cache
def champion(kind: str) -> Model:
    """Of a later world than the candidate's, and older than its rows by what it says of itself."""
    history = {
        "same": planted(4_000, seed=7),
        "backwards": planted(4_000, other_way_round, seed=7),
    }[kind]
    return replace(trained_on(history).model, trained_at=BEFORE)


def passed(gate: Gate, name: str) -> tuple[bool, str]:
    (check,) = [check for check in gate.checks if check.name == name]
    return check.passed, check.sentence


def log_loss(comparison: Comparison | None, governance: Governance = LENIENT) -> tuple[bool, str]:
    return passed(judge(candidate().report, governance, comparison), "log_loss")


def test_a_better_model_passes_and_says_by_how_much() -> None:
    found = compare(unseen(), champion("backwards"), 3)
    assert found.difference is not None
    assert found.difference.better
    told = log_loss(found, STRICT)
    assert told[0]
    assert told[1].startswith("better: log-loss -")
    assert "version 3" in told[1]


def test_a_worse_model_is_refused() -> None:
    better_than_it = replace(unseen(), log_odds=[-said for said in unseen().log_odds])
    found = compare(better_than_it, champion("same"), 3)
    assert log_loss(found)[0] is False
    assert log_loss(found)[1].startswith("worse: ")


def test_where_nothing_tells_them_apart_the_tenant_has_decided() -> None:
    found = compare(unseen(), champion("same"), 3)
    assert found.difference is not None
    assert not found.difference.better
    assert not found.difference.worse
    assert log_loss(found, LENIENT)[0]
    assert log_loss(found, STRICT)[0] is False


def test_only_rows_younger_than_the_champion_are_compared() -> None:
    middle = (START + np.timedelta64(250, "D")).item().replace(tzinfo=UTC)
    half = compare(unseen(), replace(champion("same"), trained_at=middle), 3)
    after = unseen().history.snapshot_at[np.concatenate(unseen().windows)] > np.datetime64(
        middle.replace(tzinfo=None)
    )
    assert half.rows == after.sum()
    none = compare(unseen(), replace(champion("same"), trained_at=middle + timedelta(days=60)), 3)
    assert (none.rows, none.difference) == (0, None)
    assert log_loss(none, LENIENT)[0]
    assert log_loss(none, STRICT)[0] is False


def test_a_rate_of_which_nothing_was_measured_replaces_no_model() -> None:
    report = replace(candidate().report, lacking="not enough", hold_out=None)
    gate = judge(report, LENIENT, Comparison(3, 0, 0, None))
    assert passed(gate, "log_loss")[0] is False
    assert judge(report, LENIENT, None).passed


def test_a_champion_of_other_columns_is_given_what_it_knows() -> None:
    # It has never heard of budgets, and numbers industries in another order.
    older = FeatureSpec(
        (Column("industry", "categorical", ("f", "a", OTHER)), Column("seats", "numeric"),
         Column("gone", "numeric")),
        (),
    )  # fmt: skip
    matrix = np.array([[1, 2, 0, 0, 0, 9], [np.nan, 2, 5, 0, 0, 9], [3, 2, 1, 0, 0, 9]], np.float32)
    matrix[0, INDUSTRY] = np.nan
    translated = translate(matrix, SPEC, older)
    nan = np.nan
    # Industry, seats, gone, age of the lead: missing; f; b, which it lumps with the others.
    expected = [[nan, 1, nan, 9], [0, nan, nan, 9], [2, 3, nan, 9]]
    np.testing.assert_array_equal(translated, np.array(expected, np.float32))


@pytest.mark.parametrize(
    ("observed", "of_base_rate", "passes"),
    [(0.2, 0.0, True), (0.24, 0.0, True), (0.32, 0.0, False), (0.32, 0.15, True)],
)
def test_probabilities_that_are_off_beyond_chance_and_the_base_rate_are_refused(
    observed: float, of_base_rate: float, passes: bool
) -> None:
    points = (CalibrationPoint(0.2, observed, 1_000, int(1_000 * observed)),)
    held = measured(candidate())
    off = replace(
        held,
        calibration=points,
        model=replace(held.model, ece=abs(observed - 0.2)),
        base_rate=replace(held.base_rate, ece=of_base_rate),
    )
    gate = judge(replace(candidate().report, hold_out=off), LENIENT, None)
    assert passed(gate, "calibration")[0] is passes


def test_few_rows_are_allowed_the_error_that_chance_makes() -> None:
    points = (CalibrationPoint(0.2, 0.3, 20, 6),)
    held = measured(candidate())
    few = replace(
        held,
        calibration=points,
        model=replace(held.model, ece=0.1),
        base_rate=replace(held.base_rate, ece=0.0),
    )
    gate = judge(replace(candidate().report, hold_out=few), LENIENT, None)
    assert passed(gate, "calibration")[0]


def test_what_is_too_good_to_be_true_is_refused() -> None:
    held = measured(candidate())
    gate = judge(
        replace(candidate().report, hold_out=replace(held, model=replace(held.model, auc=0.995))),
        LENIENT,
        None,
    )
    assert passed(gate, "leakage") == (False, "too good to be true: AUC 0.995 on unseen outcomes,"
                                       " so some attributes tell the outcome together")  # fmt: skip
    assert not gate.passed
    assert "too good" in gate.refusal


def test_a_group_that_newly_falls_behind_stops_a_model_where_the_tenant_wants_that() -> None:
    alarm = BiasAlarm("age", "60 and more", "30 to 60", 0.4, "seldom")
    report = replace(candidate().report, fairness=FairnessReport((), (alarm,)))
    assert passed(judge(report, LENIENT, None), "fairness") == (
        False,
        "seldom in the top tenth: age: 60 and more",
    )
    assert passed(judge(report, Governance(fairness=False), None), "fairness")[0]
    # The champion does so too: to refuse the newer model would help nobody.
    assert passed(judge(report, LENIENT, None, ["age: 60 and more"]), "fairness")[0]


def test_a_sound_first_model_passes() -> None:
    gate = judge(candidate().report, STRICT, None)
    assert gate.passed, gate.refusal
    assert gate.to_json()["passed"] is True
    assert {check["name"] for check in gate.to_json()["checks"]} == {
        "log_loss",
        "calibration",
        "leakage",
    }
