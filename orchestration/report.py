"""What the commands print: tables and lines for a terminal."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from warehouse import alerts as alerting
from warehouse import crm, models, rescorings, scores, tenants
from warehouse.database import Database
from warehouse.imports import ImportReport
from warehouse.scores import ServedScore

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
        if tenant.status != "removing":
            tenant_scores(console, database, tenant.tenant_id, limit)


def tenant_scores(console: Console, database: Database, tenant_id: str, limit: int) -> bool:
    """The tenant's most promising leads and what its model is worth; False without scores."""
    with database.tenant(tenant_id) as connection:
        leads = scores.top(connection, tenant_id, limit)
        champion = models.champion(connection, tenant_id)
    if not leads or champion is None:
        return False
    console.print(score_table(tenant_id, leads))
    console.print(_worth(champion.metrics), style="dim", highlight=False)
    return True


def _worth(metrics: Mapping[str, Any]) -> str:
    """The hold-out's figures, beside those of what the model has to beat."""
    found = metrics.get("hold_out")
    if not found:
        return f"No model of its own: {metrics.get('lacking')}."
    # A model of a release that had one algorithm names no candidates.
    candidates = found.get("candidates", {"boosted_tables": {"figures": found["model"]}})
    figures = [
        f"{name.replace('_', ' ')} AUC {one['figures']['auc']:.3f}"
        f" log-loss {one['figures']['log_loss']:.4f}"
        for name, one in candidates.items()
    ]
    base_rate = f"base rate log-loss {found['base_rate']['log_loss']:.4f}"
    unseen = f"On outcomes it had not seen ({found.get('validation', 'rolling windows')})"
    serves = metrics.get("algorithm", "boosted_tables").replace("_", " ")
    measured = f"{unseen}: {', '.join([*figures, base_rate])}; {serves} serves."
    return f"{measured} {metrics['lacking']}." if metrics.get("lacking") else measured


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
        words = escape("\n".join(reason["explanation"] for reason in lead.reasoning[:reasons]))
        table.add_row(escape(lead.lead_id), str(lead.score), f"{lead.confidence:.2f}", words)
    return table


def tenant_list(console: Console, database: Database) -> None:
    """The tenants and what they hold."""
    table = listing("tenant", "name", "status", numbers=tuple(_COUNTED))
    for tenant in tenants.find_all(database):
        held: Mapping[str, int] = {}
        if tenant.status != "removing":
            with database.tenant(tenant.tenant_id) as connection:
                held = crm.counts(connection, tenant.tenant_id)
        numbers = (f"{held[count]:,}" if held else "" for count in _COUNTED.values())
        table.add_row(tenant.tenant_id, escape(tenant.name), tenant.status, *numbers)
    console.print(table)


def imported(console: Console, found: ImportReport) -> None:
    """What an import did, why rows were set aside, and what the data checks found."""
    console.print(
        f"{found.table}: {found.read:,} rows read, {found.written:,} new or changed,"
        f" {found.unchanged:,} unchanged, {sum(found.rejected.values()):,} set aside"
    )
    for reason, rows in found.rejected.items():
        console.print(f"  set aside: {rows:,} x {reason}", markup=False)
    if found.rejected:
        console.print("  crm.rejected_rows holds each of them with its reason.")
    if found.unused:
        console.print(f"  columns used for nothing: {', '.join(found.unused)}", markup=False)
    if found.verdict is not None:
        for failure in found.verdict.failures:
            console.print(f"  {failure.severity}: {failure}", markup=False)
        if found.verdict.said == "accepted":
            console.print("  accepted: later files are measured against this one.")


def status(console: Console, database: Database) -> None:
    """Each tenant's model and the state of its scores."""
    table = listing("tenant", "status", "model", numbers=("outcomes", "scores", "expired"))
    table.add_column("newest (UTC)", no_wrap=True)
    for tenant in tenants.find_all(database):
        if tenant.status == "removing":
            table.add_row(tenant.tenant_id, tenant.status)
            continue
        with database.tenant(tenant.tenant_id) as connection:
            model = models.champion(connection, tenant.tenant_id)
            served = scores.freshness(connection, tenant.tenant_id)
        table.add_row(
            tenant.tenant_id,
            tenant.status,
            f"{model.version}: {model.stage.replace('_', ' ')}" if model else "none yet",
            f"{model.outcomes:,}" if model else "",
            f"{served.scores:,}",
            f"{served.expired:,}",
            f"{served.newest:%Y-%m-%d %H:%M}" if served.newest else "",
        )
    console.print(table)
    rescoring(console, database)


def rescoring(console: Console, database: Database) -> None:
    """How many changes wait, how soon changes became scores, and whether anything is wrong."""
    health = rescorings.health(database)
    if health.queued:
        since = f", the oldest for {health.oldest_s:.0f} s" if health.oldest_s else ""
        console.print(f"{health.queued:,} changes of {health.tenants:,} tenants wait{since}.")
    else:
        console.print("No changed lead waits to be rescored.")
    if health.p50_s is not None:
        console.print(
            f"In the last hour {health.leads:,} changed leads were rescored: half of them within"
            f" {health.p50_s:.1f} s, 95 % within {health.p95_s:.1f} s, all within"
            f" {health.max_s:.1f} s."
        )
    if found := alerting.count_open(database):
        console.print(
            f"{sum(found.values()):,} alerts of {len(found):,} tenants: `galena alerts` shows them."
        )


def alerts(console: Console, database: Database, tenant_id: str) -> None:
    """The open alerts of one tenant, or of all."""
    table = listing("tenant", "since (UTC)", "what", "why", numbers=())
    for alerting_tenant in [tenant_id] if tenant_id else alerting.count_open(database):
        with database.tenant(alerting_tenant) as connection:
            for alert in alerting.open_alerts(connection, alerting_tenant):
                since = f"{alert.raised_at:%Y-%m-%d %H:%M}"
                what = f"{alert.kind.replace('_', ' ')} {alert.subject}".strip()
                table.add_row(alerting_tenant, since, escape(what), escape(alert.message))
    console.print(table if table.row_count else "No alert is open.")


def listing(*texts: str, numbers: Sequence[str]) -> Table:
    """A table of texts, and after them numbers."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for heading in texts:
        table.add_column(heading, overflow="fold")
    for heading in numbers:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def urls(console: Console, pages: Mapping[str, str], home: Path) -> None:
    """Where to look further. pages: URLs by name."""
    for name, url in pages.items():
        console.print(f"{name:10}{url}")
    console.print(f"Files     {home}", soft_wrap=True)
    console.print("SQL       `galena tenant reader TENANT` prints a URL that reads its views")
