"""A great many open leads at once, for benchmarks of volume."""

from datetime import datetime, timedelta

import numpy as np
import polars as pl

from examples.simulator import rows
from examples.simulator.population import draw, generator, ids
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
    """Open leads and their interactions, in the columns of SimulatedCrm, not in order of time.

    Attributes are drawn as in simulate(). The interactions belong to random leads and fall evenly
    between the lead's creation and `now`, in the profile's proportion of kinds, without texts:
    there is no outcome, so no process that they would have to follow.
    """
    rng = generator(profile, seed, "bulk")
    start = now - timedelta(days=history_days)
    created_at = rows.after(start, rng.random(leads) * history_days)
    drawn = draw(profile, rng, created_at)
    never = pl.lit(None, rows.TIME)
    lead_rows = drawn.select(
        "lead_id",
        "account_id",
        "created_at",
        never.alias("converted_at"),
        never.alias("closed_at"),
        "attributes",
        pl.col("created_at").alias("known_at"),
    )
    who = rng.integers(0, leads, interactions)
    rates = np.array([kind.per_day for kind in profile.kinds])
    kinds = rng.choice(len(rates), interactions, p=rates / rates.sum())
    age = rows.days(now - created_at)[who] * rng.random(interactions)
    occurred_at = rows.after(created_at.gather(who), age)
    interaction_rows = pl.DataFrame(
        {
            "interaction_id": ids(profile, "I", 1 + np.arange(interactions)),
            "lead_id": lead_rows["lead_id"].gather(who),
            "customer_id": pl.repeat(None, interactions, dtype=pl.String, eager=True),
            "kind": pl.Series([kind.name for kind in profile.kinds]).gather(kinds),
            "occurred_at": occurred_at,
            "text": pl.repeat(None, interactions, dtype=pl.String, eager=True),
            "known_at": occurred_at,
        }
    )
    return lead_rows, interaction_rows
