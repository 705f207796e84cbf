"""Evidence that gathers outcome by outcome until it cannot be chance, whenever it is asked for.

A CUSUM of e-values (J. Shin, A. Ramdas, A. Rinaldo, "E-detectors: a nonparametric framework for
sequential change detection", 2023). An e-value of an outcome has a mean of at most 1 as long as
nothing is wrong. A detector is their running product, begun anew where it falls below 1; the mean
over several detectors must reach OUTCOMES_PER_FALSE_ALARM.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ml.metrics import Floats

# Where nothing is wrong there is an alarm in so many outcomes at most, in the mean.
OUTCOMES_PER_FALSE_ALARM = 1_000_000
NEEDED = float(np.log(OUTCOMES_PER_FALSE_ALARM))


@dataclass(frozen=True)
class Evidence:
    """What the detectors have found.

    greatest: the log of the greatest value; there is an alarm from NEEDED on.
    alarm_after: outcomes until the first alarm; None without one.
    since: position of the outcome from which on something seems wrong; 0 without an alarm.
    """

    greatest: float
    alarm_after: int | None
    since: int


def detect(gains: Sequence[Floats]) -> Evidence:
    """What detectors make of the log of their e-values, (n,) each, in the order of the outcomes."""
    if not len(gains[0]):
        return Evidence(0.0, None, 0)
    total = [np.append(0, np.cumsum(gain)) for gain in gains]
    least = [np.minimum.accumulate(one)[:-1] for one in total]
    paths = [one[1:] - below for one, below in zip(total, least, strict=True)]
    evidence = np.logaddexp.reduce(paths) - np.log(len(paths))
    reached = np.flatnonzero(evidence >= NEEDED)
    greatest = float(evidence.max())
    if not len(reached):
        return Evidence(greatest, None, 0)
    first = int(reached[0])
    strongest = int(np.argmax([path[first] for path in paths]))
    # Where its product was last begun anew.
    began = np.flatnonzero(total[strongest][: first + 1] == least[strongest][first])[-1]
    return Evidence(greatest, first + 1, int(began))
