"""What the commands of trainings print: jobs, their logs, their progress, and who is due."""

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn
from rich.table import Table

from warehouse import customer_predictions, models, retraining, tenants, training_jobs
from warehouse.database import Database
from warehouse.open_jobs import OPEN
from warehouse.training_files import LabelledFile
from warehouse.training_jobs import Event, TrainingJob

_EVERY_SECONDS = 0.5
_INTERRUPTED = 130
PROGRESS = (
    SpinnerColumn(),
    BarColumn(bar_width=20),
    TaskProgressColumn(),
    TextColumn("{task.description}"),
)


def jobs(console: Console, database: Database, tenant_id: str) -> None:
    """The newest jobs of one tenant, or of all."""
    table = _table(
        "tenant", "job", "status", "done", "step", "of", "algorithm", "model", "asked (UTC)"
    )
    every = [tenant.tenant_id for tenant in tenants.find_all(database) if _is_there(tenant)]
    for owner in [tenant_id] if tenant_id else every:
        with database.tenant(owner) as connection:
            found = training_jobs.find_all(connection, owner)
        for one in found:
            table.add_row(
                owner,
                one.job_id,
                one.status,
                f"{one.progress:.0%}",
                escape(one.step),
                one.model_name,
                one.algorithm or "",
                str(one.model_version or ""),
                f"{one.created_at:%Y-%m-%d %H:%M}",
            )
    console.print(table if table.row_count else "There was no training yet.")


def _is_there(tenant: tenants.Tenant) -> bool:
    return tenant.status != "removing"


def job(console: Console, database: Database, tenant_id: str, job_id: str) -> None:
    """All that is known of a job, and its log."""
    with database.tenant(tenant_id) as connection:
        found = training_jobs.find(connection, tenant_id, job_id)
        events = training_jobs.history(connection, tenant_id, job_id)
    for name, value in _lines(found).items():
        console.print(f"{name:14}{value}", markup=False, highlight=False, soft_wrap=True)
    for event in events:
        console.print(_event(event), markup=False, highlight=False, soft_wrap=True)


def follow(console: Console, database: Database, tenant_id: str, job_id: str) -> None:
    """Show how far the job is until it has ended. Ctrl-C leaves it alone, and says so."""
    try:
        ended = _followed(console, database, tenant_id, job_id)
    except KeyboardInterrupt:
        console.print(
            f"Job {job_id} goes on: `galena job {tenant_id} {job_id} --follow` shows it,"
            f" `galena cancel {tenant_id} {job_id}` ends it."
        )
        raise typer.Exit(_INTERRUPTED) from None
    if ended.status == "completed" and ended.model_version is None:
        with database.tenant(tenant_id) as connection:
            lacks = customer_predictions.lacking(connection, tenant_id).get(ended.model_name, "")
        console.print(f"There is no {ended.model_name}: {lacks}.", markup=False, soft_wrap=True)
        return
    console.print(_outcome(database, tenant_id, ended), markup=False, soft_wrap=True)
    if ended.status != "completed":
        raise typer.Exit(1)


def _followed(console: Console, database: Database, tenant_id: str, job_id: str) -> TrainingJob:
    with Progress(*PROGRESS, console=console, transient=True) as progress:
        task, last, said = progress.add_task("waiting", total=1.0), 0, ""
        while True:
            with database.tenant(tenant_id) as connection:
                found = training_jobs.find(connection, tenant_id, job_id)
                events = training_jobs.history(connection, tenant_id, job_id, after=last)
            for event in events:
                last = event.event_id
                # A line for each step; the figures in between are the bar's.
                if event.step != said:
                    console.print(_event(event), markup=False, highlight=False, soft_wrap=True)
                said = event.step
            if found.status not in OPEN:
                return found
            words = ", ".join([found.step, *_figures(found.metrics), *_until(found)])
            progress.update(task, completed=found.progress, description=escape(words))
            time.sleep(_EVERY_SECONDS)


