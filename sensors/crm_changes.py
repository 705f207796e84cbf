"""The sensor that starts a rescoring run when leads have changed, and one at a time."""

import json
import time

from dagster import (
    DagsterRunStatus,
    DefaultSensorStatus,
    RunRecord,
    RunRequest,
    RunsFilter,
    SensorEvaluationContext,
    SensorResult,
    SkipReason,
    sensor,
)

from assets.rescoring import rescore_changed_leads
from resources.warehouse import Warehouse

_UNFINISHED = [
    DagsterRunStatus.QUEUED,
    DagsterRunStatus.NOT_STARTED,
    DagsterRunStatus.STARTING,
    DagsterRunStatus.STARTED,
    DagsterRunStatus.CANCELING,
]
# A run that has started holds the lock a few seconds later, and until its process ends.
_LOST_AFTER_S = 30
# From its launch to its start: importing on a busy machine. One whose launch failed, because the
# database was away between its creation and that, is never started.
_STUCK_AFTER_S = 90


@sensor(
    job=rescore_changed_leads,
    minimum_interval_seconds=1,
    default_status=DefaultSensorStatus.RUNNING,
)
def crm_changes(context: SensorEvaluationContext, warehouse: Warehouse) -> SensorResult:
    """Starts a rescoring run when leads have changed and none is in flight.

    In flight is a run that holds the lock: one whose process was killed together with its code
    server stays STARTED for ever in Dagster's storage, so that it is ended here.
    """
    from warehouse import queue, rescorings

    waiting = queue.waiting(warehouse.database)
    unreported = rescorings.unreported_tenants(warehouse.database)
    if not waiting and not unreported:
        return _skip("No changed lead is due to be rescored.")
    state = _words(len(waiting), max((w.age_s for w in waiting), default=0.0), len(unreported))
    if queue.lane_is_taken(warehouse.database):
        return _skip(f"A rescoring run is at work. {state}")
    records = context.instance.get_run_records(
        RunsFilter(job_name=rescore_changed_leads.name, statuses=_UNFINISHED), limit=1
    )
    if records and (alive := _may_be_alive(context, records[0])) is not None:
        return _skip(f"{alive} {state}", cursor=_seen(context, records[0]))
    return SensorResult(run_requests=[RunRequest()], cursor="")


def _words(tenants: int, oldest_s: float, unreported: int) -> str:
    if not tenants:
        return f"The rescorings of {unreported} tenants are still to be reported."
    return f"Leads of {tenants} tenants wait, the oldest change for {oldest_s:.0f} s."


def _may_be_alive(context: SensorEvaluationContext, record: RunRecord) -> str | None:
    """Why to wait for this run, which does not hold the lock; None when it was ended as lost."""
    run = record.dagster_run
    if run.status is DagsterRunStatus.QUEUED:
        return "A rescoring run waits for its start."
    patience = _LOST_AFTER_S if record.start_time else _STUCK_AFTER_S
    if time.time() < _first_seen(context, record) + patience:
        return "A rescoring run is starting or ending."
    context.instance.report_run_failed(run, "Its process is gone: it does not hold its lock.")
    return None


def _first_seen(context: SensorEvaluationContext, record: RunRecord) -> float:
    """When this run was first seen without the lock, in its present state."""
    seen = json.loads(context.cursor) if context.cursor else {}
    same = seen.get("run") == record.dagster_run.run_id
    return float(seen["at"]) if same and seen["started"] == bool(record.start_time) else time.time()


def _seen(context: SensorEvaluationContext, record: RunRecord) -> str:
    return json.dumps(
        {
            "run": record.dagster_run.run_id,
            "started": bool(record.start_time),
            "at": _first_seen(context, record),
        }
    )


def _skip(reason: str, cursor: str = "") -> SensorResult:
    return SensorResult(skip_reason=SkipReason(reason), cursor=cursor)
