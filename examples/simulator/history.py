"""Letting simulated leads live through the process, from their creation to the present."""

from dataclasses import dataclass

import numpy as np

from examples.simulator.columns import Floats, Ints
from examples.simulator.process import OpenLeads, each
from examples.simulator.profile import TenantProfile


@dataclass(frozen=True)
class Lives:
    """What became of n leads, in days of each lead's own age; nan for what did not happen.

    converted, closed, passed: (n,) ages. lead, age, kind: one element for each interaction, where
    lead and kind are positions.
    """

    converted: Floats
    closed: Floats
    passed: Floats
    lead: Ints
    age: Floats
    kind: Ints


def lives_of(
    profile: TenantProfile, rng: np.random.Generator, score: Floats, until: Floats
) -> Lives:
    """Let leads with these scores live; until: (n,) age of each, in days, at the present."""
    converted, closed, passed = (np.full(len(score), np.nan) for _ in range(3))
    leads, alive = OpenLeads.fresh(profile, score), np.arange(len(score))
    happened = []
    for day in range(int(np.ceil(until.max()))):
        counts, passing = leads.live_a_day(rng)
        passed[alive[passing]] = day + rng.random(passing.sum())
        kind, lead = each(counts)
        happened.append((alive[lead], day + rng.random(len(lead)), kind))
        ended = until[alive] >= day + 1
        converts, lost = leads.decide(rng)
        converted[alive[ended & converts]] = day + 1
        closed[alive[ended & lost]] = day + 1
        leads.keep(kept := ended & ~converts & ~lost)
        alive = alive[kept]
    lead, age, kind = (np.concatenate(parts) for parts in zip(*happened, strict=True))
    past = age < until[lead]
    passed[passed >= until] = np.nan
    return Lives(converted, closed, passed, lead[past], age[past], kind[past])
