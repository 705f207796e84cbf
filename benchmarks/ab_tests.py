"""A/B tests of scoring models, looked at daily: how often they decide falsely, what their intervals
hold, how soon they decide; and on simulated tenants. No timings.

Each test sees 180 days of outcomes, 30 leads a day, half of them served by the challenger. Beside
ours, the plain way: an interval of 95 % of a single look, looked at daily.
"""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from benchmarks.ab_tests_laws import A_DAY, DAYS, Law, days, measured
from benchmarks.ab_tests_ways import compared
from benchmarks.leakage import NOW
from benchmarks.model_quality_rows import of_the_simulator
from benchmarks.reporting import arguments, report, show, told
from ml import sequential
from ml.history import History
from ml.scoring import score
from ml.sequential import Course
from ml.training import train

RUNS = 1_000
# Of the mean of the leads' log-odds; they spread by 1 around it.
RATES = {"2 %": -4.2, "11 %": -2.4, "30 %": -0.95}
RAREST = -5.5
# Fjord has too few leads: 10 conversions in the days that are tried.
TENANTS = ("brio", "acme", "cielo")
# Of the 180 days of a simulated tenant, the last 30 without outcomes.
TRIED_FOR = timedelta(days=90)
HORIZON = np.timedelta64(30, "D")


Rows = list[tuple[str, ...]]


def false_decisions(runs: int) -> tuple[Rows, dict[str, float]]:
    """Of tests in which neither model is better and both serve alike."""
    laws = {
        f"two alike, {rate} convert{words}": Law(mean, share=share)
        for share, words in ((0.5, ""), (0.1, ", one of ten leads"))
        for rate, mean in RATES.items()
    }
    sharp = _no_better(RATES["2 %"])
    laws["a base rate, and one too sharp, 2 % convert"] = Law(RATES["2 %"], sharp=sharp)
    rows: Rows = []
    worst, worst_plain = 0.0, 0.0
    for seed, (name, law) in enumerate(laws.items()):
        found = measured(law, 0.0, runs, seed)
        worst, worst_plain = max(worst, found.decided), max(worst_plain, found.plain_decided)
        rows.append((name, f"{found.decided:.1%}", f"{found.plain_decided:.1%}"))
    return rows, {"aa_false_rate": worst, "aa_false_rate_plain": worst_plain}


def _no_better(mean: float) -> float:
    """How sharp a model is whose log-loss is that of the base rate."""
    found: float = brentq(lambda sharp: Law(mean, sharp=sharp).effect(), 1.2, 3.0, xtol=1e-3)
    return found


def known_effects(runs: int) -> tuple[Rows, dict[str, float]]:
    laws = {
        f"{rate} convert, noise {champion:g} and {challenger:g}": Law(mean, champion, challenger)
        for rate, mean in RATES.items()
        for champion, challenger in ((0.8, 0.5), (1.0, 0.3))
    }
    laws["11 %, 1 and 0.3, its leads convert 0.7 x"] = Law(RATES["11 %"], 1.0, 0.3, served=0.7)
    laws["11 %, 0.5 and 0.5, its leads convert 0.7 x"] = Law(RATES["11 %"], served=0.7)
    laws["11 %, 0.5 and 0.5, its leads convert 0.5 x"] = Law(RATES["11 %"], served=0.5)
    rows: Rows = []
    covered, plain_covered = 1.0, 1.0
    for seed, (name, law) in enumerate(laws.items()):
        effect = law.effect()
        found = measured(law, effect, runs, 100 + seed)
        covered = min(covered, found.covered)
        plain_covered = min(plain_covered, found.plain_covered)
        rows.append(
            (
                name,
                f"{effect:+.4f}",
                f"{found.decided:.1%}",
                f"{found.better:.1%}",
                days(found.days),
                f"{found.covered:.1%}",
                days(found.plain_days),
                f"{found.plain_covered:.1%}",
            )
        )
    return rows, {"effect_coverage": covered, "effect_coverage_plain": plain_covered}


