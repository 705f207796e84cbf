"""Other always-valid ways to compare log-losses, for benchmarks.ab_tests: what is decided, when."""

from collections.abc import Callable

import numpy as np

from benchmarks.ab_tests_laws import A_DAY, DAYS, Law, days, median_days
from ml import sequential
from ml.algorithm import Bools, Floats

# What a lead's difference may be at most, with probabilities read from the floor on.
_MOST = float(np.log((1 - sequential.FLOOR) / sequential.FLOOR))
_STAKES = np.geomspace(1 / 2_000, 0.9, 24) / _MOST
_ENDS = np.arange(A_DAY, DAYS * A_DAY + 1, A_DAY)


def _asymptotic(differences: Floats, converted: Bools, *, least: bool) -> Bools:
    """Ours; least: from the least number of leads and conversions on."""
    count = np.broadcast_to(_ENDS.astype(float), (len(differences), DAYS))
    conversions = converted.cumsum(axis=1)[:, _ENDS - 1]
    enough = (count >= sequential.FEWEST_LEADS) & (conversions >= sequential.FEWEST_CONVERSIONS)
    found = sequential.interval(
        count,
        differences.cumsum(axis=1)[:, _ENDS - 1],
        (differences**2).cumsum(axis=1)[:, _ENDS - 1],
        enough | (not least),
        sequential.LOSS_ERROR,
    )
    return np.asarray((found.low > 0) | (found.high < 0))


def _empirical_bernstein(differences: Floats, _converted: Bools) -> Bools:
    """I. Waudby-Smith, A. Ramdas, "Estimating means of bounded random variables by betting", 2024,
    theorem 2, with its predictable plug-in."""
    unit = (differences + _MOST) / (2 * _MOST)
    tests, leads = unit.shape
    number = np.arange(1, leads + 1)
    mean = (0.5 + unit.cumsum(axis=1)) / (number + 1)
    variance = (0.25 + ((unit - mean) ** 2).cumsum(axis=1)) / (number + 1)
    mean, variance = (
        np.column_stack([np.full(tests, first), values[:, :-1]])
        for first, values in ((0.5, mean), (0.25, variance))
    )
    log = np.log(2 / sequential.LOSS_ERROR)
    stake = np.minimum(np.sqrt(2 * log / (variance * number * np.log1p(number))), 0.5)
    staked = stake.cumsum(axis=1)
    center = (stake * unit).cumsum(axis=1) / staked
    spent = ((unit - mean) ** 2 * (-np.log1p(-stake) - stake)).cumsum(axis=1)
    found: Bools = (np.abs(center - 0.5) > (log + spent) / staked)[:, _ENDS - 1]
    return found


def _bets(differences: Floats, _converted: Bools) -> Bools:
    """The same paper's capital, its section 4: the mean of that of 24 constant stakes, on either
    side of zero."""
    ever = np.zeros((len(differences), DAYS), np.bool_)
    for side in (1, -1):
        capital = np.full(ever.shape, -np.inf)
        for stake in _STAKES:
            won = np.log1p(side * stake * differences).cumsum(axis=1)[:, _ENDS - 1]
            capital = np.logaddexp(capital, won)
        ever |= capital - np.log(len(_STAKES)) > np.log(2 / sequential.LOSS_ERROR)
    return ever


WAYS: dict[str, Callable[[Floats, Bools], Bools]] = {
    "ours": lambda differences, converted: _asymptotic(differences, converted, least=True),
    "ours from the first lead on": lambda differences, converted: _asymptotic(
        differences, converted, least=False
    ),
    "bets, a mixture of 24 stakes": _bets,
    "empirical Bernstein": _empirical_bernstein,
}


def compared(laws: dict[str, Law], runs: int) -> list[tuple[str, ...]]:
    """Of each way and law: the share of tests decided by the log-loss, and the median day."""
    cells: dict[str, list[str]] = {name: [] for name in WAYS}
    for seed, law in enumerate(laws.values()):
        random = np.random.default_rng(200 + seed)
        drawn = [law.drawn(random, len(_ENDS) * A_DAY) for _ in range(runs)]
        converted = np.stack([one[0] for one in drawn])
        differences = np.stack([sequential.loss_difference(*one[:3]) for one in drawn])
        for name, way in WAYS.items():
            stops = way(differences, converted)
            cells[name].append(f"{stops.any(axis=1).mean():.1%}, {days(median_days(stops))}")
    return [(name, *found) for name, found in cells.items()]
