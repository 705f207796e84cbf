"""`galena lead`: what a lead's score was, what moved it, whether it comes out the same again."""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, date, datetime, time
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from warehouse.errors import GalenaError

if TYPE_CHECKING:
    from ml.movement import Move
    from warehouse.score_history import PastScore
    from warehouse.score_replay import Replayed

lead_app = typer.Typer(
    help="A lead's score in the past: what it was, what moved it, whether it comes out again.",
    no_args_is_help=True,
)

_out = Console()

_TIMES = "In ISO 8601, UTC unless it says otherwise; a date alone is the end of that day."
# Lines of scores that do not come out; all are counted.
_SHOWN = 20

TenantId = Annotated[str, typer.Argument(metavar="TENANT", help="The tenant's id, such as acme.")]
LeadId = Annotated[str, typer.Argument(metavar="LEAD", help="The lead's id in the CRM.")]


@lead_app.command("show")
def show(
    tenant: TenantId,
    lead: LeadId,
    at: Annotated[
        str, typer.Option(metavar="TIME", help=f"The score it had then; default now. {_TIMES}")
    ] = "",
) -> None:
    """The score that a lead has, or had at a time, with all its reasons."""
    from orchestration.installation import migrated_installation
    from warehouse import score_history

    when = _time("--at", at) or datetime.now(UTC)
    with migrated_installation() as found, found.database.tenant(tenant) as connection:
        score = score_history.score_at(connection, tenant, lead, when)
    _print_score(score, when)


@lead_app.command("history")
def history(
    tenant: TenantId,
    lead: LeadId,
    limit: Annotated[int, typer.Option(help="How many scores.", min=1)] = 20,
) -> None:
    """A lead's scores, the newest first."""
    from orchestration.installation import migrated_installation
    from warehouse import score_history

    with migrated_installation() as found, found.database.tenant(tenant) as connection:
        lines = score_history.history(connection, tenant, lead, limit)
    table = _table("calculated (UTC)", numbers=("score", "probability", "confidence", "model"))
    table.add_column("strongest reason", overflow="fold")
    for line in lines:
        table.add_row(
            _moment(line.calculated_at),
            str(line.score),
            f"{line.probability:.4f}",
            f"{line.confidence:.2f}",
            str(line.model_version),
            escape(line.strongest_reason or ""),
        )
    _out.print(table)


@lead_app.command("moved")
def moved(
    tenant: TenantId,
    lead: LeadId,
    since: Annotated[
        str,
        typer.Option(
            metavar="TIME",
            help=f"From the score it had then; default the one before that of --until. {_TIMES}",
        ),
    ] = "",
    until: Annotated[
        str, typer.Option(metavar="TIME", help=f"To the score it had then; default now. {_TIMES}")
    ] = "",
) -> None:
    """What moved a lead's score between two times; by default, between its two newest scores."""
    from orchestration.installation import migrated_installation
    from warehouse import score_history

    start, end = _time("--since", since), _time("--until", until) or datetime.now(UTC)
    with migrated_installation() as found, found.database.tenant(tenant) as connection:
        between = score_history.moved(connection, tenant, lead, start, end)
    if between.before == between.after:
        _say(
            f"No score of {lead} was calculated between the two times: it stayed"
            f" {between.after.score}, as of {_moment(between.after.calculated_at)} UTC."
        )
        return
    for score in (between.before, between.after):
        _say(
            f"{_moment(score.calculated_at)} UTC: score {score.score}, probability"
            f" {score.probability:.4f}, by model version {score.model_version}"
        )
    _print_moves(between.moves)


@lead_app.command("replay")
def replay(
    tenant: TenantId,
    lead: Annotated[
        str, typer.Argument(metavar="LEAD", help="One lead's; default all.", show_default=False)
    ] = "",
    at: Annotated[
        str, typer.Option(metavar="TIME", help=f"With LEAD, the score it had then. {_TIMES}")
    ] = "",
    most: Annotated[
        int | None, typer.Option(help="Without LEAD, how many newest; default all.", min=1)
    ] = None,
) -> None:
    """Calculate stored scores again from their inputs and models: they must come out the same."""
    from orchestration.installation import migrated_installation
    from warehouse import score_replay

    if (at and not lead) or (most is not None and lead):
        raise GalenaError("--at goes with a LEAD and --most goes without: leave one of them out.")
    when = _time("--at", at) or datetime.now(UTC)
    versions: Counter[int] = Counter()
    differing = 0
    with (
        migrated_installation() as found,
        found.database.tenant(tenant) as connection,
        _out.status("replaying") as shown,
    ):
        blocks = (
            [[score_replay.replay(connection, tenant, lead, when)]]
            if lead
            else score_replay.replay_newest(connection, tenant, most)
        )
        for block in blocks:
            versions.update(score.model_version for score in block)
            for score in block:
                if score.differences:
                    differing += 1
                    _print_differences(score, differing)
            shown.update(f"{versions.total():,} replayed")
    _conclude(tenant, versions, differing)


