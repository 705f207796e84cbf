"""The sample tenants: a bank's real calls, and simulated CRMs of several sizes and languages."""

from collections.abc import Callable, Iterator
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


def missing(database: Database) -> Iterator[tuple[str, str, Callable[[], None]]]:
    """The sample tenants that are not there: id, description, and what creates the tenant.

    One without leads is missing, too: its creation was interrupted.
    """
    present = {tenant.tenant_id: tenant.status for tenant in tenants.find_all(database)}
    for tenant_id, (description, tables) in _samples().items():
        status = present.get(tenant_id)
        if status is None or (status == "active" and not _has_leads(database, tenant_id)):
            yield tenant_id, description, partial(_create, database, tenant_id, tables)


def _has_leads(database: Database, tenant_id: str) -> bool:
    with database.tenant(tenant_id) as connection:
        return crm.counts(connection, tenant_id)["leads"] > 0


def _samples() -> dict[str, tuple[str, Callable[[], list[tuple[str, pl.DataFrame]]]]]:
    from examples import bank
    from examples.simulator.profiles import PROFILES

    simulated = {
        profile.name: (
            f"{profile.leads:,} simulated leads, notes in {profile.language!r}",
            partial(_simulated, profile),
        )
        for profile in PROFILES.values()
    }
    return {
        "bank": ("41,188 real telephone calls", lambda: [("leads", bank.leads())]),
        **simulated,
    }


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


def _create(
    database: Database,
    tenant_id: str,
    tables: Callable[[], list[tuple[str, pl.DataFrame]]],
) -> None:
    """All in one transaction: the tenant's first run must not begin on half of its records."""
    frames = tables()
    tenants.add(database, tenant_id)
    with database.tenant(tenant_id) as connection:
        for table, frame in frames:
            crm.upsert(connection, tenant_id, table, frame)
