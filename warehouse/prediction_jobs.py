"""Batch predictions: what was asked for, how far it is, and how it ends."""

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select, text

from warehouse import audit, events, models
from warehouse.database import Database
from warehouse.errors import GalenaError
from warehouse.open_jobs import OPEN as OPEN
from warehouse.open_jobs import OpenJob, Status
from warehouse.open_jobs import find_all as find_open
from warehouse.schema import prediction_jobs

# On the Dagster run that was started for a job.
RUN_TAG = "galena/prediction_job"
# Each is a row until the job has ended.
MOST_ITEMS = 5_000_000


class TakenOverError(GalenaError):
    """Another run works on the job, or it has ended."""


@dataclass(frozen=True)
class PredictionJob:
    """A batch of predictions by one of a tenant's models.

    model_id: the model's version. subject: what the items are: lead, customer, deal or row.
    completed_items: those that have a prediction; failed_items: those that have a reason why not.
    input: what was asked for. run_id: of the Dagster run at work, or the last one. error: why it
    failed or was cancelled.
    """

    job_id: str
    model_id: int
    subject: str
    status: Status
    total_items: int
    completed_items: int
    failed_items: int
    input: Mapping[str, Any]
    requested_by: str
    run_id: str | None
    error: str | None
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    cancel_asked_at: datetime | None

    @property
    def done_items(self) -> int:
        """How many are done either way: also the number of the last one that is."""
        return self.completed_items + self.failed_items

    @property
    def progress(self) -> float:
        """The share that is done, 0 to 1."""
        return self.done_items / self.total_items if self.total_items else 1.0


def create(
    connection: Connection,
    tenant_id: str,
    version: int,
    subject: str,
    fill: Callable[[str], int],
    *,
    input: Mapping[str, Any],
    requested_by: str,
) -> str:
    """Queue a job; return its id. The sensor `prediction_requests` starts it.

    fill: writes the items of the job with this id and returns their number, in this transaction.
    Raises GalenaError when there are none, or more than MOST_ITEMS, or there is no such version.
    """
    models.find(connection, tenant_id, version)
    job_id = uuid.uuid4().hex[:12]
    connection.execute(
        prediction_jobs.insert().values(
            tenant_id=tenant_id,
            job_id=job_id,
            model_version=version,
            subject=subject,
            input=dict(input),
            requested_by=requested_by,
        )
    )
    items = fill(job_id)
    if not 1 <= items <= MOST_ITEMS:
        raise GalenaError(
            f"The job would have {items:,} items; expected 1 to {MOST_ITEMS:,}: ask for others."
        )
    connection.execute(
        prediction_jobs.update().where(*_is(tenant_id, job_id)).values(total_items=items)
    )
    return job_id


def find(connection: Connection, tenant_id: str, job_id: str) -> PredictionJob:
    """The job. Raises GalenaError when there is none."""
    row = connection.execute(select(*_COLUMNS).where(*_is(tenant_id, job_id))).one_or_none()
    if row is None:
        raise GalenaError(
            f"Tenant {tenant_id!r} has no prediction job {job_id!r}: `galena predictions"
            f" {tenant_id}` shows those there are."
        )
    return PredictionJob(**row._mapping)


def find_all(connection: Connection, tenant_id: str) -> list[PredictionJob]:
    """The tenant's newest 100 jobs, the newest first."""
    rows = connection.execute(
        select(*_COLUMNS)
        .where(prediction_jobs.c.tenant_id == tenant_id)
        .order_by(prediction_jobs.c.created_at.desc(), prediction_jobs.c.job_id)
        .limit(100)
    )
    return [PredictionJob(**row._mapping) for row in rows]


def open_jobs(database: Database) -> list[OpenJob]:
    """Every tenant's jobs that have not ended, the oldest first."""
    return find_open(database, "ml.prediction_jobs")


def begin(connection: Connection, tenant_id: str, job_id: str, run_id: str) -> PredictionJob:
    """Note that this run works on the job, from where it is; whatever run did before no longer
    does. Raises TakenOverError when it has ended or is to be cancelled."""
    taken = connection.execute(
        text(
            "UPDATE ml.prediction_jobs SET status = 'running', run_id = :run_id,"
            " started_at = coalesce(started_at, clock_timestamp())"
            " WHERE tenant_id = :tenant_id AND job_id = :job_id"
            " AND status IN ('queued', 'running') AND cancel_asked_at IS NULL"
        ),
        {"tenant_id": tenant_id, "job_id": job_id, "run_id": run_id},
    ).rowcount
    job = find(connection, tenant_id, job_id)
    if not taken:
        raise TakenOverError(f"Prediction job {job_id} is {job.status}, or is to be cancelled.")
    return job


