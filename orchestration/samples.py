"""The sample tenants: a bank's real calls, and simulated CRMs of several sizes and languages."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

import polars as pl

from warehouse import crm, tenants
from warehouse.database import Database

if TYPE_CHECKING:
    from examples.simulator.profile import TenantProfile

# Any number: the same seed gives the same tenants.
_SEED = 7


@dataclass(frozen=True)
class Sample:
    """A sample tenant. tables: its records, in the order in which they are written."""

    tenant_id: str
    description: str
    horizon_days: int
    tables: Callable[[], list[tuple[str, pl.DataFrame]]]

    def create(self, database: Database) -> None:
        """All in one transaction: the first run must not begin on half of the records."""
        frames = self.tables()
        tenants.add(database, self.tenant_id, horizon_days=self.horizon_days)
        with database.tenant(self.tenant_id) as connection:
            for table, frame in frames:
                crm.upsert(connection, self.tenant_id, table, frame)


def missing(database: Database) -> Iterator[Sample]:
    """The sample tenants that are not there.

    One without leads is missing, too: its creation was interrupted.
    """
    present = {tenant.tenant_id: tenant.status for tenant in tenants.find_all(database)}
    for sample in _samples():
        status = present.get(sample.tenant_id)
        if status is None or (status == "active" and not _has_leads(database, sample.tenant_id)):
            yield sample


def _has_leads(database: Database, tenant_id: str) -> bool:
    with database.tenant(tenant_id) as connection:
        return crm.counts(connection, tenant_id)["leads"] > 0


def _samples() -> Iterator[Sample]:
    from examples import bank
    from examples.simulator.profiles import PROFILES

    # A call's outcome is known the day after.
    yield Sample("bank", "41,188 real telephone calls", 7, lambda: [("leads", bank.leads())])
    for profile in PROFILES.values():
        description = f"{profile.leads:,} simulated leads, notes in {profile.language!r}"
        yield Sample(profile.name, description, 30, partial(_simulated, profile))


def _simulated(profile: "TenantProfile") -> list[tuple[str, pl.DataFrame]]:
    from examples.simulator.crm import simulate

    simulated = simulate(profile, _SEED, datetime.now(UTC))
    return [
        ("leads", simulated.leads),
        ("leads", simulated.attribute_changes),
        ("customers", simulated.customers),
        ("deals", simulated.deals),
        ("interactions", simulated.interactions),
    ]
