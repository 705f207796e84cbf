"""Fits mixtures of segments: expectation-maximisation, the criterion, and how stable they are."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ml.algorithm import Floats, Matrix
from ml.segments import Category, Mixture, Number, prepared

# Added to variances, which are 1 over all customers, and to the counts of categories.
_FLOOR, _COUNT = 0.02, 0.5
_ITERATIONS, _TOLERANCE = 200, 1e-5
_RESAMPLES, _SAMPLE_ROWS = 8, 2_000

Shape = Literal["diagonal", "full"]
SHAPES: tuple[Shape, ...] = ("diagonal", "full")


@dataclass(frozen=True, eq=False)
class Prepared:
    """Customers to group: numbers (rows, d), scaled; the code of each category, (rows,), and how
    many codes it has; the least variance that each number has in a segment, (d,)."""

    numbers: Floats
    codes: tuple[NDArray[np.intp], ...]
    sizes: tuple[int, ...]
    noise: Floats

    @staticmethod
    def of(numbers: Sequence[Number], categories: Sequence[Category], matrix: Matrix) -> "Prepared":
        scaled, codes = prepared(numbers, categories, matrix)
        noise = np.array([max(number.noise, _FLOOR) for number in numbers])
        return Prepared(scaled, tuple(codes), tuple(one.codes for one in categories), noise)

    def __len__(self) -> int:
        return len(self.numbers)

    def take(self, rows: NDArray[np.intp]) -> "Prepared":
        return replace(
            self, numbers=self.numbers[rows], codes=tuple(code[rows] for code in self.codes)
        )

    def together(self) -> Floats:
        """Numbers and the categories' indicators, (rows, columns)."""
        one_hot = [np.eye(size)[code] for size, code in zip(self.sizes, self.codes, strict=True)]
        return np.hstack([self.numbers, *one_hot])


@dataclass(frozen=True, eq=False)
class Fitted:
    """criterion: the integrated completed likelihood, in logarithms; more is better."""

    mixture: Mixture
    shape: Shape
    criterion: float

    @property
    def k(self) -> int:
        return len(self.mixture.weights)


def start(rows: Prepared, k: int, seed: int) -> Floats:
    """A first belonging, (rows, k), by k-means."""
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    if k == 1:
        return np.ones((len(rows), 1))
    with threadpool_limits(limits=1):
        group = KMeans(k, n_init=4, random_state=seed).fit_predict(rows.together())
    belonging: Floats = np.eye(k)[group]
    return belonging


def fit(rows: Prepared, belonging: Floats, shape: Shape) -> Fitted:
    """Expectation-maximisation from a first belonging, (rows, k)."""
    before = -np.inf
    for _ in range(_ITERATIONS):
        mixture = _maximised(rows, belonging, shape)
        joint = mixture.log_joint(rows.numbers, rows.codes)
        highest = joint.max(axis=1, keepdims=True)
        density = highest[:, 0] + np.log(np.exp(joint - highest).sum(axis=1))
        belonging = np.exp(joint - density[:, None])
        likelihood = float(density.sum())
        if likelihood - before < _TOLERANCE * len(rows):
            break
        before = likelihood
    k, d = mixture.means.shape
    covariances = d if shape == "diagonal" else d * (d + 1) // 2
    parameters = k - 1 + k * (d + covariances + sum(size - 1 for size in rows.sizes))
    entropy = -float((belonging * np.log(np.maximum(belonging, 1e-300))).sum())
    return Fitted(mixture, shape, likelihood - 0.5 * parameters * np.log(len(rows)) - entropy)


def stability(fitted: Fitted, rows: Prepared, random: np.random.Generator) -> float | None:
    """Mean adjusted Rand index between the segments and those of resampled customers; None of one
    segment."""
    from sklearn.metrics import adjusted_rand_score

    if fitted.k == 1:
        return None
    sample = rows.take(random.permutation(len(rows))[:_SAMPLE_ROWS])
    group = fitted.mixture.belonging(sample.numbers, sample.codes).argmax(axis=1)
    alike = []
    for _ in range(_RESAMPLES):
        resampled = sample.take(random.integers(0, len(sample), len(sample)))
        first = start(resampled, fitted.k, int(random.integers(2**31 - 1)))
        again = fit(resampled, first, fitted.shape).mixture
        other = again.belonging(sample.numbers, sample.codes).argmax(axis=1)
        alike.append(adjusted_rand_score(group, other))
    return float(np.mean(alike))


def _maximised(rows: Prepared, belonging: Floats, shape: Shape) -> Mixture:
    weight = belonging.sum(axis=0) + 1e-9
    means = (belonging.T @ rows.numbers) / weight[:, None]
    d = rows.numbers.shape[1]
    covariances = np.empty((len(weight), d, d))
    for segment, (mean, total) in enumerate(zip(means, weight, strict=True)):
        away = rows.numbers - mean
        covariance = (away.T * belonging[:, segment]) @ away / total
        kept = covariance if shape == "full" else np.diag(np.diag(covariance))
        # Chance is part of the variance that is seen, and the least of it.
        short = np.maximum(rows.noise - np.diag(kept), 0.0)
        covariances[segment] = kept + np.diag(short + _FLOOR)
    shares = []
    for code, size in zip(rows.codes, rows.sizes, strict=True):
        counts = np.stack([np.bincount(code, one, size) for one in belonging.T]) + _COUNT
        shares.append(counts / counts.sum(axis=1, keepdims=True))
    return Mixture(weight / weight.sum(), means, covariances, tuple(shares))
