"""`galena llm check`: whether each language model that is configured answers."""

import asyncio
import os
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ai.checking import Checked

_out = Console()


def llm_check(
    seconds: Annotated[float, typer.Option(help="How long to wait for each.", min=0.1)] = 20,
) -> None:
    """Ask every configured model one small question, with no tenant's data in it."""
    from ai import configuration
    from ai.checking import check

    found = configuration.from_environment(os.environ)
    checked = asyncio.run(check(found, os.environ, seconds))
    _out.print(_table(checked))
    if not os.environ.get(configuration.VARIABLE):
        _out.print(
            f"No provider is configured: {configuration.VARIABLE} is not set, and answers are"
            " extracts from the sources.",
            soft_wrap=True,
        )
    if any(one.error for one in checked):
        raise typer.Exit(1)


def _table(checked: "Sequence[Checked]") -> Table:
    table = Table(box=box.SIMPLE)
    for heading in ("candidate", "provider", "model", "", "seconds"):
        table.add_column(heading, justify="right" if heading == "seconds" else "left")
    for one in checked:
        table.add_row(
            one.name,
            one.candidate.provider,
            one.candidate.model,
            f"[red]{escape(one.error)}[/red]" if one.error else "[green]answers[/green]",
            f"{one.seconds:.2f}",
        )
    return table
