"""What the commands print: tables and lines for a terminal."""

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table

from orchestration.services import Service
from warehouse import crm, models, scores, tenants
from warehouse.database import Database
from warehouse.imports import ImportReport
from warehouse.scores import ServedScore
from warehouse.settings import Settings

_COUNTED = {
    "leads": "leads",
    "open": "open_leads",
    "converted": "converted_leads",
    "interactions": "interactions",
    "rejected": "rejected_rows",
}


def top_leads(console: Console, database: Database, limit: int = 3) -> None:
    """For each tenant with scores, its most promising leads."""
    for tenant in tenants.find_all(database):
        with database.tenant(tenant.tenant_id) as connection:
            leads = scores.top(connection, tenant.tenant_id, limit)
        if leads:
            console.print(score_table(tenant.tenant_id, leads))


def score_table(tenant_id: str, leads: Sequence[ServedScore], reasons: int = 3) -> Table:
    """Scores with their strongest reasons in words."""
    evidence = leads[0].evidence["statement"]
    table = Table(
        title=f"{tenant_id}: top leads, {evidence}", title_justify="left", show_lines=True
    )
    for heading, justify in (("lead", "left"), ("score", "right"), ("confidence", "right")):
        table.add_column(heading, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    table.add_column("strongest reasons")
    for lead in leads:
        words = "\n".join(reason["explanation"] for reason in lead.reasoning[:reasons])
        table.add_row(lead.lead_id, str(lead.score), f"{lead.confidence:.2f}", words)
    return table


def tenant_list(console: Console, database: Database) -> None:
    """The tenants and what they hold."""
    table = Table()
    for heading in ("tenant", "name", "status", "since"):
        table.add_column(heading)
    for heading in _COUNTED:
        table.add_column(heading, justify="right")
    for tenant in tenants.find_all(database):
        with database.tenant(tenant.tenant_id) as connection:
            held = crm.counts(connection, tenant.tenant_id)
        table.add_row(
            tenant.tenant_id,
            tenant.name,
            tenant.status,
            f"{tenant.created_at:%Y-%m-%d}",
            *(f"{held[count]:,}" for count in _COUNTED.values()),
        )
    console.print(table)


def imported(console: Console, found: ImportReport) -> None:
    """What an import did, and why rows were set aside."""
    console.print(
        f"{found.table}: {found.read:,} rows read, {found.written:,} new or changed,"
        f" {found.unchanged:,} unchanged, {sum(found.rejected.values()):,} set aside"
    )
    for reason, rows in found.rejected.items():
        console.print(f"  set aside: {rows:,} x {reason}")
    if found.rejected:
        console.print("  crm.rejected_rows holds each of them with its reason.")
    if found.unused:
        console.print(f"  columns used for nothing: {', '.join(found.unused)}")


def status(console: Console, database: Database) -> None:
    """Each tenant's model and the state of its scores."""
    table = Table()
    for heading in ("tenant", "status", "model", "evidence", "scores", "newest", "expired"):
        table.add_column(heading)
    for tenant in tenants.find_all(database):
        with database.tenant(tenant.tenant_id) as connection:
            model = models.champion(connection, tenant.tenant_id)
            served = scores.freshness(connection, tenant.tenant_id)
        table.add_row(
            tenant.tenant_id,
            tenant.status,
            f"version {model.version}" if model else "none yet",
            f"{model.stage}, {model.outcomes:,} outcomes" if model else "",
            f"{served.scores:,}",
            f"{served.newest:%Y-%m-%d %H:%M} UTC" if served.newest else "",
            f"{served.expired:,}",
        )
    console.print(table)


def urls(console: Console, settings: Settings, port: int, started: Mapping[str, Service]) -> None:
    """Where to look further."""
    console.print(f"Dagster   http://127.0.0.1:{port}/asset-groups")
    if "MLflow" in started:
        console.print("MLflow    http://127.0.0.1:5000")
    console.print(f"Files     {settings.home}")
    console.print("SQL       `galena tenant reader TENANT` prints a URL that reads its views")
