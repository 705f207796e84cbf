"""The Dagster runs that were started for jobs: which run is a job's, and why a run has failed."""

from dagster import DagsterEventType, DagsterInstance, DagsterRun, RunsFilter
from dagster_shared.error import SerializableErrorInfo


def run_of(
    instance: DagsterInstance, tag: str, job_id: str, run_id: str | None = None
) -> DagsterRun | None:
    """The newest run that was started for the job, or else the one that works on it.

    tag: on runs that were started for a job of its kind, such as training_jobs.RUN_TAG.
    """
    started = instance.get_runs(RunsFilter(tags={tag: job_id}), limit=1)
    if started:
        return started[0]
    return instance.get_run_by_id(run_id) if run_id else None


def reason(instance: DagsterInstance, run: DagsterRun) -> str:
    """The first line of what went wrong in the run."""
    for kind in (DagsterEventType.STEP_FAILURE, DagsterEventType.RUN_FAILURE):
        for record in instance.get_records_for_run(run.run_id, of_type=kind).records:
            event = record.event_log_entry.dagster_event
            if event is None:
                continue
            if event.is_step_failure and event.step_failure_data.error is not None:
                return _innermost(event.step_failure_data.error)
            # What Dagster says of a process that is gone.
            if event.message and "outside the execution context" not in event.message:
                return event.message.strip().splitlines()[0]
    return "its process ended before it did: killed, or out of memory"


def _innermost(error: SerializableErrorInfo) -> str:
    while error.cause is not None:
        error = error.cause
    return error.message.strip().splitlines()[0]
