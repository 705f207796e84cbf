"""Ends batches of predictions that are cancelled, whatever has become of their processes."""

from dagster import DagsterInstance

from orchestration.run_processes import await_true, terminate
from sensors.job_runs import run_of
from sensors.prediction_requests import settle
from warehouse import prediction_jobs
from warehouse.database import Database
from warehouse.prediction_jobs import RUN_TAG, PredictionJob

# A batch that is at work ends with its present block of items, in a second or two.
_GRACE_SECONDS = 5.0


def cancel(
    instance: DagsterInstance, database: Database, tenant_id: str, job_id: str, *, actor: str
) -> PredictionJob:
    """Cancel a batch: no item of it is done from here on. Return it as it has ended.

    Raises GalenaError when it has ended already.
    """

    def now() -> PredictionJob:
        with database.tenant(tenant_id) as connection:
            return prediction_jobs.find(connection, tenant_id, job_id)

    with database.tenant(tenant_id) as connection:
        job = prediction_jobs.ask_to_cancel(connection, tenant_id, job_id, actor=actor)
    if await_true(lambda: now().status not in prediction_jobs.OPEN, _GRACE_SECONDS):
        return now()
    run = run_of(instance, RUN_TAG, job_id, job.run_id)
    if run is not None and run.tags.get("dagster/partition") == tenant_id:
        terminate(instance, run)
    settle(instance, database)
    return now()
