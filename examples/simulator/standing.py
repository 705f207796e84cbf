"""Where simulated leads stand at a time, read from the rows known before it."""

from dataclasses import dataclass
from datetime import datetime

import numpy as np
import polars as pl

from examples.simulator.columns import Bools, Floats, Ints
from examples.simulator.crm import SimulatedCrm
from examples.simulator.process import LONGEST_WINDOW, Counts, OpenLeads
from examples.simulator.profile import TenantProfile
from examples.simulator.rows import DAY_US


@dataclass(frozen=True)
class Standing:
    """n open leads, each in the middle of a day of its own.

    score, passed: as in OpenLeads. age: (n,) whole days. gone: (n,) share of today gone by.
    days: (31, kinds, n) numbers of interactions, so far today, yesterday and so on.
    """

    score: Floats
    passed: Bools
    age: Ints
    gone: Floats
    days: Counts

    def __len__(self) -> int:
        return len(self.score)

    def take(self, chosen: Ints) -> "Standing":
        """The leads at these positions, which may repeat."""
        return Standing(
            self.score[chosen],
            self.passed[chosen],
            self.age[chosen],
            self.gone[chosen],
            self.days[:, :, chosen],
        )

    def finish_day(
        self, profile: TenantProfile, rng: np.random.Generator
    ) -> tuple[OpenLeads, Counts, Bools]:
        """Live through what is left of today; the leads, and what OpenLeads.live_a_day returns."""
        today, earlier = self.days[0], list(self.days[1:])
        busy = np.any(earlier, axis=1)
        quiet = np.where(busy.any(axis=0), busy.argmax(axis=0), np.minimum(self.age, len(busy)))
        leads = OpenLeads(profile, self.score, self.age, self.passed, quiet, earlier)
        return leads, *leads.live_a_day(rng, 1 - self.gone, today)


def standing(crm: SimulatedCrm, lead_ids: pl.Series, at: pl.Series | datetime) -> Standing:
    """Where the leads (n,) stand just before `at`, (n,) or one for all.

    Raises ValueError for a lead that is not open then.
    """
    known = _facts(crm, pl.DataFrame({"lead_id": lead_ids, "at": at}))
    score, passed, age, gone = (
        known[name].to_numpy() for name in ("score", "passed", "age", "gone")
    )
    return Standing(score, passed, age, gone, _days(crm, known))


def _facts(crm: SimulatedCrm, asked: pl.DataFrame) -> pl.DataFrame:
    """lead_id and at with row, created_at, score, passed, age and gone."""
    ended_at = pl.coalesce("converted_at", "closed_at").alias("ended_at")
    facts = (
        crm.leads.select("lead_id", "created_at", ended_at)
        .join(crm.truth.leads, on="lead_id")
        .join(crm.attribute_changes.select("lead_id", passed_at="known_at"), "lead_id", "left")
    )
    lived = (pl.col("at") - pl.col("created_at")).dt.total_microseconds()
    known = (
        asked.with_row_index("row")
        .join(facts, on="lead_id", how="left", maintain_order="left")
        .with_columns(
            (pl.col("passed_at") < pl.col("at")).fill_null(False).alias("passed"),
            (lived // DAY_US).alias("age"),
            (lived % DAY_US / DAY_US).alias("gone"),
        )
    )
    is_open = (pl.col("age") >= 0) & (pl.col("ended_at") > pl.col("at")).fill_null(True)
    wrong = known.filter(~is_open.fill_null(False))
    if len(wrong):
        raise ValueError(
            f"lead_ids: {wrong['lead_id'][0]} is not open at {wrong['at'][0]}; "
            "name only leads that are open at their time"
        )
    return known


def _days(crm: SimulatedCrm, known: pl.DataFrame) -> Counts:
    kinds = [kind.name for kind in crm.profile.kinds]
    day = (pl.col("occurred_at") - pl.col("created_at")).dt.total_microseconds() // DAY_US
    seen = (
        known.select("row", "lead_id", "created_at", "at", "age")
        .join(crm.interactions.select("lead_id", "occurred_at", "kind"), on="lead_id")
        .filter(pl.col("occurred_at") < pl.col("at"))
        .select(
            (pl.col("age") - day).alias("ago"),
            pl.col("kind").cast(pl.Enum(kinds)).to_physical(),
            "row",
        )
        .filter(pl.col("ago") <= LONGEST_WINDOW)
    )
    counts = np.zeros((LONGEST_WINDOW + 1, len(kinds), len(known)), np.int16)
    np.add.at(counts, tuple(seen[name].to_numpy() for name in ("ago", "kind", "row")), 1)
    return counts
