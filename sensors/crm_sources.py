"""Follows the tenants' CRM databases: each tick reads what changed in them."""

import hashlib
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import groupby
from typing import TYPE_CHECKING

from dagster import (
    AssetMaterialization,
    AssetSelection,
    DagsterInstance,
    DagsterRunStatus,
    DefaultSensorStatus,
    RunRequest,
    RunsFilter,
    SensorEvaluationContext,
    SensorResult,
    SkipReason,
    define_asset_job,
    sensor,
)

from assets.crm_source import counted, crm_source
from resources.warehouse import Warehouse

if TYPE_CHECKING:
    from warehouse.database import Database
    from warehouse.sources.sync import Reading
    from warehouse.tenants import Tenant

load_crm_source = define_asset_job(
    "load_crm_source",
    selection=AssetSelection.assets(crm_source),
    description="Reads a tenant's CRM databases whole.",
)

# A tick begins no other step of a source after so long; one step takes a fraction of it.
_TICK_SECONDS = 10.0
# A run that failed before it could say when to try again.
_PAUSE_SECONDS = 60.0
_ENDED = (DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED)


@sensor(
    job=load_crm_source,
    minimum_interval_seconds=5,
    default_status=DefaultSensorStatus.RUNNING,
)
def crm_sources(
    context: SensorEvaluationContext, warehouse: Warehouse
) -> SensorResult | SkipReason:
    """Reads in turn what changed in every active tenant's CRM databases, ten seconds a tick, and
    asks for a run where all has to be read. What fails is tried again later and by itself."""
    waiting = _turns(context, warehouse.database)
    if not waiting:
        return SkipReason("No active tenant has a CRM database to read.")
    deadline = time.monotonic() + _TICK_SECONDS
    first = int(context.cursor or 0) % len(waiting)
    changed, runs, read, failed = [], [], 0, 0
    # Who did not get a turn in this tick is first in the next.
    for tenant, source_ids in waiting[first:] + waiting[:first]:
        if read and time.monotonic() > deadline:
            break
        readings = list(_sweep(warehouse.database, tenant.tenant_id, source_ids, deadline))
        read += 1
        failed += sum(reading.failed for reading in readings)
        if event := _changed(tenant, readings):
            changed.append(event)
        wanted = any(reading.load_wanted for reading in readings)
        if wanted and (run := _load(context.instance, tenant)):
            runs.append(run)
    words = f"Read the CRM databases of {read} of {len(waiting)} tenants; {failed} cannot be read."
    return SensorResult(
        run_requests=runs,
        asset_events=changed,
        cursor=str((first + read) % len(waiting)),
        skip_reason=None if runs else SkipReason(words),
    )


def _turns(
    context: SensorEvaluationContext, database: "Database"
) -> "list[tuple[Tenant, list[str]]]":
    """The active tenants that have sources, each with their ids. A tenant without its partition is
    too new: what is said of it would have no place."""
    from warehouse import tenants
    from warehouse.sources import registry

    found = groupby(registry.every(database), key=lambda row: row[0])
    sources = {tenant_id: [row[1] for row in rows] for tenant_id, rows in found}
    if not sources:
        return []
    partitions = set(context.instance.get_dynamic_partitions("tenants"))
    return [
        (tenant, sources[tenant.tenant_id])
        for tenant in tenants.find_all(database)
        if tenant.status == "active" and tenant.tenant_id in sources.keys() & partitions
    ]


def _sweep(
    database: "Database", tenant_id: str, source_ids: list[str], deadline: float
) -> "Iterator[Reading]":
    from warehouse.errors import GalenaError
    from warehouse.sources import sync

    for source_id in source_ids:
        try:
            yield sync.sweep(
                database,
                tenant_id,
                source_id,
                datetime.now(UTC),
                out_of_time=lambda: time.monotonic() > deadline,
            )
        except GalenaError:
            # The tenant or the source was removed meanwhile.
            continue


def _changed(tenant: "Tenant", readings: "list[Reading]") -> AssetMaterialization | None:
    from warehouse.sources.writing import Written

    written = sum((reading.written for reading in readings), Written())
    if not written.changes:
        return None
    return AssetMaterialization(
        asset_key=crm_source.key, partition=tenant.tenant_id, metadata=counted(written)
    )


def _load(instance: DagsterInstance, tenant: "Tenant") -> RunRequest | None:
    """The next run that reads the tenant's sources whole, unless one is under way or has just
    failed. Its key must not name the tenant: Dagster keeps it beyond the run."""
    mine = RunsFilter(job_name=load_crm_source.name, tags={"dagster/partition": tenant.tenant_id})
    newest = next(iter(instance.get_run_records(mine, limit=1)), None)
    if newest is not None:
        status, ended_at = newest.dagster_run.status, newest.end_time or time.time()
        if status not in _ENDED:
            return None
        if status != DagsterRunStatus.SUCCESS and time.time() < ended_at + _PAUSE_SECONDS:
            return None
    # Not the number of loads, which shrinks as old runs are deleted.
    after = newest.dagster_run.run_id if newest else "none"
    attempt = f"{tenant.tenant_id} {tenant.created_at.isoformat()} load after {after}"
    key = hashlib.sha256(attempt.encode()).hexdigest()
    return RunRequest(run_key=key, partition_key=tenant.tenant_id)
