"""Turning what was simulated into the rows that a CRM would have."""

from datetime import datetime

import numpy as np
import polars as pl

from examples.simulator.columns import Floats
from examples.simulator.customers import Customers, Fates
from examples.simulator.population import ids, with_milestone
from examples.simulator.profile import TenantProfile

TIME = pl.Datetime("us", "UTC")
DAY_US = 86_400_000_000
DEAL_AFTER_DAYS = 10.0
DEAL_SPREAD = 0.4
PROPOSAL_AFTER, NEGOTIATION_AFTER = pl.duration(days=7), pl.duration(days=21)


def after(start: datetime | pl.Series, elapsed: Floats) -> pl.Series:
    """The times that many days (n,) after start; null for nan."""
    microseconds = pl.Series(np.rint(elapsed * DAY_US)).fill_nan(None).cast(pl.Int64)
    return microseconds.cast(pl.Duration("us")) + start


def days(elapsed: pl.Series) -> Floats:
    """Durations as numbers of days."""
    return elapsed.dt.total_microseconds().to_numpy() / DAY_US


def leads(drawn: pl.DataFrame, converted: Floats, closed: Floats) -> pl.DataFrame:
    """The leads as they were created, with their outcomes at these ages, nan for none."""
    created_at = drawn["created_at"]
    return drawn.select(
        "lead_id",
        "account_id",
        "created_at",
        after(created_at, converted).alias("converted_at"),
        after(created_at, closed).alias("closed_at"),
        "attributes",
        pl.col("created_at").alias("known_at"),
    )


def attribute_changes(profile: TenantProfile, leads: pl.DataFrame, passed: Floats) -> pl.DataFrame:
    """The leads that passed the milestone, at these ages, as of then and in order of time."""
    passed_at = after(leads["created_at"], passed).alias("known_at")
    changed = leads.with_columns(passed_at, with_milestone(profile, pl.col("attributes")))
    return changed.drop_nulls("known_at").sort("known_at")


def customers(
    profile: TenantProfile,
    drawn: Customers,
    fates: Fates,
    start: datetime,
    since: Floats,
    won: pl.Series,
) -> pl.DataFrame:
    """The customers; the last of them are those of the leads that were won."""
    n = len(since)
    created_at = after(start, since)
    return drawn.facts.select(
        ids(profile, "C", 1 + np.arange(n)).alias("customer_id"),
        pl.concat([pl.Series([None] * (n - len(won)), dtype=pl.String), won]).alias("lead_id"),
        "name",
        created_at.alias("created_at"),
        after(start, fates.churned).alias("churned_at"),
        "attributes",
        created_at.alias("known_at"),
    )


def deals(
    profile: TenantProfile,
    rng: np.random.Generator,
    drawn: pl.DataFrame,
    leads: pl.DataFrame,
    customers: pl.DataFrame,
    now: datetime,
) -> pl.DataFrame:
    """The deals of the leads; an open deal has no amount before a proposal is made."""
    n = len(leads)
    opened_at = after(leads["created_at"], rng.exponential(DEAL_AFTER_DAYS, n))
    opened = leads.select(
        "lead_id",
        pl.min_horizontal(opened_at.alias("opened_at"), "converted_at").alias("created_at"),
        pl.coalesce("converted_at", "closed_at").alias("closed_at"),
        won=pl.when(pl.coalesce("converted_at", "closed_at").is_not_null()).then(
            pl.col("converted_at").is_not_null()
        ),
        amount=amounts(rng, drawn["expected_amount"]),
    ).filter(pl.col("created_at") <= pl.col("closed_at").fill_null(now))
    stages = opened.sort("created_at").with_columns(stage=_stage(now))
    return stages.join(
        customers.select("lead_id", "customer_id"), on="lead_id", how="left", maintain_order="left"
    ).select(
        ids(profile, "D", 1 + np.arange(len(stages))).alias("deal_id"),
        "lead_id",
        "customer_id",
        pl.when(pl.col("stage") != "qualified").then("amount"),
        "stage",
        "created_at",
        "closed_at",
        "won",
        pl.col("created_at").alias("known_at"),
    )


def amounts(rng: np.random.Generator, expected: pl.Series) -> pl.Series:
    """Amounts of deals, log-normal around the means expected."""
    noise = np.exp(DEAL_SPREAD * rng.normal(size=len(expected)) - DEAL_SPREAD**2 / 2)
    return (expected * noise).round(2)


def _stage(now: datetime) -> pl.Expr:
    age = pl.lit(now) - pl.col("created_at")
    return (
        pl.when("won")
        .then(pl.lit("won"))
        .when(~pl.col("won"))
        .then(pl.lit("lost"))
        .when(age < PROPOSAL_AFTER)
        .then(pl.lit("qualified"))
        .when(age < NEGOTIATION_AFTER)
        .then(pl.lit("proposal"))
        .otherwise(pl.lit("negotiation"))
    )


def interactions(profile: TenantProfile, *parts: pl.DataFrame) -> pl.DataFrame:
    """The interactions of all parts, numbered in order of time.

    parts: kind (position), occurred_at, and lead_id or customer_id; text where there is one.
    """
    kinds = pl.Series([kind.name for kind in profile.kinds])
    texts = pl.DataFrame(schema=dict.fromkeys(("lead_id", "customer_id", "text"), pl.String))
    merged = pl.concat([texts, *parts], how="diagonal")
    ordered = merged.sort("occurred_at", maintain_order=True)
    return ordered.select(
        ids(profile, "I", 1 + np.arange(len(ordered))).alias("interaction_id"),
        "lead_id",
        "customer_id",
        kinds.gather(ordered["kind"]).alias("kind"),
        "occurred_at",
        "text",
        pl.col("occurred_at").alias("known_at"),
    )