def simulated(tenant: str) -> Iterator[tuple[str, ...]]:
    """The last days of a simulated tenant: a model trained on what was known before, and the base
    rate, each as the other's challenger, judged daily on each lead's first snapshot."""
    history = of_the_simulator(tenant)
    began = NOW - TRIED_FOR
    at = np.datetime64(began.replace(tzinfo=None), "us")
    past = _taken(history, np.flatnonzero(history.snapshot_at + HORIZON <= at))
    trained = train(past, trained_at=began, horizon_days=30).model
    tried = np.flatnonzero(history.snapshot_at > at)
    _, first = np.unique(history.lead[tried], return_index=True)
    rows = tried[np.sort(first)]
    own = score(trained, history.matrix[rows]).probability
    rate = np.full(len(rows), past.label.mean())
    look = ((history.snapshot_at[rows] - at) // np.timedelta64(1, "D")).astype(np.intp)
    served = np.random.default_rng(1).random(len(rows)) < 0.5
    for name, champion, challenger in (
        ("trained, against the base rate", rate, own),
        ("the base rate, against trained", own, rate),
    ):
        given = history.label[rows], champion, challenger, served
        sums = sequential.sums(look, int(look.max()) + 1, *given, 0.5)
        yield f"{tenant}: {name}", *_told(sequential.course(sums, 0.5))


def _taken(history: History, rows: NDArray[np.intp]) -> History:
    arrays = ("lead", "matrix", "label", "snapshot_at", "label_known_at")
    return replace(history, **{name: getattr(history, name)[rows] for name in arrays})


def _told(course: Course) -> tuple[str, ...]:
    """Of one test: what it decides, when, on what."""
    better, worse = course.better(), course.worse()
    stops = better | worse | course.fewer_conversions()
    day = int(stops.argmax()) if stops.any() else len(stops) - 1
    decision = "promoted" if better[day] else "dropped" if stops[day] else "undecided"
    loss = course.loss
    return (
        decision,
        f"{day + 1}",
        f"{course.leads[day]:,.0f}",
        f"{course.converted[day]:,.0f}",
        f"{loss.mean[day]:+.4f}",
        f"{loss.low[day]:+.4f} to {loss.high[day]:+.4f}",
    )


def main() -> None:
    given = arguments(__doc__)
    runs = RUNS // 20 if given.quick else RUNS
    with told(f"{runs:,} tests of each kind in which neither is better"):
        alike, figures = false_decisions(runs)
    show(
        f"Decided falsely within {DAYS} days of {A_DAY} leads, of {runs:,} tests",
        ("", "ours", "95 % of a single look"),
        alike,
    )
    with told(f"{runs:,} tests of each known effect"):
        effects, more = known_effects(runs)
    ways = {
        "two alike, 11 %": Law(RATES["11 %"]),
        "noise 0.8 and 0.5": Law(RATES["11 %"], 0.8, 0.5),
        "noise 1 and 0.3": Law(RATES["11 %"], 1.0, 0.3),
        "too sharp, 2 %": Law(RATES["2 %"], sharp=_no_better(RATES["2 %"])),
        "too sharp, 0.7 %": Law(RAREST, sharp=_no_better(RAREST)),
    }
    with told("other ways"):
        show(
            f"Decided by the log-loss alone, of {runs // 4:,} tests, and the median day",
            ("", *ways),
            compared(ways, runs // 4),
        )
    with told("simulated tenants"):
        tenants = TENANTS[:1] if given.quick else TENANTS
        decided = [row for tenant in tenants for row in simulated(tenant)]
    show(
        "Simulated tenants, the challenger first",
        ("", "the challenger is", "day", "leads", "converted", "log-loss", "between"),
        decided,
    )
    promoted = [row[1] == "promoted" for row in decided if "the base rate," not in row[0]]
    report(
        f"Known effects, {runs:,} tests each",
        (
            "",
            "log-loss",
            "decided",
            "promoted",
            "day",
            "holds",
            "plain: day",
            "holds",
        ),
        effects,
        {**figures, **more, "simulator_promoted": float(np.mean(promoted))},
        given,
    )


if __name__ == "__main__":
    main()
