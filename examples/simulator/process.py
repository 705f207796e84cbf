"""The stated process by which simulated leads act, convert and are lost, day by day.

An open lead lives in days of its own, counted from the moment it was created. On each day
  - it has interactions of each kind at uniform moments, their number Poisson with mean
        kind.per_day * exp(EAGERNESS * score) * (RESTING + exp(-age / TIRING_DAYS))
                     * (1 + ECHO * min(interactions in the last 7 days, ECHO_LIMIT))
  - it passes the milestone, once, with the chance milestone.per_day, at a uniform moment.
At the end of the day it
  - converts with the chance 1 / (1 + exp(-eta)), where
        eta = logit(daily_conversion) + score + (milestone.weight if passed)
              + sum over kinds of weight * log(1 + number in the last window_days days)
              - FADING * min(days without an interaction, FADING_LIMIT)
  - or else is closed as lost with the chance LOSS_PER_DAY, whatever it is and has done.
The score is the sum of its attributes' effects (examples.simulator.columns). All of this stands in
the CRM's rows, so that the best possible prediction can be computed (examples.simulator.oracle).
"""

from collections import deque
from collections.abc import Sequence
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from examples.simulator.columns import Bools, Floats, Ints
from examples.simulator.profile import TenantProfile

EAGERNESS = 0.2
RESTING, TIRING_DAYS = 0.2, 25.0
ECHO, ECHO_DAYS, ECHO_LIMIT = 0.6, 7, 5
FADING, FADING_LIMIT = 0.06, 21
LOSS_PER_DAY = 0.008
LONGEST_WINDOW = 30

Counts = NDArray[np.int16]


def each(counts: Counts) -> tuple[Ints, Ints]:
    """Positions of kind and lead of every interaction counted in (kinds, n)."""
    kind, lead = np.nonzero(counts)
    times = counts[kind, lead]
    return np.repeat(kind, times), np.repeat(lead, times)


class OpenLeads:
    """n open leads in the course of one of their days; the days need not be the same one.

    score: (n,) log-odds from attributes. age: (n,) whole days since creation.
    passed: (n,) whether the milestone is passed. quiet: (n,) whole days without an interaction.
    days: up to 30 arrays (kinds, n), numbers of interactions, yesterday's first.
    """

    def __init__(
        self,
        profile: TenantProfile,
        score: Floats,
        age: Ints,
        passed: Bools,
        quiet: Ints,
        days: Sequence[Counts],
    ) -> None:
        self.profile = profile
        self.score = score
        self.age = age
        self.passed = passed
        self.quiet = quiet
        nothing = np.zeros((len(profile.kinds), len(score)), np.int16)
        totals = accumulate(reversed(days), initial=nothing)
        self._totals = deque(totals, maxlen=LONGEST_WINDOW + 1)

    @classmethod
    def fresh(cls, profile: TenantProfile, score: Floats) -> "OpenLeads":
        """Leads at the moment of their creation."""
        zeros = np.zeros(len(score), np.int64)
        return cls(profile, score, zeros, zeros.astype(bool), zeros, ())

    def __len__(self) -> int:
        return len(self.score)

    def live_a_day(
        self, rng: np.random.Generator, rest: Floats | float = 1.0, so_far: Counts | None = None
    ) -> tuple[Counts, Bools]:
        """Live to the end of the day; the interactions (kinds, n) and milestones (n,) it brings.

        rest: share of the day still to come. so_far: interactions (kinds, n) earlier in it.
        """
        news = rng.poisson(self._per_day() * rest).astype(np.int16)
        today = news if so_far is None else news + so_far
        per_day = self.profile.milestone.per_day
        chance = per_day * rest / (1 - per_day * (1 - np.asarray(rest)))
        passing = ~self.passed & (rng.random(len(self)) < chance)
        self.passed = self.passed | passing
        self.quiet = np.where(today.any(axis=0), 0, self.quiet + 1)
        self.age = self.age + 1
        self._totals.append(self._totals[-1] + today)
        return news, passing

    def conversion_chance(self) -> Floats:
        """The chance of each lead, at the end of the day just lived, to convert."""
        milestone = self.profile.milestone
        eta = self.score + np.where(self.passed, milestone.weight, 0.0)
        for position, kind in enumerate(self.profile.kinds):
            eta += kind.weight * np.log1p(self._recent(kind.window_days)[position])
        eta -= FADING * np.minimum(self.quiet, FADING_LIMIT)
        base = self.profile.daily_conversion
        return 1 / (1 + (1 - base) / base * np.exp(-eta))

    def decide(self, rng: np.random.Generator) -> tuple[Bools, Bools]:
        """Who converts and who is lost at the end of the day just lived."""
        converts = rng.random(len(self)) < self.conversion_chance()
        return converts, ~converts & (rng.random(len(self)) < LOSS_PER_DAY)

    def add(self, score: Floats) -> None:
        """Add leads at the moment of their creation."""
        new = len(score)
        self.score = np.concatenate([self.score, score])
        self.age, self.passed, self.quiet = (
            np.concatenate([state, np.zeros(new, state.dtype)])
            for state in (self.age, self.passed, self.quiet)
        )
        self._totals = deque(
            (np.pad(total, ((0, 0), (0, new))) for total in self._totals), self._totals.maxlen
        )

    def keep(self, kept: Bools) -> None:
        """Drop the leads that are not kept."""
        self.score, self.age = self.score[kept], self.age[kept]
        self.passed, self.quiet = self.passed[kept], self.quiet[kept]
        self._totals = deque((total[:, kept] for total in self._totals), self._totals.maxlen)

    def _per_day(self) -> Floats:
        echo = 1 + ECHO * np.minimum(self._recent(ECHO_DAYS).sum(axis=0), ECHO_LIMIT)
        tiring = RESTING + np.exp(-self.age / TIRING_DAYS)
        means = np.array([kind.per_day for kind in self.profile.kinds])
        return np.outer(means, np.exp(EAGERNESS * self.score) * tiring * echo)

    def _recent(self, days: int) -> Counts:
        """Interactions (kinds, n) of the last `days` whole days."""
        return self._totals[-1] - self._totals[-1 - min(days, len(self._totals) - 1)]
