"""Where a probability stands among others."""

import numpy as np
from numpy.typing import NDArray


def percentiles(probability: NDArray[np.float64]) -> NDArray[np.float32]:
    """Of each probability: the share of all that are lower, plus half of those that tie, x 100.

    Whole scores tie where few convert; probabilities seldom do. One lead alone stands at 50.
    """
    ordered = np.sort(probability)
    lower = np.searchsorted(ordered, probability, side="left")
    not_higher = np.searchsorted(ordered, probability, side="right")
    return ((lower + not_higher) * (50.0 / max(len(ordered), 1))).astype(np.float32)
