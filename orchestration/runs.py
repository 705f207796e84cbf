"""Dagster's runs, as the command sees them: followed while they work, ended when orphaned."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from dagster import (
    DagsterInstance,
    DagsterRun,
    DagsterRunStatus,
    RunRecord,
    RunsFilter,
)
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from orchestration.installation import Installation
from sensors.job_runs import reason
from sensors.tenants import INTERRUPTED, MOST_ATTEMPTS, failed_runs, runs_of

_STEPS = 6
_COLUMNS = (
    SpinnerColumn(),
    TextColumn("{task.fields[tenant_id]:16}"),
    BarColumn(bar_width=20),
    TextColumn("{task.description:16}"),
    TimeElapsedColumn(),
)
_ENDED = (DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED)
_IN_PROGRESS = [
    DagsterRunStatus.NOT_STARTED,
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


@contextmanager
def instance_of(found: Installation) -> Iterator[DagsterInstance]:
    """The Dagster instance of the installation; its variables stay set in this process."""
    os.environ.update(found.environment())
    with instance() as opened:
        yield opened


def fail_orphans(instance: DagsterInstance) -> None:
    """End the runs whose processes ended with an earlier `galena up`: nobody else would."""
    for run in instance.get_runs(RunsFilter(statuses=_IN_PROGRESS)):
        instance.add_run_tags(run.run_id, INTERRUPTED)
        instance.report_run_failed(run, "Its process ended together with `galena up`.")


def follow_first_runs(
    console: Console,
    instance: DagsterInstance,
    tenant_ids: Sequence[str],
    check: Callable[[], None],
) -> list[FailedRun]:
    """Show the first run of each tenant until all have ended, a line for each that has; return
    those that failed. check: called between looks, raises when waiting is of no use."""
    began = time.time()
    failed: list[FailedRun] = []
    with Progress(*_COLUMNS, console=console, transient=True) as progress:
        waiting = {
            tenant_id: progress.add_task("waiting", total=_STEPS, tenant_id=tenant_id)
            for tenant_id in tenant_ids
        }
        while waiting:
            time.sleep(0.5)
            check()
            for tenant_id, task in list(waiting.items()):
                record = _newest_run(instance, tenant_id, began)
                if record is None:
                    continue
                run = record.dagster_run
                if run.status not in _ENDED:
                    done, now_at = _steps(instance, run)
                    progress.update(task, completed=done, description=now_at)
                    continue
                del waiting[tenant_id]
                progress.remove_task(task)
                console.print(_outcome(tenant_id, record))
                if run.status is not DagsterRunStatus.SUCCESS:
                    failed.append(FailedRun(tenant_id, run.run_id, reason(instance, run)))
    return failed


def _newest_run(instance: DagsterInstance, tenant_id: str, began: float) -> RunRecord | None:
    """The tenant's run, if it is under way or ended since; after too many failed attempts the
    last of those, for there will be no other."""
    records = instance.get_run_records(runs_of(tenant_id), limit=1)
    if not records:
        return None
    ended = records[0].end_time
    if ended is None or ended >= began or failed_runs(instance, tenant_id) >= MOST_ATTEMPTS:
        return records[0]
    return None


def _outcome(tenant_id: str, record: RunRecord) -> str:
    succeeded = record.dagster_run.status is DagsterRunStatus.SUCCESS
    mark, word = ("[green]✓[/green]", "scored") if succeeded else ("[red]✗[/red]", "failed")
    seconds = (record.end_time or 0) - (record.start_time or record.end_time or 0)
    return f"{mark} {tenant_id}: {word} [dim]({seconds:.1f} s)[/dim]"


def _steps(instance: DagsterInstance, run: DagsterRun) -> tuple[int, str]:
    """How many steps have ended, and the words for what it is at."""
    stats = instance.get_run_step_stats(run.run_id)
    done = sum(step.end_time is not None for step in stats)
    at = next((step.step_key for step in stats if step.end_time is None), None)
    return done, at or run.status.value.lower()
