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

from examples.simulator.columns import Floats, Ints
from examples.simulator.crm import SimulatedCrm
from examples.simulator.population import generator
from examples.simulator.process import (
    LONGEST_WINDOW,
    LOSS_PER_DAY,
    Counts,
    OpenLeads,
)
from examples.simulator.rows import DAY_US

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
    for all. ways: the number of ways to go on that are drawn for each. The same arguments give
    the same numbers. Raises ValueError for a lead that is not open at its snapshot.
    """
    asked = _as_of(crm, pl.DataFrame({"lead_id": lead_ids, "snapshot_at": snapshot_at}))
    days = _days_before(crm, asked)
    rng = generator(crm.profile, crm.seed, "oracle")
    return np.concatenate(
        [
            _chance(crm, rng, asked[at : at + LEADS_AT_ONCE], days[at : at + LEADS_AT_ONCE], horizon_days, ways)
            for at in range(0, len(asked), LEADS_AT_ONCE)
        ]
    )


def _as_of(crm: SimulatedCrm, asked: pl.DataFrame) -> pl.DataFrame:
    """Add row, created_at, score, passed (the milestone), age (whole days) and gone (of today)."""
    ended_at = pl.coalesce("converted_at", "closed_at")
    leads = crm.leads.select("lead_id", "created_at", ended_at.alias("ended_at"))
    passed = crm.attribute_changes.select("lead_id", pl.col("known_at").alias("passed_at"))
    lived = (pl.col("snapshot_at") - pl.col("created_at")).dt.total_microseconds()
    known = (
        asked.with_row_index("row")
        .join(leads, on="lead_id", how="left", maintain_order="left")
        .join(crm.truth.leads, on="lead_id", how="left", maintain_order="left")
        .join(passed, on="lead_id", how="left", maintain_order="left")
        .with_columns(
            (pl.col("passed_at") < pl.col("snapshot_at")).fill_null(False).alias("passed"),
            (lived // DAY_US).alias("age"),
            (lived % DAY_US / DAY_US).alias("gone"),
        )
    )
    is_open = (pl.col("age") >= 0) & (pl.col("ended_at") > pl.col("snapshot_at")).fill_null(True)
    wrong = known.filter(~is_open.fill_null(False))
    if len(wrong):
        raise ValueError(
            f"lead_ids: {wrong['lead_id'][0]} is not open at {wrong['snapshot_at'][0]}; "
            "give only leads that are open at their snapshot_at"
        )
    return known


def _days_before(crm: SimulatedCrm, asked: pl.DataFrame) -> Counts:
    """Numbers of interactions (n, 31, kinds) on the day of the snapshot, the day before, and so on."""
    kinds = [kind.name for kind in crm.profile.kinds]
    day = (pl.col("occurred_at") - pl.col("created_at")).dt.total_microseconds() // DAY_US
    seen = (
        crm.interactions.filter(pl.col("lead_id").is_in(asked["lead_id"].unique().implode()))
        .select("lead_id", "occurred_at", pl.col("kind").cast(pl.Enum(kinds)).to_physical())
        .join(asked.select("row", "lead_id", "created_at", "snapshot_at", "age"), on="lead_id")
        .filter(pl.col("occurred_at") < pl.col("snapshot_at"))
        .select("row", (pl.col("age") - day).alias("ago"), "kind")
        .filter(pl.col("ago") <= LONGEST_WINDOW)
    )
    counts = np.zeros((len(asked), LONGEST_WINDOW + 1, len(kinds)), np.int16)
    np.add.at(counts, tuple(seen[name].to_numpy() for name in ("row", "ago", "kind")), 1)
    return counts


def _chance(
    crm: SimulatedCrm,
    rng: np.random.Generator,
    known: pl.DataFrame,
    days: Counts,
    horizon_days: int,
    ways: int,
) -> Floats:
    days = np.repeat(days, ways, axis=0)
    score, age, passed, gone = (
        np.repeat(known[name].to_numpy(), ways) for name in ("score", "age", "passed", "gone")
    )
    leads = OpenLeads(
        crm.profile, score, age, passed, _quiet(days, age), [days[:, ago] for ago in range(1, LONGEST_WINDOW + 1)]
    )
    rest, so_far = 1 - gone, days[:, 0]
    converted, still_open = np.zeros(len(leads)), np.ones(len(leads))
    for _ in range(horizon_days):
        leads.live_a_day(rng, rest, so_far)
        rest, so_far = 1.0, None
        chance = leads.conversion_chance()
        converted += still_open * chance
        still_open *= (1 - chance) * (1 - LOSS_PER_DAY)
    return converted.reshape(-1, ways).mean(axis=1)


def _quiet(days: Counts, age: Ints) -> Ints:
    """Whole days before today without an interaction, up to LONGEST_WINDOW."""
    busy = days[:, 1:].any(axis=2)
    return np.where(busy.any(axis=1), busy.argmax(axis=1), np.minimum(age, LONGEST_WINDOW))
