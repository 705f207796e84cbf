"""Tests looked at daily: seldom decided where nothing differs, soon where something does."""

import numpy as np
import pytest
from scipy.special import expit

from ml.algorithm import Bools, Floats
from ml.sequential import FEWEST_CONVERSIONS, FEWEST_LEADS, Course, course, sums

RUNS, DAYS, A_DAY = 1_000, 90, 20
LOOK = np.repeat(np.arange(DAYS), A_DAY)
# 5 % and two standard errors of a share of 1,000.
MOST_FALSE = 0.064


def drawn(
    random: np.random.Generator, leads: int, noise: tuple[float, float], times: float, share: float
) -> tuple[Bools, Floats, Floats, Bools]:
    """A fifth of the leads convert, times as many of those that the challenger serves; each model
    says the truth, moved by noise of its own."""
    truth = random.normal(-1.6, 1.0, leads)
    served = random.random(leads) < share
    converted = random.random(leads) < expit(truth) * np.where(served, times, 1.0)
    champion, challenger = (expit(truth + spread * random.normal(size=leads)) for spread in noise)
    return converted, champion, challenger, served


def many(
    noise: tuple[float, float], *, times: float = 1.0, share: float = 0.5, runs: int = RUNS
) -> Course:
    random = np.random.default_rng(1)
    each = [
        sums(LOOK, DAYS, *drawn(random, len(LOOK), noise, times, share), share) for _ in range(runs)
    ]
    return course(np.stack(each), share)


def effect(noise: tuple[float, float]) -> float:
    """The expected difference of log-loss, of a million leads."""
    leads = 1_000_000
    given = drawn(np.random.default_rng(2), leads, noise, 1.0, 0.5)
    found = sums(np.zeros(leads, np.intp), 1, *given, 0.5)
    return float(course(found, 0.5).loss.mean[-1])


def ever(looks: Bools) -> float:
    """The share of tests of which some look says so."""
    return float(looks.any(axis=1).mean())


@pytest.mark.parametrize("share", [0.5, 0.1, 0.0])
def test_where_both_models_are_alike_few_tests_decide_however_often_one_looks(share: float) -> None:
    found = many((0.7, 0.7), share=share)
    decided = ever(found.better() | found.worse() | found.fewer_conversions())
    assert 0 < decided <= MOST_FALSE
    # A single look's interval of 95 %: about half as wide.
    half = 0.45 * (found.loss.high - found.loss.low) / 2
    assert ever(np.abs(found.loss.mean) > half) > 0.2, "the positive control"


def test_a_better_challenger_is_found_and_the_interval_holds_its_effect() -> None:
    noise = (1.0, 0.3)
    found, truth = many(noise), effect(noise)
    assert ever(found.better()) > 0.99
    assert ever(found.worse()) == 0
    run, stop = np.arange(RUNS), found.better().argmax(axis=1)
    holds = (found.loss.low <= truth) & (truth <= found.loss.high)
    assert holds[run, stop].mean() >= 1 - MOST_FALSE
    assert holds.all(axis=1).mean() >= 1 - MOST_FALSE, "at every look at once"
    assert 0.5 < truth / found.loss.mean[:, -1].mean() < 2


def test_a_worse_challenger_is_dropped() -> None:
    found = many((0.3, 1.0), runs=100)
    assert ever(found.worse()) > 0.95
    assert ever(found.better()) == 0


def test_fewer_conversions_are_found_where_probabilities_are_alike() -> None:
    found = many((0.7, 0.7), times=0.4, runs=100)
    assert ever(found.fewer_conversions()) > 0.95
    # Of a lead that converts at 22 % in the mean.
    assert found.conversions.mean[:, -1].mean() == pytest.approx(-0.6 * 0.22, abs=0.01)


def one_test(leads: int, converted: int, share: float = 0.5) -> Course:
    """All known at one look; the challenger says half of what the champion does."""
    happened = np.arange(leads) < converted
    served = np.arange(leads) % 2 < 2 * share
    champion = np.full(leads, 0.6)
    return course(
        sums(np.zeros(leads, np.intp), 1, happened, champion, champion / 2, served, share), share
    )


def test_too_few_leads_or_conversions_decide_nothing() -> None:
    assert one_test(FEWEST_LEADS, FEWEST_CONVERSIONS).decision == "better"
    for leads, converted in (
        (FEWEST_LEADS - 1, FEWEST_CONVERSIONS),
        (FEWEST_LEADS, FEWEST_CONVERSIONS - 1),
    ):
        found = one_test(leads, converted)
        assert found.decision == "open"
        assert found.to_json(-1)["loss"]["low"] is None
        assert found.sentence.count("too few for an interval") == 2


def test_one_lead_that_a_model_was_sure_of_does_not_decide() -> None:
    happened = np.arange(2_000) < 200
    champion, challenger = np.full(2_000, 0.1), np.full(2_000, 0.1)
    challenger[0] = 0.0
    arms = np.zeros(2_000, np.bool_)
    found = course(
        sums(np.zeros(2_000, np.intp), 1, happened, champion, challenger, arms, 0.0), 0.0
    )
    assert np.isfinite(found.loss.mean).all()
    assert found.decision == "open"


def test_parts_of_a_test_add_up() -> None:
    given = drawn(np.random.default_rng(3), len(LOOK), (0.5, 0.5), 1.0, 0.5)
    parts = [
        sums(LOOK[part], DAYS, given[0][part], given[1][part], given[2][part], given[3][part], 0.5)
        for part in (slice(700), slice(700, None))
    ]
    np.testing.assert_allclose(sum(parts), sums(LOOK, DAYS, *given, 0.5))


def test_the_sentence_tells_both_arms() -> None:
    said = one_test(400, 100).sentence
    assert said.startswith("log-loss -0.2")
    assert "on 400 leads with 100 conversions, between -" in said
    assert "50 of its 200 leads converted, 50 of the champion's 200" in said
    assert "its" not in one_test(400, 100, share=0.0).sentence
