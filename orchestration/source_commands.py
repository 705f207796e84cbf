"""`galena source`: the CRM databases that tenants' records are read from."""

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from warehouse.errors import GalenaError

if TYPE_CHECKING:
    from warehouse.database import Database
    from warehouse.sources.registry import CrmSource

source_app = typer.Typer(
    help="CRM databases that tenants' records are read from, and that are never written.",
    no_args_is_help=True,
)

_out = Console()

_ROWS_TO_GUESS_FROM = 1_000
_PATIENCE_SECONDS = 60

TenantId = Annotated[str, typer.Argument(metavar="TENANT", help="The tenant's id, such as acme.")]
SourceId = Annotated[str, typer.Argument(metavar="SOURCE", help="The source's id, such as crm.")]
UrlVariable = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="The environment variable that holds the database's SQLAlchemy URL.",
        show_default=False,
    ),
]


@source_app.command("propose")
def propose(
    tables: Annotated[list[str], typer.Argument(metavar="TABLE...", help="As in the database.")],
    url_variable: UrlVariable,
) -> None:
    """Print a mapping to edit, from the columns and the first rows of the source's tables."""
    import polars as pl

    from warehouse.imports import propose_mapping
    from warehouse.imports.mapping import yaml_line
    from warehouse.sources.connecting import connect
    from warehouse.sources.frames import series
    from warehouse.sources.names import first_rows, primary_key

    typer.echo("tables:")
    with connect(url_variable, _PATIENCE_SECONDS) as there:
        for table in tables:
            columns, rows = first_rows(there, table, _ROWS_TO_GUESS_FROM)
            cells = zip(*rows, strict=True) if rows else ([] for _ in columns)
            frame = pl.DataFrame(
                [
                    series(table, name, list(values))
                    for name, values in zip(columns, cells, strict=True)
                ]
            )
            typer.echo(f"  {table}:")
            key = primary_key(there, table)
            line = yaml_line("key", key[0] if len(key) == 1 else key or None)
            typer.echo(f"    {line}  # the column, or [the, columns], of its primary key")
            typer.echo("    # updated_at: the column with the last change; only to poll it")
            for line in propose_mapping(frame).to_yaml().splitlines():
                typer.echo(f"    {line}")


@source_app.command("add")
def add(
    tenant: TenantId,
    source: SourceId,
    url_variable: UrlVariable,
    mapping: Annotated[
        Path,
        typer.Option(help="YAML file: which tables and columns are what.", show_default=False),
    ],
) -> None:
    """Add a CRM database, or give one another mapping. It is read while `galena up` runs."""
    from orchestration.installation import migrated_installation
    from warehouse.sources import registry
    from warehouse.sources.mapping import load_source_mapping

    known = load_source_mapping(mapping)
    with migrated_installation() as found, found.database.tenant(tenant) as connection:
        added = registry.add(connection, tenant, source, url_variable, known)
    what = "added" if added else "changed; all of it is read anew"
    _out.print(f"Source {source} {what}. Next: galena source sql {tenant} {source}")


@source_app.command("sql")
def sql(tenant: TenantId, source: SourceId) -> None:
    """Print what the owner of the source's database runs there once."""
    from orchestration.installation import migrated_installation
    from warehouse.sources.owner import setup_sql

    with migrated_installation() as found:
        typer.echo(setup_sql(_source(found.database, tenant, source)), nl=False)


@source_app.command("check")
def check(tenant: TenantId, source: SourceId) -> None:
    """Try the connection, and name what is missing at the source."""
    from orchestration.installation import migrated_installation
    from warehouse.sources.connecting import connect
    from warehouse.sources.owner import missing

    with migrated_installation() as found:
        known = _source(found.database, tenant, source)
    with connect(known.url_variable, _PATIENCE_SECONDS) as there:
        lacking = missing(there, known)
    if lacking:
        raise GalenaError(
            f"Source {source} cannot be read: " + "; ".join(lacking) + ": `galena source sql"
            f" {tenant} {source}` prints what its owner runs."
        )
    _out.print(f"Source {source} can be read.")


@source_app.command("list")
def list_sources(
    tenant: Annotated[str, typer.Argument(metavar="[TENANT]", show_default=False)] = "",
) -> None:
    """The sources, how they are read, how far, and what is wrong."""
    from orchestration.installation import migrated_installation
    from warehouse.sources import registry

    shown = Table(box=box.SIMPLE_HEAD)
    for column in ("tenant", "source", "read by", "URL in", "last read", "log unread", "state"):
        shown.add_column(column)
    with migrated_installation() as found:
        tenants = sorted({row[0] for row in registry.every(found.database)})
        for tenant_id in [one for one in tenants if tenant in ("", one)]:
            with found.database.tenant(tenant_id) as connection:
                for source in registry.find_all(connection, tenant_id):
                    shown.add_row(*map(escape, _line(source)))
    _out.print(shown if shown.row_count else "There is no source: `galena source add` adds one.")


@source_app.command("reload")
def reload(tenant: TenantId, source: SourceId) -> None:
    """Have all of a source read anew, at once and whatever failed before."""
    from orchestration.installation import migrated_installation
    from warehouse.sources import registry

    with migrated_installation() as found, found.database.tenant(tenant) as connection:
        registry.want_load(connection, tenant, source)
    _out.print(f"Source {source} is read anew while `galena up` runs.")


@source_app.command("remove")
def remove(
    tenant: TenantId,
    source: SourceId,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Read a source no more and drop its replication slot; the records that came from it stay."""
    from orchestration.installation import migrated_installation
    from warehouse.sources import registry
    from warehouse.sources.removal import release

    if not yes:
        typer.confirm(f"Read source {source} of tenant {tenant} no more?", abort=True)
    with migrated_installation() as found:
        known = _source(found.database, tenant, source)
        with found.database.tenant(tenant) as connection:
            registry.lock(connection, tenant, source, wait=True)
            registry.remove(connection, tenant, source)
        left = release(known)
    if left is not None:
        _out.print("Its replication slot is still there; the owner of its database runs")
        typer.echo(left)
    _out.print(f"Source {source} is gone; its records are still here.")


def _source(database: "Database", tenant_id: str, source_id: str) -> "CrmSource":
    from warehouse.sources import registry

    with database.tenant(tenant_id) as connection:
        return registry.find(connection, tenant_id, source_id)


def _line(source: "CrmSource") -> list[str]:
    return [
        source.tenant_id,
        source.source_id,
        "polling" if source.mapping.polled else "log",
        source.url_variable,
        _when(source.read_at),
        "" if source.lag_bytes is None else f"{source.lag_bytes / 2**20:,.1f} MiB",
        source.error or (source.load_wanted and f"to be read anew: {source.load_wanted}") or "well",
    ]


def _when(time: datetime | None) -> str:
    return time.isoformat(" ", "seconds") if time else "never"
