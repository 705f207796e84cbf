"""What a deal will bring if it is won: the document that serves, and what it says of deals.

The logarithm of the amount is a base plus what each factor adds, so that each factor multiplies the
amount. The value is the mean: exp of that sum times the smearing factor (N. Duan, "Smearing
estimate: a nonparametric retransformation method", 1983).
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml.algorithm import Floats, Matrix, Predictor
from ml.blend import read
from ml.model import Evidence
from ml.scoring import by_factor
from ml.spec import FeatureSpec

FORMAT = "deal_value 1"
# Of the interval from low to high.
LEVEL = 0.8
# No amount beyond this in the CRM's currency: a broken input is no infinity in the database.
_MOST = 1e15


@dataclass(frozen=True, eq=False)
class Values:
    """What is said of the deals of one matrix, in their order.

    value: expected amount. low, high: the interval that holds LEVEL of the amounts. Shapes (rows,).
    contributions: what each factor adds to the logarithm, (rows, factors of the spec).
    """

    value: Floats
    low: Floats
    high: Floats
    contributions: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class DealValue:
    """A model of deals' amounts.

    predictor: base and contributions in natural logarithms of the amount.
    smearing: the mean of exp(residual), for deals the model had not seen.
    low, high: quantiles of those residuals, (1 - LEVEL) / 2 from either end.
    evidence: outcomes are the won deals it learnt from, and so are converted.
    horizon_days: 0, for a deal is won when it is won.
    """

    spec: FeatureSpec
    predictor: Predictor
    smearing: float
    low: float
    high: float
    evidence: Evidence
    trained_at: datetime
    horizon_days: int = 0

    def __post_init__(self) -> None:
        if self.predictor.features != len(self.spec.features):
            raise ValueError(
                f"the predictor takes {self.predictor.features} features, the spec makes "
                f"{len(self.spec.features)}: train with the matrix built from this spec"
            )
        if not (0 < self.smearing < np.inf and -np.inf < self.low <= self.high < np.inf):
            raise ValueError(
                f"smearing {self.smearing}, low {self.low}, high {self.high}: expected a positive "
                "number, and two in ascending order"
            )

    @property
    def base(self) -> float:
        """Logarithm of the amount before anything is known of a deal."""
        return self.predictor.base

    def values(self, matrix: Matrix) -> Values:
        """What it says of deals; matrix: float32 (rows, features of spec)."""
        contributions, log_amount = by_factor(self.spec, self.predictor, matrix)
        value, low, high = (
            np.exp(np.minimum(log_amount + shift, np.log(_MOST)))
            for shift in (np.log(self.smearing), self.low, self.high)
        )
        return Values(value, low, high, contributions)

    def to_json(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "spec": self.spec.to_json(),
            "predictor": self.predictor.to_json(),
            "smearing": self.smearing,
            "low": self.low,
            "high": self.high,
            "evidence": asdict(self.evidence),
            "trained_at": self.trained_at.astimezone(UTC).isoformat(),
            "horizon_days": self.horizon_days,
        }

    @staticmethod
    def from_json(document: Mapping[str, Any]) -> "DealValue":
        """The model that to_json wrote; KeyError, TypeError or ValueError for anything else."""
        return DealValue(
            FeatureSpec.from_json(document["spec"]),
            read(document["predictor"]),
            float(document["smearing"]),
            float(document["low"]),
            float(document["high"]),
            Evidence(**document["evidence"]),
            datetime.fromisoformat(document["trained_at"]),
            int(document["horizon_days"]),
        )
