"""The watch over models that serve: rollbacks where nothing is wrong, and how soon wrong shows.

Simulated leads whose true probabilities are known, so many matured outcomes a week, looked at every
week. No timings: shares of simulated years, and weeks and outcomes until something is done.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from benchmarks.reporting import arguments, report, show
from ml.comparison import losses
from ml.metrics import Bools, Floats
from ml.monitoring import Verdict, judge
from ml.settings import Monitoring

WEEKS = 52
A_WEEK = (50, 200, 1_000)
# Log-odds of a lead: what the model sees of it, and their mean, a rate of some 11 %.
MEAN, SEEN = -2.4, 1.0
SHIFT_AFTER = 13


@dataclass(frozen=True)
class World:
    """Log-odds of leads, (n,): as they are, and as the model and its predecessor say."""

    truth: Floats
    model: Floats
    predecessor: Floats


def stationary(random: np.random.Generator, rows: int, noise: float) -> World:
    """Both say the truth but for an error of their own, noise in log-odds: one is as good as the
    other."""
    truth = random.normal(MEAN, SEEN, rows)
    first, second = (truth + random.normal(0, noise, rows) for _ in range(2))
    return World(truth, first, second)


def seasonal(random: np.random.Generator, rows: int, noise: float) -> World:
    """The odds rise and fall by 20 % over the year: within what is tolerated of calibration."""
    found = stationary(random, rows, noise)
    season = np.log(1.2) * np.sin(np.linspace(0, 2 * np.pi, rows))
    return World(found.truth + season, found.model, found.predecessor)


def base_rate(truth: Floats) -> float:
    return float(expit(truth).mean())


def promised(random: np.random.Generator, noise: float) -> float:
    """The model's log-loss on a hold-out of 4,000 rows."""
    held_out = stationary(random, 4_000, noise)
    happened = random.random(4_000) < expit(held_out.truth)
    return float(np.logaddexp(0, np.where(happened, -1, 1) * held_out.model).mean())


def outcomes(world: World, random: np.random.Generator) -> Bools:
    happened: Bools = random.random(len(world.truth)) < expit(world.truth)
    return happened


def plainly_worse(world: World, happened: Bools, promise: float) -> bool:
    """Whether the log-loss of any single week is above the promised one by the tenant's share: the
    rule without a test."""
    loss = losses(happened, world.model).reshape(WEEKS, -1).mean(axis=1)
    return bool((loss > promise * (1 + Monitoring().worse_by)).any())


def first_action(
    world: World, happened: Bools, a_week: int, promise: float, *, known: bool
) -> tuple[int, Verdict] | None:
    """The week's look at which something is done first, and the verdict; None in a calm year.

    known: whether what the predecessor would have said is known.
    """
    said, before = expit(world.model), expit(world.predecessor)
    rate = base_rate(world.truth[: SHIFT_AFTER * a_week])
    for week in range(1, WEEKS + 1):
        upto = week * a_week
        verdict = judge(
            happened[:upto], said[:upto], base_rate=rate, promised=promise,
            predecessor=before[:upto] if known else None, has_predecessor=True,
            settings=Monitoring(),
        )  # fmt: skip
        if verdict.action != "nothing":
            return week, verdict
    return None


def calm_years(years: int) -> Iterator[tuple[str, ...]]:
    """Years in which a model that is as good as promised is rolled back, or trained anew; a fifth
    as many of the largest tenants."""
    for name, make, noise, known in (
        ("as promised", stationary, 0.3, True),
        ("as promised, predecessor not known", stationary, 0.3, False),
        ("noisier models", stationary, 0.5, True),
        ("odds that swing by 20 % over the year", seasonal, 0.3, True),
    ):
        for a_week in A_WEEK:
            done: list[str] = []
            plain = 0
            simulated = years // 5 if a_week == max(A_WEEK) else years
            for seed in range(simulated):
                random = np.random.default_rng(seed)
                world = make(random, WEEKS * a_week, noise)
                promise = promised(random, noise)
                happened = outcomes(world, random)
                plain += plainly_worse(world, happened, promise)
                found = first_action(world, happened, a_week, promise, known=known)
                done.append("nothing" if found is None else found[1].action)
            yield (
                name,
                f"{a_week:,}",
                f"{done.count('rollback')} of {simulated}",
                f"{done.count('retraining')} of {simulated}",
                f"{plain} of {simulated}",
            )


def shifted(random: np.random.Generator, rows: int, at: int, kind: str) -> World:
    """From a row on the world is another."""
    found = stationary(random, rows, 0.3)
    truth, model, predecessor = found.truth.copy(), found.model.copy(), found.predecessor
    after = slice(at, None)
    if kind.startswith("odds x"):
        truth[after] += np.log(float(kind.removeprefix("odds x ")))
    elif kind == "a column comes empty":
        # Of what the model sees of a lead nothing is left; its predecessor did without it.
        model[after] = MEAN
    elif kind == "a column is scaled":
        model[after] = MEAN + 3 * (model[after] - MEAN)
    else:
        # What spoke for a lead speaks against it; the predecessor is a base rate.
        truth[after] = 2 * MEAN - truth[after]
        predecessor = np.full(rows, MEAN + 0.3)
    return World(truth, model, predecessor)


KINDS = (
    "odds x 1.5",
    "odds x 2",
    "odds x 4",
    "a column comes empty",
    "a column is scaled",
    "signal turned around",
)


def delays(seeds: int) -> Iterator[tuple[str, ...]]:
    for kind in KINDS:
        for a_week in A_WEEK:
            weeks, actions = [], []
            for seed in range(seeds):
                random = np.random.default_rng(1_000 + seed)
                world = shifted(random, WEEKS * a_week, SHIFT_AFTER * a_week, kind)
                promise = promised(random, 0.3)
                happened = outcomes(world, random)
                found = first_action(world, happened, a_week, promise, known=True)
                actions.append("nothing" if found is None else found[1].action)
                weeks.append(np.inf if found is None else found[0] - SHIFT_AFTER)
            median = float(np.median(weeks))
            yield (
                kind,
                f"{a_week:,}",
                f"{actions.count('rollback')} of {seeds}",
                f"{actions.count('retraining')} of {seeds}",
                "none" if np.isinf(median) else f"{median:.0f}",
                "none" if np.isinf(median) else f"{median * a_week:,.0f}",
            )


def main() -> None:
    given = arguments(__doc__)
    years, seeds = (5, 2) if given.quick else (100, 10)
    calm = list(calm_years(years))
    show(
        f"Nothing is wrong: {WEEKS} weekly looks",
        ("", "outcomes a week", "rolled back", "trained anew", "a week above"),
        calm,
    )
    report(
        f"A shift after week {SHIFT_AFTER}, medians",
        ("", "outcomes a week", "rolled back", "trained anew", "weeks until", "outcomes until"),
        list(delays(seeds)),
        {"years_with_a_false_rollback": sum(int(row[2].split()[0]) for row in calm)},
        given,
    )


if __name__ == "__main__":
    main()
