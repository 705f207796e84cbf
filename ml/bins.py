"""The bins of a column: the steps between which a table says the same."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ml.algorithm import Floats

# LightGBM reads a value this close to zero as zero, both in training and in predict.
ZERO = float(np.float32(1e-35))
BELOW_ZERO = float(np.nextafter(-ZERO, -np.inf))

# Values that are looked up one by one: for so few, a call for each edge costs more.
_FEW = 500


@dataclass(frozen=True, eq=False)
class NumberBins:
    """Bins of a numeric column.

    edges: thresholds, ascending; bin i holds edges[i - 1] < value <= edges[i], bin len(edges)
        what lies above all of them, and one more bin, the last, the missing values (NaN).
    """

    edges: Floats

    @property
    def size(self) -> int:
        return len(self.edges) + 2

    @property
    def examples(self) -> Floats:
        """One value of each bin: what a split decides for it holds for the whole bin."""
        return np.append(self.edges, [np.inf, np.nan])

    def of(self, column: NDArray[np.float32]) -> NDArray[np.integer[Any]]:
        """The bin of each value, where float64(value) <= edge decides, as LightGBM does."""
        missing = len(self.edges) + 1
        if missing > np.iinfo(np.uint8).max or len(column) < _FEW:
            return np.searchsorted(np.append(self._edges32, np.float32(np.inf)), column)
        # Counting the edges below costs 0.1 ns per value and edge, and a call for each edge;
        # searchsorted, whose branches no processor predicts, 20 to 40 ns per value. A missing
        # value is above no edge.
        bins = np.isnan(column).view(np.uint8) * np.uint8(missing)
        above = np.empty(len(column), dtype=np.bool_)
        for edge in self._edges32:
            np.greater(column, edge, out=above)
            bins += above.view(np.uint8)
        return bins

    @cached_property
    def _edges32(self) -> NDArray[np.float32]:
        """The greatest float32 <= each edge: a float32 value is <= both of them or neither."""
        with np.errstate(over="ignore"):
            nearest = self.edges.astype(np.float32)
        return np.where(nearest > self.edges, np.nextafter(nearest, np.float32(-np.inf)), nearest)


@dataclass(frozen=True)
class CodeBins:
    """Bins of a categorical column: bin i holds code i, the last all else (missing, unseen)."""

    codes: int

    @property
    def size(self) -> int:
        return self.codes + 1

    @property
    def examples(self) -> Floats:
        """One value of each bin: what a split decides for it holds for the whole bin."""
        return np.append(np.arange(self.codes, dtype=np.float64), np.nan)

    def of(self, column: NDArray[np.float32]) -> NDArray[np.integer[Any]]:
        """The bin of each value; a fraction counts as its integer part, as in LightGBM."""
        known = (column > -1) & (column < self.codes)
        codes = np.where(known, column, np.float32(self.codes))
        return codes.astype(np.min_scalar_type(self.codes))


Bins: TypeAlias = NumberBins | CodeBins
