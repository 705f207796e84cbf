"""Simulated A/B tests of stated laws, for benchmarks.ab_tests: what is decided, when, how truly."""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from scipy.stats import norm

from ml import sequential
from ml.algorithm import Bools, Floats

DAYS, A_DAY = 180, 30
_LOOK = np.repeat(np.arange(DAYS), A_DAY)


@dataclass(frozen=True)
class Law:
    """How a test's leads come about. What a model says is the truth's log-odds, moved by noise of
    its own law.

    mean: of the leads' log-odds. champion, challenger: standard deviations of their noise. sharp:
        instead, the champion says the mean rate of all leads, and the challenger the truth with its
        deviations from the mean so many times as great.
    served: times the chance to convert of a lead that the challenger serves. share: that it serves.
    """

    mean: float
    champion: float = 0.5
    challenger: float = 0.5
    sharp: float | None = None
    served: float = 1.0
    share: float = 0.5

    def drawn(self, random: np.random.Generator, leads: int) -> tuple[Bools, Floats, Floats, Bools]:
        """Outcomes, both models' probabilities, and whom the challenger serves."""
        truth = random.normal(self.mean, 1.0, leads)
        served = random.random(leads) < self.share
        converted = random.random(leads) < expit(truth) * np.where(served, self.served, 1.0)
        if self.sharp is not None:
            sharper = expit(self.mean + self.sharp * (truth - self.mean))
            return converted, np.full(leads, _rate(self.mean)), sharper, served
        noise = random.normal(size=(2, leads))
        champion, challenger = truth + noise * [[self.champion], [self.challenger]]
        return converted, expit(champion), expit(challenger), served

    def runs(self, number: int, seed: int) -> Floats:
        """What each of so many tests adds up, by day."""
        random = np.random.default_rng(seed)
        return np.stack(
            [
                sequential.sums(_LOOK, DAYS, *self.drawn(random, len(_LOOK)), self.share)
                for _ in range(number)
            ]
        )

    def effect(self) -> float:
        """The challenger's expected log-loss less the champion's, of two million leads."""
        random = np.random.default_rng(0)
        leads = 2_000_000
        drawn = self.drawn(random, leads)
        found = sequential.sums(np.zeros(leads, np.intp), 1, *drawn, self.share)
        return float(found[0, sequential.SUMS.index("loss")] / leads)


@cache
def _rate(mean: float) -> float:
    """Of leads whose log-odds spread by 1 around a mean."""
    points, weights = np.polynomial.hermite_e.hermegauss(40)
    return float((weights * expit(mean + points)).sum() / weights.sum())


def _plain(sums: Floats) -> tuple[Floats, Floats]:
    """An interval of 95 % of a single look, at every look."""
    so_far = dict(zip(sequential.SUMS, np.moveaxis(np.cumsum(sums, axis=-2), -1, 0), strict=True))
    mean = so_far["loss"] / so_far["leads"]
    variance = so_far["loss_squares"] / so_far["leads"] - mean**2
    half = norm.ppf(0.975) * np.sqrt(variance / so_far["leads"])
    return mean - half, mean + half


@dataclass(frozen=True)
class Found:
    """Of tests of one law. decided: shares by day 180. better, days: decided for the challenger,
    and the median day of all decisions. covered: intervals at the end of their tests that hold the
    effect. plain_...: of the plain way."""

    decided: float
    better: float
    days: float
    covered: float
    plain_decided: float
    plain_days: float
    plain_covered: float


def measured(law: Law, effect: float, runs: int, seed: int) -> Found:
    """effect: the truth that intervals have to hold."""
    sums = law.runs(runs, seed)
    course = sequential.course(sums, law.share)
    stops = course.better() | course.worse() | course.fewer_conversions()
    low, high = _plain(sums)
    plain_stops = (low > 0) | (high < 0)
    end, plain_end = _end(stops), _end(plain_stops)
    run = np.arange(runs)
    return Found(
        decided=float(stops.any(axis=1).mean()),
        better=float(course.better()[run, end].mean()),
        days=median_days(stops),
        covered=float(
            ((course.loss.low[run, end] <= effect) & (effect <= course.loss.high[run, end])).mean()
        ),
        plain_decided=float(plain_stops.any(axis=1).mean()),
        plain_days=median_days(plain_stops),
        plain_covered=float(
            ((low[run, plain_end] <= effect) & (effect <= high[run, plain_end])).mean()
        ),
    )


def _end(stops: Bools) -> NDArray[np.intp]:
    found: NDArray[np.intp] = np.where(stops.any(axis=1), stops.argmax(axis=1), DAYS - 1)
    return found


def median_days(stops: Bools) -> float:
    """The day by which half of the tests have been decided; infinite where fewer are."""
    return float(np.median(np.where(stops.any(axis=1), stops.argmax(axis=1) + 1, np.inf)))


def days(days: float) -> str:
    return "never" if np.isinf(days) else f"day {days:.0f}"
