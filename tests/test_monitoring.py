"""Whether a model may stay: against its promise, its predecessor and the base rate."""

from typing import Any

import numpy as np
import pytest
from scipy.special import expit

from ml.metrics import Bools, Floats
from ml.monitoring import Verdict, judge, quality
from ml.settings import Monitoring

ROWS = 20_000


def drawn(rate: Floats, seed: int = 0) -> Bools:
    return np.random.default_rng(seed).random(len(rate)) < rate


def spread(rows: int = ROWS, mean: float = -2.4) -> Floats:
    """Probabilities that tell leads apart."""
    found: Floats = expit(np.random.default_rng(7).normal(mean, 1.0, rows))
    return found


def judged(outcome: Bools, said: Floats, **given: Any) -> Verdict:
    defaults: dict[str, Any] = {
        "base_rate": None,
        "promised": None,
        "predecessor": None,
        "has_predecessor": False,
        "settings": Monitoring(),
    }
    return judge(outcome, said, **{**defaults, **given})


def promise(said: Floats) -> float:
    return float(-np.mean(said * np.log(said) + (1 - said) * np.log1p(-said)))


def test_a_model_that_keeps_its_promise_stays() -> None:
    said = spread()
    found = judged(
        drawn(said), said, base_rate=0.12, promised=promise(said), predecessor=np.full(ROWS, 0.12),
        has_predecessor=True,
    )  # fmt: skip
    assert found.action == "nothing"
    assert {one.rival for one in found.comparisons} == {"promise", "predecessor", "base rate"}
    assert not any(one.alarm for one in found.comparisons)


def test_a_model_that_says_the_opposite_gives_way_to_one_that_does_not() -> None:
    truth = spread()
    found = judged(
        drawn(truth), 0.24 - np.clip(truth, 0.01, 0.23), predecessor=truth, has_predecessor=True
    )
    (beside,) = found.comparisons
    assert (found.action, found.predecessor_better) == ("rollback", True)
    assert beside.log_loss > beside.rival_log_loss
    assert "the version before it did better" in found.sentence


def test_where_the_predecessor_did_no_better_there_is_nothing_to_go_back_to() -> None:
    said = spread()
    happened = drawn(expit(np.log(said / (1 - said)) + 1.5))
    found = judged(
        happened, said, promised=promise(said), predecessor=0.9 * said, has_predecessor=True
    )
    assert (found.action, found.predecessor_better) == ("retraining", False)


def test_where_nobody_knows_the_tenants_setting_decides() -> None:
    said = spread()
    happened = drawn(expit(np.log(said / (1 - said)) + 1.5))
    given: dict[str, Any] = {"promised": promise(said), "has_predecessor": True}
    assert judged(happened, said, **given).action == "rollback"
    kept = judged(happened, said, **given, settings=Monitoring(rollback=False))
    assert (kept.action, kept.predecessor_better) == ("retraining", None)
    assert judged(happened, said, promised=promise(said)).action == "retraining", "there is none"


def test_the_tenants_threshold_is_how_much_worse_than_promised_is_too_much() -> None:
    said = spread()
    happened = drawn(expit(np.log(said / (1 - said)) + 0.6))
    strict, easy = (
        judged(happened, said, promised=promise(said), settings=Monitoring(worse_by=worse_by))
        for worse_by in (0.05, 1.0)
    )
    assert (strict.action, easy.action) == ("retraining", "nothing")


def test_a_model_that_is_worse_than_the_base_rate_has_to_go() -> None:
    truth = np.full(ROWS, 0.1)
    said = spread()
    found = judged(drawn(truth), said, base_rate=0.1)
    assert found.action == "retraining"
    assert "the base rate would have had" in found.sentence


def test_nothing_is_decided_on_few_outcomes() -> None:
    said = np.full(90, 0.9)
    found = judged(np.zeros(90, dtype=np.bool_), said, base_rate=0.1)
    assert (found.action, found.enough) == ("nothing", False)
    said = np.full(100, 0.9)
    assert judged(np.zeros(100, dtype=np.bool_), said, base_rate=0.1).action == "retraining"


def test_without_any_outcome_there_is_a_verdict_too() -> None:
    nothing = np.zeros(0)
    found = judged(
        nothing.astype(np.bool_), nothing, base_rate=0.1, promised=0.3, predecessor=nothing,
        has_predecessor=True,
    )  # fmt: skip
    assert (found.action, found.judged) == ("nothing", 0)


def test_the_degradation_is_dated_where_it_began() -> None:
    said, shifted = spread(), 12_000
    rate = said.copy()
    rate[shifted:] = 0.24 - np.clip(said[shifted:], 0.01, 0.23)
    found = judged(drawn(rate), said, base_rate=0.12, promised=promise(said))
    alarms = [one for one in found.comparisons if one.alarm]
    assert alarms
    for one in alarms:
        assert abs(one.since - shifted) < 1_500
        assert one.alarm_after is not None
        assert one.alarm_after > shifted


def test_a_model_that_was_worse_for_a_while_and_is_well_again_stays() -> None:
    said = spread(60_000)
    rate = said.copy()
    rate[5_000:6_500] = expit(np.log(said[5_000:6_500] / (1 - said[5_000:6_500])) + 2)
    during = judged(drawn(rate)[:6_500], said[:6_500], promised=promise(said))
    after = judged(drawn(rate), said, promised=promise(said))
    assert (during.action, after.action) == ("retraining", "nothing")


def test_the_answer_on_more_outcomes_begins_with_that_on_fewer() -> None:
    """It is asked again every day: an alarm does not depend on when."""
    truth = np.full(ROWS, 0.1)
    said, happened = spread(), drawn(truth)
    whole = judged(happened, said, base_rate=0.1).comparisons[0].alarm_after
    assert whole is not None
    for rows, alarm_after in ((whole, whole), (whole - 1, None)):
        (found,) = judged(happened[:rows], said[:rows], base_rate=0.1).comparisons
        assert found.alarm_after == alarm_after


def test_figures_of_a_week() -> None:
    happened = np.array([True, False, False, False])
    said = np.array([0.5, 0.25, 0.25, 0.1])
    found = quality(happened, said, 0.2)
    assert (found.rows, found.converted, found.observed) == (4, 1, 0.25)
    assert found.predicted == pytest.approx(0.275)
    assert found.log_loss == pytest.approx(-np.log([0.5, 0.75, 0.75, 0.9]).mean())
    assert found.base_rate_log_loss == pytest.approx(-np.log([0.2, 0.8, 0.8, 0.8]).mean())
    assert (found.auc, found.lift10) == (1.0, 4.0)


def test_a_week_with_outcomes_of_one_kind_has_no_ranking() -> None:
    found = quality(np.zeros(3, dtype=np.bool_), np.full(3, 0.1), 0.1)
    assert (found.auc, found.lift10) == (None, None)
    assert found.ece == pytest.approx(0.1)
