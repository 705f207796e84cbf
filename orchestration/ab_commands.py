"""`galena test`: A/B tests of a tenant's scoring models, started, shown, listed, stopped."""

import getpass
import math
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from ml.sequential import Course
    from warehouse.ab_records import ABTest

test_app = typer.Typer(
    help="A/B tests of scoring models: a challenger beside the model that serves.",
    no_args_is_help=True,
)

_out = Console()

# Lines of a test's course; the last look is always among them.
_LINES = 15

TenantId = Annotated[str, typer.Argument(metavar="TENANT", help="The tenant's id, such as acme.")]


@test_app.command("start")
def start(
    tenant: TenantId,
    version: Annotated[
        int, typer.Argument(metavar="VERSION", help="The challenger, as `galena model list` shows.")
    ],
    share: Annotated[
        float, typer.Option(help="Of the leads that the challenger serves: at most 0.5.")
    ] = 0.5,
    shadow: Annotated[
        bool, typer.Option("--shadow", help="The challenger serves no lead; both are compared.")
    ] = False,
) -> None:
    """Try a version of the lead model beside the one that serves; the test ends by itself."""
    from orchestration.installation import migrated_installation
    from warehouse import ab_records, ab_tests

    with migrated_installation() as found, found.database.tenant(tenant) as connection:
        mode: ab_records.Mode = "shadow" if shadow else "split"
        test = ab_tests.start(
            connection, tenant, version, share=share, mode=mode, actor=getpass.getuser()
        )
    _say(f"Test {test.test_id} of {tenant} has begun: {_what(test)}.")
    _say(
        f"Each lead is in it from its next scoring on, and counts {test.horizon_days} days later;"
        f" the test ends by itself, at the latest on {test.ends_at:%Y-%m-%d}."
    )


@test_app.command("show")
def show(
    tenant: TenantId,
    test: Annotated[
        int | None, typer.Argument(metavar="TEST", help="Default: the newest.", show_default=False)
    ] = None,
) -> None:
    """A test day by day: the difference so far, and between what it lies."""
    from orchestration.installation import migrated_installation
    from warehouse import ab_outcomes, ab_records, scores

    with migrated_installation() as found, found.database.tenant(tenant) as connection:
        shown = ab_records.newest(connection, tenant) if test is None else test
        one = ab_records.find(connection, tenant, shown)
        until = one.ended_at or scores.now(connection)
        course = ab_outcomes.course(connection, tenant, one.test_id, now=until)
    _say(f"Test {one.test_id} of {tenant}: {_what(one)}.")
    _say(f"Begun {one.started_at:%Y-%m-%d} by {one.started_by}; {one.status}.")
    if one.verdict:
        _say(f"{one.verdict[0].upper()}{one.verdict[1:]}.")
    if course is None:
        _say(f"No outcome counts yet: the first do {one.horizon_days} days after their scoring.")
        return
    if one.status == "open":
        _say(f"So far {course.sentence}.")
    _out.print(_course(course, one.share > 0))


@test_app.command("list")
def list_tests(tenant: TenantId) -> None:
    """A tenant's tests, the newest first."""
    from orchestration.installation import migrated_installation
    from warehouse import ab_records

    with migrated_installation() as found, found.database.tenant(tenant) as connection:
        tests = ab_records.find_all(connection, tenant)
    table = _table("test", "challenger", "champion", "mode", "share", "status", "begun", "ended")
    for one in tests:
        table.add_row(
            str(one.test_id),
            str(one.challenger),
            str(one.champion),
            one.mode,
            f"{one.share:.0%}",
            one.status,
            f"{one.started_at:%Y-%m-%d}",
            f"{one.ended_at:%Y-%m-%d}" if one.ended_at else "",
        )
    if tests:
        _out.print(table)
    else:
        _say(f"There was no test yet; `galena test start {tenant} VERSION` begins one.")


@test_app.command("stop")
def stop(tenant: TenantId) -> None:
    """End the open test; the model that serves goes on."""
    from orchestration.installation import migrated_installation
    from warehouse import ab_tests

    with migrated_installation() as found, found.database.tenant(tenant) as connection:
        test = ab_tests.stop(connection, tenant, actor=getpass.getuser())
    _say(f"Test {test.test_id} is stopped; version {test.champion} goes on serving all leads.")


def _what(test: "ABTest") -> str:
    served = f"serves {test.share:.0%} of the leads" if test.share else "serves no lead (shadow)"
    return f"version {test.challenger} against {test.champion}; the challenger {served}"


def _course(course: "Course", split: bool) -> Table:
    headings = ["day", "leads", "converted", "log-loss", "from", "to"]
    table = _table(*headings, *(["conversions", "from", "to"] if split else []))
    days = len(course.leads)
    every = math.ceil(days / _LINES)
    for day in range((days - 1) % every, days, every):
        cells = [course.loss.at(day), *([course.conversions.at(day)] if split else [])]
        table.add_row(
            str(day + 1),
            f"{int(course.leads[day]):,}",
            f"{int(course.converted[day]):,}",
            *(_figure(found[name]) for found in cells for name in ("mean", "low", "high")),
        )
    return table


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:+.4f}"


def _table(*headings: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def _say(line: str) -> None:
    _out.print(line, markup=False, highlight=False, soft_wrap=True)
