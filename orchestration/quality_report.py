"""What `galena model quality` prints: what came of the scores that were served."""

from rich.console import Console

from orchestration.report import listing
from warehouse import model_monitoring, score_quality
from warehouse.database import Database

_FIGURES = (
    "scores",
    "converted",
    "said",
    "log-loss",
    "base rate",
    "Brier",
    "ECE",
    "AUC",
    "lift 10 %",
)


def quality(console: Console, database: Database, tenant_id: str) -> None:
    """A line for each week of each version, the newest first, and the verdict of the last look."""
    shown = listing("week of", "version", numbers=_FIGURES)
    with database.tenant(tenant_id) as connection:
        weeks = score_quality.find_all(connection, tenant_id)
        last = model_monitoring.last_look(connection, tenant_id)
    for week in weeks:
        figures = week.quality
        shown.add_row(
            f"{week.week_start}",
            str(week.version),
            f"{figures.rows:,}",
            f"{figures.observed:.1%}",
            f"{figures.predicted:.1%}",
            f"{figures.log_loss:.4f}",
            f"{figures.base_rate_log_loss:.4f}",
            f"{figures.brier:.4f}",
            f"{figures.ece:.3f}",
            "" if figures.auc is None else f"{figures.auc:.3f}",
            "" if figures.lift10 is None else f"{figures.lift10:.2f}",
        )
    console.print(
        shown if weeks else f"No scores of {tenant_id} have matured: their horizon has not ended."
    )
    if last is not None:
        console.print(
            f"{last.looked_at:%Y-%m-%d %H:%M} UTC, version {last.version}: {last.sentence}"
            + ("" if last.action == "nothing" else f" ({last.action})"),
            soft_wrap=True,
            markup=False,
        )
        if last.moved:
            console.print(
                f"Not as in its training: {', '.join(last.moved)}", soft_wrap=True, markup=False
            )
