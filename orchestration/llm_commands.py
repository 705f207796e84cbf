"""`galena llm`: what language models took and cost, and what they may."""

import getpass
import math
import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, cast, get_args

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from warehouse.errors import GalenaError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from warehouse.llm_budgets import AtLimit, Budget, Period, Spent
    from warehouse.llm_ledger import Used

llm_app = typer.Typer(
    help="Language models: what they took and cost, and what they may.", no_args_is_help=True
)

_out = Console()

TenantId = Annotated[str, typer.Argument(metavar="TENANT", help="The tenant's id, such as acme.")]

_FEATURE = re.compile(r"[a-z0-9][a-z0-9_.-]{0,62}")


@llm_app.command("usage")
def usage(
    tenant: Annotated[str, typer.Argument(metavar="[TENANT]", help="Default: all tenants.")] = "",
    days: Annotated[int, typer.Option(help="The last so many days.", min=1, max=400)] = 30,
) -> None:
    """Calls, tokens, cost, latency by feature, model and prompt version; what the cache saved."""
    from orchestration.installation import migrated_installation
    from warehouse import llm_ledger, tenants

    until = datetime.now(UTC)
    used: list[tuple[str, llm_ledger.Used]] = []
    with migrated_installation() as found:
        there = [one for one in tenants.find_all(found.database) if one.status != "removing"]
        for tenant_id in [tenant] if tenant else [one.tenant_id for one in there]:
            with found.database.tenant(tenant_id) as connection:
                rows = llm_ledger.usage(
                    connection, tenant_id, since=until - timedelta(days=days), until=until
                )
            used += [(tenant_id, one) for one in rows]
    if not used:
        _say(f"No language model was called in the last {days} days.")
        return
    _out.print(_usage(used))
    _say(_sums([one for _tenant_id, one in used], days))


@llm_app.command("budget")
def budget(
    tenant: TenantId,
    feature: Annotated[str, typer.Option(help="Whose calls count; default: all features.")] = "",
    usd: Annotated[
        float | None, typer.Option(help="The most US dollars in a period.", min=0)
    ] = None,
    tokens: Annotated[
        int | None, typer.Option(help="The most tokens, input and output, in a period.", min=0)
    ] = None,
    per: Annotated[str, typer.Option(help="The period, in UTC: day or month.")] = "month",
    at_limit: Annotated[
        str, typer.Option(help="What then: refuse the call, or try a cheaper model.")
    ] = "refuse",
    remove: Annotated[bool, typer.Option("--remove", help="Let it spend what it takes.")] = False,
) -> None:
    """Set a budget, in place of the one for the same feature; without limits show how all stand."""
    from orchestration.installation import migrated_installation
    from warehouse import llm_budgets

    limits = usd is not None or tokens is not None
    if remove and limits:
        raise GalenaError("--remove takes a budget away and sets no limit: give one or the other.")
    new = _budget(feature, usd, tokens, per, at_limit)
    now = datetime.now(UTC)
    with migrated_installation() as found, found.database.tenant(tenant) as connection:
        if remove and not llm_budgets.remove(connection, tenant, feature, actor=getpass.getuser()):
            raise GalenaError(
                f"Tenant {tenant!r} has no budget for {_of(feature)}: `galena llm budget {tenant}`"
                " shows those it has."
            )
        if limits:
            llm_budgets.put(connection, tenant, new, now=now, actor=getpass.getuser())
        standing = llm_budgets.find_all(connection, tenant, now=now)
    if standing:
        _out.print(_standing(standing))
    else:
        _say(f"Tenant {tenant} has no budget: its calls take what they take.")


def _budget(
    feature: str, usd: float | None, tokens: int | None, per: str, at_limit: str
) -> "Budget":
    """The budget that the options describe."""
    from warehouse.llm_budgets import AtLimit, Budget, Period

    if feature and not _FEATURE.fullmatch(feature):
        raise GalenaError(
            f"--feature {feature!r} is no feature's name; expected a-z, 0-9, '_', '.' and '-', such"
            " as insights."
        )
    if usd is not None and not math.isfinite(usd):
        raise GalenaError(f"--usd {usd} is no amount; expected US dollars, such as 20 or 0.50.")
    for option, value, known in (
        ("--per", per, get_args(Period)),
        ("--at-limit", at_limit, get_args(AtLimit)),
    ):
        if value not in known:
            raise GalenaError(f"{option} {value!r} is unknown; expected {' or '.join(known)}.")
    dollars = None if usd is None else Decimal(str(usd))
    return Budget(feature, dollars, tokens, cast("Period", per), cast("AtLimit", at_limit))


def _usage(used: "Sequence[tuple[str, Used]]") -> Table:
    """What is asked for and of whom stands in three lines of the first column, so that the figures
    fit beside it in a terminal of 80 columns."""
    table = _table(
        *("", "calls\nmean s", "errors", "refused", "cached\nsaved", "tokens", "US dollars")
    )
    table.columns[0].justify = "left"
    for tenant_id, one in used:
        asked = (
            f"{tenant_id} {one.feature}",
            f"{one.provider} {one.model}".strip(),
            " ".join(filter(None, (one.prompt, one.prompt_version[:8]))),
        )
        table.add_row(
            "\n".join(filter(None, asked)),
            f"{one.answered + one.errors:,}\n{_seconds(one.seconds)}",
            f"{one.errors:,}",
            f"{one.refused:,}",
            f"{one.hits:,}\n{one.saved_usd:,.4f}",
            f"{one.usage.input_tokens:,} in\n{one.usage.output_tokens:,} out",
            f"{one.usd:,.4f}" + (f"\n+ {one.unpriced:,} unknown" if one.unpriced else ""),
        )
    return table


def _seconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:.2f}"


def _sums(used: "Sequence[Used]", days: int) -> str:
    calls = sum(one.answered + one.errors for one in used)
    hits = sum(one.hits for one in used)
    usd = _cost(sum((one.usd for one in used), Decimal(0)), sum(one.unpriced for one in used))
    saved = sum((one.saved_usd for one in used), Decimal(0))
    return (
        f"In {days} days {calls:,} requests for {usd} US dollars; {hits:,} answers from the cache"
        f" saved {saved:,.4f}."
    )


def _cost(usd: Decimal, unpriced: int) -> str:
    return f"{usd:,.4f}" + (f" + {unpriced:,} of unknown price" if unpriced else "")


def _standing(standing: "Sequence[Spent]") -> Table:
    table = _table("feature", "US dollars", "of", "tokens", "of", "since (UTC)", "per", "at limit")
    for one in standing:
        known = one.budget
        table.add_row(
            known.feature or "all",
            f"{one.usd:,.4f}",
            "" if known.usd is None else f"{known.usd:,.4f}",
            f"{one.tokens:,}",
            "" if known.tokens is None else f"{known.tokens:,}",
            f"{one.starts_at:%Y-%m-%d}",
            known.period,
            known.at_limit,
        )
    return table


def _of(feature: str) -> str:
    return feature or "all features"


def _table(*headings: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def _say(line: str) -> None:
    _out.print(line, markup=False, highlight=False, soft_wrap=True)
