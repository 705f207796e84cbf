"""`galena predict`, `predictions`, `prediction` and `tenant webhook`: predictions in batches."""

import getpass
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from warehouse.errors import GalenaError

if TYPE_CHECKING:
    from sqlalchemy import Connection

_out = Console()

TenantId = Annotated[str, typer.Argument(metavar="TENANT", help="The tenant's id, such as acme.")]
JobId = Annotated[str, typer.Argument(metavar="JOB", help="As `galena predictions` shows it.")]


def predict(
    tenant: TenantId,
    model: Annotated[
        int | None, typer.Option(help="Version of any model; default: the lead model that serves.")
    ] = None,
    id: Annotated[
        list[str] | None, typer.Option(help="Of a lead, customer or deal; may be repeated.")
    ] = None,
    ids: Annotated[
        typer.FileText | None, typer.Option(help="A file with an id in each line; - reads them.")
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(help="CSV or Parquet: a prediction for each row, of the row's own columns."),
    ] = None,
    mapping: Annotated[
        Path | None, typer.Option(help="YAML file: which column of the file is what.")
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="Open records with this attribute; repeatable."),
    ] = None,
    created_after: Annotated[str, typer.Option(help="Open records created after this time.")] = "",
    created_before: Annotated[str, typer.Option(help="And before this one.")] = "",
    limit: Annotated[int | None, typer.Option(help="The first so many of them by id.")] = None,
    every: Annotated[bool, typer.Option("--all", help="All open records.")] = False,
    detach: Annotated[bool, typer.Option("--detach", help="Do not follow it.")] = False,
) -> None:
    """Predict a batch of records, and follow it. It starts while `galena up` runs."""
    from orchestration import prediction_report
    from orchestration.installation import migrated_installation

    named = [*(id or []), *(line.strip() for line in ids or [] if line.strip())]
    query = {
        "where": _pairs(where or []),
        "created_after": created_after,
        "created_before": created_before,
        "limit": limit,
    }
    query = {name: value for name, value in query.items() if value not in ({}, "", None)}
    if sum([bool(named), file is not None, bool(query) or every]) != 1:
        raise GalenaError(
            "Name what is to be predicted in one way: by --id or --ids, by --file, or by --where,"
            " --created-after, --created-before, --limit or --all."
        )
    if mapping and not file:
        raise GalenaError("--mapping says what a file's columns are: name the file with --file.")
    with migrated_installation() as found:
        with _out.status("queueing"), found.database.tenant(tenant) as connection:
            job_id = _queue(connection, tenant, model, named, file, mapping, query)
        _out.print(f"Prediction of {tenant} is queued as job {job_id}.")
        if not found.is_up():
            _out.print("It starts while `galena up` runs, which it does not now.")
        elif not detach:
            prediction_report.follow(_out, found.database, tenant, job_id)


def predictions(tenant: TenantId) -> None:
    """The batches of predictions, the newest first."""
    from orchestration import prediction_report
    from orchestration.installation import migrated_installation

    with migrated_installation() as found:
        prediction_report.jobs(_out, found.database, tenant)


