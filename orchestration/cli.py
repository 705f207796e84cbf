"""The `galena` command. Each error is one sentence with a way out, never a traceback."""

import getpass
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.markup import escape

from ai.errors import LanguageModelError
from orchestration import prediction_commands, training_commands
from orchestration.ab_commands import test_app
from orchestration.fake_provider_command import fake_provider
from orchestration.key_commands import keys_app
from orchestration.lead_commands import lead_app
from orchestration.llm_check_command import llm_check
from orchestration.llm_commands import llm_app
from orchestration.model_commands import model_app
from orchestration.source_commands import source_app
from warehouse.errors import GalenaError

app = typer.Typer(
    help="Lead scores with reasons from a CRM's data, for many tenants.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
tenant_app = typer.Typer(
    help="The tenants: who there is, coming, pausing, going.", no_args_is_help=True
)
app.add_typer(tenant_app, name="tenant")
app.add_typer(keys_app, name="keys")
app.add_typer(lead_app, name="lead")
app.add_typer(llm_app, name="llm")
app.add_typer(model_app, name="model")
app.add_typer(source_app, name="source")
app.add_typer(test_app, name="test")
app.command()(fake_provider)
llm_app.command("check")(llm_check)

_out = Console()
_errors = Console(stderr=True, soft_wrap=True)

# Typer ends with this, without a word, when a command raises KeyboardInterrupt.
_INTERRUPTED = 130

TenantId = Annotated[str, typer.Argument(metavar="TENANT", help="The tenant's id, such as acme.")]


def main() -> None:
    """Run the command; exit 1 after an error, 2 after a wrong call, 130 after Ctrl-C."""
    try:
        ended = app(standalone_mode=False)
        if ended == _INTERRUPTED:
            _errors.print("Interrupted.")
        sys.exit(ended)
    except (KeyboardInterrupt, typer.Abort):
        _errors.print("Interrupted.")
        sys.exit(_INTERRUPTED)
    except typer.TyperException as error:
        # Without arguments the help has been printed, and there is nothing more to say.
        if not error.format_message():
            sys.exit(2)
        _fail(f"{error.format_message().rstrip('.')}: `galena --help` shows how.", error.exit_code)
    except Exception as error:
        if os.environ.get("GALENA_DEBUG"):
            raise
        _fail(_sentence(error))


def _sentence(error: Exception) -> str:
    """What went wrong, and the way out."""
    from sqlalchemy.exc import OperationalError

    if isinstance(error, GalenaError | LanguageModelError):
        return str(error)
    if isinstance(error, OperationalError):
        reason = str(error.orig).strip().splitlines()[-1]
        return f"PostgreSQL cannot be reached ({reason}): check GALENA_DATABASE_URL and the server."
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename} cannot be used: {error.strerror}. Mend that and try again."
    return (
        f"{type(error).__name__}: {error}. This is a defect of Galena: with GALENA_DEBUG=1 the"
        " same command shows where, for a report."
    )


@app.command()
def up(
    port: Annotated[
        int, typer.Option(help="The webserver's port, or the next that is free.")
    ] = 3000,
    samples: Annotated[
        bool, typer.Option("--samples", help="Add the sample tenants that are not there.")
    ] = False,
    once: Annotated[
        bool, typer.Option("--once", help="Show the scores, then stop everything.")
    ] = False,
    mlflow: Annotated[bool, typer.Option("--mlflow", help="Show MLflow's UI too.")] = False,
) -> None:
    """Start PostgreSQL and Dagster, score tenants that have no scores yet, stay until Ctrl-C."""
    from orchestration import up as running

    running.up(_out, port=port, with_samples=samples, once=once, mlflow_ui=mlflow)


@app.command()
def migrate() -> None:
    """Bring the database to the schema of this Galena."""
    from orchestration.installation import installation
    from warehouse import migrate as migrations

    with installation() as found:
        revision = migrations.migrate(found.settings.owner_url)
    _out.print(f"The database is at revision {revision}.")


@app.command("import")
def import_file(
    file: Annotated[Path, typer.Argument(help="A CSV or Parquet file.", show_default=False)],
    tenant: Annotated[str, typer.Option(help="The tenant whose records these are.")] = "",
    mapping: Annotated[
        Path | None,
        typer.Option(help="YAML file: which column is what; default: the proposed one."),
    ] = None,
    table: Annotated[
        str | None,
        typer.Option(help="leads, interactions, customers or deals; default: what it looks like."),
    ] = None,
    propose: Annotated[
        bool, typer.Option("--propose", help="Print a mapping to edit; import nothing.")
    ] = False,
    accept: Annotated[
        bool,
        typer.Option(
            "--accept",
            help="Publish the file though the data checks block it; later files are measured"
            " against it.",
        ),
    ] = False,
) -> None:
    """Import leads, interactions, customers or deals. Rows that cannot be used are set aside; of a
    file that would spoil scores nothing is published."""
    from orchestration import report
    from orchestration.installation import migrated_installation
    from warehouse import imports

    if propose:
        rows = imports.read_table(file).rows
        typer.echo(imports.propose_mapping(rows, table).to_yaml(), nl=False)
        return
    if not tenant:
        raise GalenaError("--tenant is missing: name the tenant whose records these are.")
    known = imports.load_mapping(mapping) if mapping else None
    with migrated_installation() as found, _out.status("importing") as shown:
        imported = imports.import_file(
            found.database,
            tenant,
            file,
            known,
            table=table,
            now=datetime.now(UTC),
            accepted_by=getpass.getuser() if accept else None,
            progress=lambda step, done: shown.update(f"{step} ({done:.0%})"),
        )
    report.imported(_out, imported)


