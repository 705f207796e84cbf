"""Comparing two scoring models while outcomes come in: intervals that hold at every look."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ml.algorithm import Bools, Floats

# Chances that an interval leaves out the truth at any look: of the difference in log-loss, and of
# the difference in conversions. Together the 5 % of a false decision.
LOSS_ERROR, CONVERSIONS_ERROR = 0.04, 0.01
# Leads at which the interval is narrowest beside one of a single look. Between 500 and 2,000 the
# days to a decision differ by a tenth.
NARROWEST_AT = 1_000
# The intervals rest on the central limit: there is none before so many leads, and conversions. With
# conversions as rare as 0.7 % a third of tests decided falsely that looked from the first one on.
FEWEST_LEADS, FEWEST_CONVERSIONS = 100, 20
# Probabilities are read as within it and one less it, so that no lead decides alone.
FLOOR = 0.001

Decision = Literal["open", "better", "worse", "fewer_conversions"]


@dataclass(frozen=True, eq=False)
class Interval:
    """A mean and its confidence sequence at each look, arrays of one shape; infinitely wide where
    too little is known."""

    mean: Floats
    low: Floats
    high: Floats

    def at(self, look: int) -> dict[str, float | None]:
        """mean, low and high of one look of a single test, None for what is not known."""
        return {
            name: float(values[look]) if np.isfinite(values[look]) else None
            for name, values in vars(self).items()
        }


def interval(
    count: Floats, total: Floats, squares: Floats, enough: Bools, error: float
) -> Interval:
    """The mean of independent values, from how many there were at each look, their sum and that of
    their squares.

    With a chance of at most `error`, as counts grow, the mean lies outside at any look, however
    many there are and whatever makes one stop: the asymptotic confidence sequence of I.
    Waudby-Smith, D. Arbour, R. Sinha, E. Kennedy, A. Ramdas, "Time-uniform central limit theory and
    asymptotic confidence sequences", Annals of Statistics, 2024 (theorem 2.2), with rho for the
    narrowest interval at NARROWEST_AT. Where means drift it speaks of the mean so far.
    """
    known = np.maximum(count, 1.0)
    mean = total / known
    variance = np.maximum(squares / known - mean**2, 0.0)
    twice = -2 * np.log(error)
    rho = (twice + np.log(twice) + 1) / NARROWEST_AT
    grown = known * rho + 1
    half = np.sqrt(variance * 2 * grown / (known**2 * rho) * np.log(np.sqrt(grown) / error))
    half = np.where(enough, half, np.inf)
    return Interval(mean, mean - half, mean + half)


# What is added up of each lead, in this order.
SUMS = (
    "leads",
    "conversions",
    "challenger_leads",
    "challenger_conversions",
    "loss",
    "loss_squares",
    "difference",
    "difference_squares",
)


def sums(
    look: NDArray[np.intp],
    looks: int,
    converted: Bools,
    champion: Floats,
    challenger: Floats,
    challenger_served: Bools,
    share: float,
) -> Floats:
    """What course() needs of these leads, by the look at which their outcome is first known; shape
    (looks, 8). Sums of parts of a test add up.

    converted: within the horizon, which has ended for all of these. champion, challenger: each
    one's probability of that. share: of the leads that the challenger serves, 0 for none.
    """
    loss = loss_difference(converted, champion, challenger)
    columns = [np.ones(len(look)), converted, challenger_served, converted & challenger_served]
    columns += [loss, loss**2]
    if share > 0:
        difference = _difference(converted, (champion + challenger) / 2, challenger_served, share)
        columns += [difference, difference**2]
    found = np.zeros((looks, len(SUMS)))
    for position, column in enumerate(columns):
        found[:, position] = np.bincount(look, column, minlength=looks)
    return found


def loss_difference(converted: Bools, champion: Floats, challenger: Floats) -> Floats:
    """The challenger's log-loss of each lead less the champion's."""
    return _losses(converted, challenger) - _losses(converted, champion)


def _losses(converted: Bools, probability: Floats) -> Floats:
    kept = np.clip(probability, FLOOR, 1 - FLOOR)
    found: Floats = -np.log(np.where(converted, kept, 1 - kept))
    return found


def _difference(converted: Bools, expected: Floats, served: Bools, share: float) -> Floats:
    """Values whose mean is the challenger's conversion rate less the champion's, each lead weighed
    by the chance of its arm. What both models expect of it is taken off first: that says nothing of
    the arm, and takes most of the leads' own differences away (J. Robins, A. Rotnitzky, L. Zhao,
    1994)."""
    found: Floats = (converted - expected) * np.where(served, 1 / share, -1 / (1 - share))
    return found


@dataclass(frozen=True, eq=False)
class Course:
    """A test look by look; arrays of one shape, the last axis the looks.

    loss: the challenger's mean log-loss less the champion's, below 0 where it is better.
    conversions: its conversion rate less the champion's, among the leads that each served.
    """

    leads: Floats
    converted: Floats
    challenger_leads: Floats
    challenger_converted: Floats
    loss: Interval
    conversions: Interval

    def better(self) -> Bools:
        """The challenger's probabilities are, and its leads do not convert less."""
        return np.asarray((self.loss.high < 0) & ~self.fewer_conversions())

    def worse(self) -> Bools:
        return np.asarray(self.loss.low > 0)

    def fewer_conversions(self) -> Bools:
        return np.asarray(self.conversions.high < 0)

    @property
    def decision(self) -> Decision:
        """What the last look of a single test says."""
        if self.fewer_conversions()[-1]:
            return "fewer_conversions"
        if self.better()[-1]:
            return "better"
        return "worse" if self.worse()[-1] else "open"

    @property
    def sentence(self) -> str:
        """What the last look of a single test has seen."""
        leads, converted = int(self.leads[-1]), int(self.converted[-1])
        found = self.loss.at(-1)
        told = (
            f"log-loss {self.loss.mean[-1]:+.4f} beside the champion's on {leads:,} leads with"
            f" {converted:,} conversions, {_between(found)}"
        )
        if not self.challenger_leads[-1]:
            return told
        own, its = int(self.challenger_leads[-1]), int(self.challenger_converted[-1])
        return (
            f"{told}; {its:,} of its {own:,} leads converted, {converted - its:,} of the champion's"
            f" {leads - own:,}, a difference of {self.conversions.mean[-1]:+.4f},"
            f" {_between(self.conversions.at(-1))}"
        )

    def to_json(self, look: int) -> dict[str, Any]:
        """One look of a single test, what is not known as None."""
        return {
            "leads": int(self.leads[look]),
            "converted": int(self.converted[look]),
            "challenger_leads": int(self.challenger_leads[look]),
            "challenger_converted": int(self.challenger_converted[look]),
            "loss": self.loss.at(look),
            "conversions": self.conversions.at(look),
        }


def _between(found: dict[str, float | None]) -> str:
    if found["low"] is None:
        return "too few for an interval"
    return f"between {found['low']:+.4f} and {found['high']:+.4f}"


def course(sums: Floats, share: float) -> Course:
    """The test from what sums() gave; shape (..., looks, 8)."""
    so_far = dict(zip(SUMS, np.moveaxis(np.cumsum(sums, axis=-2), -1, 0), strict=True))
    leads, converted = so_far["leads"], so_far["conversions"]
    enough = (leads >= FEWEST_LEADS) & (converted >= FEWEST_CONVERSIONS)
    # Of the conversions that the smaller arm is to be expected to have.
    in_arms = enough & (converted * min(share, 1 - share) >= FEWEST_CONVERSIONS)
    return Course(
        leads,
        converted,
        so_far["challenger_leads"],
        so_far["challenger_conversions"],
        interval(leads, so_far["loss"], so_far["loss_squares"], enough, LOSS_ERROR),
        interval(
            leads,
            so_far["difference"],
            so_far["difference_squares"],
            in_arms,
            CONVERSIONS_ERROR,
        ),
    )
