"""Keeps the partitions equal to the tenants there are, and asks for a new tenant's first run."""

import hashlib
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

from dagster import (
    AddDynamicPartitionsRequest,
    AssetSelection,
    DagsterInstance,
    DagsterRunStatus,
    DefaultSensorStatus,
    DeleteDynamicPartitionsRequest,
    RunRequest,
    RunsFilter,
    SensorEvaluationContext,
    SensorResult,
    SkipReason,
    define_asset_job,
    sensor,
)

from assets.partitions import tenant_partitions
from resources.warehouse import Warehouse

if TYPE_CHECKING:
    from warehouse.tenants import Tenant

score_tenant = define_asset_job(
    "score_tenant",
    # The pooled model is of all tenants: a tenant's first run would read them all. Customers'
    # models are made at night, or when they are asked for, as batches of predictions are: scores of
    # leads do not wait for them.
    selection=AssetSelection.all()
    - AssetSelection.assets("crm_source", "pooled_lead_model")
    - AssetSelection.groups("customers", "predictions"),
    description="Everything of one tenant: features, model, scores and views from its CRM records.",
)


MOST_ATTEMPTS = 3

# On a run that ended because everything was stopped: no fault of its own.
INTERRUPTED = {"galena/interrupted": "true"}
_FAILED = (DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED)
_UNDER_WAY = [
    status for status in DagsterRunStatus if status not in (*_FAILED, DagsterRunStatus.SUCCESS)
]


def runs_of(
    tenant_id: str,
    *,
    statuses: Sequence[DagsterRunStatus] = (),
    tags: Mapping[str, str] = MappingProxyType({}),
) -> RunsFilter:
    """The runs of the whole pipeline for this tenant; without statuses, of every status."""
    return RunsFilter(
        job_name=score_tenant.name,
        tags={"dagster/partition": tenant_id, **tags},
        statuses=statuses,
    )


def failed_runs(instance: DagsterInstance, tenant_id: str) -> int:
    """How many runs of the whole pipeline have failed for this tenant by themselves."""
    ended = instance.get_runs_count(runs_of(tenant_id, statuses=_FAILED))
    interrupted = runs_of(tenant_id, statuses=_FAILED, tags=INTERRUPTED)
    return ended - instance.get_runs_count(interrupted)


@sensor(
    job=score_tenant,
    minimum_interval_seconds=5,
    default_status=DefaultSensorStatus.RUNNING,
)
def tenants(context: SensorEvaluationContext, warehouse: Warehouse) -> SensorResult | SkipReason:
    """Adds and removes partitions as tenants come and go; runs the pipeline for a tenant whose
    first records have arrived, three times at most."""
    from warehouse import tenants as registry

    known = set(context.instance.get_dynamic_partitions("tenants"))
    found = registry.find_all(warehouse.database)
    present = {tenant.tenant_id for tenant in found if tenant.status != "removing"}
    changes: list[AddDynamicPartitionsRequest | DeleteDynamicPartitionsRequest] = []
    if added := sorted(present - known):
        changes.append(tenant_partitions.build_add_request(added))
    if gone := sorted(known - present):
        changes.append(tenant_partitions.build_delete_request(gone))
    waiting = set(registry.awaiting_first_run(warehouse.database))
    runs = [
        run
        for tenant in found
        if tenant.tenant_id in waiting and (run := _first_run(context.instance, tenant))
    ]
    if not changes and not runs:
        return SkipReason("No tenant came or went, and none waits for its first run.")
    return SensorResult(dynamic_partitions_requests=changes, run_requests=runs)


def _first_run(instance: DagsterInstance, tenant: "Tenant") -> RunRequest | None:
    """The tenant's next attempt, unless one is under way or too many have failed.

    Its key makes sure that an attempt is started once. Dagster keeps the key beyond the run, so
    that it must not name a tenant who may be removed.
    """
    tenant_id = tenant.tenant_id
    newest = instance.get_runs(runs_of(tenant_id), limit=1)
    under_way = instance.get_runs_count(runs_of(tenant_id, statuses=_UNDER_WAY))
    if under_way or failed_runs(instance, tenant_id) >= MOST_ATTEMPTS:
        return None
    # Not the number of attempts, which shrinks as old runs are deleted.
    after = newest[0].run_id if newest else "none"
    attempt = f"{tenant_id} {tenant.created_at.isoformat()} after {after}"
    key = hashlib.sha256(attempt.encode()).hexdigest()
    return RunRequest(run_key=key, partition_key=tenant_id)
