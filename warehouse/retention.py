"""What is kept of the past and for how long; what is older goes."""

from dataclasses import dataclass

from sqlalchemy import Connection, text

from warehouse.database import Database


@dataclass(frozen=True)
class Ages:
    """Days that things are kept.

    scores: the history of scores, whole months of it, with the inputs that replay them. The score
        that a lead has now stays, however old.
    rescorings: what is known of each rescoring, once Dagster has been told of it.
    alerts: resolved ones.
    """

    scores: int = 400
    rescorings: int = 7
    alerts: int = 90


def forget_scores(database: Database, ages: Ages) -> list[str]:
    """Drop the months of the history that are past their age; return their tables' names.

    A month that a lead's present score lies in stays: that of a paused tenant.
    """
    with database.operator() as connection:
        return list(
            connection.scalars(
                text("SELECT ml.drop_history_before(now() - make_interval(days => :days))"),
                {"days": ages.scores},
            )
        )


def forget(connection: Connection, tenant_id: str, ages: Ages) -> int:
    """Delete the tenant's rankings, rescorings and alerts that are past their age; return how
    many rows. A ranking stays as long as a score refers to it."""
    return sum(
        connection.execute(text(statement), {"tenant_id": tenant_id, "days": days}).rowcount
        for statement, days in (
            (_RANKINGS, ages.scores),
            (_RESCORINGS, ages.rescorings),
            (_ALERTS, ages.alerts),
        )
    )


_OLD = "now() - make_interval(days => :days)"
_RANKINGS = (
    "DELETE FROM ml.score_rankings r WHERE r.tenant_id = :tenant_id"
    f" AND r.ranked_at < {_OLD}"
    " AND NOT EXISTS (SELECT FROM ml.lead_score_history h"
    "  WHERE h.tenant_id = r.tenant_id AND h.ranked_at = r.ranked_at)"
)
_RESCORINGS = (
    "DELETE FROM ml.rescorings WHERE tenant_id = :tenant_id"
    f" AND reported_at IS NOT NULL AND scored_at < {_OLD}"
)
_ALERTS = f"DELETE FROM ml.alerts WHERE tenant_id = :tenant_id AND resolved_at < {_OLD}"
