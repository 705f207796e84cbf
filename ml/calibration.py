"""From log-odds that rank to log-odds that mean what they say: Platt's straight line."""

import numpy as np

from ml.metrics import Bools, Floats

# A model that ranks nothing, or the wrong way round, is flattened: its order is never reversed.
LEAST_SLOPE = 0.01


def platt(log_odds: Floats, outcome: Bools) -> tuple[float, float]:
    """Slope (at least 0.01) and intercept of the calibrated log-odds, by maximum likelihood.

    log_odds, outcome: (n,) each, rows that the model was not fitted on, of both kinds.
    Outcomes count as slightly less than certain, which keeps the slope finite where the model
    parts them perfectly. Source: J. Platt, "Probabilistic outputs for support vector machines",
    1999; being a straight line, it leaves contributions that add up.
    """
    from scipy.optimize import minimize
    from scipy.special import expit

    converted = int(outcome.sum())
    target = np.where(
        outcome, (converted + 1) / (converted + 2), 1 / (len(outcome) - converted + 2)
    )

    def loss(line: Floats) -> tuple[float, Floats]:
        z = line[0] * log_odds + line[1]
        error = expit(z) - target
        value = float(np.mean(np.logaddexp(0, z) - target * z))
        return value, np.array([np.mean(error * log_odds), np.mean(error)])

    found = minimize(
        loss,
        np.array([1.0, 0.0]),
        jac=True,
        bounds=[(LEAST_SLOPE, None), (None, None)],
        method="L-BFGS-B",
        options={"ftol": 1e-14, "gtol": 1e-9},
    )
    slope, intercept = found.x
    return float(slope), float(intercept)
