"""The drift watch on the bank's calls: in file order, shuffled, and how soon a new offset serves.

Boosted trees without `duration`, fitted on the first 20,000 calls, watched over windows of 1,000.
No timings: alarms, outcomes until an alarm, and rates said and seen after the last shift.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import lightgbm as lgb
import numpy as np
from scipy.special import expit

from benchmarks.leakage import Rows, of_the_bank
from benchmarks.reporting import arguments, report, show
from ml.calibration import offset
from ml.drift import inputs, outcomes
from ml.metrics import Bools, Floats

TRAINED_ON = 20_000
WINDOW = 1_000
LAST_EIGHTH = 36_040
# Rows whose rates said and seen are compared, from every 250th row after the shift on.
JUDGED = 500
EVERY = 250
# Columns that all calls of a time share.
OF_THE_TIME = (
    "month",
    "emp.var.rate",
    "cons.price.idx",
    "cons.conf.idx",
    "euribor3m",
    "nr.employed",
)
PARAMETERS = {
    "objective": "binary",
    "max_depth": 2,
    "learning_rate": 0.05,
    "extra_trees": True,
    "num_threads": 1,
    "seed": 0,
    "deterministic": True,
    "verbosity": -1,
}


def log_odds(rows: Rows, upto: int) -> Floats:
    """Of all rows, by a booster fitted on those before `upto`."""
    categorical = [i for i, feature in enumerate(rows.spec.features) if feature.categorical]
    data = lgb.Dataset(rows.matrix[:upto], rows.label[:upto], categorical_feature=categorical)
    parameters = {**PARAMETERS, "min_data_in_leaf": max(20, upto // 400)}
    found: Floats = np.asarray(
        lgb.train(parameters, data, 200).predict(rows.matrix, raw_score=True)
    )
    return found


@dataclass(frozen=True)
class Watched:
    """alarms: ends of the windows with an outcome alarm. first_after: the row after which the first
    one was raised. moved: how many features and scores moved, by window."""

    alarms: list[int]
    first_after: int | None
    moved: list[int]


def watch(rows: Rows, *, retrain: bool) -> Watched:
    """Ask for drift at the end of every window; on an alarm keep the model, or fit it anew."""
    fitted, said = TRAINED_ON, expit(log_odds(rows, TRAINED_ON))
    alarms: list[int] = []
    moved: list[int] = []
    first_after = None
    for end in range(TRAINED_ON + WINDOW, len(rows.label) + 1, WINDOW):
        newest = slice(end - WINDOW, end)
        found = inputs(
            rows.spec,
            rows.matrix[:fitted],
            rows.matrix[newest],
            trained_score=said[:fitted],
            newest_score=said[newest],
        )
        moved.append(sum(drift.alarm for drift in found))
        drift = outcomes(rows.label[fitted:end], said[fitted:end])
        if drift.alarm_after is not None:
            alarms.append(end)
            first_after = first_after or fitted + drift.alarm_after
            if retrain:
                fitted, said = end, expit(log_odds(rows, end))
    return Watched(alarms, first_after, moved)


def in_order(rows: Rows, quick: bool) -> Iterator[tuple[str, ...]]:
    for name, found in (
        ("file order, the model kept", watch(rows, retrain=False)),
        ("file order, fitted anew on an alarm", watch(rows, retrain=True)),
    ):
        yield name, f"{len(found.alarms)}", f"{found.first_after:,}", f"{np.mean(found.moved):.1f}"
    shuffles = [
        watch(rows.take(np.random.default_rng(seed).permutation(len(rows.label))), retrain=False)
        for seed in range(2 if quick else 12)
    ]
    alarms, moved = (
        np.mean([len(found.alarms) for found in shuffles]),
        np.mean([np.mean(found.moved) for found in shuffles]),
    )
    yield f"shuffled, mean of {len(shuffles)}", f"{alarms:.1f}", "", f"{moved:.1f}"


def delays(quick: bool) -> Iterator[tuple[str, ...]]:
    """Outcomes until the alarm where the odds are not what is said from the first one on."""
    for mean in (-3.7, -2.4, -0.95):
        cells, rate = [], 0.0
        for factor in (1 / 3, 1 / 2, 1.5, 2, 3, 6):
            after = []
            for seed in range(3 if quick else 20):
                random = np.random.default_rng(seed)
                said = random.normal(mean, 0.7, 60_000)
                happened = random.random(60_000) < expit(said + np.log(factor))
                alarm_after = outcomes(happened, expit(said)).alarm_after
                after.append(np.inf if alarm_after is None else alarm_after)
            cells.append(f"{np.median(after):,.0f}")
            rate = float(expit(said).mean())
        yield f"{rate:.0%} said", *cells


def refitted(name: str, rows: Rows) -> Iterator[tuple[str, ...]]:
    """A model of before the shift whose offset is refitted on the newest rows, every 250 rows."""
    said, happened = log_odds(rows, LAST_EIGHTH), rows.label
    for newest in (500, 1_000, 2_000, 4_000):
        judged = list(_judged(said, happened, newest))
        first = next((after for after, near, _ in judged if near), None)
        late = [(near, gap) for after, near, gap in judged if after >= 1_000]
        yield (
            f"{name}, newest {newest:,}",
            "never" if first is None else f"{first:,}",
            f"{sum(near for near, _ in late)} of {len(late)}",
            f"{np.mean([gap for _, gap in late]):.3f}",
        )


def _judged(said: Floats, happened: Bools, newest: int) -> Iterator[tuple[int, bool, float]]:
    """Rows after the shift, whether the rates said and seen differ by chance alone (95 %), and by
    how much they do."""
    for at in range(LAST_EIGHTH, len(happened) - JUDGED + 1, EVERY):
        known, judged = slice(at - newest, at), slice(at, at + JUDGED)
        shift = offset(said[known], happened[known])
        probability, before = expit(said[judged] + shift), expit(said[known] + shift)
        noise = np.mean(probability * (1 - probability)) / JUDGED
        noise += np.mean(before * (1 - before)) / newest
        gap = abs(probability.mean() - happened[judged].mean())
        yield at - LAST_EIGHTH, bool(gap < 1.96 * np.sqrt(noise)), float(gap)


def main() -> None:
    given = arguments(__doc__)
    rows = of_the_bank(duration=False)
    watched = list(in_order(rows, given.quick))
    show(
        f"{(len(rows.label) - TRAINED_ON) // WINDOW} windows of {WINDOW:,} calls",
        ("", "windows with an outcome alarm", "first after row", "inputs moved, mean"),
        watched,
    )
    factors = ("odds / 3", "/ 2", "x 1.5", "x 2", "x 3", "x 6")
    show("Outcomes until the alarm, median", ("", *factors), list(delays(given.quick)))
    timeless = [feature.name not in OF_THE_TIME for feature in rows.spec.features]
    without = Rows(rows.spec, rows.matrix * np.array(timeless), rows.label, rows.snapshot_at)
    report(
        f"After the shift at row {LAST_EIGHTH:,}, offset refitted on the newest calls",
        ("", "rows until first calibrated", "calibrated from 1,000 on", "mean gap there"),
        [*refitted("boosted trees", rows), *refitted("without columns of the time", without)],
        {"shuffled_alarms": float(watched[-1][1])},
        given,
    )


if __name__ == "__main__":
    main()
