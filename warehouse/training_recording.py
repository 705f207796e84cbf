"""Records a training while it works: every training has its job, however it was started."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from sqlalchemy import Connection, text

from ml.kinds import Name
from warehouse import training_jobs
from warehouse.database import Database
from warehouse.errors import GalenaError, TenantNotFoundError, in_one_line
from warehouse.models import LEAD_MODEL
from warehouse.open_jobs import Status
from warehouse.schema import training_job_events
from warehouse.training_jobs import Request

# A training says some thousand times a second how far it is; a person looks once.
_SECONDS_BETWEEN_ROWS = 1.0
# Before this share is done, the time that it took says little about the rest.
_LEAST_SHARE = 0.02


class TrainingCancelledError(GalenaError):
    """Somebody has asked for the end of this training."""


class Recording:
    """The job of a training that is under way.

    job_id: its id. request: what the training is asked to do.
    """

    def __init__(self, database: Database, tenant_id: str, job_id: str, request: Request) -> None:
        self.job_id, self.request = job_id, request
        self._database, self._tenant_id = database, tenant_id
        self._key = {"tenant_id": tenant_id, "job_id": job_id}
        self._written = float("-inf")
        self._waiting: tuple[str, float, Mapping[str, float]] | None = None

    def progress(self, step: str, share: float, figures: Mapping[str, float] | None = None) -> None:
        """Tell how far the training is; about once a second it is written down.

        step: what begins, in words. share: of the whole that is done, 0 to 1. figures: those known
        so far, by name. Raises TrainingCancelledError when somebody has asked for its end, or has
        declared it dead.
        """
        self._waiting = (step, min(max(share, 0.0), 1.0), dict(figures or {}))
        if time.monotonic() < self._written + _SECONDS_BETWEEN_ROWS:
            return
        with self._database.tenant(self._tenant_id) as connection:
            self._write(connection)
            if connection.scalar(_CANCELLED, self._key):
                raise TrainingCancelledError(f"Training job {self.job_id} was cancelled.")

    def learns_from(
        self, connection: Connection, *, feature_set: int, rows: int, sha256: str
    ) -> None:
        """Note the data of the training."""
        data = {"feature_set": feature_set, "rows": rows, "sha256": sha256}
        self._set(connection, "training_data = training_data || :value", data)

    def validates_by(self, connection: Connection, configuration: Mapping[str, Any]) -> None:
        """Note how the training judges models, such as by how many windows."""
        self._set(connection, "validation_config = :value", configuration)

    def registers(
        self,
        connection: Connection,
        version: int,
        *,
        algorithm: str,
        hyperparameters: Mapping[str, Any],
        metrics: Mapping[str, float],
    ) -> None:
        """Note the model, in the transaction that registers it: the two are one.

        From its commit on the training cannot be cancelled. Raises TrainingCancelledError when
        that was asked for before: then neither is committed.
        """
        noted = connection.execute(
            _REGISTERED,
            {**self._key, "version": version, "algorithm": algorithm},
        ).rowcount
        if not noted:
            raise TrainingCancelledError(f"Training job {self.job_id} was cancelled.")
        self._set(connection, "hyperparameters = :value", hyperparameters)
        self._set(connection, "metrics = metrics || :value", metrics)

    def flush(self, connection: Connection) -> None:
        """Write down what `progress` was told last."""
        if self._waiting is not None:
            self._write(connection)

    def _write(self, connection: Connection) -> None:
        assert self._waiting is not None
        step, share, figures = self._waiting
        self._waiting, self._written = None, time.monotonic()
        told = {"step": step, "share": share, "least": _LEAST_SHARE}
        connection.execute(_PROGRESS, {**self._key, **told})
        self._set(connection, "metrics = metrics || :value", figures)
        connection.execute(
            training_job_events.insert().values(
                **self._key, step=step, share=share, metrics=figures
            )
        )

    def _set(self, connection: Connection, assignment: str, value: Mapping[str, Any]) -> None:
        from sqlalchemy import bindparam
        from sqlalchemy.dialects.postgresql import JSONB

        statement = text(
            f"UPDATE ml.training_jobs SET {assignment}"
            " WHERE tenant_id = :tenant_id AND job_id = :job_id"
        ).bindparams(bindparam("value", type_=JSONB))
        connection.execute(statement, {**self._key, "value": dict(value)})


@contextmanager
def recorded(
    database: Database,
    tenant_id: str,
    *,
    run_id: str,
    job_id: str | None = None,
    model: Name = LEAD_MODEL,
) -> Iterator[Recording]:
    """A training's job while the body trains: running, and then completed or failed or cancelled.

    run_id: of the Dagster run. job_id: the job that the run was started for; None for a run that
    was started in any other way, and gets a job of its own. model: which of the tenant's models it
    trains. One that ended before, and whose run is
    executed again, is followed by another with the same request.
    Raises TrainingCancelledError when the job was cancelled before it began.
    """
    with database.tenant(tenant_id) as connection:
        recording = _begin(connection, database, tenant_id, run_id, job_id, model)
    try:
        yield recording
    except BaseException as error:
        # Also what is no Exception: Dagster's and Python's interrupts.
        with suppress(TenantNotFoundError):
            _end(database, tenant_id, recording, "failed", _why(error))
        raise
    _end(database, tenant_id, recording, "completed", None)


def begin(connection: Connection, tenant_id: str, job_id: str, run_id: str, step: str) -> bool:
    """Note that a run works on the job, and expect it to take as long as the tenant's last five
    that were completed, by their median; False when it was cancelled before."""
    told = {"tenant_id": tenant_id, "job_id": job_id, "run_id": run_id, "step": step}
    return bool(connection.execute(_RUNNING, told).rowcount)


def end(
    connection: Connection, tenant_id: str, job_id: str, status: Status, error: str | None
) -> None:
    """Note how an open job has ended; one that was to be cancelled is cancelled, unless its model
    was registered before. A job that has ended stays as it is."""
    connection.execute(
        text(
            "UPDATE ml.training_jobs SET"
            " status = CASE WHEN cancelled THEN 'cancelled' ELSE :status END,"
            " step = CASE WHEN cancelled THEN 'cancelled' ELSE :status END,"
            " error = CASE WHEN cancelled THEN error ELSE :error END,"
            " progress = CASE WHEN :status = 'completed' THEN 1 ELSE progress END,"
            " ended_at = clock_timestamp(), estimated_completion = NULL"
            " FROM (SELECT cancel_asked_at IS NOT NULL AS cancelled FROM ml.training_jobs"
            "  WHERE tenant_id = :tenant_id AND job_id = :job_id) asked"
            " WHERE tenant_id = :tenant_id AND job_id = :job_id AND status IN ('queued', 'running')"
        ),
        {"tenant_id": tenant_id, "job_id": job_id, "status": status, "error": error},
    )


def _begin(
    connection: Connection,
    database: Database,
    tenant_id: str,
    run_id: str,
    job_id: str | None,
    model: Name,
) -> Recording:
    request = Request(model=model)
    if job_id is not None:
        job = training_jobs.find(connection, tenant_id, job_id)
        request = Request.from_json(job.request)
        if job.status in ("completed", "failed"):
            job_id = None
    if job_id is None:
        job_id = training_jobs.create(connection, tenant_id, request, requested_by=f"run {run_id}")
    if not begin(connection, tenant_id, job_id, run_id, "starting"):
        raise TrainingCancelledError(f"Training job {job_id} was cancelled.")
    return Recording(database, tenant_id, job_id, request)


def _end(
    database: Database,
    tenant_id: str,
    recording: Recording,
    status: Status,
    error: str | None,
) -> None:
    with database.tenant(tenant_id) as connection:
        recording.flush(connection)
        end(connection, tenant_id, recording.job_id, status, error)


def _why(error: BaseException) -> str:
    if isinstance(error, Exception):
        return in_one_line(error)
    return "interrupted: its run was terminated in Dagster, or everything was stopped"


# How many leads have ended says later how many have ended since; a job that is done again on the
# same data brings the number of then.
_RUNNING = text(
    "UPDATE ml.training_jobs SET status = 'running', step = :step, run_id = :run_id,"
    " started_at = coalesce(started_at, statement_timestamp()),"
    " estimated_completion = coalesce(started_at, statement_timestamp()) +"
    "  (SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY ended_at - started_at) FROM"
    "   (SELECT f.ended_at, f.started_at FROM ml.training_jobs f WHERE f.tenant_id = :tenant_id"
    "    AND f.model_name = training_jobs.model_name"
    "    AND f.status = 'completed' ORDER BY f.ended_at DESC LIMIT 5) former),"
    " training_data = jsonb_build_object('ended_leads', (SELECT count(*)"
    "  FROM crm.leads WHERE tenant_id = :tenant_id"
    "   AND (converted_at IS NOT NULL OR closed_at IS NOT NULL))) || training_data"
    " WHERE tenant_id = :tenant_id AND job_id = :job_id"
    " AND status IN ('queued', 'running') AND cancel_asked_at IS NULL"
)
_PROGRESS = text(
    "UPDATE ml.training_jobs SET step = CASE WHEN cancel_asked_at IS NULL THEN :step ELSE step END,"
    " progress = greatest(progress, CAST(:share AS real)), estimated_completion ="
    " CASE WHEN CAST(:share AS float8) >= :least THEN"
    "  started_at + (clock_timestamp() - started_at) / CAST(:share AS float8)"
    " ELSE estimated_completion END"
    " WHERE tenant_id = :tenant_id AND job_id = :job_id"
)
_CANCELLED = text(
    "SELECT cancel_asked_at IS NOT NULL OR status <> 'running' FROM ml.training_jobs"
    " WHERE tenant_id = :tenant_id AND job_id = :job_id"
)
_REGISTERED = text(
    "UPDATE ml.training_jobs SET model_version = :version, algorithm = :algorithm,"
    " step = 'model registered'"
    " WHERE tenant_id = :tenant_id AND job_id = :job_id AND status = 'running'"
    " AND cancel_asked_at IS NULL"
)
