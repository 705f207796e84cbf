"""What is kept of the past and for how long; what is older goes."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection, text

from warehouse.database import Database


@dataclass(frozen=True)
class Ages:
    """Days that things are kept.

    scores: the history of scores, whole months of it, with the inputs that replay them. The score
        that a lead has now stays, however old. What both models of an A/B test said of its leads
        is kept as long after the test.
    rescorings: what is known of each rescoring, once Dagster has been told of it.
    alerts: resolved ones.
    looks: at models that serve, after which nothing was done; the newest stays.
    predictions: jobs of batch predictions that have ended, with their results.
    events: those that no webhook is to get any more.
    llm_calls: lines of the ledger of language-model calls. Answers of theirs go when they expire.
    llm_reservations: those that nobody settled, after they lapsed: longer than a budget's period.
    """

    scores: int = 400
    rescorings: int = 7
    alerts: int = 90
    looks: int = 90
    predictions: int = 30
    events: int = 30
    llm_calls: int = 400
    llm_reservations: int = 40


def forget_scores(database: Database, oldest_served: datetime | None, ages: Ages) -> list[str]:
    """Drop the months of the history that are past their age; return their tables' names.

    oldest_served: when the oldest score that any lead has now was calculated; that of a paused
        tenant may be old. Its month stays, and with it those after it.
    Raises OperationalError when a month is in use for longer than 2 s.
    """
    cutoff = datetime.now(UTC) - timedelta(days=ages.scores)
    dropped: list[str] = []
    while True:
        with database.operator() as connection:
            name = connection.scalar(
                text("SELECT ml.drop_history_before(:cutoff)"),
                {"cutoff": min(cutoff, oldest_served or cutoff)},
            )
        if name is None:
            return dropped
        dropped.append(name)


def oldest_served(connection: Connection, tenant_id: str) -> datetime | None:
    """When the oldest of the tenant's present scores was calculated."""
    found: datetime | None = connection.scalar(
        text("SELECT min(calculated_at) FROM ml.lead_scores WHERE tenant_id = :tenant_id"),
        {"tenant_id": tenant_id},
    )
    return found


def forget(connection: Connection, tenant_id: str, ages: Ages) -> int:
    """Delete what of the tenant is past its age, but for its scores; return how many rows. A
    ranking stays as long as a score may refer to it."""
    return sum(
        connection.execute(text(statement), {"tenant_id": tenant_id, **days}).rowcount
        for statement, days in (
            (_RANKINGS, {}),
            (_AB_SCORES, {"days": ages.scores}),
            (_RESCORINGS, {"days": ages.rescorings}),
            (_ALERTS, {"days": ages.alerts}),
            (_LOOKS, {"days": ages.looks}),
            (_PREDICTIONS, {"days": ages.predictions}),
            (_EVENTS, {"days": ages.events}),
            (_LLM_CALLS, {"days": ages.llm_calls}),
            (_LLM_ANSWERS, {}),
            (_LLM_RESERVATIONS, {"days": ages.llm_reservations}),
        )
    )


_OLD = "now() - make_interval(days => :days)"
# A score refers to the last ranking before it, so none of those that are left refers to one before
# the last before the first month that is left.
_RANKINGS = (
    "DELETE FROM ml.score_rankings WHERE tenant_id = :tenant_id AND ranked_at <"
    " (SELECT max(ranked_at) FROM ml.score_rankings WHERE tenant_id = :tenant_id AND ranked_at <"
    "  (SELECT min(to_date(right(c.relname, 7), 'YYYY_MM')) - 1 FROM pg_inherits i"
    "   JOIN pg_class c ON c.oid = i.inhrelid"
    "   WHERE i.inhparent = 'ml.lead_score_history'::regclass))"
)
_RESCORINGS = (
    "DELETE FROM ml.rescorings WHERE tenant_id = :tenant_id"
    f" AND reported_at IS NOT NULL AND scored_at < {_OLD}"
)
_ALERTS = f"DELETE FROM ml.alerts WHERE tenant_id = :tenant_id AND resolved_at < {_OLD}"
_LOOKS = (
    f"DELETE FROM ml.model_looks WHERE tenant_id = :tenant_id AND looked_at < {_OLD}"
    " AND action = 'nothing' AND looked_at <"
    " (SELECT max(looked_at) FROM ml.model_looks WHERE tenant_id = :tenant_id)"
)
# Their results go with them.
_PREDICTIONS = f"DELETE FROM ml.prediction_jobs WHERE tenant_id = :tenant_id AND ended_at < {_OLD}"
_EVENTS = f"DELETE FROM ml.events WHERE tenant_id = :tenant_id AND due_at IS NULL AND at < {_OLD}"
_LLM_CALLS = f"DELETE FROM ml.llm_ledger WHERE tenant_id = :tenant_id AND at < {_OLD}"
_LLM_ANSWERS = "DELETE FROM ml.llm_answers WHERE tenant_id = :tenant_id AND expires_at < now()"
_LLM_RESERVATIONS = (
    f"DELETE FROM ml.llm_reservations WHERE tenant_id = :tenant_id AND lapses_at < {_OLD}"
)
_AB_SCORES = (
    "DELETE FROM ml.ab_scores s USING ml.ab_tests t WHERE s.tenant_id = :tenant_id"
    f" AND t.tenant_id = s.tenant_id AND t.test_id = s.test_id AND t.ended_at < {_OLD}"
)
