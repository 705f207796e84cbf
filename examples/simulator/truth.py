"""What a simulated CRM does not say outright, for judging what is made of its rows."""

from dataclasses import dataclass
from datetime import datetime

import numpy as np
import polars as pl

from examples.simulator.customers import SEGMENTS, Customers, Fates
from examples.simulator.rows import after
from examples.simulator.texts import PAINS, SENTIMENTS


@dataclass(frozen=True)
class Truth:
    """The truth behind the rows of one tenant.

    leads: lead_id, score (log-odds that its attributes add to a day's chance to convert),
        expected_amount (the mean of its deal's amount).
    customers: customer_id, segment, pain_points (list), churn_per_day (rate of leaving, at the
        end of the history or when the customer left).
    sentiment_turns: customer_id, at, from, to.
    """

    leads: pl.DataFrame
    customers: pl.DataFrame
    sentiment_turns: pl.DataFrame


def of_customers(customer_ids: pl.Series, drawn: Customers, fates: Fates) -> pl.DataFrame:
    """The frame Truth.customers."""
    named = [pl.when(pain).then(pl.lit(pain)) for pain in PAINS]
    pains = pl.DataFrame(drawn.pains, schema=list(PAINS))
    return pl.DataFrame(
        {
            "customer_id": customer_ids,
            "segment": pl.Series([segment.name for segment in SEGMENTS]).gather(drawn.segment),
            "pain_points": pains.select(pl.concat_list(named).list.drop_nulls()).to_series(),
            "churn_per_day": fates.churn_per_day,
        }
    )


def of_turns(
    customer_ids: pl.Series, drawn: Customers, fates: Fates, start: datetime
) -> pl.DataFrame:
    """The frame Truth.sentiment_turns, in order of time."""
    turned = np.flatnonzero(~np.isnan(fates.turned))
    sentiments = pl.Series(SENTIMENTS)
    return pl.DataFrame(
        {
            "customer_id": customer_ids.gather(turned),
            "at": after(start, fates.turned[turned]),
            "from": sentiments.gather(drawn.mood[turned]),
            "to": sentiments.gather(fates.next_mood[turned]),
        }
    ).sort("at")
