"""Training jobs: what was asked for, how far it is, what came of it, and how it is cancelled."""

import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select, text

from ml.kinds import Name
from warehouse import audit
from warehouse.database import Database
from warehouse.errors import GalenaError
from warehouse.models import LEAD_MODEL
from warehouse.open_jobs import OPEN as OPEN
from warehouse.open_jobs import OpenJob, Status
from warehouse.open_jobs import find_all as find_open
from warehouse.schema import feature_sets, training_job_events, training_jobs

# On the Dagster run that was started for a job.
RUN_TAG = "galena/training_job"


@dataclass(frozen=True)
class Request:
    """What a training is asked to do; what is None, the tenant's settings decide.

    model: which of the tenant's models. For those of customers and deals it is all there is to ask,
    but for promote.
    algorithms: those that may serve, all of them when empty. trials, seconds: how long
    hyperparameters are searched for. feature_set: the one to learn from; None makes a new one of
    the CRM's records. promote: whether the model may serve when it is better.
    """

    algorithms: tuple[str, ...] = ()
    trials: int | None = None
    seconds: int | None = None
    feature_set: int | None = None
    promote: bool = True
    model: Name = LEAD_MODEL

    @staticmethod
    def from_json(document: Mapping[str, Any]) -> "Request":
        return Request(**{**document, "algorithms": tuple(document.get("algorithms", ()))})


@dataclass(frozen=True)
class TrainingJob:
    """A training of a tenant's model.

    algorithm: that of the model that came out; until then None. step, progress: what it is at, and
    the share that is done, 0 to 1. metrics: the figures known so far. training_data: feature_set,
    rows, sha256, and file where it came from one. request: as Request. run_id: of the Dagster run.
    error: why it failed or was cancelled. estimated_completion: None while nobody can know.
    """

    job_id: str
    model_name: str
    algorithm: str | None
    status: Status
    step: str
    progress: float
    metrics: Mapping[str, Any]
    hyperparameters: Mapping[str, Any]
    training_data: Mapping[str, Any]
    validation_config: Mapping[str, Any]
    request: Mapping[str, Any]
    requested_by: str
    run_id: str | None
    model_version: int | None
    error: str | None
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    cancel_asked_at: datetime | None
    estimated_completion: datetime | None


@dataclass(frozen=True)
class Event:
    """A moment of a job: what it was at, the share done, 0 to 1, and the figures known then."""

    event_id: int
    at: datetime
    step: str
    share: float
    metrics: Mapping[str, Any]


def create(
    connection: Connection,
    tenant_id: str,
    request: Request,
    *,
    requested_by: str,
    training_data: Mapping[str, Any] | None = None,
) -> str:
    """Queue a training; return its id. The sensor `training_requests` starts it."""
    job_id = uuid.uuid4().hex[:12]
    connection.execute(
        training_jobs.insert().values(
            tenant_id=tenant_id,
            job_id=job_id,
            model_name=request.model,
            request=asdict(request),
            training_data=training_data or {},
            requested_by=requested_by,
        )
    )
    return job_id


def again(connection: Connection, tenant_id: str, job_id: str, *, requested_by: str) -> str:
    """Queue what a job that has ended was asked to do once more, on the data that it learnt from,
    if it got so far: its search for hyperparameters goes on where it was. Of a job that was
    completed the model does not serve by itself: others may have been trained on newer data since.
    Returns the new id.

    Raises GalenaError when the job has not ended, or its data are gone.
    """
    job = find(connection, tenant_id, job_id)
    if job.status in OPEN:
        raise GalenaError(f"Job {job_id} is {job.status}: it goes on by itself.")
    # 0 is none: models of customers and deals learn from the records as they are.
    feature_set = job.training_data.get("feature_set") or None
    mine = (feature_sets.c.tenant_id == tenant_id) & (feature_sets.c.feature_set == feature_set)
    if feature_set and not connection.scalar(select(feature_sets.c.feature_set).where(mine)):
        raise GalenaError(
            f"The data of job {job_id} are gone, for other trainings came after it:"
            f" `galena train {tenant_id}` begins anew."
        )
    former = Request.from_json(job.request)
    promote = former.promote and job.status != "completed"
    request = replace(former, feature_set=feature_set, promote=promote)
    return create(
        connection,
        tenant_id,
        request,
        requested_by=requested_by,
        training_data=job.training_data,
    )


