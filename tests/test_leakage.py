"""The leakage audit: finds the bank's `duration` and planted leaks, and no honest attribute."""

import json
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.leakage import of_the_bank, of_the_simulator
from ml import leakage, within_windows
from ml.leakage import Suspect, Writes, WrittenAfter, audit
from ml.spec import OTHER, Column, FeatureSpec

Numbers = NDArray[np.floating]


@dataclass(frozen=True, eq=False)
class Rows:
    spec: FeatureSpec
    matrix: NDArray[np.float32]
    label: NDArray[np.bool_]
    snapshot_at: NDArray[np.datetime64]

    def take(self, rows: slice | NDArray[np.intp]) -> "Rows":
        return Rows(self.spec, self.matrix[rows], self.label[rows], self.snapshot_at[rows])

    def without(self, name: str) -> "Rows":
        position = [column.name for column in self.spec.columns].index(name)
        columns = self.spec.columns[:position] + self.spec.columns[position + 1 :]
        spec = replace(self.spec, columns=columns)
        return replace(self, spec=spec, matrix=np.delete(self.matrix, position, axis=1))

    def plus(self, *planted: tuple[Column, Numbers]) -> "Rows":
        """The rows with columns of a CRM set before all others."""
        spec = replace(self.spec, columns=(*(c for c, _ in planted), *self.spec.columns))
        matrix = np.column_stack([*(values for _, values in planted), self.matrix])
        return replace(self, spec=spec, matrix=matrix.astype(np.float32))

    def audit(self, written_after: dict[str, WrittenAfter] | None = None) -> tuple[Suspect, ...]:
        return audit(
            self.spec, self.matrix, self.label, self.snapshot_at, written_after=written_after
        )

    def suspects(self) -> set[str]:
        return {suspect.column for suspect in self.audit()}


@cache
def bank_with_duration() -> Rows:
    return Rows(**vars(of_the_bank(duration=True)))


@cache
def cielo() -> Rows:
    return Rows(**vars(of_the_simulator("cielo")))


STRETCHES = [slice(None), *(slice(i, i + 20_000) for i in (0, 10_000, 21_188))]
# The two that are hardest, and others.
SHORT = [slice(i, i + 4_000) for i in (0, 10_000, 18_000, 26_000, 37_000)]


@pytest.mark.parametrize("stretch", STRETCHES + SHORT, ids=str)
def test_the_banks_duration_is_found_and_nothing_else(stretch: slice) -> None:
    rows = bank_with_duration().take(stretch)
    assert rows.suspects() == {"duration"}
    assert rows.without("duration").audit() == ()


@pytest.mark.parametrize("size", [2_000, 4_000])
def test_it_is_found_in_random_rows_in_any_order(size: int) -> None:
    random = np.random.default_rng(size)
    rows = bank_with_duration().take(random.choice(41_188, size, replace=False))
    assert rows.suspects() == {"duration"}
    assert rows.without("duration").audit() == ()


def test_the_sentence_has_the_figures() -> None:
    [suspect] = bank_with_duration().take(slice(20_000)).audit()
    assert suspect.evidence == "ranking"
    assert re.fullmatch(
        r"duration alone ranks outcomes at AUC 0\.96, everything else together at 0\.5\d",
        suspect.sentence,
    )
    assert suspect.figures["auc"] == pytest.approx(0.96, abs=0.005)
    assert json.loads(json.dumps(asdict(suspect)))["column"] == "duration"


@pytest.mark.parametrize("name", ["acme", "brio", "fjord"])
def test_a_simulated_tenant_has_no_suspect(name: str) -> None:
    assert Rows(**vars(of_the_simulator(name))).audit() == ()


# How a CRM's field looks when it is filled in after the outcome, given the label and a generator.
Plant = Callable[[NDArray[np.bool_], np.random.Generator], tuple[Column, Numbers]]
STATUS = ("lost", "open", "won", OTHER)


def _filled(label: NDArray[np.bool_], random: np.random.Generator) -> tuple[Column, Numbers]:
    filled = random.random(len(label)) < np.where(label, 0.95, 0.005)
    return Column("contract", "numeric"), np.where(filled, random.normal(size=len(label)), np.nan)


def _lost(label: NDArray[np.bool_], random: np.random.Generator) -> tuple[Column, Numbers]:
    filled = ~label & (random.random(len(label)) < 0.6)
    reason = random.integers(0, 2, len(label))
    return Column("reason", "categorical", ("price", "time", OTHER)), np.where(
        filled, reason, np.nan
    )


