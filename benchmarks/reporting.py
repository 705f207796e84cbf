"""What every benchmark shares: its arguments, what it tells meanwhile, its table, its JSON."""

import argparse
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

console = Console(soft_wrap=True)


@dataclass(frozen=True)
class Arguments:
    """json: where to write the figures, if anywhere. quick: a small run that tries the code."""

    json: Path | None
    quick: bool


def arguments(description: str | None) -> Arguments:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--json", type=Path, help="write the figures there, name: number")
    parser.add_argument("--quick", action="store_true", help="a small run that tries the code")
    parsed = parser.parse_args()
    return Arguments(parsed.json, parsed.quick)


@contextmanager
def told(what: str) -> Iterator[None]:
    """Show what the body does while it does it, and then how long it took."""
    began = time.perf_counter()
    with console.status(what):
        yield
    console.print(f"[dim]{what}: {time.perf_counter() - began:.1f} s[/dim]")


def show(title: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table; its first column holds words."""
    table = Table(title=title, title_justify="left")
    for position, heading in enumerate(headings):
        table.add_column(heading, justify="left" if position == 0 else "right")
    for row in rows:
        table.add_row(*row)
    console.print(table)


def report(
    title: str,
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    figures: Mapping[str, float],
    given: Arguments,
) -> None:
    """Print the table and the machine it was made on; write the figures when asked to."""
    show(title, headings, rows)
    for name, figure in figures.items():
        console.print(f"{name} = {figure:,.4g}")
    load = os.getloadavg()[0]
    console.print(f"[dim]{os.cpu_count()} cores, load {load:.1f} at the end[/dim]")
    if given.json:
        given.json.write_text(json.dumps(dict(figures), indent=2) + "\n")
