"""`galena train`, `jobs`, `job` and `cancel`: the trainings of tenants' models."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer
from rich.console import Console

from warehouse.errors import GalenaError

if TYPE_CHECKING:
    from orchestration.installation import Installation
    from warehouse.training_jobs import Request

_out = Console()

_ACTOR = "command line"

TenantId = Annotated[str, typer.Argument(metavar="TENANT", help="The tenant's id, such as acme.")]
JobId = Annotated[str, typer.Argument(metavar="JOB", help="As `galena jobs` shows it.")]


def train(
    tenant: Annotated[str, typer.Argument(metavar="[TENANT]", show_default=False)] = "",
    model: Annotated[
        str,
        typer.Option(
            help="lead_model, customer_churn, deal_value or customer_segments.",
            show_default=False,
        ),
    ] = "lead_model",
    algorithm: Annotated[
        list[str] | None,
        typer.Option(help="May serve; more than one may be named. Default: the tenant's settings."),
    ] = None,
    trials: Annotated[
        int | None, typer.Option(min=0, max=1000, help="Search hyperparameters in so many trials.")
    ] = None,
    seconds: Annotated[int | None, typer.Option(min=1, help="Search no longer than this.")] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="CSV or Parquet file of leads with outcomes to learn from instead."),
    ] = None,
    mapping: Annotated[
        Path | None, typer.Option(help="YAML file: which column of the file is what.")
    ] = None,
    again: Annotated[
        str,
        typer.Option(metavar="JOB", help="Do again what a job was to do, on its data."),
    ] = "",
    detach: Annotated[bool, typer.Option("--detach", help="Do not follow it.")] = False,
    due: Annotated[
        bool, typer.Option("--due", help="Show which tenants are due, and why; train none.")
    ] = False,
) -> None:
    """Train a tenant's model, and follow it. It starts while `galena up` runs."""
    from orchestration import training_report
    from orchestration.installation import migrated_installation
    from warehouse import deployment, training_jobs
    from warehouse.models import LEAD_MODEL

    if due:
        with migrated_installation() as found:
            training_report.due(_out, found.database)
        return
    if not tenant:
        raise GalenaError("TENANT is missing: name the tenant whose model is to be trained.")
    if again and (data or mapping or algorithm or trials is not None or seconds is not None):
        raise GalenaError("--again does what the job was to do: leave out the other options.")
    if mapping and not data:
        raise GalenaError("--mapping says what a file's columns are: name the file with --data.")
    name = deployment.read_name(model)
    if name != LEAD_MODEL and (data or algorithm or trials is not None or seconds is not None):
        raise GalenaError(f"--model {name}: leave out the other options, which are of lead_model.")
    request = training_jobs.Request(
        model=name, algorithms=_algorithms(algorithm or []), trials=trials, seconds=seconds
    )
    with migrated_installation() as found:
        if data is not None:
            job_id = _queue_file(found, tenant, data, mapping, request)
        else:
            job_id = _queue(found, tenant, again, request)
        _out.print(f"Training of {tenant} is queued as job {job_id}.")
        if not found.is_up():
            _out.print("It starts while `galena up` runs, which it does not now.")
        elif not detach:
            training_report.follow(_out, found.database, tenant, job_id)


def jobs(
    tenant: Annotated[str, typer.Argument(metavar="[TENANT]", help="Default: all tenants.")] = "",
) -> None:
    """The trainings, the newest first."""
    from orchestration import training_report
    from orchestration.installation import migrated_installation

    with migrated_installation() as found:
        _settle(found)
        training_report.jobs(_out, found.database, tenant)


def job(
    tenant: TenantId,
    job: JobId,
    follow: Annotated[bool, typer.Option("--follow", help="Until it has ended.")] = False,
    delete: Annotated[
        bool, typer.Option("--delete", help="Delete it with its log; its model stays.")
    ] = False,
) -> None:
    """A training: what it is at, its figures and its log."""
    from orchestration import training_report
    from orchestration.installation import migrated_installation
    from warehouse import training_jobs

    with migrated_installation() as found:
        _settle(found)
        if delete:
            with found.database.tenant(tenant) as connection:
                training_jobs.delete(connection, tenant, job, actor=_ACTOR)
            _out.print(f"Job {job} is gone.")
        elif follow and found.is_up():
            training_report.follow(_out, found.database, tenant, job)
        else:
            training_report.job(_out, found.database, tenant, job)


def cancel(tenant: TenantId, job: JobId) -> None:
    """Cancel a training: its process ends, and it registers no model."""
    from orchestration import runs, training_runs
    from orchestration.installation import migrated_installation
    from warehouse.training_jobs import OPEN

    with migrated_installation() as found, runs.instance_of(found) as instance:
        ended = training_runs.cancel(instance, found.database, tenant, job, actor=_ACTOR)
    if ended.status in OPEN:
        _out.print(f"Job {job} ends as soon as its training takes note.")
    else:
        _out.print(f"Job {job} is {ended.status}.")


def configure(
    tenant: TenantId,
    file: Annotated[Path, typer.Option(help="YAML file, as `galena tenant settings` prints it.")],
) -> None:
    """Decide how a tenant's models are trained, from the next training on."""
    from orchestration.installation import migrated_installation
    from warehouse import training_settings

    decided = training_settings.load(file)
    with migrated_installation() as found, found.database.tenant(tenant) as connection:
        training_settings.save(connection, tenant, decided, actor=_ACTOR)
    _out.print(f"The next training of {tenant} goes by {file.name}.", soft_wrap=True)


def settings(tenant: TenantId) -> None:
    """Print how a tenant's models are trained, as YAML to edit."""
    from orchestration.installation import migrated_installation
    from warehouse import training_settings

    with migrated_installation() as found, found.database.tenant(tenant) as connection:
        typer.echo(training_settings.to_yaml(training_settings.find(connection, tenant)), nl=False)


def _algorithms(names: list[str]) -> tuple[str, ...]:
    from ml.settings import AlgorithmName

    known = get_args(AlgorithmName)
    for name in names:
        if name not in known:
            raise GalenaError(f"--algorithm: got {name!r}; expected one of {', '.join(known)}.")
    return tuple(names)


def _queue(found: "Installation", tenant: str, again: str, request: "Request") -> str:
    from warehouse import training_jobs

    with found.database.tenant(tenant) as connection:
        if again:
            return training_jobs.again(connection, tenant, again, requested_by=_ACTOR)
        return training_jobs.create(connection, tenant, request, requested_by=_ACTOR)


def _queue_file(
    found: "Installation", tenant: str, data: Path, mapping: Path | None, request: "Request"
) -> str:
    from orchestration import training_report
    from warehouse import imports, tenants, training_files

    known = imports.load_mapping(mapping) if mapping else None
    with found.database.tenant(tenant) as connection:
        horizon_days = tenants.find(connection).horizon_days
    with _out.status("reading and checking"):
        file = training_files.read(data, known, now=datetime.now(UTC), horizon_days=horizon_days)
    training_report.file(_out, file)
    with found.database.tenant(tenant) as connection:
        return training_files.queue(connection, tenant, file, request, requested_by=_ACTOR)


def _settle(found: "Installation") -> None:
    """While `galena up` does not run, nobody else notes that runs have ended."""
    from warehouse import training_jobs

    if training_jobs.open_jobs(found.database):
        from orchestration import runs
        from sensors.training_requests import settle

        with runs.instance_of(found) as instance:
            settle(instance, found.database)
