"""In short what benchmarks.leakage and benchmarks.drift print at length."""

import numpy as np
from numpy.typing import NDArray

from benchmarks import leakage
from benchmarks.drift import TRAINED_ON, WINDOW, watch
from benchmarks.reporting import show

SHUFFLES = 3


def measure(quick: bool) -> dict[str, float]:
    with_duration, without = (leakage.of_the_bank(duration=there) for there in (True, False))
    stretch = slice(0, TRAINED_ON)
    rows = [
        (f"suspected, {name}, {which}", ", ".join(found.suspects()) or "none")
        for name, some in (("with duration", with_duration), ("without it", without))
        for which, found in (("all calls", some), ("the first 20,000", some.take(stretch)))
    ]
    kept = watch(without, retrain=False)
    shuffled = [
        len(watch(without.take(_shuffle(len(without.label), seed)), retrain=False).alarms)
        for seed in range(1 if quick else SHUFFLES)
    ]
    windows = (len(without.label) - TRAINED_ON) // WINDOW
    after = "never" if kept.first_after is None else f"{kept.first_after:,}"
    show(
        "Leakage and drift",
        ("", "found"),
        [
            *rows,
            ("first drift alarm, file order, after row", after),
            (f"windows with an alarm, file order, of {windows}", f"{len(kept.alarms)}"),
            (f"the same, shuffled, {len(shuffled)} times", ", ".join(map(str, shuffled))),
        ],
    )
    return {
        "leakage_duration_found": float(with_duration.suspects() == ["duration"]),
        "leakage_false_suspects": float(len(without.suspects())),
        "drift_windows_alarmed": float(len(kept.alarms)),
        "drift_shuffled_alarms": float(np.mean(shuffled)),
    }


def _shuffle(rows: int, seed: int) -> NDArray[np.intp]:
    return np.random.default_rng(seed).permutation(rows)
