"""Customers of a simulated tenant: segments, pain points, sentiment, and who leaves when.

A customer leaves at a constant rate per day,
    segment.churn_per_day * PAIN_FACTOR ** (number of pain points) * MOOD_FACTORS[sentiment],
which changes only when its sentiment turns. A quarter of the customers turn once. Texts show the
sentiment of the day, except that a share NEUTRAL_TEXTS of them are neutral all the same, and a
share PAIN_TEXTS names one of the customer's pain points, if there are any.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl

from examples.simulator.columns import Bools, Floats, Ints
from examples.simulator.profile import TenantProfile
from examples.simulator.texts import PAINS, SENTIMENTS, Writer

PAIN_SHARE = 0.16
PAIN_FACTOR = 1.5
MOOD_FACTORS = np.array([0.6, 1.0, 2.5])
TURNING_SHARE = 0.25
NEUTRAL_TEXTS = 0.2
PAIN_TEXTS = 0.5


@dataclass(frozen=True)
class Segment:
    """A group of customers who pay, use and write alike.

    users, monthly_value, payment_delay_days: medians of log-normal attributes.
    moods: shares of SENTIMENTS at first. contacts_per_day: mean number of interactions.
    """

    name: str
    share: float
    churn_per_day: float
    plan: str
    users: float
    monthly_value: float
    payment_delay_days: float
    contacts_per_day: float
    moods: tuple[float, float, float]


SEGMENTS = (
    Segment("growing", 0.25, 0.0004, "premium", 40, 2_400, 2, 0.16, (0.6, 0.3, 0.1)),
    Segment("steady", 0.40, 0.0008, "standard", 12, 700, 4, 0.07, (0.3, 0.6, 0.1)),
    Segment("thrifty", 0.20, 0.0016, "basic", 4, 120, 9, 0.05, (0.2, 0.6, 0.2)),
    Segment("fading", 0.15, 0.0040, "standard", 9, 400, 21, 0.03, (0.05, 0.5, 0.45)),
)


@dataclass(frozen=True)
class Customers:
    """n customers as they begin: facts (name, attributes as JSON text), segment, pains and mood.

    segment: (n,) position in SEGMENTS. pains: (n, len(PAINS)). mood: (n,) position in SENTIMENTS.
    """

    facts: pl.DataFrame
    segment: Ints
    pains: Bools
    mood: Ints


@dataclass(frozen=True)
class Fates:
    """What becomes of them, in days since the history began; nan for what did not happen.

    churn_per_day: (n,) chance to leave on a day, at the present or when the customer left.
    """

    turned: Floats
    next_mood: Ints
    churned: Floats
    churn_per_day: Floats


@dataclass(frozen=True)
class Contacts:
    """Interactions with customers, one element each: who, how, when and what the text shows.

    customer, kind, sentiment, pain: positions; pain is -1 where no pain point is named.
    day: days since the history began.
    """

    customer: Ints
    kind: Ints
    day: Floats
    sentiment: Ints
    pain: Ints


def draw(profile: TenantProfile, rng: np.random.Generator, n: int) -> Customers:
    """n customers in the proportions of SEGMENTS."""
    segment = rng.choice(len(SEGMENTS), n, p=[s.share for s in SEGMENTS])
    moods = np.cumsum([s.moods for s in SEGMENTS], axis=1)[segment]
    plans = pl.Series([s.plan for s in SEGMENTS]).gather(segment)
    attributes = pl.DataFrame(
        {
            "plan": plans,
            "users": 1 + _around(rng, [s.users for s in SEGMENTS], segment).astype(np.int64),
            "monthly_value": _around(rng, [s.monthly_value for s in SEGMENTS], segment),
            "payment_delay_days": _around(rng, [s.payment_delay_days for s in SEGMENTS], segment),
        }
    )
    facts = pl.DataFrame(
        {
            "name": Writer(profile, rng).firms(n),
            "attributes": attributes.to_struct().struct.json_encode(),
        }
    )
    mood = (rng.random((n, 1)) >= moods[:, :-1]).sum(axis=1)
    return Customers(facts, segment, rng.random((n, len(PAINS))) < PAIN_SHARE, mood)


def decide_fates(
    customers: Customers, rng: np.random.Generator, since: Floats, until: float
) -> Fates:
    """Who turns and who leaves between since (n,) and until, days since the history began."""
    n = len(since)
    base = np.array([segment.churn_per_day for segment in SEGMENTS])[customers.segment]
    base = base * PAIN_FACTOR ** customers.pains.sum(axis=1)
    next_mood = (customers.mood + rng.integers(1, len(SENTIMENTS), n)) % len(SENTIMENTS)
    before, after = base * MOOD_FACTORS[customers.mood], base * MOOD_FACTORS[next_mood]
    turned = since + (until - since) * rng.random(n)
    turned[rng.random(n) >= TURNING_SHARE] = np.inf
    churned = since + rng.exponential(size=n) / before
    late = np.flatnonzero(churned > turned)
    patience = (churned[late] - turned[late]) * before[late]
    churned[late] = turned[late] + patience / after[late]
    ends = np.minimum(churned, until)
    return Fates(
        np.where(turned < ends, turned, np.nan),
        next_mood,
        np.where(churned < until, churned, np.nan),
        np.where(turned < ends, after, before),
    )


def meet(
    profile: TenantProfile,
    rng: np.random.Generator,
    customers: Customers,
    fates: Fates,
    since: Floats,
    until: float,
) -> Contacts:
    """The interactions with customers between since (n,) and until, or until they leave."""
    lasting = np.fmin(fates.churned, until) - since
    contacts_per_day = np.array([s.contacts_per_day for s in SEGMENTS])[customers.segment]
    who = np.repeat(np.arange(len(since)), rng.poisson(contacts_per_day * lasting))
    day = since[who] + lasting[who] * rng.random(len(who))
    rates = np.array([kind.per_day for kind in profile.kinds])
    kind = rng.choice(len(rates), len(who), p=rates / rates.sum())
    mood = np.where(day >= fates.turned[who], fates.next_mood[who], customers.mood[who])
    mood[rng.random(len(who)) < NEUTRAL_TEXTS] = SENTIMENTS.index("neutral")
    pains = customers.pains[who]
    pain = np.argmax(rng.random(pains.shape) * pains, axis=1)
    pain[~pains.any(axis=1) | (rng.random(len(who)) >= PAIN_TEXTS)] = -1
    return Contacts(who, kind, day, mood, pain)


def _around(rng: np.random.Generator, medians: list[float], segment: Ints) -> Floats:
    spread = np.exp(0.35 * rng.normal(size=len(segment)))
    return np.round(np.array(medians)[segment] * spread, 2)