@app.command()
def scores(
    tenant: TenantId,
    limit: Annotated[int, typer.Option(help="How many leads.", min=1)] = 10,
) -> None:
    """The leads most likely to convert, with the reasons."""
    from orchestration import report
    from orchestration.installation import migrated_installation

    with migrated_installation() as found:
        if not report.tenant_scores(_out, found.database, tenant, limit):
            raise GalenaError(
                f"Tenant {tenant!r} has no scores yet: import its leads and leave `galena up`"
                " running."
            )


@app.command()
def status() -> None:
    """Each tenant's model and scores; how soon changes are rescored, and what is wrong."""
    from orchestration import report
    from orchestration.installation import migrated_installation

    with migrated_installation() as found:
        report.status(_out, found.database)


@app.command()
def alerts(
    tenant: Annotated[str, typer.Argument(metavar="[TENANT]", help="Default: all tenants.")] = "",
) -> None:
    """What is wrong, and since when."""
    from orchestration import report
    from orchestration.installation import migrated_installation

    with migrated_installation() as found:
        report.alerts(_out, found.database, tenant)


@app.command()
def accept(
    tenant: TenantId,
    source: Annotated[
        str, typer.Argument(help="A CRM database's id, or crm_records for the published records.")
    ],
) -> None:
    """Let what the data checks blocked pass when it is read or checked again."""
    from orchestration.installation import migrated_installation
    from warehouse.loads import verdicts
    from warehouse.sources import registry

    with migrated_installation() as found, found.database.tenant(tenant) as connection:
        accepted = verdicts.accept(connection, tenant, source, actor=getpass.getuser())
        if source != verdicts.RECORDS:
            registry.want_load(connection, tenant, source)
    _out.print(f"Accepted: {', '.join(accepted)}; it passes when it is read again.", markup=False)


@app.command()
def retry(tenant: TenantId) -> None:
    """Try again at once to score the leads that could not be scored."""
    from orchestration.installation import migrated_installation
    from warehouse import queue

    with migrated_installation() as found, found.database.tenant(tenant) as connection:
        leads = queue.retry(connection, tenant)
    _out.print(
        f"What waited for another attempt is due now; {leads:,} failed leads are queued again."
    )


for job_command in (
    training_commands.train,
    training_commands.jobs,
    training_commands.job,
    training_commands.cancel,
    prediction_commands.predict,
    prediction_commands.predictions,
    prediction_commands.prediction,
):
    app.command()(job_command)


@tenant_app.command("add")
def add_tenant(
    tenant: TenantId,
    name: Annotated[str, typer.Option(help="Its name for people; default the id.")] = "",
    horizon_days: Annotated[
        int,
        typer.Option(min=1, max=365, help="A score is the chance to convert within so many days."),
    ] = 30,
) -> None:
    """Add a tenant. Its first import starts its first scoring while `galena up` runs."""
    from orchestration.installation import migrated_installation
    from warehouse import tenants

    with migrated_installation() as found:
        if not tenants.add(found.database, tenant, name, horizon_days):
            raise GalenaError(
                f"There is a tenant {tenant!r} already: import into it, or choose another id."
            )
    _out.print(f"Tenant {tenant} added. Next: galena import --tenant {tenant} leads.csv")


@tenant_app.command("list")
def list_tenants() -> None:
    """The tenants and what they hold."""
    from orchestration import report
    from orchestration.installation import migrated_installation

    with migrated_installation() as found:
        report.tenant_list(_out, found.database)


@tenant_app.command("pause")
def pause_tenant(tenant: TenantId) -> None:
    """Keep a tenant as it is: nothing is computed for it until it is resumed."""
    _set_status(tenant, "paused")


@tenant_app.command("resume")
def resume_tenant(tenant: TenantId) -> None:
    """Let a paused tenant be computed again."""
    _set_status(tenant, "active")


@tenant_app.command("remove")
def remove_tenant(
    tenant: TenantId,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Erase a tenant: its records, scores, models, experiments, runs and logins."""
    from orchestration import erasure
    from orchestration.installation import migrated_installation

    if not yes:
        typer.confirm(f"Erase everything of tenant {tenant}, for good?", abort=True)
    with migrated_installation() as found:
        erased = erasure.erase(found, tenant)
    for place, number in erased.deleted.items():
        if number:
            _out.print(f"{place}: {number:,}")
    for line in erased.to_do:
        _out.print(line, markup=False, soft_wrap=True)
    _out.print(f"Tenant {tenant} is gone.")


tenant_app.command("settings")(training_commands.settings)
tenant_app.command("configure")(training_commands.configure)
tenant_app.command("webhook")(prediction_commands.webhook)


@tenant_app.command("reader")
def add_reader(
    tenant: TenantId,
    login: Annotated[
        str, typer.Option(help="Name of the login; default galena_reader_TENANT.")
    ] = "",
) -> None:
    """Print the URL of a login that reads this tenant's views; its password is shown only here."""
    from orchestration.installation import migrated_installation
    from warehouse import tenants

    with migrated_installation() as found:
        with found.database.tenant(tenant):
            pass
        role = login or f"galena_reader_{tenant}".replace("-", "_")
        url = tenants.add_reader(found.settings.owner_url, tenant, role)
    typer.echo(url)


def _set_status(tenant: str, status: str) -> None:
    from orchestration.installation import migrated_installation
    from warehouse import tenants

    with migrated_installation() as found:
        tenants.set_status(found.database, tenant, "paused" if status == "paused" else "active")
    _out.print(f"Tenant {tenant} is {status}.")


def _fail(message: str, exit_code: int = 1) -> NoReturn:
    _errors.print(f"[red]Error:[/red] {escape(message)}", highlight=False)
    sys.exit(exit_code)