def find(connection: Connection, tenant_id: str, job_id: str) -> TrainingJob:
    """The job. Raises GalenaError when there is none."""
    row = connection.execute(
        select(*_COLUMNS).where(
            training_jobs.c.tenant_id == tenant_id, training_jobs.c.job_id == job_id
        )
    ).one_or_none()
    if row is None:
        raise GalenaError(
            f"Tenant {tenant_id!r} has no training job {job_id!r}: `galena jobs {tenant_id}` shows"
            " those there are."
        )
    return TrainingJob(**row._mapping)


def find_all(connection: Connection, tenant_id: str) -> list[TrainingJob]:
    """The tenant's newest 100 jobs, the newest first."""
    rows = connection.execute(
        select(*_COLUMNS)
        .where(training_jobs.c.tenant_id == tenant_id)
        .order_by(training_jobs.c.created_at.desc(), training_jobs.c.job_id)
        .limit(100)
    )
    return [TrainingJob(**row._mapping) for row in rows]


def history(connection: Connection, tenant_id: str, job_id: str, after: int = 0) -> list[Event]:
    """The job's log, oldest first: its events behind the one with this id."""
    rows = connection.execute(
        select(*(training_job_events.c[name] for name in Event.__dataclass_fields__))
        .where(
            training_job_events.c.tenant_id == tenant_id,
            training_job_events.c.job_id == job_id,
            training_job_events.c.event_id > after,
        )
        .order_by(training_job_events.c.event_id)
    )
    return [Event(**row._mapping) for row in rows]


def open_jobs(database: Database) -> list[OpenJob]:
    """Every tenant's jobs that have not ended, the oldest first."""
    return find_open(database, "ml.training_jobs")


def ask_to_cancel(
    connection: Connection, tenant_id: str, job_id: str, *, actor: str
) -> TrainingJob:
    """Mark the job as to be cancelled: from here on it registers no model. A queued one has ended
    with that. Raises GalenaError when it has ended, or its model is registered already."""
    asked = connection.execute(
        text(
            "UPDATE ml.training_jobs SET cancel_asked_at = coalesce(cancel_asked_at, now()),"
            " status = CASE status WHEN 'queued' THEN 'cancelled' ELSE status END,"
            " step = CASE status WHEN 'queued' THEN 'cancelled' ELSE 'cancelling' END,"
            " ended_at = CASE status WHEN 'queued' THEN now() END, error = :error"
            " WHERE tenant_id = :tenant_id AND job_id = :job_id"
            " AND status IN ('queued', 'running') AND model_version IS NULL"
        ),
        {"tenant_id": tenant_id, "job_id": job_id, "error": f"cancelled by {actor}"},
    ).rowcount
    job = find(connection, tenant_id, job_id)
    if asked:
        audit.note(connection, tenant_id, "training.cancel", {"job_id": job_id}, actor=actor)
        return job
    if job.status in OPEN:
        raise GalenaError(
            f"Job {job_id} has registered model version {job.model_version} and is about to end:"
            f" `galena job {tenant_id} {job_id}` shows what became of it."
        )
    raise GalenaError(f"Job {job_id} has ended already: it is {job.status}.")


def delete(connection: Connection, tenant_id: str, job_id: str, *, actor: str) -> None:
    """Delete a job that has ended, with its log; its model stays. Raises GalenaError otherwise."""
    job = find(connection, tenant_id, job_id)
    if job.status in OPEN:
        raise GalenaError(
            f"Job {job_id} is {job.status}: `galena cancel {tenant_id} {job_id}` ends it first."
        )
    connection.execute(
        training_jobs.delete().where(
            training_jobs.c.tenant_id == tenant_id, training_jobs.c.job_id == job_id
        )
    )
    audit.note(connection, tenant_id, "training.delete", {"job_id": job_id}, actor=actor)


_COLUMNS = [training_jobs.c[name] for name in TrainingJob.__dataclass_fields__]
