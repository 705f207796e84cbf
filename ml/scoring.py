"""From a model and a matrix of features to scores whose reasons add up."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ml.algorithm import Floats, Predictor
from ml.model import Model
from ml.spec import FeatureSpec
from ml.tables import BLOCK_ROWS


@dataclass(frozen=True, eq=False)
class Scores:
    """What is served for the rows of one matrix, in their order.

    probability: of converting within the model's horizon, shape (rows,).
    score: the probability in whole percent, 0 to 100, shape (rows,).
    confidence: 0 to 1; see ml.model.ConfidenceTable, shape (rows,).
    contributions: log-odds that each factor adds, shape (rows, factors of the spec).
    """

    probability: Floats
    score: NDArray[np.int16]
    confidence: NDArray[np.float32]
    contributions: NDArray[np.float32]


def score(model: Model, matrix: NDArray[np.float32]) -> Scores:
    """Scores of leads, with the contribution of every factor.

    matrix: float32 (rows, features of model.spec) as ml.features.build makes it.

    The probability is that of the base plus the sum of the contributions as they are stored:
    whoever adds those up gets the log-odds of the probability that is served.
    """
    contributions, log_odds = by_factor(model.spec, model.predictor, matrix)
    # Far below -700 the exponential overflows to infinity and the probability to its limit, 0.
    with np.errstate(over="ignore"):
        probability = 1.0 / (1.0 + np.exp(-log_odds))
    return Scores(
        probability,
        np.rint(100.0 * probability).astype(np.int16),
        model.confidence.lookup(log_odds),
        contributions,
    )


def by_factor(
    spec: FeatureSpec, predictor: Predictor, matrix: NDArray[np.float32]
) -> tuple[NDArray[np.float32], Floats]:
    """What each factor adds to each row, (rows, factors of the spec), and what they add up to with
    the predictor's base, (rows,).

    Contributions are rounded to float32 first, and summed in float64 from the first factor to the
    last.
    """
    factors = spec.factors
    contributions = np.empty((len(matrix), len(factors)), dtype=np.float32)
    totals = np.empty(len(matrix))
    for start in range(0, len(matrix), BLOCK_ROWS):
        rows = slice(start, start + BLOCK_ROWS)
        by_feature = predictor.contributions(matrix[rows])
        total = totals[rows]
        total[:] = predictor.base
        for position, factor in enumerate(factors):
            weight = sum(by_feature[:, feature] for feature in factor.features)
            contributions[rows, position] = weight
            total += contributions[rows, position]
    return contributions, totals