def _status(label: NDArray[np.bool_], random: np.random.Generator) -> tuple[Column, Numbers]:
    other = random.integers(0, 2, len(label))
    return Column("status", "categorical", STATUS), np.where(label, 2, other)


def _status_later(label: NDArray[np.bool_], random: np.random.Generator) -> tuple[Column, Numbers]:
    """A tenth of the other rows are of leads that converted after the horizon."""
    column, values = _status(label, random)
    return column, np.where(random.random(len(label)) < 0.1, 2, values)


def _copy(label: NDArray[np.bool_], random: np.random.Generator) -> tuple[Column, Numbers]:
    flipped = random.random(len(label)) < 0.1
    return Column("copy", "boolean"), (label ^ flipped).astype(float)


def _signed(label: NDArray[np.bool_], random: np.random.Generator) -> tuple[Column, Numbers]:
    ahead = random.uniform(0, np.where(label, 30, 120))
    return Column("signed", "date"), -ahead


PLANTS = {
    "filled if converted": (_filled, {"ranking", "value"}),
    "filled if lost": (_lost, {"value"}),
    "a status": (_status, {"ranking", "value"}),
    "a status with long sales": (_status_later, {"ranking", "value"}),
    "a noisy copy": (_copy, {"ranking"}),
    "a date near the outcome": (_signed, {"ranking"}),
}


@pytest.mark.parametrize("plant", PLANTS)
@pytest.mark.parametrize("tenant", ["bank", "cielo"])
def test_a_planted_leak_is_found_and_nothing_else(tenant: str, plant: str) -> None:
    rows = (
        bank_with_duration().without("duration").take(slice(0, None, 4))
        if tenant == "bank"
        else cielo()
    )
    leak, evidence = PLANTS[plant]
    column, values = leak(rows.label, np.random.default_rng(5))
    found = rows.plus((column, values)).audit()
    assert {suspect.column for suspect in found} == {column.name}
    assert evidence <= {suspect.evidence for suspect in found}


def test_two_leaks_do_not_hide_each_other() -> None:
    rows, random = cielo(), np.random.default_rng(6)
    near = rows.label + random.normal(0, 0.2, len(rows.label))
    both = rows.plus(_copy(rows.label, random), (Column("value", "numeric"), near))
    assert both.suspects() == {"copy", "value"}


def test_one_leak_in_two_units_does_not_hide_itself() -> None:
    """Where it is too weak to be suspected whatever the rest does."""
    rows = bank_with_duration().take(slice(36_000, 40_000))
    position = [column.name for column in rows.spec.columns].index("duration")
    minutes = np.round(rows.matrix[:, position] / 60)
    assert rows.plus((Column("minutes", "numeric"), minutes)).suspects() == {"duration", "minutes"}


def well_explained(strength: float) -> Rows:
    """Two honest attributes, one of them the stronger, that explain much of the outcome."""
    random = np.random.default_rng(10)
    seats, budget = random.normal(size=(2, 5_000))
    chance = 1 / (1 + np.exp(1 - strength * seats - 1.4 * strength * budget))
    matrix = np.column_stack([seats, budget, budget, np.zeros(5_000)])
    # Seen twice with some noise, so that neither is as strong as the two together.
    matrix[:, 1:3] += random.normal(0, 1.1, (5_000, 2))
    columns = tuple(Column(name, "numeric") for name in ("seats", "budget", "plan"))
    times = np.datetime64("2026-01-01", "us") + np.arange(5_000) * np.timedelta64(1, "h")
    label = random.random(5_000) < chance
    return Rows(FeatureSpec(columns, ()), matrix.astype(np.float32), label, times)


def test_a_strong_attribute_among_strong_ones_is_no_suspect() -> None:
    rows = well_explained(5.0)
    window = within_windows.windows(rows.label)
    area, _ = within_windows.auc(
        rows.label, window, within_windows.alone(rows.matrix[:, 0], 0, rows.label, window)
    )
    assert area > leakage.LEAST_AUC + 0.02
    assert rows.audit() == ()


def test_a_noisy_copy_is_found_beside_attributes_that_do_as_well() -> None:
    rows = well_explained(8.0)
    copied = rows.plus(_copy(rows.label, np.random.default_rng(11)))
    assert "copy" in copied.suspects()


