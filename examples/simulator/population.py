"""Drawing the leads of a simulated tenant: accounts, attributes, and what to expect of them."""

from zlib import crc32

import numpy as np
import polars as pl

from examples.simulator.columns import Column, DaysBefore, Floats, Ints
from examples.simulator.profile import TenantProfile
from examples.simulator.texts import Writer

LEADS_PER_ACCOUNT = 2.5
SHARE_WITHOUT_ACCOUNT = 0.1
DEAL_GROWTH = 0.4


def generator(profile: TenantProfile, seed: int, purpose: str) -> np.random.Generator:
    """Random numbers of their own for each tenant, seed and purpose."""
    return np.random.default_rng([seed, crc32(f"{profile.name}/{purpose}".encode())])


def ids(profile: TenantProfile, letter: str, numbers: Ints) -> pl.Series:
    """ "acme-L0000001" and so on, one for each number."""
    frame = pl.DataFrame({"number": numbers})
    return frame.select(
        pl.format(f"{profile.name}-{letter}{{}}", pl.col("number").cast(pl.String).str.zfill(7))
    ).to_series()


def draw(
    profile: TenantProfile, rng: np.random.Generator, created_at: pl.Series, before: int = 0
) -> pl.DataFrame:
    """One new lead for each time in created_at, numbered from before + 1.

    Returns lead_id, account_id, created_at, attributes (JSON text, milestone not passed), score
    (log-odds that the attributes add to a day's chance to convert) and expected_amount (of its
    deal: it grows with the power 0.4 of the attribute that the profile names).
    """
    n = len(created_at)
    accounts = _accounts(rng, n)
    columns = [_values(column, rng, accounts) for column in profile.columns]
    attributes = pl.DataFrame(columns)
    score = sum(
        (c.log_odds(v) for c, v in zip(profile.columns, columns, strict=True)), start=np.zeros(n)
    )
    return pl.DataFrame(
        {
            "lead_id": ids(profile, "L", before + 1 + np.arange(n)),
            "account_id": ids(profile, "A", before + 1 + np.arange(n)).gather(accounts),
            "created_at": created_at,
            "attributes": _json(profile, rng, attributes, created_at),
            "score": score + _both(profile, attributes),
            "expected_amount": _expected_amount(profile, attributes),
        }
    )


def with_milestone(profile: TenantProfile, attributes: pl.Expr) -> pl.Expr:
    """The same attributes once the milestone is passed."""
    key = f'"{profile.milestone.name}":'
    return attributes.str.replace(f"{key}false", f"{key}true", literal=True)


def _accounts(rng: np.random.Generator, n: int) -> pl.Series:
    """Position of each lead's account, null for a lead without one."""
    accounts = pl.Series(rng.integers(0, max(1, round(n / LEADS_PER_ACCOUNT)), n))
    alone = pl.Series(rng.random(n) < SHARE_WITHOUT_ACCOUNT)
    return accounts.set(alone, None)


def _values(column: Column, rng: np.random.Generator, accounts: pl.Series) -> pl.Series:
    drawn = column.draw(rng, len(accounts))
    return drawn.gather(accounts) if column.of_account else drawn


def _both(profile: TenantProfile, attributes: pl.DataFrame) -> Floats:
    (first, this), (second, that) = profile.together.first, profile.together.second
    met = (attributes[first] == this) & (attributes[second] == that)
    return profile.together.weight * met.fill_null(False).to_numpy().astype(np.float64)


def _expected_amount(profile: TenantProfile, attributes: pl.DataFrame) -> pl.Series:
    size = profile.deal_size
    relative = (attributes[size.column] / size.typical).fill_null(1.0)
    return size.amount * relative**DEAL_GROWTH


def _json(
    profile: TenantProfile,
    rng: np.random.Generator,
    attributes: pl.DataFrame,
    created_at: pl.Series,
) -> pl.Series:
    dated = [
        (pl.lit(created_at).dt.date() - pl.duration(days=pl.col(column.name)))
        .cast(pl.String)
        .alias(column.name)
        for column in profile.columns
        if isinstance(column, DaysBefore)
    ]
    published = attributes.with_columns(
        *dated,
        Writer(profile, rng).notes(len(created_at)).alias(profile.note),
        pl.lit(False).alias(profile.milestone.name),
    )
    return published.to_struct().struct.json_encode()