def _time(option: str, given: str) -> datetime | None:
    """The time in UTC; None where none is given."""
    if not given:
        return None
    try:
        return datetime.combine(date.fromisoformat(given), time.max, UTC)
    except ValueError:
        pass
    try:
        read = datetime.fromisoformat(given)
        return (read if read.tzinfo else read.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise GalenaError(
            f"{option} is {given!r} and no time in ISO 8601: give a date such as 2026-11-01, for"
            " the end of that day in UTC, or a time such as 2026-11-01T09:30."
        ) from None


def _print_score(score: "PastScore", when: datetime) -> None:
    expired = score.expired(when)
    _say(
        f"{score.lead_id} at {_moment(when)} UTC: score {score.score}, probability"
        f" {score.probability:.4f}, percentile {score.percentile:.1f}, confidence"
        f" {score.confidence:.2f}"
    )
    _say(
        f"Calculated {_moment(score.calculated_at)} UTC by run {score.run_id} with model version"
        f" {score.model_version}, {score.evidence['statement']}."
    )
    _say(
        f"It {'had expired' if expired else 'expires'} at {_moment(score.expires_at)} UTC"
        + (", and no newer score had replaced it." if expired else ".")
    )
    table = _table(numbers=("log-odds",))
    table.add_column("reason", overflow="fold")
    table.add_row(f"{score.base_log_odds:+.4f}", "before anything is known of the lead")
    for reason in score.reasoning:
        table.add_row(f"{reason['weight']:+.4f}", escape(reason["explanation"]))
    _out.print(table)


def _print_moves(moves: "Sequence[Move]") -> None:
    """The lines that moved; the others' change is 0, so that these add up."""
    table = _table(numbers=("change", "before", "after"))
    table.add_column("what moved (weights in log-odds)", overflow="fold")
    for move in moves:
        if move.change != 0:
            weights = (f"{weight:+.4f}" for weight in (move.change, move.before, move.after))
            table.add_row(*weights, escape(move.words))
    table.add_section()
    before, after = (sum(getattr(move, side) for move in moves) for side in ("before", "after"))
    totals = (f"{total:+.4f}" for total in (after - before, before, after))
    table.add_row(*totals, "log-odds of the probability, all reasons together")
    _out.print(table)


def _print_differences(score: "Replayed", number: int) -> None:
    if number <= _SHOWN:
        moment = _moment(score.calculated_at)
        _say(f"{score.lead_id} at {moment} UTC: {'; '.join(score.differences)}")
    elif number == _SHOWN + 1:
        _say("More differ; they are counted below.")


def _conclude(tenant: str, versions: Counter[int], differing: int) -> None:
    """Say that all came out, or raise GalenaError."""
    by_version = ", ".join(f"{count:,} of version {version}" for version, count in versions.items())
    if differing:
        raise GalenaError(
            f"{differing:,} of {versions.total():,} scores of tenant {tenant!r} ({by_version}) do"
            " not come out as they are stored: compare ml.lead_score_history and ml.models with a"
            " backup, and this release with the one that scored."
        )
    if not versions:
        raise GalenaError(f"Tenant {tenant!r} has no scores to replay: `galena status` shows why.")
    _say(f"{versions.total():,} replayed, every one the same to the bit ({by_version}).")


def _table(*texts: str, numbers: tuple[str, ...]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for heading in texts:
        table.add_column(heading, no_wrap=True)
    for heading in numbers:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def _moment(at: datetime) -> str:
    # Whole, since given back to --at a time cut to its second lies before the score.
    return at.astimezone(UTC).replace(tzinfo=None).isoformat()


def _say(line: str) -> None:
    _out.print(line, markup=False, highlight=False, soft_wrap=True)
