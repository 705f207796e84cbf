"""`galena model`: the versions of tenants' models, and which of them serve."""

import getpass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

if TYPE_CHECKING:
    from orchestration.installation import Installation

model_app = typer.Typer(
    help="Models: their versions, which serve, and what was decided about them.",
    no_args_is_help=True,
)

_out = Console()

TenantId = Annotated[str, typer.Argument(metavar="TENANT", help="The tenant's id, such as acme.")]
Version = Annotated[
    int, typer.Argument(metavar="VERSION", help="As `galena model list` shows it.", min=1)
]
Why = Annotated[str, typer.Option(help="The reason, for the audit trail.")]
ModelName = Annotated[
    str,
    typer.Option("--name", help="lead_model, customer_churn, deal_value or customer_segments."),
]


@model_app.command("list")
def list_versions(tenant: TenantId, name: ModelName = "") -> None:
    """The versions, the newest first."""
    from orchestration import model_report
    from orchestration.installation import migrated_installation
    from warehouse.deployment import read_name

    with migrated_installation() as found:
        model_report.versions(_out, found.database, tenant, read_name(name) if name else None)


@model_app.command("show")
def show(tenant: TenantId, version: Version) -> None:
    """A version: what it is, what it takes, its figures, its gate and what became of it."""
    from orchestration import model_report
    from orchestration.installation import migrated_installation

    with migrated_installation() as found:
        model_report.version(_out, found.database, tenant, version)


@model_app.command("history")
def history(tenant: TenantId, name: ModelName = "") -> None:
    """What was decided about the models, by whom and why, the oldest first."""
    from orchestration import model_report
    from orchestration.installation import migrated_installation
    from warehouse.deployment import read_name

    with migrated_installation() as found:
        model_report.history(_out, found.database, tenant, read_name(name) if name else None)


@model_app.command("deploy")
def deploy(tenant: TenantId, version: Version, why: Why = "") -> None:
    """Let a version serve from the next scoring on; the open leads are scored by it."""
    from orchestration.installation import migrated_installation
    from warehouse import deployment, training_settings

    with migrated_installation() as found:
        with found.database.tenant(tenant) as connection:
            governance = training_settings.find(connection, tenant).governance
            deployment.deploy(connection, tenant, version, governance, actor=_actor(), why=why)
        _tell(found, tenant, version)


@model_app.command("rollback")
def rollback(tenant: TenantId, name: ModelName = "lead_model", why: Why = "") -> None:
    """Let the version serve again that served before."""
    from orchestration.installation import migrated_installation
    from warehouse import deployment

    with migrated_installation() as found:
        with found.database.tenant(tenant) as connection:
            version = deployment.rollback(
                connection, tenant, deployment.read_name(name), actor=_actor(), why=why
            )
        _tell(found, tenant, version)


@model_app.command("approve")
def approve(tenant: TenantId, version: Version, why: Why = "") -> None:
    """Note that you let a version serve, where the tenant's settings ask for that."""
    from orchestration.installation import migrated_installation
    from warehouse import deployment

    with migrated_installation() as found, found.database.tenant(tenant) as connection:
        deployment.approve(connection, tenant, version, actor=_actor(), why=why)
    _out.print(
        f"Version {version} of {tenant} is approved: `galena model deploy {tenant} {version}` lets"
        " it serve.",
        soft_wrap=True,
    )


@model_app.command("retire")
def retire(tenant: TenantId, version: Version, why: Why = "") -> None:
    """Decide that a version serves no more; its scores and their reasons stay."""
    from orchestration.installation import migrated_installation
    from warehouse import deployment

    with migrated_installation() as found, found.database.tenant(tenant) as connection:
        deployment.retire(connection, tenant, version, actor=_actor(), why=why)
    _out.print(f"Version {version} of {tenant} is retired.")


@model_app.command("describe")
def describe(
    tenant: TenantId,
    version: Version,
    description: Annotated[str, typer.Argument(metavar="TEXT", help="What is to be known of it.")],
) -> None:
    """Note something of a version."""
    from orchestration.installation import migrated_installation
    from warehouse import models

    with migrated_installation() as found, found.database.tenant(tenant) as connection:
        models.describe(connection, tenant, version, description=description)
    _out.print(f"Noted of version {version} of {tenant}.")


@model_app.command("quality")
def quality(tenant: TenantId) -> None:
    """What came of the scores that were served, week by week, and what was made of it."""
    from orchestration import quality_report
    from orchestration.installation import migrated_installation

    with migrated_installation() as found:
        quality_report.quality(_out, found.database, tenant)


@model_app.command("page")
def page(
    tenant: TenantId,
    version: Version,
    out: Annotated[
        Path | None, typer.Option(help="The file; by default one in this folder.")
    ] = None,
) -> None:
    """Write a version's page, an HTML file that needs nothing else."""
    from orchestration.installation import migrated_installation
    from warehouse import model_pages
    from warehouse.errors import GalenaError

    with migrated_installation() as found, found.database.tenant(tenant) as connection:
        html = model_pages.find(connection, tenant, version)
    file = out or Path(f"{tenant}-model-{version}.html")
    try:
        file.write_text(html, encoding="utf-8")
    except OSError as error:
        raise GalenaError(f"{file} cannot be written: {error.strerror}.") from error
    _out.print(f"{file}", soft_wrap=True, markup=False)


def _tell(found: "Installation", tenant_id: str, version: int) -> None:
    from resources import model_mirror
    from resources.mlflow import MlflowTracking
    from warehouse import customer_scoring, models

    with found.database.tenant(tenant_id) as connection:
        name = models.find(connection, tenant_id, version).name
    if name != models.LEAD_MODEL:
        now = datetime.now(UTC)
        customer_scoring.predict_all(found.database, tenant_id, name, "command line", now=now)
        _out.print(f"Version {version} serves {tenant_id}, and has predicted anew.")
        return
    _out.print(
        f"Version {version} serves {tenant_id} from the next scoring on; while `galena up` runs,"
        " its open leads are being scored.",
        soft_wrap=True,
    )
    mlflow = MlflowTracking(
        tracking_uri=found.settings.mlflow_url,
        artifact_root=found.environment()["GALENA_MLFLOW_ARTIFACTS"],
    )
    try:
        model_mirror.mirror(mlflow, found.database, tenant_id)
    except Exception as error:
        # What serves does not depend on MLflow's alias.
        _out.print(f"MLflow's aliases follow later ({type(error).__name__}).", style="dim")


def _actor() -> str:
    return getpass.getuser()
