"""Segments of customers: the document that serves, and which segment a customer belongs to.

A mixture in which, within a segment, the numbers are normal and each category has its share,
independent of the others (L. Hunt, M. Jorgensen, "Mixture model clustering using the Multimix
program", 1999).
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ml.algorithm import Floats, Matrix
from ml.model import Evidence
from ml.spec import FeatureSpec

FORMAT = "customer_segments 1"
# A number further from the mean than so many deviations counts as if it were so many.
FARTHEST = 4.0
# Of counts: the window, and the age from which on a customer's pace is known. When new customers
# who had not had the time for any contact counted as silent, they came out as a segment.
PACE_DAYS, LEAST_DAYS = 90.0, 45.0

Form = Literal["plain", "log", "count"]


@dataclass(frozen=True)
class Number:
    """A number by which customers are grouped: the sum of features, scaled.

    form: how the sum is taken: as it is, as log(1 + sum), or, of a count of what happened in
        PACE_DAYS, at that pace for customers who are younger, and as the root whose noise is the
        same for few and for many (F. Anscombe, "The transformation of Poisson, binomial and
        negative-binomial data", 1948).
    fill: what a missing one counts as, before it is scaled.
    """

    name: str
    features: tuple[int, ...]
    form: Form
    fill: float
    centre: float
    scale: float

    def raw(self, matrix: Matrix) -> Floats:
        """The sum for each row, NaN where it is missing."""
        total: Floats = matrix[:, list(self.features)].astype(np.float64).sum(axis=1)
        return total

    def formed(self, matrix: Matrix) -> Floats:
        """The sum in its form, NaN where it is missing."""
        value = self.raw(matrix)
        if self.form == "log":
            return np.log1p(np.maximum(value, 0.0))
        if self.form == "count":
            # The age is the last feature of every spec.
            days = matrix[:, -1].astype(np.float64)
            pace = value * PACE_DAYS / np.clip(days, LEAST_DAYS, PACE_DAYS)
            return np.where(days >= LEAST_DAYS, 2 * np.sqrt(pace + 0.375), np.nan)
        return value

    @property
    def noise(self) -> float:
        """The variance that chance alone gives a count, scaled; 0 of other numbers."""
        return self.scale**-2 if self.form == "count" else 0.0

    def of(self, matrix: Matrix) -> Floats:
        value = self.formed(matrix)
        filled = np.where(np.isfinite(value), value, self.fill)
        scaled: Floats = np.clip((filled - self.centre) / self.scale, -FARTHEST, FARTHEST)
        return scaled


@dataclass(frozen=True)
class Category:
    """A column with few values: code i is values[i], the last code all else and what is missing.

    words: what each value is called.
    """

    name: str
    feature: int
    values: tuple[float, ...]
    words: tuple[str, ...]

    @property
    def codes(self) -> int:
        return len(self.values) + 1

    def of(self, matrix: Matrix) -> NDArray[np.intp]:
        column, codes = matrix[:, self.feature], np.full(len(matrix), len(self.values), np.intp)
        for code, value in enumerate(self.values):
            codes[column == value] = code
        return codes


@dataclass(frozen=True, eq=False)
class Mixture:
    """k segments over d numbers and some categories.

    weights: (k,), add up to 1. means: (k, d). covariances: (k, d, d). shares: for each category
    (k, its codes), rows add up to 1.
    """

    weights: Floats
    means: Floats
    covariances: Floats
    shares: tuple[Floats, ...]

    def log_joint(self, numbers: Floats, codes: Sequence[NDArray[np.intp]]) -> Floats:
        """Logarithm of the density of each row with each segment, (rows, k)."""
        joint = np.tile(np.log(self.weights), (len(numbers), 1))
        for segment, (mean, covariance) in enumerate(
            zip(self.means, self.covariances, strict=True)
        ):
            root = np.linalg.cholesky(covariance)
            away = np.linalg.solve(root, (numbers - mean).T)
            joint[:, segment] -= 0.5 * (away**2).sum(axis=0) + np.log(np.diag(root)).sum()
        joint -= 0.5 * self.means.shape[1] * np.log(2 * np.pi)
        for share, code in zip(self.shares, codes, strict=True):
            joint += np.log(share[:, code]).T
        return joint

    def belonging(self, numbers: Floats, codes: Sequence[NDArray[np.intp]]) -> Floats:
        """Probability of each segment for each row, (rows, k)."""
        joint = self.log_joint(numbers, codes)
        shares = np.exp(joint - joint.max(axis=1, keepdims=True))
        found: Floats = shares / shares.sum(axis=1, keepdims=True)
        return found


@dataclass(frozen=True, eq=False)
class Assigned:
    """segment: (rows,), counted from 1, the largest. probability: of belonging to it, (rows,)."""

    segment: NDArray[np.int32]
    probability: Floats


@dataclass(frozen=True, eq=False)
class Segments:
    """A grouping of customers.

    names: of the segments in words. evidence: outcomes are the customers it learnt from.
    horizon_days, base: 0, for nothing is to happen.
    """

    spec: FeatureSpec
    numbers: tuple[Number, ...]
    categories: tuple[Category, ...]
    mixture: Mixture
    names: tuple[str, ...]
    evidence: Evidence
    trained_at: datetime
    horizon_days: int = 0
    base: float = 0.0

    def __post_init__(self) -> None:
        k, d = len(self.names), len(self.numbers)
        shapes = [
            self.mixture.weights.shape, self.mixture.means.shape, self.mixture.covariances.shape,
            *(share.shape for share in self.mixture.shares),
        ]  # fmt: skip
        expected = [(k,), (k, d), (k, d, d), *((k, one.codes) for one in self.categories)]
        if shapes != expected:
            raise ValueError(f"the mixture has shapes {shapes}, its columns make {expected}")
        used = [*(f for one in self.numbers for f in one.features)]
        used += [one.feature for one in self.categories]
        if used and not 0 <= min(used) <= max(used) < len(self.spec.features):
            raise ValueError(
                f"it takes feature {max(used)}, the spec makes {len(self.spec.features)}"
            )

    def prepared(self, matrix: Matrix) -> tuple[Floats, list[NDArray[np.intp]]]:
        """The numbers (rows, d), scaled, and the codes of each category, (rows,)."""
        return prepared(self.numbers, self.categories, matrix)

    def assign(self, matrix: Matrix) -> Assigned:
        """The segment of each row of a float32 (rows, features of spec) matrix."""
        belonging = self.mixture.belonging(*self.prepared(matrix))
        return Assigned(
            (belonging.argmax(axis=1) + 1).astype(np.int32), belonging.max(axis=1, initial=0.0)
        )

    def to_json(self) -> dict[str, Any]:
        mixture = self.mixture
        return {
            "format": FORMAT,
            "spec": self.spec.to_json(),
            "numbers": [asdict(number) for number in self.numbers],
            "categories": [asdict(category) for category in self.categories],
            "weights": mixture.weights.tolist(),
            "means": mixture.means.tolist(),
            "covariances": mixture.covariances.tolist(),
            "shares": [share.tolist() for share in mixture.shares],
            "names": list(self.names),
            "evidence": asdict(self.evidence),
            "trained_at": self.trained_at.astimezone(UTC).isoformat(),
        }

    @staticmethod
    def from_json(document: Mapping[str, Any]) -> "Segments":
        """The model that to_json wrote; KeyError, TypeError or ValueError for anything else."""
        names = tuple(document["names"])
        k, d = len(names), len(document["numbers"])
        return Segments(
            FeatureSpec.from_json(document["spec"]),
            tuple(
                Number(**{**number, "features": tuple(number["features"])})
                for number in document["numbers"]
            ),
            tuple(
                Category(**{**one, "values": tuple(one["values"]), "words": tuple(one["words"])})
                for one in document["categories"]
            ),
            Mixture(
                np.array(document["weights"], np.float64),
                np.array(document["means"], np.float64).reshape(k, d),
                np.array(document["covariances"], np.float64).reshape(k, d, d),
                tuple(np.array(share, np.float64) for share in document["shares"]),
            ),
            names,
            Evidence(**document["evidence"]),
            datetime.fromisoformat(document["trained_at"]),
        )


def prepared(
    numbers: Sequence[Number], categories: Sequence[Category], matrix: Matrix
) -> tuple[Floats, list[NDArray[np.intp]]]:
    """What a mixture takes: the numbers, (rows, d), scaled, and the codes of each category."""
    scaled = np.empty((len(matrix), len(numbers)))
    for position, number in enumerate(numbers):
        scaled[:, position] = number.of(matrix)
    return scaled, [category.of(matrix) for category in categories]
