"""Dagster's runs, as the command sees them: followed while they work, ended when orphaned."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from dagster import DagsterEventType, DagsterInstance, DagsterRun, DagsterRunStatus, RunsFilter
from dagster_shared.error import SerializableErrorInfo
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from sensors.tenants import MOST_ATTEMPTS, failed_runs, runs_of

_STEPS = 5
_COLUMNS = (
    SpinnerColumn(finished_text="[green]✓[/green]"),
    TextColumn("{task.fields[tenant_id]:16}"),
    BarColumn(bar_width=20),
    TextColumn("{task.description:16}"),
    TimeElapsedColumn(),
)
_ENDED = (DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED)
_IN_PROGRESS = [
    DagsterRunStatus.STARTING,
    DagsterRunStatus.STARTED,
    DagsterRunStatus.CANCELING,
]


@dataclass(frozen=True)
class FailedRun:
    tenant_id: str
    run_id: str
    reason: str


@contextmanager
def instance() -> Iterator[DagsterInstance]:
    """The Dagster instance that DAGSTER_HOME describes."""
    with DagsterInstance.get() as found:
        yield found


def fail_orphans(instance: DagsterInstance) -> None:
    """End the runs whose processes ended with an earlier `galena up`: nobody else would."""
    for run in instance.get_runs(RunsFilter(statuses=_IN_PROGRESS)):
        instance.report_run_failed(run, "Its process ended together with `galena up`.")


def follow_first_runs(
    console: Console, instance: DagsterInstance, tenant_ids: Sequence[str]
) -> list[FailedRun]:
    """Show the first run of each tenant until all have ended; return those that failed."""
    began = datetime.now(UTC)
    failed: list[FailedRun] = []
    waiting = set(tenant_ids)
    with Progress(*_COLUMNS, console=console) as progress:
        tasks = {
            tenant_id: progress.add_task("waiting", total=_STEPS, tenant_id=tenant_id)
            for tenant_id in tenant_ids
        }
        while waiting:
            time.sleep(0.5)
            for tenant_id in sorted(waiting):
                run = _newest_run(instance, tenant_id, began)
                if run is None:
                    continue
                done, now_at = _steps(instance, run)
                progress.update(tasks[tenant_id], completed=done, description=now_at)
                if run.status in _ENDED:
                    waiting.remove(tenant_id)
                    progress.stop_task(tasks[tenant_id])
                    if run.status is not DagsterRunStatus.SUCCESS:
                        failed.append(FailedRun(tenant_id, run.run_id, _reason(instance, run)))
    return failed


def _newest_run(instance: DagsterInstance, tenant_id: str, began: datetime) -> DagsterRun | None:
    """The tenant's run of this start; after too many failed attempts the last of those."""
    created_after = None if failed_runs(instance, tenant_id) >= MOST_ATTEMPTS else began
    runs = instance.get_runs(runs_of(tenant_id, created_after=created_after), limit=1)
    return runs[0] if runs else None


def _steps(instance: DagsterInstance, run: DagsterRun) -> tuple[int, str]:
    """How many steps have ended, and the words for what it is at."""
    if run.status is DagsterRunStatus.SUCCESS:
        return _STEPS, "scored"
    stats = instance.get_run_step_stats(run.run_id)
    done = sum(step.end_time is not None for step in stats)
    at = next((step.step_key for step in stats if step.end_time is None), None)
    return done, at or run.status.value.lower()


def _reason(instance: DagsterInstance, run: DagsterRun) -> str:
    """The first line of what went wrong first."""
    for record in instance.get_records_for_run(
        run.run_id, of_type=DagsterEventType.STEP_FAILURE
    ).records:
        event = record.event_log_entry.dagster_event
        error = event.step_failure_data.error if event is not None else None
        if error is not None:
            return _innermost(error)
    return run.status.value.lower()


def _innermost(error: SerializableErrorInfo) -> str:
    while error.cause is not None:
        error = error.cause
    return error.message.strip().splitlines()[0]
