"""Logistic regression whose prior is as wide as the evidence asks for."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ml.algorithm import Bools, Floats, Sample
from ml.encoding import Encoding
from ml.linear import Linear
from ml.settings import AlgorithmName

if TYPE_CHECKING:
    from optuna import Trial

WIDTHS = (0.02, 0.05, 0.1, 0.2, 0.4, 0.8)
# What the width is chosen on: 20,000 rows know it as well as 200,000, whose curvature takes a
# minute. Above 1,000 columns the curvature alone takes seconds, and the width is 0.2.
MOST_ROWS, MOST_COLUMNS, MIDDLE_WIDTH = 20_000, 1_000, 0.2
BASE_WIDTH = 10.0


@dataclass(frozen=True)
class LogisticRegression:
    """Coefficients under a normal prior with mean 0, at their most likely values.

    The prior says how far columns can be believed before anything is known. Its width is the one
    under which the labels are most probable once the coefficients are integrated out by Laplace's
    approximation (D. MacKay, "The evidence framework applied to classification networks", 1992), so
    that forty outcomes give a careful model and forty thousand an ordinary one.

    width: the prior's deviation, in log-odds for a deviation of a number or for a category; None:
        the most probable of 0.02 to 0.8.
    """

    name: ClassVar[AlgorithmName] = "logistic_regression"
    monotone: ClassVar[bool] = True

    width: float | None = None

    def fit(
        self,
        sample: Sample,
        *,
        seed: int,  # noqa: ARG002 nothing in it is drawn
        progress: Callable[[float], None],
    ) -> Linear:
        from threadpoolctl import threadpool_limits

        encoding = Encoding.of(sample.spec, sample.matrix)
        design = np.column_stack([np.ones(len(sample.label)), encoding.encode(sample.matrix)])
        directions = encoding.directions(sample.monotone)
        # Two busy cores make BLAS threads wait for each other; one is faster and repeatable.
        with threadpool_limits(limits=1):
            width = self.width or _most_probable_width(design, sample.label, directions, progress)
            last = len(WIDTHS) / (len(WIDTHS) + 1)
            coefficient = _most_likely(
                design, sample.label, width, directions, lambda: progress(last)
            )
        progress(1.0)
        return Linear(encoding, float(coefficient[0]), coefficient[1:])

    @classmethod
    def suggest(cls, trial: "Trial") -> "LogisticRegression":
        width: Any = trial.suggest_categorical("width", [None, *WIDTHS, 1.6])
        return cls(width=width)


def _most_probable_width(
    design: Floats, label: Bools, directions: NDArray[np.intp], progress: Callable[[float], None]
) -> float:
    if design.shape[1] > MOST_COLUMNS:
        return MIDDLE_WIDTH
    newest = slice(-MOST_ROWS, None)
    design, label = design[newest], label[newest]
    evidence: dict[float, float] = {}
    for width in WIDTHS:
        mode = _most_likely(
            design, label, width, directions, lambda: progress(len(evidence) / (len(WIDTHS) + 1))
        )
        evidence[width] = _evidence(design, label, width, mode)
    return max(evidence, key=lambda width: evidence[width])


def _most_likely(
    design: Floats,
    label: Bools,
    width: float,
    directions: NDArray[np.intp],
    told: Callable[[], None],
) -> Floats:
    """The coefficients, that of the constant first; none goes against its direction. told: called
    after each step, for a fit of 200,000 rows takes many seconds."""
    from scipy.optimize import minimize

    precision = _precision(design, width)
    rate = (label.sum() + 0.5) / (len(label) + 1)
    start = np.append(np.log(rate / (1 - rate)), np.zeros(design.shape[1] - 1))
    bounds = [(None, None)] + [
        (0 if direction > 0 else None, 0 if direction < 0 else None)
        for direction in directions.tolist()
    ]
    found = minimize(
        _loss, start, (design, label, precision), "L-BFGS-B", True, bounds=bounds,
        callback=lambda _at: told(), options={"maxiter": 500, "ftol": 1e-10},
    )  # fmt: skip
    mode: Floats = found.x
    return mode


def _loss(
    coefficient: Floats, design: Floats, label: Bools, precision: Floats
) -> tuple[float, Floats]:
    """Minus the logarithm of likelihood times prior, per row, and its gradient."""
    from scipy.special import expit

    log_odds, rows = design @ coefficient, len(label)
    likelihood = np.logaddexp(0, log_odds).sum() - log_odds[label].sum()
    prior = 0.5 * (precision * coefficient**2).sum()
    gradient = design.T @ (expit(log_odds) - label) + precision * coefficient
    return float(likelihood + prior) / rows, gradient / rows


def _evidence(design: Floats, label: Bools, width: float, mode: Floats) -> float:
    """The logarithm of the labels' probability under this prior, by Laplace, but for a constant."""
    from scipy.special import expit

    precision = _precision(design, width)
    probability = expit(design @ mode)
    curvature = (design.T * (probability * (1 - probability))) @ design + np.diag(precision)
    loss, _ = _loss(mode, design, label, precision)
    volume = np.log(precision).sum() - np.linalg.slogdet(curvature)[1]
    return float(-loss * len(label) + 0.5 * volume)


def _precision(design: Floats, width: float) -> Floats:
    return np.append(BASE_WIDTH**-2, np.full(design.shape[1] - 1, width**-2))
