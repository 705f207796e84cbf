"""Starts the trainings that were asked for; ends the jobs whose runs have ended without a word."""

from contextlib import suppress
from typing import TYPE_CHECKING

from dagster import (
    AssetKey,
    DagsterInstance,
    DagsterRun,
    DagsterRunStatus,
    DefaultSensorStatus,
    RunRequest,
    SensorEvaluationContext,
    SensorResult,
    SkipReason,
    sensor,
)

from assets.customer_models import customer_churn, customer_segments, deal_value
from assets.lead_features import lead_features
from assets.lead_model import lead_model
from assets.lead_scores import lead_scores
from assets.training import train_tenant
from resources.warehouse import Warehouse
from sensors.job_runs import reason, run_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

    from warehouse.database import Database
    from warehouse.open_jobs import OpenJob
    from warehouse.training_jobs import Request

_OTHERS = {
    asset.key.to_user_string(): asset.key
    for asset in (customer_churn, deal_value, customer_segments)
}

# Ahead of what runs by itself, for somebody waits.
_PRIORITY = {"dagster/priority": "5"}


@sensor(
    job=train_tenant,
    # Somebody waits, but for minutes; each tick takes CPU from what rescores.
    minimum_interval_seconds=5,
    default_status=DefaultSensorStatus.RUNNING,
)
def training_requests(
    context: SensorEvaluationContext, warehouse: Warehouse
) -> SensorResult | SkipReason:
    """Starts the oldest queued training of each tenant that has none under way."""
    from warehouse import training_jobs
    from warehouse.open_jobs import oldest_of_each

    if not training_jobs.open_jobs(warehouse.database):
        return SkipReason("No training is under way or queued.")
    settle(context.instance, warehouse.database)
    known = set(context.instance.get_dynamic_partitions("tenants"))
    first = oldest_of_each(training_jobs.open_jobs(warehouse.database))
    runs: list[RunRequest] = []
    for job in first:
        waits = (
            job.status == "queued"
            and run_of(context.instance, training_jobs.RUN_TAG, job.job_id) is None
        )
        # A tenant without its partition is too new; the sensor `tenants` adds it.
        if waits and job.tenant_id in known and (run := _request(warehouse.database, job)):
            runs.append(run)
    if not runs:
        return SkipReason(f"Trainings of {len(first)} tenants are under way, and none can start.")
    return SensorResult(run_requests=runs)


def settle(instance: DagsterInstance, database: "Database") -> None:
    """Note which jobs' runs have begun, and end those whose runs have ended: a process that was
    killed could not say so."""
    from warehouse import training_jobs
    from warehouse.errors import TenantNotFoundError

    for job in training_jobs.open_jobs(database):
        run = run_of(instance, training_jobs.RUN_TAG, job.job_id, job.run_id)
        if run is None and job.status == "queued":
            continue
        with suppress(TenantNotFoundError), database.tenant(job.tenant_id) as connection:
            _settle(connection, instance, job, run)


def _settle(
    connection: "Connection", instance: DagsterInstance, job: "OpenJob", run: DagsterRun | None
) -> None:
    from warehouse.training_recording import begin, end

    key = (connection, job.tenant_id, job.job_id)
    if run is None:
        end(*key, "failed", "its run is no longer known to Dagster")
    elif run.status is DagsterRunStatus.CANCELED:
        end(*key, "cancelled", "its run was terminated in Dagster")
    elif run.is_finished:
        end(*key, "failed", reason(instance, run))
    elif run.status is DagsterRunStatus.STARTED and job.status == "queued":
        begin(*key, run.run_id, "making features")


def _request(database: "Database", job: "OpenJob") -> RunRequest | None:
    """The job's run; its key, which Dagster keeps for good, names no tenant."""
    from warehouse import training_jobs
    from warehouse.errors import GalenaError

    try:
        with database.tenant(job.tenant_id) as connection:
            found = training_jobs.find(connection, job.tenant_id, job.job_id)
    except GalenaError:
        return None
    return RunRequest(
        run_key=job.job_id,
        partition_key=job.tenant_id,
        tags={training_jobs.RUN_TAG: job.job_id, **_PRIORITY},
        asset_selection=_assets(training_jobs.Request.from_json(found.request)),
    )


def _assets(request: "Request") -> "Sequence[AssetKey]":
    """New features unless it names its own, and new scores unless the model is not to serve; of
    another model than that of leads, its asset."""
    if request.model in _OTHERS:
        return [_OTHERS[request.model]]
    return [
        *([lead_features.key] if request.feature_set is None else []),
        lead_model.key,
        *([lead_scores.key] if request.promote else []),
    ]