def queue_again(connection: Connection, tenant_id: str, job: OpenJob) -> None:
    """The run that worked on the job is gone: another goes on where it was."""
    connection.execute(
        prediction_jobs.update()
        .where(
            *_is(tenant_id, job.job_id),
            prediction_jobs.c.status == "running",
            prediction_jobs.c.run_id == job.run_id,
        )
        .values(status="queued", run_id=None)
    )


def ask_to_cancel(
    connection: Connection, tenant_id: str, job_id: str, *, actor: str
) -> PredictionJob:
    """Mark the job as to be cancelled: no item is done from here on. A queued one has ended with
    that, a running one ends within a block of items. Raises GalenaError when it has ended."""
    asked = connection.execute(
        text(
            "UPDATE ml.prediction_jobs SET cancel_asked_at = coalesce(cancel_asked_at, now()),"
            " error = :error WHERE tenant_id = :tenant_id AND job_id = :job_id"
            " AND status IN ('queued', 'running')"
        ),
        {"tenant_id": tenant_id, "job_id": job_id, "error": f"cancelled by {actor}"},
    ).rowcount
    job = find(connection, tenant_id, job_id)
    if not asked:
        raise GalenaError(f"Job {job_id} has ended already: it is {job.status}.")
    audit.note(connection, tenant_id, "prediction.cancel", {"job_id": job_id}, actor=actor)
    if job.status == "queued":
        end(connection, tenant_id, job_id, "cancelled", None)
    return find(connection, tenant_id, job_id)


def end(
    connection: Connection, tenant_id: str, job_id: str, status: Status, error: str | None
) -> None:
    """Note how an open job has ended, with its event; one that was to be cancelled is cancelled.
    Its items go, its results stay. A job that has ended stays as it is."""
    ended = connection.execute(
        text(
            "UPDATE ml.prediction_jobs SET ended_at = clock_timestamp(),"
            " status = CASE WHEN cancel_asked_at IS NULL THEN :status ELSE 'cancelled' END,"
            " error = CASE WHEN cancel_asked_at IS NULL THEN :error ELSE error END"
            " WHERE tenant_id = :tenant_id AND job_id = :job_id AND status IN ('queued', 'running')"
        ),
        {"tenant_id": tenant_id, "job_id": job_id, "status": status, "error": error},
    ).rowcount
    if not ended:
        return
    connection.execute(
        text("DELETE FROM ml.prediction_items WHERE tenant_id = :tenant_id AND job_id = :job_id"),
        {"tenant_id": tenant_id, "job_id": job_id},
    )
    job = find(connection, tenant_id, job_id)
    events.record(connection, tenant_id, f"prediction.{job.status}", _payload(job))


def delete(connection: Connection, tenant_id: str, job_id: str, *, actor: str) -> None:
    """Delete a job that has ended, with its results. Raises GalenaError otherwise."""
    job = find(connection, tenant_id, job_id)
    if job.status in OPEN:
        raise GalenaError(
            f"Job {job_id} is {job.status}: `galena prediction {tenant_id} {job_id} --cancel` ends"
            " it first."
        )
    connection.execute(prediction_jobs.delete().where(*_is(tenant_id, job_id)))
    audit.note(connection, tenant_id, "prediction.delete", {"job_id": job_id}, actor=actor)


def _payload(job: PredictionJob) -> dict[str, Any]:
    assert job.ended_at is not None
    return {
        "job_id": job.job_id,
        "model_id": job.model_id,
        "status": job.status,
        "total_items": job.total_items,
        "completed_items": job.completed_items,
        "failed_items": job.failed_items,
        "error": job.error,
        "created_at": job.created_at.isoformat(),
        "ended_at": job.ended_at.isoformat(),
    }


def _is(tenant_id: str, job_id: str) -> tuple[Any, Any]:
    return prediction_jobs.c.tenant_id == tenant_id, prediction_jobs.c.job_id == job_id


_COLUMNS = [
    prediction_jobs.c["model_version" if name == "model_id" else name].label(name)
    for name in PredictionJob.__dataclass_fields__
]
