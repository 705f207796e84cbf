"""From log-odds that rank to log-odds that mean what they say: a straight line.

Being a straight line (J. Platt, "Probabilistic outputs for support vector machines", 1999), it
leaves contributions that add up. Its two parts are learnt from different rows. The slope says how
far the model can be trusted, and comes from windows that lay in the model's future, each with an
offset of its own: a conversion rate that moves from window to window says nothing about it. The
offset comes from the newest rows, because that rate moves.
"""

from collections.abc import Sequence

import numpy as np

from ml.metrics import Bools, Floats

# A model that ranks nothing is flattened; one that ranks the wrong way round is not reversed.
LEAST_SLOPE, MOST_SLOPE = 0.1, 1.5


def slope(log_odds: Sequence[Floats], outcome: Sequence[Bools]) -> float:
    """The slope, 0.1 to 1.5, of most likelihood when each window has its own offset.

    log_odds, outcome: per window, rows that its model was not fitted on; no windows give 1.
    """
    from scipy.optimize import minimize
    from scipy.special import expit

    if not log_odds:
        return 1.0
    z, happened = np.concatenate(log_odds), np.concatenate(outcome)
    window = np.repeat(np.arange(len(log_odds)), [len(rows) for rows in log_odds])

    def loss(parameters: Floats) -> tuple[float, Floats]:
        total = parameters[0] * z + parameters[1 + window]
        error = expit(total) - happened
        by_window = np.bincount(window, error, len(log_odds)) / len(z)
        gradient = np.concatenate([[np.mean(error * z)], by_window])
        return float(np.mean(np.logaddexp(0, total) - happened * total)), gradient

    start = np.concatenate([[1.0], np.zeros(len(log_odds))])
    found = minimize(loss, start, jac=True, method="L-BFGS-B")
    return float(np.clip(found.x[0], LEAST_SLOPE, MOST_SLOPE))


def offset(log_odds: Floats, outcome: Bools) -> float:
    """What to add so that the mean probability of these rows is their conversion rate.

    log_odds, outcome: (n,). A rate of 0 or 1 counts as half an outcome away from it.
    """
    from scipy.optimize import brentq
    from scipy.special import expit

    rows = len(outcome)
    rate = np.clip(np.mean(outcome), 0.5 / rows, 1 - 0.5 / rows)
    reach = float(np.abs(log_odds).max()) + 20
    return float(brentq(lambda shift: expit(log_odds + shift).mean() - rate, -reach, reach))
