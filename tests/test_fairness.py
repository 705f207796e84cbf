"""Figures by group: against counts by hand, on the bank's calls, and with planted unfairness."""

import json
from dataclasses import asdict
from functools import cache

import numpy as np
import pytest
from numpy.typing import ArrayLike, NDArray

from examples import bank
from ml.fairness import FairnessReport, bands, by_group
from ml.metrics import Floats
from ml.settings import Fairness
from tests.test_drift import TRAINED_ON, calls, probabilities

DEFAULT = Fairness()


@cache
def of_the_bank() -> FairnessReport:
    """Of a booster's probabilities for calls that it was not fitted on."""
    rows, published = calls(), bank.calls()
    newest = slice(TRAINED_ON, None)
    age = published["age"].to_numpy().astype(np.float64)[newest]
    groups: dict[str, ArrayLike] = {
        "age": bands(age, [30, 45, 60]),
        "marital": published["marital"].to_numpy()[newest],
    }
    probability = probabilities(rows)[newest]
    return by_group(
        groups, rows.label[newest], probability, np.arange(len(probability)), settings=DEFAULT
    )


def test_groups_of_the_bank_add_up_to_all() -> None:
    report, rows = of_the_bank(), calls()
    assert [group.group for group in report.groups if group.attribute == "age"] == [
        *("30 to 45", "45 to 60", "60 and above", "below 30")
    ]
    for attribute in ("age", "marital"):
        groups = [group for group in report.groups if group.attribute == attribute]
        assert sum(group.rows for group in groups) == len(rows.label) - TRAINED_ON
        assert sum(group.converted for group in groups) == rows.label[TRAINED_ON:].sum()
        chosen = sum(group.rows * group.selected for group in groups)
        assert chosen / (len(rows.label) - TRAINED_ON) == pytest.approx(0.1, abs=0.02)


def test_groups_of_the_bank_that_differ_raise_alarms() -> None:
    """The old convert more often and are called first; marital states hardly differ."""
    report = of_the_bank()
    groups = {group.group: group for group in report.groups}
    assert groups["60 and above"].selected > 2 * groups["30 to 45"].selected
    assert groups["60 and above"].conversion_rate > 1.5 * groups["30 to 45"].conversion_rate
    assert ("age", "30 to 45", "60 and above") in {
        (alarm.attribute, alarm.group, alarm.beside) for alarm in report.alarms
    }
    assert not {"unknown"} & {alarm.group for alarm in report.alarms}


def by_hand(settings: Fairness = DEFAULT) -> FairnessReport:
    """Ten rows: of a, four with the greatest probabilities but one, and of b six."""
    group = np.array(["a"] * 4 + ["b"] * 6)
    outcome = np.array([1, 0, 1, 0, 0, 0, 0, 0, 0, 0], np.bool_)
    probability = np.array([0.9, 0.8, 0.7, 0.6, 0.1, 0.2, 0.3, 0.4, 0.5, 0.0])
    return by_group({"kind": group}, outcome, probability, np.arange(len(group)), settings=settings)


def test_the_figures_are_those_counted_by_hand() -> None:
    a, b = by_hand().groups
    assert (a.attribute, a.group, a.rows, a.converted, a.conversion_rate) == (
        "kind",
        "a",
        4,
        2,
        0.5,
    )
    assert a.predicted == pytest.approx(0.75)
    assert a.auc == 0.75
    assert (a.selected, b.selected) == (0.25, 0)
    assert a.selected_low < 0.25 < a.selected_high
    assert a.rate_low < 0.5 < a.rate_high
    assert (b.rows, b.converted, b.auc) == (6, 0, None)
    assert (b.rate_low, b.selected_low) == (0, 0)
    assert by_hand().alarms == ()


def unfair(rows: int, penalty: float, seed: int = 0) -> tuple[NDArray[np.str_], Floats]:
    """Two groups alike, one of which has its log-odds lowered."""
    random = np.random.default_rng(seed)
    group = random.choice(["north", "south"], rows)
    log_odds = random.normal(-2, 1, rows) - penalty * (group == "south")
    return group, 1 / (1 + np.exp(-log_odds))


