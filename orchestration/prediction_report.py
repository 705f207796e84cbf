"""What the commands of batch predictions print: jobs, their progress and their results."""

import csv
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from orchestration.training_report import PROGRESS
from warehouse import prediction_jobs, prediction_results
from warehouse.database import Database
from warehouse.open_jobs import OPEN
from warehouse.prediction_jobs import PredictionJob
from warehouse.prediction_results import Result

_EVERY_SECONDS = 0.5
_INTERRUPTED = 130
_PAGE = 5_000
# What a spreadsheet takes for the beginning of a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def jobs(console: Console, database: Database, tenant_id: str) -> None:
    """The tenant's newest jobs."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for heading in ("job", "status", "done", "items", "failed", "model", "of", "asked (UTC)"):
        table.add_column(heading, overflow="fold")
    with database.tenant(tenant_id) as connection:
        found = prediction_jobs.find_all(connection, tenant_id)
    for one in found:
        table.add_row(
            one.job_id,
            one.status,
            f"{one.progress:.0%}",
            f"{one.total_items:,}",
            f"{one.failed_items:,}",
            str(one.model_id),
            escape(_input(one)),
            f"{one.created_at:%Y-%m-%d %H:%M}",
        )
    console.print(table if found else "There was no batch of predictions yet.")


def job(console: Console, found: PredictionJob) -> None:
    """All that is known of a job, but for its results."""
    times = {"asked": found.created_at, "started": found.started_at, "ended": found.ended_at}
    said = {
        "job": found.job_id,
        "status": f"{found.status}, {_counts(found)}",
        "error": found.error,
        "model version": found.model_id,
        "input": _input(found),
        "requested by": found.requested_by,
        "Dagster run": found.run_id,
        **{name: f"{at:%Y-%m-%d %H:%M:%S} UTC" for name, at in times.items() if at},
    }
    for name, value in said.items():
        if value is not None:
            console.print(f"{name:14}{value}", markup=False, highlight=False, soft_wrap=True)


def results(console: Console, tenant_id: str, job_id: str, page: list[Result], limit: int) -> None:
    """A line for each item: what the model says, and its strongest reason, or why nothing."""
    for one in page:
        words = one.error or _words(one)
        line = f"{one.item:>8}  {one.subject_id:20}  {words}"
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    if not page:
        console.print("There are none.")
    elif len(page) == limit:
        console.print(f"More: galena prediction {tenant_id} {job_id} ... --after {page[-1].item}")


def write(database: Database, tenant_id: str, job_id: str, file: Path) -> int:
    """Write all results as CSV: item, id, what the model says by name, error. Return the rows.

    A text that a spreadsheet would take for a formula has ' before it: ids and names are others'.
    """
    with database.tenant(tenant_id) as connection:
        names = prediction_results.names(connection, tenant_id, job_id)
    written = 0
    with file.open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(["item", "id", *names, "error", "predicted_at"])
        for one in _all(database, tenant_id, job_id):
            cells = [(one.prediction or {}).get(name) for name in names]
            row = [one.item, one.subject_id, *cells, one.error, one.predicted_at]
            writer.writerow([_harmless(cell) for cell in row])
            written += 1
    return written


def follow(console: Console, database: Database, tenant_id: str, job_id: str) -> None:
    """Show how far the job is until it has ended. Ctrl-C leaves it alone, and says so."""
    command = f"galena prediction {tenant_id} {job_id}"
    try:
        ended = _followed(console, database, tenant_id, job_id)
    except KeyboardInterrupt:
        console.print(
            f"Job {job_id} goes on: `{command} --follow` shows it, `{command} --cancel` ends it.",
            soft_wrap=True,
        )
        raise typer.Exit(_INTERRUPTED) from None
    error = f": {ended.error}" if ended.error else ""
    console.print(
        f"Job {job_id} is {ended.status}{error}. {_counts(ended)}, by model version"
        f" {ended.model_id}. Next: {command} {'--failures' if ended.failed_items else '--results'}",
        markup=False,
        soft_wrap=True,
    )
    if ended.status != "completed":
        raise typer.Exit(1)


def _followed(console: Console, database: Database, tenant_id: str, job_id: str) -> PredictionJob:
    with Progress(*PROGRESS, console=console, transient=True) as progress:
        task = progress.add_task("waiting", total=1.0)
        while True:
            with database.tenant(tenant_id) as connection:
                found = prediction_jobs.find(connection, tenant_id, job_id)
            if found.status not in OPEN:
                return found
            progress.update(task, completed=found.progress, description=_counts(found))
            time.sleep(_EVERY_SECONDS)


def _all(database: Database, tenant_id: str, job_id: str) -> Iterator[Result]:
    last = 0
    while True:
        with database.tenant(tenant_id) as connection:
            page = prediction_results.page(
                connection, tenant_id, job_id, after=last, limit=_PAGE, reasons=False
            )
        yield from page
        if len(page) < _PAGE:
            return
        last = page[-1].item


def _harmless(cell: Any) -> Any:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA) else cell


def _counts(found: PredictionJob) -> str:
    return (
        f"{found.completed_items:,} of {found.total_items:,} items predicted,"
        f" {found.failed_items:,} failed"
    )


def _input(found: PredictionJob) -> str:
    match dict(found.input):
        case {"ids": number}:
            return f"{number:,} ids"
        case {"file": name}:
            return f"file {name}"
        case {"query": query}:
            return f"query {json.dumps(query)}" if query else "all that are open"
        case _:
            return ""


def _words(one: Result) -> str:
    said = [f"{name} {_value(value)}" for name, value in (one.prediction or {}).items()]
    return ", ".join([*said, *(reason["explanation"] for reason in (one.reasoning or [])[:1])])


def _value(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
