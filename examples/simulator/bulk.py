"""A great many open leads at once, for benchmarks of volume."""

from datetime import datetime, timedelta

import numpy as np
import polars as pl

from examples.simulator import rows
from examples.simulator.population import draw, generator
from examples.simulator.profile import TenantProfile


def open_leads(
    profile: TenantProfile,
    seed: int,
    now: datetime,
    *,
    leads: int = 1_000_000,
    interactions: int = 3_000_000,
    history_days: int = 180,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Open leads and their interactions, in the columns of SimulatedCrm.

    Attributes are drawn as in simulate(). The interactions belong to random leads and fall evenly
    between the lead's creation and `now`, in the profile's proportion of kinds, without texts:
    there is no outcome, so no process that they would have to follow.
    """
    rng = generator(profile, seed, "bulk")
    start = now - timedelta(days=history_days)
    created_at = rows.after(start, rng.random(leads) * history_days)
    drawn = draw(profile, rng, created_at)
    never = np.full(leads, np.nan)
    who = rng.integers(0, leads, interactions)
    rates = np.array([kind.per_day for kind in profile.kinds])
    age = rows.days(now - created_at)[who] * rng.random(interactions)
    happened = pl.DataFrame(
        {
            "lead_id": drawn["lead_id"].gather(who),
            "kind": rng.choice(len(rates), interactions, p=rates / rates.sum()),
            "occurred_at": rows.after(created_at.gather(who), age),
        }
    )
    return rows.leads(drawn, never, never), rows.interactions(profile, happened)
