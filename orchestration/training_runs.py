"""Ends the Dagster runs of trainings that are cancelled, whatever has become of their processes."""

import json
import signal
import time
from collections.abc import Callable
from contextlib import suppress

import psutil
from dagster import DagsterError, DagsterEventType, DagsterInstance, DagsterRun

from sensors.training_requests import run_of, settle
from warehouse import training_jobs
from warehouse.database import Database
from warehouse.training_jobs import TrainingJob

# A training that computes in Python ends within a moment; one that does not is killed.
_GRACE_SECONDS = 3.0
_PATIENCE_SECONDS = 5.0


def cancel(
    instance: DagsterInstance, database: Database, tenant_id: str, job_id: str, *, actor: str
) -> TrainingJob:
    """Cancel a training: from here on it registers no model, and its process ends.

    Returns the job as it then is: cancelled; or still running where it is one of many in a night's
    run, which goes on with the next tenant once this one's training has taken note.
    Raises GalenaError when the job has ended, or its model is registered already.
    """
    with database.tenant(tenant_id) as connection:
        job = training_jobs.ask_to_cancel(connection, tenant_id, job_id, actor=actor)
    run = run_of(instance, job_id, job.run_id)
    if run is not None and run.tags.get("dagster/partition") == tenant_id:
        _terminate(instance, run)
    settle(instance, database)

    def now() -> TrainingJob:
        with database.tenant(tenant_id) as connection:
            return training_jobs.find(connection, tenant_id, job_id)

    _await(lambda: now().status not in training_jobs.OPEN, _PATIENCE_SECONDS)
    return now()


def _terminate(instance: DagsterInstance, run: DagsterRun) -> None:
    """Return when the run has ended and its process is gone."""

    def finished() -> bool:
        found = instance.get_run_by_id(run.run_id)
        return found is None or found.is_finished

    if finished():
        return
    process = _process(instance, run)
    if process is not None:
        instance.report_run_canceling(run)
        _end(process)
    else:
        # Raises when the code server is away: then nothing is left of the run.
        with suppress(DagsterError):
            instance.run_coordinator.cancel_run(run.run_id)
        _await(finished, _GRACE_SECONDS)
    if not finished():
        instance.report_run_canceled(run, message="Its process is gone: it was cancelled.")


def _end(process: psutil.Process) -> None:
    """Ask the process to end, and kill one that does not hear.

    By the signal that Dagster's own thread in the process would send: while a library holds the
    interpreter that thread does not run, and the code server waits for it for ever.
    """
    with suppress(psutil.NoSuchProcess):
        process.send_signal(signal.SIGINT)
        try:
            process.wait(_GRACE_SECONDS)
        except psutil.TimeoutExpired:
            process.kill()
            process.wait(_PATIENCE_SECONDS)


def _process(instance: DagsterInstance, run: DagsterRun) -> psutil.Process | None:
    """The run's process, if it is one of this machine and lives.

    Its number may be another process's by now: that one was started later.
    """
    if "socket" not in json.loads(run.tags.get(".dagster/grpc_info", "{}")):
        return None
    events = instance.get_records_for_run(run.run_id, of_type=DagsterEventType.ENGINE_EVENT)
    for record in events.records:
        event = record.event_log_entry.dagster_event
        pid = event.engine_event_data.metadata.get("pid") if event else None
        if pid is None:
            continue
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(int(str(pid.value)))
            if process.create_time() < record.event_log_entry.timestamp:
                return process
    return None


def _await(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True
