"""Ends the Dagster runs of trainings that are cancelled, whatever has become of their processes."""

from dagster import DagsterInstance

from orchestration.run_processes import await_true, terminate
from sensors.job_runs import run_of
from sensors.training_requests import settle
from warehouse import training_jobs
from warehouse.database import Database
from warehouse.training_jobs import TrainingJob

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
    run = run_of(instance, training_jobs.RUN_TAG, job_id, job.run_id)
    if run is not None and run.tags.get("dagster/partition") == tenant_id:
        terminate(instance, run)
    settle(instance, database)

    def now() -> TrainingJob:
        with database.tenant(tenant_id) as connection:
            return training_jobs.find(connection, tenant_id, job_id)

    await_true(lambda: now().status not in training_jobs.OPEN, _PATIENCE_SECONDS)
    return now()
