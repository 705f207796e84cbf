"""Rolling windows in time: which rows a model may be fitted on, and which it is judged on."""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Times: TypeAlias = NDArray[np.datetime64]
Rows: TypeAlias = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Fold:
    """Positions of rows, in order of time: what was known when the window began, and the window."""

    fit: Rows
    window: Rows


def rolling(
    snapshot_at: Times, gap: np.timedelta64, windows: int = 5, first: float = 0.5
) -> list[Fold]:
    """Part the rows after the share `first` into windows of equal numbers, each with its past.

    snapshot_at: (n,) times; rows of equal time are never divided, so that there may be fewer
        windows. No rows have none.
    gap: rows at most this long before a window are not in its past. Given the longest time an
        outcome took to be known, everything a model learns from was known before the window
        began. (Leaving out a row by its own delay instead would keep the conversions, known on
        their day, and lose the others, known at the end of the horizon.)
    """
    if not len(snapshot_at):
        return []
    order = np.argsort(snapshot_at, kind="stable")
    times = snapshot_at[order]
    aims = np.linspace(first * len(times), len(times), windows + 1).astype(int)[:-1]
    starts = np.unique(np.searchsorted(times, times[aims]))
    stops = [*starts[1:], len(times)]
    return [
        Fold(order[: np.searchsorted(times, times[start] - gap)], order[start:stop])
        for start, stop in zip(starts.tolist(), stops, strict=True)
    ]
