"""The sample tenants: a bank's real calls, and simulated CRMs of several sizes and languages."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

import polars as pl

from ml.settings import Fairness, Governance, TrainingSettings
from orchestration.streams import Notes
from warehouse import crm, tenants, training_settings
from warehouse.database import Database

if TYPE_CHECKING:
    from examples.simulator import Change, SimulatedCrm, TenantProfile

# Any number: the same seed gives the same tenants.
_SEED = 7
# Changes of all simulated tenants together; each has its share by its number of leads, so that the
# same time passes in all of them.
_SIMULATED_PER_SECOND = 0.9
_BANK_PER_SECOND = 0.1


@dataclass(frozen=True)
class Sample:
    """A sample tenant.

    tables: its records at a time, in the order in which they are written.
    events: what happens after that time, without end or not: the changes of each event, whose time
    the second argument tells by the number of changes before it.
    per_second: changes per second at which that is to happen.
    settings: what it has decided about its training.
    """

    tenant_id: str
    description: str
    horizon_days: int
    tables: Callable[[datetime], list[tuple[str, pl.DataFrame]]]
    events: Callable[[datetime, Callable[[int], datetime]], Iterator[list["Change"]]]
    per_second: float
    settings: TrainingSettings

    def create(self, database: Database, notes: Notes) -> None:
        """All records in one transaction: the first run must not begin on half of them.

        They are as of the tenant's creation, so that its live changes can go on from there.
        """
        tenants.add(database, self.tenant_id, horizon_days=self.horizon_days)
        with database.tenant(self.tenant_id) as connection:
            created_at = tenants.find(connection).created_at.astimezone(UTC)
        frames = self.tables(created_at)
        notes.begin(self.tenant_id, created_at)
        with database.tenant(self.tenant_id) as connection:
            training_settings.save(connection, self.tenant_id, self.settings, actor="samples")
            for table, frame in frames:
                crm.upsert(connection, self.tenant_id, table, frame)


def missing(database: Database) -> Iterator[Sample]:
    """The sample tenants that are not there.

    One without leads is missing, too: its creation was interrupted.
    """
    present = {tenant.tenant_id: tenant.status for tenant in tenants.find_all(database)}
    for sample in all_samples():
        status = present.get(sample.tenant_id)
        if status is None or (status == "active" and not _has_leads(database, sample.tenant_id)):
            yield sample


def _has_leads(database: Database, tenant_id: str) -> bool:
    with database.tenant(tenant_id) as connection:
        return crm.counts(connection, tenant_id)["leads"] > 0


def all_samples() -> Iterator[Sample]:
    """The bank first, then the simulated ones."""
    from examples import bank
    from examples.simulator import PROFILES

    yield Sample(
        "bank",
        "41,188 real telephone calls",
        # A call's outcome is known the day after.
        7,
        lambda _now: [("leads", bank.leads())],
        lambda _now, time_of: bank.live_events(time_of),
        _BANK_PER_SECOND,
        # Pensioners did agree to deposits more often: the demonstration tells of it, and goes on.
        TrainingSettings(
            fairness=Fairness(groups={"age": (30, 45, 60), "marital": ()}),
            governance=Governance(fairness=False),
        ),
    )
    leads = sum(profile.leads for profile in PROFILES.values())
    for profile in PROFILES.values():
        yield simulated(profile, _SIMULATED_PER_SECOND * profile.leads / leads)


def simulated(profile: "TenantProfile", per_second: float) -> Sample:
    """The tenant of a profile."""
    description = f"{profile.leads:,} simulated leads, notes in {profile.language!r}"
    return Sample(
        profile.name,
        description,
        30,
        partial(_tables, profile),
        partial(_events, profile),
        per_second,
        TrainingSettings(pooling=True),
    )


def _tables(profile: "TenantProfile", now: datetime) -> list[tuple[str, pl.DataFrame]]:
    simulated = _simulate(profile, now)
    return [
        ("leads", simulated.leads),
        ("leads", simulated.attribute_changes),
        ("customers", simulated.customers),
        ("deals", simulated.deals),
        ("interactions", simulated.interactions),
    ]


def _events(
    profile: "TenantProfile", now: datetime, time_of: Callable[[int], datetime]
) -> Iterator[list["Change"]]:
    from examples.simulator import live_events

    return live_events(_simulate(profile, now), _SEED, time_of)


def _simulate(profile: "TenantProfile", now: datetime) -> "SimulatedCrm":
    from examples.simulator import simulate

    return simulate(profile, _SEED, now)
