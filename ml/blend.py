"""Several predictors as one: the weighted mean of their log-odds, and so of their reasons."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any

from ml.algorithm import Floats, Matrix, Predictor


@dataclass(frozen=True, eq=False)
class Blend:
    """The sum of its parts, each of which is scaled by its weight already."""

    parts: tuple[Predictor, ...]

    @staticmethod
    def mean(parts: tuple[Predictor, ...]) -> "Blend":
        """Each part with the same weight: in log-odds, the logarithmic opinion pool (C. Genest,
        J. Zidek, "Combining probability distributions", 1986)."""
        return Blend(tuple(part.scaled(1 / len(parts), 0.0) for part in parts))

    @property
    def features(self) -> int:
        return self.parts[0].features

    @property
    def base(self) -> float:
        return sum(part.base for part in self.parts)

    def raw(self, matrix: Matrix) -> Floats:
        return reduce(lambda total, part: total + part.raw(matrix), self.parts[1:],
                      self.parts[0].raw(matrix))  # fmt: skip

    def contributions(self, matrix: Matrix) -> Floats:
        return reduce(lambda total, part: total + part.contributions(matrix), self.parts[1:],
                      self.parts[0].contributions(matrix))  # fmt: skip

    def scaled(self, slope: float, intercept: float) -> "Blend":
        first, *others = self.parts
        return Blend(
            (first.scaled(slope, intercept), *(part.scaled(slope, 0.0) for part in others))
        )

    def to_json(self) -> dict[str, Any]:
        return {"kind": "blend", "parts": [part.to_json() for part in self.parts]}


def read(document: Mapping[str, Any]) -> Predictor:
    """The predictor that to_json wrote, of any kind; ValueError for a kind that there is not."""
    from ml.booster import Booster
    from ml.curve import Curve
    from ml.linear import Linear
    from ml.network import Network
    from ml.tables import Tables

    kinds: dict[str, Callable[[Mapping[str, Any]], Predictor]] = {
        "tables": Tables.from_former_json,
        "packed_tables": Tables.from_json,
        "linear": Linear.from_json,
        "booster": Booster.from_json,
        "network": Network.from_json,
        "curve": lambda curve: Curve.from_json(curve, read(curve["predictor"])),
        "blend": lambda blend: Blend(tuple(read(part) for part in blend["parts"])),
    }
    kind = document.get("kind", "tables")
    if kind not in kinds:
        raise ValueError(f"predictor kind {kind!r}, this release reads {', '.join(kinds)}")
    return kinds[kind](document)
