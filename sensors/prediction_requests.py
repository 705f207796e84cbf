"""Starts the batch predictions that were asked for, and goes on with those whose runs are gone."""

from contextlib import suppress
from typing import TYPE_CHECKING

from dagster import (
    DagsterInstance,
    DagsterRun,
    DagsterRunStatus,
    DefaultSensorStatus,
    RunRequest,
    RunsFilter,
    SensorEvaluationContext,
    SensorResult,
    SkipReason,
    sensor,
)

from assets.batch_predictions import predict_batch
from resources.warehouse import Warehouse
from sensors.job_runs import reason, run_of
from sensors.tenants import INTERRUPTED

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from warehouse.database import Database
    from warehouse.open_jobs import OpenJob

# Runs of a job that end before it does, by themselves.
MOST_ATTEMPTS = 5
# Ahead of what runs by itself, for somebody waits.
_PRIORITY = {"dagster/priority": "5"}


@sensor(
    job=predict_batch,
    # A batch can wait a little; each tick takes CPU from what rescores.
    minimum_interval_seconds=10,
    default_status=DefaultSensorStatus.RUNNING,
)
def prediction_requests(
    context: SensorEvaluationContext, warehouse: Warehouse
) -> SensorResult | SkipReason:
    """Starts the oldest open job of each tenant that has no run under way."""
    from warehouse import prediction_jobs
    from warehouse.open_jobs import oldest_of_each

    if not prediction_jobs.open_jobs(warehouse.database):
        return SkipReason("No batch of predictions is under way or queued.")
    settle(context.instance, warehouse.database)
    known = set(context.instance.get_dynamic_partitions("tenants"))
    first = oldest_of_each(prediction_jobs.open_jobs(warehouse.database))
    runs: list[RunRequest] = []
    for job in first:
        run = run_of(context.instance, prediction_jobs.RUN_TAG, job.job_id, job.run_id)
        # A tenant without its partition is too new; the sensor `tenants` adds it.
        if (run is None or run.is_finished) and job.tenant_id in known:
            runs.append(_request(context.instance, job))
    if not runs:
        return SkipReason(f"Batches of {len(first)} tenants are under way, and none can start.")
    return SensorResult(run_requests=runs)


def settle(instance: DagsterInstance, database: "Database") -> None:
    """Queue the jobs again whose runs have ended before they did, for a process that was killed
    could not say so; end those that are to be cancelled, or have been tried too often."""
    from warehouse import prediction_jobs
    from warehouse.errors import TenantNotFoundError

    for job in prediction_jobs.open_jobs(database):
        run = run_of(instance, prediction_jobs.RUN_TAG, job.job_id, job.run_id)
        if run is None and job.status == "queued":
            continue
        if run is None or run.is_finished:
            with suppress(TenantNotFoundError), database.tenant(job.tenant_id) as connection:
                _settle(connection, instance, job, run)


def _settle(
    connection: "Connection", instance: DagsterInstance, job: "OpenJob", run: DagsterRun | None
) -> None:
    from warehouse import prediction_jobs

    key = (connection, job.tenant_id, job.job_id)
    if job.cancelled:
        prediction_jobs.end(*key, "cancelled", None)
    elif run is not None and run.status is DagsterRunStatus.CANCELED:
        prediction_jobs.end(*key, "cancelled", "its run was terminated in Dagster")
    elif run is not None and (attempts := _attempts(instance, job)) >= MOST_ATTEMPTS:
        words = f"{reason(instance, run)}; {attempts} runs ended before it was done"
        prediction_jobs.end(*key, "failed", words)
    elif job.status == "running":
        prediction_jobs.queue_again(connection, job.tenant_id, job)


def _attempts(instance: DagsterInstance, job: "OpenJob") -> int:
    """The job's runs, but for those that ended because everything was stopped."""
    started = instance.get_runs_count(_runs_of(job))
    return started - instance.get_runs_count(_runs_of(job, **INTERRUPTED))


def _request(instance: DagsterInstance, job: "OpenJob") -> RunRequest:
    """The job's next run; its key, which Dagster keeps for good, names no tenant."""
    from warehouse import prediction_jobs

    return RunRequest(
        run_key=f"{job.job_id} after {instance.get_runs_count(_runs_of(job))}",
        partition_key=job.tenant_id,
        tags={prediction_jobs.RUN_TAG: job.job_id, **_PRIORITY},
    )


def _runs_of(job: "OpenJob", **tags: str) -> RunsFilter:
    from warehouse import prediction_jobs

    return RunsFilter(tags={prediction_jobs.RUN_TAG: job.job_id, **tags})
