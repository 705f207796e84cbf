"""Which rows a model is fitted on, calibrated on and judged on: windows in time with gaps."""

from bisect import bisect_left
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Times: TypeAlias = NDArray[np.datetime64]
Rows: TypeAlias = NDArray[np.intp]


def split(snapshot_at: Times, gap: np.timedelta64, shares: Sequence[float]) -> list[Rows]:
    """Positions of the rows of each window, oldest window first, each in order of time.

    snapshot_at: (n,) times; rows of equal time are never divided.
    gap: rows less than this before the next window's first row belong to no window. Given the
        longest time an outcome took to be known, everything a window learns from was known when
        the next one began. (Leaving out a row by its own delay instead would keep the
        conversions, known on their day, and lose the others, known at the end of the horizon.)
    shares: of the rows that are in a window, the part that each window aims at. The first window
        has at least its share; the later ones may exceed theirs by rows of equal time.
    """
    order = np.argsort(snapshot_at, kind="stable")
    times = snapshot_at[order]

    def cut(kept: int) -> list[slice]:
        """The windows, newest first, when the later ones take their share of `kept` rows."""
        windows, stop = [], len(times)
        for share in reversed(shares[1:]):
            start = max(stop - round(share * kept), 0)
            start = int(np.searchsorted(times, times[start])) if start < stop else stop
            windows.append(slice(start, stop))
            if start < len(times):
                stop = int(np.searchsorted(times, times[start] - gap, side="right"))
                stop = min(stop, start)
        return [*windows, slice(0, stop)]

    def starved(kept: int) -> bool:
        oldest: int = cut(kept)[-1].stop
        return oldest < shares[0] * kept

    kept = bisect_left(range(1, len(times) + 1), True, key=starved)
    return [order[window] for window in reversed(cut(kept))]
