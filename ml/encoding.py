"""A feature matrix as columns that a linear model or a network can take: scaled, one-hot."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml.algorithm import Floats, Matrix
from ml.spec import FeatureSpec

# A number beyond these quantiles counts as the quantile: one deal of a billion is no hundred.
LOW, HIGH = 0.01, 0.99
_MISSING, _NUMBER = -2, -1


@dataclass(frozen=True, eq=False)
class Encoding:
    """How each encoded column is made; all arrays have shape (columns,).

    features: columns of the matrices it takes.
    feature: the feature each encoded column comes from.
    what: -1 for the feature's number, -2 for whether it is missing, else the category's code.
    low, high: of a number, what it is clipped to. centre, scale: an encoded column is
        (value - centre) / scale; a missing number is 0, the mean of the rows it was made from.
    """

    features: int
    feature: NDArray[np.intp]
    what: NDArray[np.intp]
    low: Floats
    high: Floats
    centre: Floats
    scale: Floats

    @staticmethod
    def of(spec: FeatureSpec, matrix: Matrix) -> "Encoding":
        """The encoding of the rows of matrix (n, features of spec); what never varies in them has
        no column. Numbers are scaled to a deviation of 1; indicators are only centred."""
        columns: list[tuple[int, int, float, float, float, float]] = []
        for position, feature in enumerate(spec.features):
            column = matrix[:, position].astype(np.float64)
            missing = np.isnan(column)
            codes = range(len(feature.categories)) if feature.categorical else ()
            flags = [(_MISSING, missing), *((code, column == code) for code in codes)]
            columns += [
                (position, what, 0.0, 1.0, float(flag.mean()), 1.0)
                for what, flag in flags
                if 0 < flag.mean() < 1
            ]
            if not feature.categorical and not missing.all():
                # An infinite value of a column would make its every quantile and mean infinite.
                known = np.nan_to_num(column[~missing], posinf=1e30, neginf=-1e30)
                low, high = np.quantile(known, [LOW, HIGH]).tolist()
                clipped = np.clip(known, low, high)
                if deviation := float(clipped.std()):
                    columns.append((position, _NUMBER, low, high, float(clipped.mean()), deviation))
        feature_of, what, low, high, centre, scale = (
            np.array(columns, dtype=np.float64).reshape(-1, 6).T
        )
        return Encoding(
            len(spec.features), feature_of.astype(np.intp), what.astype(np.intp),
            low, high, centre, scale,
        )  # fmt: skip

    @property
    def size(self) -> int:
        """Number of encoded columns."""
        return len(self.feature)

    def encode(self, matrix: Matrix) -> Floats:
        """The encoded columns of float32 (n, features): (n, size)."""
        encoded = np.empty((len(matrix), self.size), order="F")
        for position, (feature, what) in enumerate(zip(self.feature, self.what, strict=True)):
            column = matrix[:, feature].astype(np.float64)
            encoded[:, position] = self._values(position, column, int(what))
        return encoded

    def by_feature(self, shares: Floats) -> Floats:
        """Sum what each encoded column adds, (n, size), over the columns of a feature."""
        summed = np.zeros((self.features, len(shares)))
        np.add.at(summed, self.feature, shares.T)
        by_row: Floats = summed.T
        return by_row

    def directions(self, monotone: tuple[int, ...]) -> NDArray[np.intp]:
        """The direction of each encoded column: a number's own, 0 of an indicator."""
        return np.where(self.what == _NUMBER, np.array(monotone)[self.feature], 0)

    def to_json(self) -> dict[str, Any]:
        return {
            name: value.tolist() if isinstance(value, np.ndarray) else value
            for name, value in vars(self).items()
        }

    @staticmethod
    def from_json(document: Mapping[str, Any]) -> "Encoding":
        feature, what = (np.array(document[field], np.intp) for field in ("feature", "what"))
        low, high, centre, scale = (
            np.array(document[field], np.float64) for field in ("low", "high", "centre", "scale")
        )
        return Encoding(document["features"], feature, what, low, high, centre, scale)

    def _values(self, position: int, column: Floats, what: int) -> Floats:
        if what == _NUMBER:
            clipped = np.clip(column, self.low[position], self.high[position])
            scaled: Floats = np.nan_to_num((clipped - self.centre[position]) / self.scale[position])
            return scaled
        flag = np.isnan(column) if what == _MISSING else column == what
        centred: Floats = flag.astype(np.float64) - self.centre[position]
        return centred