def test_what_tells_the_time_alone_is_no_suspect() -> None:
    """The rate jumps from 2 % to 96 %, and with it what all leads of a time share."""
    random = np.random.default_rng(7)
    late = np.arange(6_000) >= 2_800
    label = random.random(6_000) < np.where(late, 0.96, 0.02)
    index = late * 5 + np.arange(6_000) // 500
    columns = (
        Column("index", "numeric"),
        Column("plan", "categorical", ("new", "old", OTHER)),
        Column("size", "numeric"),
    )
    matrix = np.column_stack([index, ~late, random.normal(size=6_000), np.zeros(6_000)])
    times = np.datetime64("2026-01-01", "us") + np.arange(6_000) * np.timedelta64(1, "h")
    assert Rows(FeatureSpec(columns, ()), matrix.astype(np.float32), label, times).audit() == ()


def test_where_nearly_all_convert_a_value_that_does_too_is_no_suspect() -> None:
    rows, random = cielo(), np.random.default_rng(12)
    size = len(rows.label)
    label = random.random(size) < 0.96
    kind = Column("kind", "categorical", ("firm", "student", OTHER)), random.random(size).round()
    assert replace(rows, label=label).plus(kind).audit() == ()


def test_a_small_category_that_never_converts_is_no_suspect() -> None:
    rows, random = cielo(), np.random.default_rng(8)
    never = ~rows.label & (random.random(len(rows.label)) < 0.1)
    kind = np.where(never, 1, 0)
    planted = rows.plus((Column("kind", "categorical", ("firm", "student", OTHER)), kind))
    assert planted.audit() == ()


def test_too_few_outcomes_say_nothing() -> None:
    rows = cielo()
    few = np.flatnonzero(rows.label)[: leakage.FEWEST_OUTCOMES]
    others = np.flatnonzero(~rows.label)[:3_000]
    enough = rows.plus(_status(rows.label, np.random.default_rng(9)))
    assert enough.take(np.concatenate([few, others])).suspects() == {"status"}
    assert enough.take(np.concatenate([few[1:], others])).audit() == ()
    assert rows.take(slice(0)).audit() == ()


HISTORIES = {
    "written with the conversion": (Writes(500, 10, 300), Writes(2_000, 0, 5), True),
    "written with the loss": (Writes(500, 0, 3), Writes(2_000, 30, 900), True),
    "written before": (Writes(500, 290, 20), Writes(2_000, 10, 10), False),
    "written late for all alike": (Writes(500, 10, 300), Writes(2_000, 1_200, 60), False),
    "written to few leads": (Writes(500, 0, 19), Writes(2_000, 0, 0), False),
    "written to enough leads": (Writes(500, 0, 45), Writes(2_000, 0, 0), True),
    "no other leads": (Writes(500, 10, 300), Writes(0, 0, 0), False),
}


@pytest.mark.parametrize("history", HISTORIES)
def test_the_history_tells_what_is_written_late(history: str) -> None:
    converted, others, suspected = HISTORIES[history]
    written = {"canal": WrittenAfter(converted, others), "unknown": WrittenAfter(converted, others)}
    found = cielo().take(slice(10)).audit(written)
    assert [(suspect.column, suspect.evidence) for suspect in found] == (
        [("canal", "history")] if suspected else []
    )


def test_the_history_in_words() -> None:
    written = WrittenAfter(Writes(500, 10, 300), Writes(2_000, 0, 5))
    [suspect] = cielo().take(slice(10)).audit({"canal": written})
    assert suspect.sentence == (
        "canal was written to 310 of 500 leads that converted, to 300 of them with the outcome or"
        " after it, and to 5 of 2,000 other leads"
    )


def test_the_error_of_an_auc_is_what_other_samples_show() -> None:
    """Over 300 samples of one process the z-value of the AUC has a deviation near 1."""
    z = []
    for seed in range(300):
        random = np.random.default_rng(seed)
        label = random.random(800) < 0.2
        score = label + random.normal(0, 1.5, 800)
        area, error = within_windows.auc(label, within_windows.windows(label), score)
        z.append((area - 0.6813) / error)
    assert np.mean(z) == pytest.approx(0, abs=0.15)
    assert np.std(z) == pytest.approx(1, abs=0.15)


def test_infinite_and_missing_values_do_no_harm() -> None:
    rows, random = cielo(), np.random.default_rng(4)
    values = random.choice([np.inf, -np.inf, np.nan, 1.0], len(rows.label))
    with np.errstate(all="raise"):
        assert rows.plus((Column("odd", "numeric"), values)).audit() == ()