def alarms(rows: int, penalty: float, settings: Fairness = DEFAULT, seed: int = 0) -> list[str]:
    group, probability = unfair(rows, penalty, seed)
    outcome = np.random.default_rng(seed + 1).random(rows) < probability
    report = by_group(
        {"region": group}, outcome, probability, np.arange(len(group)), settings=settings
    )
    return [alarm.sentence for alarm in report.alarms]


def test_planted_unfairness_raises_an_alarm_in_words() -> None:
    [sentence] = alarms(10_000, penalty=0.7)
    assert sentence.startswith("region south: ")
    assert "% of its rows enter the top tenth, 0.28 times the " in sentence
    assert " of north; of its rows " in sentence


def test_chance_alone_raises_no_alarm() -> None:
    """Groups of some 250 rows have observed ratios below four fifths in many of the samples."""
    assert sum(len(alarms(500, penalty=0, seed=seed)) for seed in range(60)) <= 1


def test_small_groups_raise_no_alarm() -> None:
    group, _ = unfair(10_000, penalty=0.7)
    rows = min(int((group == name).sum()) for name in ("north", "south"))
    assert alarms(10_000, 0.7, Fairness(fewest_rows=rows)) != []
    assert alarms(10_000, 0.7, Fairness(fewest_rows=rows + 1)) == []


def test_the_tenant_says_what_is_too_little() -> None:
    assert alarms(10_000, 0.7, Fairness(alarm_below=0.2)) == []
    assert alarms(10_000, 0.2, Fairness(alarm_below=1)) != []


def test_equal_probabilities_enter_the_top_together() -> None:
    """A base rate chooses nobody, and so nobody less often."""
    group = np.array(["a", "b"] * 1_000)
    report = by_group(
        {"g": group}, group == "a", np.full(2_000, 0.1), np.arange(2_000), settings=DEFAULT
    )
    assert [figures.selected for figures in report.groups] == [0, 0]
    assert report.alarms == ()
    nearly = np.where(np.arange(2_000) < 230, 0.5, 0.1)
    report = by_group({"g": group}, group == "a", nearly, np.arange(len(nearly)), settings=DEFAULT)
    assert sum(figures.rows * figures.selected for figures in report.groups) == 230


def test_bands_have_names() -> None:
    values = np.array([29.9, 30, 44, 45, 60, 99, np.nan])
    assert bands(values, [30, 45, 60]) == [
        "below 30",
        *("30 to 45", "30 to 45", "45 to 60", "60 and above", "60 and above", "not known"),
    ]
    assert bands(np.array([0.1, 3]), [0.5]) == ["below 0.5", "0.5 and above"]


def test_the_report_is_json() -> None:
    document = json.loads(json.dumps(asdict(by_hand())))
    assert document["alarms"] == []
    assert document["groups"][1]["auc"] is None
    assert document["groups"][0]["selected"] == 0.25


def test_a_group_for_each_row_is_expected() -> None:
    with pytest.raises(ValueError, match=r"groups\['kind'\] has shape \(1,\), expected \(2,\)"):
        by_group(
            {"kind": ["a"]}, np.array([True, False]), np.zeros(2), np.arange(2), settings=DEFAULT
        )


def test_snapshots_of_one_lead_raise_no_alarm_that_the_leads_alone_would_not() -> None:
    """Of random groups one in three would: four equal rows of a lead count as one."""
    random, alarms = np.random.default_rng(4), 0
    for _ in range(30):
        lead = np.repeat(np.arange(1_000), 4)
        group = random.integers(0, 5, 1_000).astype(str)[lead]
        probability = random.random(1_000)[lead]
        outcome = (random.random(1_000) < 0.1)[lead]
        alarms += len(by_group({"g": group}, outcome, probability, lead, settings=DEFAULT).alarms)
    assert alarms <= 1
