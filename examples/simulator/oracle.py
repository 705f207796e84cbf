"""The best possible prediction for a simulated lead, from the process that made it.

P(converts within the horizon | what the rows said before the snapshot) is the mean, over ways in
which the lead may go on, of the exact chance to convert given that way:
    sum over days of chance(day) * product over earlier days of (1 - chance) * (1 - LOSS_PER_DAY).
Only interactions and milestones are drawn, not the outcome (Rao-Blackwell), so that few ways are
enough. A lead that is lost before it converts has not converted, as in the labels.
"""

from datetime import datetime

import numpy as np
import polars as pl

from examples.simulator.columns import Floats
from examples.simulator.crm import SimulatedCrm
from examples.simulator.population import generator
from examples.simulator.process import LOSS_PER_DAY
from examples.simulator.profile import TenantProfile
from examples.simulator.standing import Standing, standing

LEADS_AT_ONCE = 500


def oracle_probability(
    crm: SimulatedCrm,
    lead_ids: pl.Series,
    snapshot_at: pl.Series | datetime,
    *,
    horizon_days: int = 30,
    ways: int = 64,
) -> Floats:
    """P(the lead converts within (snapshot_at, snapshot_at + horizon_days]) for n snapshots.

    lead_ids: (n,), open at their snapshots; one may stand in several. snapshot_at: (n,) or one
    for all. ways: how many ways to go on are drawn for each. The same arguments give the same
    numbers. Raises ValueError for a lead that is not open at its snapshot.
    """
    leads = standing(crm, lead_ids, snapshot_at)
    rng = generator(crm.profile, crm.seed, "oracle")
    chances = np.empty(len(leads))
    for start in range(0, len(leads), LEADS_AT_ONCE):
        some = np.arange(start, min(start + LEADS_AT_ONCE, len(leads)))
        drawn = _chance(crm.profile, rng, leads.take(np.repeat(some, ways)), horizon_days)
        chances[some] = drawn.reshape(-1, ways).mean(axis=1)
    return chances


def _chance(
    profile: TenantProfile, rng: np.random.Generator, leads: Standing, horizon_days: int
) -> Floats:
    """The exact chance (n,) to convert, given one random way to go on for each lead."""
    converted, still_open = np.zeros(len(leads)), np.ones(len(leads))
    going, _, _ = leads.finish_day(profile, rng)
    for day in range(horizon_days):
        if day > 0:
            going.live_a_day(rng)
        chance = going.conversion_chance()
        converted += still_open * chance
        still_open *= (1 - chance) * (1 - LOSS_PER_DAY)
    return converted
