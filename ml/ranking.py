"""Where a probability stands among others: the quantiles that percentiles are read from."""

import numpy as np
from numpy.typing import NDArray

# Percentiles to a tenth, from 8 kB per tenant and scoring.
QUANTILES = 1001


def quantiles(probability: NDArray[np.float64]) -> NDArray[np.float64]:
    """1,001 of the probabilities, ascending, at equal shares of them; (n,) with n of 1 or more.

    Of a probability: the quantiles that are lower, plus half of those that tie, over all of them,
    is its percentile. Whole scores tie where few convert; probabilities seldom do.
    """
    found: NDArray[np.float64] = np.quantile(
        probability, np.linspace(0, 1, QUANTILES), method="inverted_cdf"
    )
    return found
