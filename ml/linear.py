"""The predictor of a linear model: what a column adds is its coefficient times its value."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ml.algorithm import Floats, Matrix
from ml.encoding import Encoding


@dataclass(frozen=True, eq=False)
class Linear:
    """base + the sum of coefficient * encoded column, in log-odds; every encoded column has the
    mean 0 over the rows it was learnt from, so that the base is their mean.

    coefficient: shape (encoding.size,).
    """

    encoding: Encoding
    base: float
    coefficient: Floats

    @property
    def features(self) -> int:
        return self.encoding.features

    def raw(self, matrix: Matrix) -> Floats:
        return self.base + self.encoding.encode(matrix) @ self.coefficient

    def contributions(self, matrix: Matrix) -> Floats:
        return self.encoding.by_feature(self.encoding.encode(matrix) * self.coefficient)

    def scaled(self, slope: float, intercept: float) -> "Linear":
        return replace(
            self, base=slope * self.base + intercept, coefficient=slope * self.coefficient
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": "linear",
            "encoding": self.encoding.to_json(),
            "base": self.base,
            "coefficient": self.coefficient.tolist(),
        }

    @staticmethod
    def from_json(document: Mapping[str, Any]) -> "Linear":
        encoding = Encoding.from_json(document["encoding"])
        coefficient = np.array(document["coefficient"], dtype=np.float64)
        return Linear(encoding, document["base"], coefficient)