def _until(found: TrainingJob) -> Sequence[str]:
    if found.estimated_completion is None:
        return []
    left = (found.estimated_completion - datetime.now(UTC)).total_seconds()
    return [f"about {max(left, 0):.0f} s left"]


def _outcome(database: Database, tenant_id: str, ended: TrainingJob) -> str:
    if ended.status != "completed":
        return f"Job {ended.job_id} is {ended.status}: {ended.error}"
    said = f"Job {ended.job_id} is completed: model version {ended.model_version} of {tenant_id}"
    if ended.model_version is None:
        return f"{said}."
    with database.tenant(tenant_id) as connection:
        status = models.find(connection, tenant_id, ended.model_version).status
    command = f"`galena model {{}} {tenant_id} {ended.model_version}`"
    words = {
        "deployed": "it serves",
        "awaiting_approval": f"it waits for {command.format('approve')}",
        "rejected": f"it does not serve, and {command.format('show')} says why",
        "registered": "it does not serve by itself: it learnt from a file, or from former data",
    }.get(status, f"it is {status}")
    return f"{said}, {ended.algorithm}; {words}. {', '.join(_figures(ended.metrics))}"


def due(console: Console, database: Database) -> None:
    """The tenants that are due to be trained again, and why."""
    table = _table("tenant", "trained (UTC)", "why")
    for one in retraining.due(database, now=datetime.now(UTC)):
        table.add_row(one.tenant_id, f"{one.trained_at:%Y-%m-%d %H:%M}", one.why)
    console.print(table if table.row_count else "No tenant is due to be trained again.")


def file(console: Console, found: LabelledFile) -> None:
    """What a file of labelled leads holds, and why rows of it are set aside."""
    rejected = sum(found.reasons.values())
    console.print(
        f"{found.name}: {found.read:,} rows read, {found.leads:,} leads, {rejected:,} set aside;"
        f" {found.rows.height:,} labelled moments, {found.rows['label'].sum():,} of them before a"
        " conversion",
        markup=False,
        soft_wrap=True,
    )
    for reason, rows in found.reasons.items():
        console.print(f"  set aside: {rows:,} x {reason}", markup=False)
    if rejected:
        console.print("  crm.rejected_rows holds each of them with its reason.")


def _lines(found: TrainingJob) -> dict[str, str]:
    times = {
        "asked": found.created_at,
        "started": found.started_at,
        "ended": found.ended_at,
        "expected": found.estimated_completion,
    }
    said: dict[str, Any] = {
        "job": found.job_id,
        "status": f"{found.status}, {found.progress:.0%}, {found.step}",
        "error": found.error,
        "algorithm": found.algorithm,
        "model version": found.model_version,
        "metrics": ", ".join(_figures(found.metrics)),
        "hyperparam.": _pairs(found.hyperparameters),
        "data": _pairs(found.training_data),
        "validation": _pairs(found.validation_config),
        "request": _pairs(found.request),
        "requested by": found.requested_by,
        "Dagster run": found.run_id,
        **{name: f"{at:%Y-%m-%d %H:%M:%S} UTC" for name, at in times.items() if at},
    }
    return {name: str(value) for name, value in said.items() if value not in (None, "")}


def _pairs(document: Mapping[str, Any]) -> str:
    known = {name: value for name, value in document.items() if value not in (None, [], ())}
    return ", ".join(f"{name} {value}" for name, value in known.items())


def _event(event: Event) -> str:
    return f"{event.at:%H:%M:%S}  {event.share:4.0%}  " + ", ".join(
        [event.step, *_figures(event.metrics)]
    )


def _figures(metrics: Mapping[str, Any]) -> list[str]:
    return [
        f"{name} {value:.4f}" if isinstance(value, float) else f"{name} {value}"
        for name, value in metrics.items()
    ]


def _table(*headings: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table
