"""The sample tenants: Bank Marketing's real calls, and simulated CRMs of several kinds."""

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime

import polars as pl

from warehouse import crm, tenants
from warehouse.database import Database


def missing(database: Database) -> Iterator[tuple[str, str, Callable[[], None]]]:
    """The sample tenants that are not there: id, what it is, and the function that makes it."""
    present = {tenant.tenant_id for tenant in tenants.find_all(database)}
    for tenant_id, (name, frames) in _samples().items():
        if tenant_id not in present:
            yield tenant_id, name, lambda i=tenant_id, n=name, f=frames: _create(database, i, n, f())


def _samples() -> Mapping[str, tuple[str, Callable[[], Mapping[str, pl.DataFrame]]]]:
    from examples import bank

    return {"bank": ("41,188 real telephone calls of a bank", lambda: {"leads": bank.leads()})}


def _create(
    database: Database, tenant_id: str, name: str, frames: Mapping[str, pl.DataFrame]
) -> None:
    tenants.add(database, tenant_id, name)
    with database.tenant(tenant_id) as connection:
        for table, frame in frames.items():
            crm.upsert(connection, tenant_id, table, frame)
