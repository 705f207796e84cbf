"""Turning what was simulated into the rows that a CRM would have."""

from datetime import datetime

import numpy as np
import polars as pl

from examples.simulator.columns import Floats
from examples.simulator.customers import Contacts, Customers, Fates
from examples.simulator.history import Lives
from examples.simulator.population import ids, with_milestone
from examples.simulator.profile import TenantProfile
from examples.simulator.texts import Writer

TIME = pl.Datetime("us", "UTC")
DAY_US = 86_400_000_000
DEAL_AFTER_DAYS = 10.0
DEAL_SPREAD = 0.4
PROPOSAL_AFTER, NEGOTIATION_AFTER = pl.duration(days=7), pl.duration(days=21)


def after(start: datetime | pl.Series, elapsed: Floats) -> pl.Series:
    """The times that many days (n,) after start; null for nan."""
    microseconds = pl.Series(np.floor(elapsed * DAY_US)).fill_nan(None).cast(pl.Int64)
    return microseconds.cast(pl.Duration("us")) + start


def days(elapsed: pl.Series) -> Floats:
    """Durations as numbers of days."""
    return elapsed.dt.total_microseconds().to_numpy() / DAY_US


def leads(drawn: pl.DataFrame, lives: Lives) -> pl.DataFrame:
    """The leads as they were created, with their outcomes."""
    created_at = drawn["created_at"]
    return drawn.select(
        "lead_id",
        "account_id",
        "created_at",
        after(created_at, lives.converted).alias("converted_at"),
        after(created_at, lives.closed).alias("closed_at"),
        "attributes",
        pl.col("created_at").alias("known_at"),
    )


def attribute_changes(profile: TenantProfile, leads: pl.DataFrame, lives: Lives) -> pl.DataFrame:
    """The leads that passed the milestone, as of then, in order of time."""
    passed_at = after(leads["created_at"], lives.passed).alias("known_at")
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


def interactions(
    profile: TenantProfile,
    rng: np.random.Generator,
    start: datetime,
    leads: pl.DataFrame,
    lives: Lives,
    customers: pl.DataFrame,
    contacts: Contacts,
) -> pl.DataFrame:
    """The interactions of leads and customers, with their texts, in order of time."""
    writer = Writer(profile, rng)
    kinds = pl.Series([kind.name for kind in profile.kinds])
    of_leads = pl.DataFrame(
        {
            "lead_id": leads["lead_id"].gather(lives.lead),
            "customer_id": pl.repeat(None, len(lives.lead), dtype=pl.String, eager=True),
            "kind": kinds.gather(lives.kind),
            "occurred_at": after(leads["created_at"].gather(lives.lead), lives.age),
            "text": writer.from_leads(lives.kind),
        }
    )
    of_customers = pl.DataFrame(
        {
            "lead_id": pl.repeat(None, len(contacts.kind), dtype=pl.String, eager=True),
            "customer_id": customers["customer_id"].gather(contacts.customer),
            "kind": kinds.gather(contacts.kind),
            "occurred_at": after(start, contacts.day),
            "text": writer.from_customers(contacts.kind, contacts.sentiment, contacts.pain),
        }
    )
    merged = pl.concat([of_leads, of_customers]).sort("occurred_at", maintain_order=True)
    return merged.select(
        ids(profile, "I", 1 + np.arange(len(merged))).alias("interaction_id"),
        pl.all(),
        pl.col("occurred_at").alias("known_at"),
    )