def prediction(
    tenant: TenantId,
    job: JobId,
    results: Annotated[bool, typer.Option("--results", help="What came of the items.")] = False,
    failures: Annotated[
        bool, typer.Option("--failures", help="Of those alone that have no prediction.")
    ] = False,
    after: Annotated[int, typer.Option(min=0, help="Results behind this item.")] = 0,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="So many of them.")] = 20,
    out: Annotated[Path | None, typer.Option(help="Write all results to this CSV file.")] = None,
    follow: Annotated[bool, typer.Option("--follow", help="Until it has ended.")] = False,
    cancel: Annotated[bool, typer.Option("--cancel", help="Predict no more items of it.")] = False,
    delete: Annotated[
        bool, typer.Option("--delete", help="Delete it with its results, once it has ended.")
    ] = False,
) -> None:
    """A batch of predictions: how far it is, and its results."""
    from orchestration import prediction_report, runs
    from orchestration.installation import migrated_installation
    from warehouse import prediction_jobs, prediction_results

    if sum([results or failures, out is not None, follow, cancel, delete]) > 1:
        raise GalenaError("One thing at a time: --results, --out, --follow, --cancel or --delete.")
    with migrated_installation() as found:
        database = found.database
        if cancel:
            from orchestration import prediction_runs

            with runs.instance_of(found) as instance:
                ended = prediction_runs.cancel(instance, database, tenant, job, actor=_actor())
            _out.print(f"Job {job} is {ended.status}; {ended.done_items:,} items were done.")
        elif follow:
            prediction_report.follow(_out, database, tenant, job)
        elif out is not None:
            written = prediction_report.write(database, tenant, job, out)
            _out.print(f"{written:,} results are in {out}.", soft_wrap=True)
        else:
            with database.tenant(tenant) as connection:
                known = prediction_jobs.find(connection, tenant, job)
                if delete:
                    prediction_jobs.delete(connection, tenant, job, actor=_actor())
                    _out.print(f"Job {job} is gone.")
                elif results or failures:
                    page = prediction_results.page(
                        connection, tenant, job, after=after, limit=limit, failures=failures
                    )
                    prediction_report.results(_out, tenant, job, page, limit)
                else:
                    prediction_report.job(_out, known)


def webhook(
    tenant: TenantId,
    url: Annotated[
        str, typer.Option(help="Where events are sent: https, or http on this machine.")
    ] = "",
    secret_variable: Annotated[
        str,
        typer.Option(metavar="NAME", help="The environment variable that holds the secret."),
    ] = "",
    remove: Annotated[bool, typer.Option("--remove", help="Send nothing any more.")] = False,
) -> None:
    """Have a tenant's events sent to a URL, signed; without options, show where they are sent."""
    import os

    from orchestration.installation import migrated_installation
    from warehouse import webhooks

    if bool(url) != bool(secret_variable) or (remove and url):
        raise GalenaError("Give --url and --secret-variable together, or --remove alone.")
    with migrated_installation() as found, found.database.tenant(tenant) as connection:
        if remove:
            gone = webhooks.remove(connection, tenant, actor=_actor())
            _out.print("Nothing is sent any more." if gone else "There was no webhook.")
        elif url:
            webhooks.configure(connection, tenant, url, secret_variable, actor=_actor())
            if os.environ.get(secret_variable):
                webhooks.secret_of(secret_variable)
                _out.print(f"Events of {tenant} are signed with what is in {secret_variable}.")
            else:
                _out.print(
                    f"Set {secret_variable} where `galena up` starts, and give the secret to the"
                    " receiver. It is stored nowhere and shown only here:",
                    soft_wrap=True,
                )
                typer.echo(webhooks.new_secret())
        else:
            known = webhooks.find(connection, tenant)
            _out.print(
                f"Events are sent to {known.url}, signed with what is in {known.secret_variable}."
                if known
                else f"Tenant {tenant} has no webhook: --url sets one.",
                markup=False,
                soft_wrap=True,
            )


def _queue(
    connection: "Connection",
    tenant: str,
    version: int | None,
    named: Sequence[str],
    file: Path | None,
    mapping: Path | None,
    query: dict[str, Any],
) -> str:
    from warehouse import imports, prediction_files, prediction_items

    asked: dict[str, Any] = {"version": version, "requested_by": _actor()}
    if file is not None:
        known = imports.load_mapping(mapping) if mapping else None
        return prediction_files.queue_file(connection, tenant, file, known, **asked)
    if named:
        return prediction_items.queue_ids(connection, tenant, named, **asked)
    found = prediction_items.parse_query(query)
    return prediction_items.queue_query(connection, tenant, found, **asked)


def _pairs(where: Sequence[str]) -> dict[str, str]:
    pairs = {}
    for one in where:
        name, equals, value = one.partition("=")
        if not (name and equals):
            raise GalenaError(f"--where: got {one!r}; expected NAME=VALUE, such as source=web.")
        pairs[name] = value
    return pairs


def _actor() -> str:
    return getpass.getuser()
