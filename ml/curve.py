"""A predictor whose log-odds go through a rising curve, with reasons that still add up."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ml.algorithm import Floats, Matrix, Predictor


@dataclass(frozen=True, eq=False)
class Curve:
    """The log-odds of another predictor, moved along straight pieces between points.

    before, after: the points, both ascending, shape (points,), at least 2; the first and last
        pieces go on for ever.

    A row's contributions are stretched by one factor, the slope from the base to the row: signs
    and order stay, and what they add up to is what is served.
    """

    predictor: Predictor
    before: Floats
    after: Floats

    @property
    def features(self) -> int:
        return self.predictor.features

    @property
    def base(self) -> float:
        return float(self._moved(np.array([self.predictor.base]))[0])

    def raw(self, matrix: Matrix) -> Floats:
        return self._moved(self.predictor.raw(matrix))

    def contributions(self, matrix: Matrix) -> Floats:
        shares = self.predictor.contributions(matrix)
        distance = shares.sum(axis=1)
        moved = self._moved(self.predictor.base + distance) - self.base
        stretch = np.divide(
            moved, distance, out=np.ones(len(shares)), where=np.abs(distance) > 1e-9
        )
        stretched: Floats = shares * stretch[:, np.newaxis]
        return stretched

    def scaled(self, slope: float, intercept: float) -> "Curve":
        return Curve(self.predictor, self.before, slope * self.after + intercept)

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": "curve",
            "predictor": self.predictor.to_json(),
            "before": self.before.tolist(),
            "after": self.after.tolist(),
        }

    @staticmethod
    def from_json(document: Mapping[str, Any], predictor: Predictor) -> "Curve":
        points = (np.array(document[name], dtype=np.float64) for name in ("before", "after"))
        return Curve(predictor, *points)

    def _moved(self, log_odds: Floats) -> Floats:
        return along(log_odds, self.before, self.after)


def along(values: Floats, before: Floats, after: Floats) -> Floats:
    """Where values come to on the straight pieces through (before, after)."""
    piece = np.clip(np.searchsorted(before, values) - 1, 0, len(before) - 2)
    slopes = np.diff(after) / np.diff(before)
    found: Floats = after[piece] + slopes[piece] * (values - before[piece])
    return found
