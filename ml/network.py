"""The predictor of a neural network of one hidden layer, whose reasons are exact.

Integrated gradients (M. Sundararajan, A. Taly, Q. Yan, "Axiomatic attribution for deep networks",
2017) give a column what the gradient adds up to on the straight way from a baseline to the row,
times how far the column goes. On that way a hidden unit's input goes straight from s to s + u, and
the mean of tanh's slope between the two is (tanh(s + u) - tanh(s)) / u. So with one hidden layer
there is nothing to approximate: no steps, and no remainder.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ml.algorithm import Floats, Matrix
from ml.encoding import Encoding

# Below this the difference quotient is the slope at its start, to the rounding of a float.
_NEARLY_NOTHING = 1e-8


@dataclass(frozen=True, eq=False)
class Network:
    """output_bias + output . tanh(hidden_bias + encoded columns . hidden), in log-odds.

    hidden: shape (encoding.size, units). hidden_bias, output: shape (units,).

    The baseline of its reasons is the mean of the rows it was learnt from, where every encoded
    column is 0; the base is what the network says of it.
    """

    encoding: Encoding
    hidden: Floats
    hidden_bias: Floats
    output: Floats
    output_bias: float

    @property
    def features(self) -> int:
        return self.encoding.features

    @property
    def base(self) -> float:
        return float(self.output_bias + np.tanh(self.hidden_bias) @ self.output)

    def raw(self, matrix: Matrix) -> Floats:
        into = self.hidden_bias + _product(self.encoding.encode(matrix), self.hidden)
        log_odds: Floats = self.output_bias + _product(np.tanh(into), self.output[:, None])[:, 0]
        return log_odds

    def contributions(self, matrix: Matrix) -> Floats:
        encoded = self.encoding.encode(matrix)
        way = _product(encoded, self.hidden)
        rise = np.tanh(self.hidden_bias + way) - np.tanh(self.hidden_bias)
        still = np.abs(way) < _NEARLY_NOTHING
        slope = np.where(
            still, 1 - np.tanh(self.hidden_bias) ** 2, rise / np.where(still, 1.0, way)
        )
        return self.encoding.by_feature(encoded * _product(slope * self.output, self.hidden.T))

    def scaled(self, slope: float, intercept: float) -> "Network":
        output_bias = slope * self.output_bias + intercept
        return replace(self, output=slope * self.output, output_bias=output_bias)

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": "network",
            "encoding": self.encoding.to_json(),
            "hidden": self.hidden.tolist(),
            "hidden_bias": self.hidden_bias.tolist(),
            "output": self.output.tolist(),
            "output_bias": self.output_bias,
        }

    @staticmethod
    def from_json(document: Mapping[str, Any]) -> "Network":
        encoding = Encoding.from_json(document["encoding"])
        hidden_bias, output = (
            np.array(document[name], dtype=np.float64) for name in ("hidden_bias", "output")
        )
        hidden = np.array(document["hidden"], dtype=np.float64).reshape(-1, len(output))
        return Network(encoding, hidden, hidden_bias, output, document["output_bias"])

    def __post_init__(self) -> None:
        expected = (self.encoding.size, len(self.output))
        if self.hidden.shape != expected or self.hidden_bias.shape != self.output.shape:
            raise ValueError(
                f"the network's hidden weights have shape {self.hidden.shape} and its biases "
                f"{self.hidden_bias.shape}, its encoding and output make them {expected} and "
                f"{self.output.shape}"
            )


def _product(rows: Floats, weights: Floats) -> Floats:
    """rows @ weights, a row's bytes the same whatever rows stand beside it.

    BLAS adds up in an order that depends on how many rows there are; a lead would then score
    otherwise alone than in bulk, in the last digits, and no stored score could be replayed.
    """
    total = np.zeros((len(rows), weights.shape[1]))
    for position, weight in enumerate(weights):
        total += np.multiply.outer(rows[:, position], weight)
    return total
