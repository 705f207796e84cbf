"""A whole simulated CRM: the rows a tenant would have, and the truth behind them."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import polars as pl

from examples.simulator import customers as people
from examples.simulator import rows
from examples.simulator.history import lives_of
from examples.simulator.population import draw, generator
from examples.simulator.profile import TenantProfile
from examples.simulator.texts import Writer
from examples.simulator.truth import Truth, of_customers, of_turns

EARLIEST_CUSTOMER_DAYS = 720


@dataclass(frozen=True)
class SimulatedCrm:
    """The rows of one tenant at the time `now`, after history_days days; all times are UTC.

    leads: lead_id, account_id, created_at, converted_at, closed_at, attributes (JSON text, as of
        created_at), known_at (= created_at).
    attribute_changes: later versions of rows of leads, in the same columns; to be written after
        them. Their known_at is the time of the change.
    customers: customer_id, lead_id, name, created_at, churned_at, attributes, known_at.
    deals: deal_id, lead_id, customer_id, amount, stage, created_at, closed_at, won, known_at.
    interactions: interaction_id, lead_id, customer_id, kind, occurred_at, text, known_at, in order
        of time; each belongs either to a lead or to a customer.
    """

    profile: TenantProfile
    seed: int
    now: datetime
    history_days: int
    leads: pl.DataFrame
    attribute_changes: pl.DataFrame
    customers: pl.DataFrame
    deals: pl.DataFrame
    interactions: pl.DataFrame
    truth: Truth


def simulate(
    profile: TenantProfile, seed: int, now: datetime, history_days: int = 180
) -> SimulatedCrm:
    """Simulate a tenant's last history_days days up to `now`, the same for the same arguments.

    profile.leads leads are created at uniform moments and go through examples.simulator.process;
    those who convert become customers (examples.simulator.customers). Beside the process, deals
    are opened on average 10 days after a lead is created, or when it converts; the amount of a
    deal is log-normal around the mean in truth.leads.
    """
    start = now - timedelta(days=history_days)
    rng = generator(profile, seed, "leads")
    created_at = rows.after(start, np.sort(rng.random(profile.leads)) * history_days)
    drawn = draw(profile, rng, created_at)
    rng = generator(profile, seed, "lives")
    lives = lives_of(profile, rng, drawn["score"].to_numpy(), rows.days(now - created_at))
    leads = rows.leads(drawn, lives.converted, lives.closed)
    acts = pl.DataFrame(
        {
            "lead_id": leads["lead_id"].gather(lives.lead),
            "kind": lives.kind,
            "occurred_at": rows.after(created_at.gather(lives.lead), lives.age),
            "text": Writer(profile, generator(profile, seed, "texts")).from_leads(lives.kind),
        }
    )
    rng = generator(profile, seed, "customers")
    won = leads.drop_nulls("converted_at").sort("converted_at")
    customers, contacts, customer_truth, turns = _customers(profile, rng, won, start, history_days)
    return SimulatedCrm(
        profile=profile,
        seed=seed,
        now=now,
        history_days=history_days,
        leads=leads,
        attribute_changes=rows.attribute_changes(profile, leads, lives.passed),
        customers=customers,
        deals=rows.deals(profile, generator(profile, seed, "deals"), drawn, leads, customers, now),
        interactions=rows.interactions(profile, acts, contacts),
        truth=Truth(
            leads=drawn.select("lead_id", "score", "expected_amount"),
            customers=customer_truth,
            sentiment_turns=turns,
        ),
    )


def _customers(
    profile: TenantProfile,
    rng: np.random.Generator,
    won: pl.DataFrame,
    start: datetime,
    history_days: int,
) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """The customers, those of the leads won last; their interactions, their truth, their turns."""
    earlier = EARLIEST_CUSTOMER_DAYS * np.sort(rng.random(profile.customers) - 1)
    since = np.concatenate([earlier, rows.days(won["converted_at"] - start)])
    observed = np.maximum(since, 0)
    drawn = people.draw(profile, rng, len(since))
    fates = people.decide_fates(drawn, rng, observed, history_days)
    met = people.meet(profile, rng, drawn, fates, observed, history_days)
    customers = rows.customers(profile, drawn, fates, start, since, won["lead_id"])
    contacts = pl.DataFrame(
        {
            "customer_id": customers["customer_id"].gather(met.customer),
            "kind": met.kind,
            "occurred_at": rows.after(start, met.day),
            "text": Writer(profile, rng).from_customers(met.kind, met.sentiment, met.pain),
        }
    )
    ids = customers["customer_id"]
    return customers, contacts, of_customers(ids, drawn, fates), of_turns(ids, drawn, fates, start)
