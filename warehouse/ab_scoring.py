"""What scoring has to know of a tenant's open A/B test: which model serves a lead, and the log of
what both said of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b

import numpy as np
import polars as pl
from sqlalchemy import Connection, text

from ml.algorithm import Bools
from warehouse import bulk
from warehouse.schema import ab_scores

# Of a challenger that cannot be used.
ALERT = "ab_test_failed"


@dataclass(frozen=True)
class Trial:
    """The open test, for a scoring. challenger: its version and digest. share: of the leads that it
    serves, 0 in shadow mode."""

    test_id: int
    challenger: tuple[int, str]
    share: float


def running(connection: Connection, tenant_id: str, champion: int) -> Trial | None:
    """The tenant's open test of this champion; None where there is none, or of another."""
    asked = {"tenant_id": tenant_id, "champion": champion}
    row = connection.execute(_RUNNING, asked).one_or_none()
    return None if row is None else Trial(row.test_id, (row.challenger, row.sha256), row.share)


_RUNNING = text(
    "SELECT t.test_id, t.challenger, m.sha256, t.share FROM ml.ab_tests t"
    " JOIN ml.models m ON m.tenant_id = t.tenant_id AND m.version = t.challenger"
    " WHERE t.tenant_id = :tenant_id AND t.ended_at IS NULL AND t.champion = :champion"
)


def challenger_serves(test_id: int, share: float, lead_ids: Sequence[str]) -> Bools:
    """Whether the challenger serves each lead: of each test its own random split, for good.

    By a cryptographic hash: under CRC-32 the splits of two tests would be each other's mirror.
    """
    drawn = [
        int.from_bytes(blake2b(f"{test_id}:{lead_id}".encode(), digest_size=8).digest(), "big")
        for lead_id in lead_ids
    ]
    return np.array(drawn, dtype=np.uint64) < np.uint64(share * 2**64)


@dataclass(frozen=True)
class Parts:
    """Leads' scores by the version that serves them, in the columns that are stored of each.

    said: test_id, lead_id, champion, challenger (probabilities) and challenger_served of them all;
    None without a test.
    """

    by_version: Mapping[int, pl.DataFrame]
    said: pl.DataFrame | None


def parted(champion: int, trial: Trial, own: pl.DataFrame, challengers: pl.DataFrame) -> Parts:
    """The scores of the same leads by the champion and by the challenger, dealt out by the test."""
    served = challenger_serves(trial.test_id, trial.share, own["lead_id"].to_list())
    return Parts(
        {champion: own.filter(~served), trial.challenger[0]: challengers.filter(served)},
        pl.DataFrame(
            {
                "test_id": pl.repeat(trial.test_id, own.height, dtype=pl.Int32, eager=True),
                "lead_id": own["lead_id"],
                "champion": own["probability"],
                "challenger": challengers["probability"],
                "challenger_served": served,
            }
        ),
    )


def log(connection: Connection, tenant_id: str, said: pl.DataFrame, now: datetime) -> None:
    """Keep what was said of leads at their first scoring in the test, and of no later one. said: as
    in Parts."""
    staging = bulk.stage(connection, ab_scores, said)
    names = ", ".join(said.columns)
    connection.exec_driver_sql(
        f"INSERT INTO ml.ab_scores (tenant_id, scored_at, {names})"
        f" SELECT %(tenant_id)s, %(now)s, {names} FROM {staging} ON CONFLICT DO NOTHING",
        {"tenant_id": tenant_id, "now": now},
    )
