"""What a lead's score was and why, and what moved since."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
from sqlalchemy import Connection, Row, text

from ml.model import Model, loads
from ml.movement import Move, Scored, moves
from warehouse import models
from warehouse.errors import GalenaError


@dataclass(frozen=True)
class PastScore:
    """A score as it was served, its reasons in the words of serving.lead_score_history_v1."""

    lead_id: str
    score: int
    probability: float
    percentile: float
    confidence: float
    evidence: dict[str, Any]
    base_log_odds: float
    reasoning: list[dict[str, Any]]
    model_version: int
    calculated_at: datetime
    expires_at: datetime
    run_id: str

    def expired(self, at: datetime) -> bool:
        """Whether a newer score should have replaced it by then."""
        return self.expires_at < at


def score_at(connection: Connection, tenant_id: str, lead_id: str, at: datetime) -> PastScore:
    """The score that the lead had at a time: the newest calculated at or before it.

    Raises GalenaError, saying which, when the lead had none yet, never had one, is none of the
    tenant's CRM, or when the model of its score is gone.
    """
    columns = ", ".join(PastScore.__dataclass_fields__)
    row = connection.execute(
        text(f"SELECT {columns} FROM serving.lead_score_at_v1(:tenant_id, :lead_id, :at)"),
        {"tenant_id": tenant_id, "lead_id": lead_id, "at": at},
    ).one_or_none()
    if row is not None:
        return PastScore(*row)
    found = stored(connection, tenant_id, lead_id, at)
    document(connection, tenant_id, found.model_version)
    raise GalenaError(
        f"The score of {utc(found.calculated_at)} of lead {lead_id!r} of tenant {tenant_id!r} is"
        " in the history, but not the ranking of its run (ml.score_rankings) that its percentile"
        " is read from: restore that table from a backup."
    )


@dataclass(frozen=True)
class HistoryLine:
    """One score in the list of a lead's scores.

    strongest_reason: in words; None where nothing is known of the lead, or its model is gone.
    """

    calculated_at: datetime
    score: int
    probability: float
    confidence: float
    model_version: int
    strongest_reason: str | None


def history(
    connection: Connection, tenant_id: str, lead_id: str, limit: int
) -> Sequence[HistoryLine]:
    """The lead's newest scores, newest first; raises GalenaError when it never had one."""
    # Not by the view, which shows no score whose model or ranking is gone.
    rows = connection.execute(
        text(
            "SELECT calculated_at, score, probability, confidence, model_version,"
            " serving.reasoning(tenant_id, model_version, contributions, inputs)"
            " -> 0 ->> 'explanation'"
            " FROM ml.lead_score_history WHERE tenant_id = :tenant_id AND lead_id = :lead_id"
            " ORDER BY calculated_at DESC LIMIT :limit"
        ),
        {"tenant_id": tenant_id, "lead_id": lead_id, "limit": limit},
    ).all()
    if not rows:
        raise _never_scored(connection, tenant_id, lead_id)
    return [HistoryLine(*row) for row in rows]


@dataclass(frozen=True)
class Moved:
    """Two scores of one lead and what moved between them; see ml.movement.moves.

    before and after are the same score when none was calculated between the two times.
    """

    before: PastScore
    after: PastScore
    moves: Sequence[Move]


def moved(
    connection: Connection,
    tenant_id: str,
    lead_id: str,
    since: datetime | None,
    until: datetime,
) -> Moved:
    """What moved between the scores that the lead had at two times.

    since: None for the score before the one at until.
    Raises GalenaError as score_at does, and when there is no score to compare with.
    """
    if since is not None and since > until:
        raise GalenaError(
            f"since, {utc(since)}, lies after until, {utc(until)}: give the earlier time first."
        )
    after = stored(connection, tenant_id, lead_id, until)
    if since is None:
        before = _newest(connection, tenant_id, lead_id, after.calculated_at, "<")
        if before is None:
            raise GalenaError(
                f"Lead {lead_id!r} of tenant {tenant_id!r} had one score by {utc(until)}, that of"
                f" {utc(after.calculated_at)}, and none before to compare with."
            )
    else:
        before = stored(connection, tenant_id, lead_id, since)
    old, new = (_scored(connection, tenant_id, row) for row in (before, after))
    return Moved(
        score_at(connection, tenant_id, lead_id, before.calculated_at),
        score_at(connection, tenant_id, lead_id, after.calculated_at),
        moves(old, new),
    )


# Of a stored score, for stored() and for whoever reads many.
COLUMNS = (
    "lead_id, calculated_at, model_version, score, probability, confidence::float8 AS confidence,"
    " contributions, inputs"
)


def _newest(
    connection: Connection, tenant_id: str, lead_id: str, at: datetime, condition: str = "<="
) -> Row[Any] | None:
    return connection.execute(
        text(
            f"SELECT {COLUMNS} FROM ml.lead_score_history WHERE tenant_id = :tenant_id"
            f" AND lead_id = :lead_id AND calculated_at {condition} :at"
            " ORDER BY calculated_at DESC LIMIT 1"
        ),
        {"tenant_id": tenant_id, "lead_id": lead_id, "at": at},
    ).one_or_none()


def stored(connection: Connection, tenant_id: str, lead_id: str, at: datetime) -> Row[Any]:
    """The row of the score that the lead had at a time; raises GalenaError where it had none."""
    row = _newest(connection, tenant_id, lead_id, at)
    if row is not None:
        return row
    first = connection.scalar(
        text(
            "SELECT min(calculated_at) FROM ml.lead_score_history"
            " WHERE tenant_id = :tenant_id AND lead_id = :lead_id"
        ),
        {"tenant_id": tenant_id, "lead_id": lead_id},
    )
    if first is None:
        raise _never_scored(connection, tenant_id, lead_id)
    raise GalenaError(
        f"Lead {lead_id!r} of tenant {tenant_id!r} had no score at {utc(at)}: it was scored first"
        f" at {utc(first)}; ask for that time or a later one."
    )


def _never_scored(connection: Connection, tenant_id: str, lead_id: str) -> GalenaError:
    lead = connection.execute(
        text(
            "SELECT converted_at, closed_at FROM crm.leads"
            " WHERE tenant_id = :tenant_id AND lead_id = :lead_id"
        ),
        {"tenant_id": tenant_id, "lead_id": lead_id},
    ).one_or_none()
    if lead is None:
        return GalenaError(
            f"Tenant {tenant_id!r} has no lead {lead_id!r} in its CRM's records, and no score of"
            " one: check the id, or import the lead."
        )
    ended = "converted" if lead.converted_at else "was closed" if lead.closed_at else None
    return GalenaError(
        f"Lead {lead_id!r} of tenant {tenant_id!r} was never scored: "
        + (
            f"it {ended} before a scoring, and only open leads are scored."
            if ended
            else "it waits for its first scoring, so leave `galena up` running, or materialize"
            " lead_scores for the tenant."
        )
    )


def document(connection: Connection, tenant_id: str, version: int) -> Model:
    """The model of this version; raises GalenaError when it is not as registered."""
    try:
        return loads(models.artifact(connection, tenant_id, version))
    except ValueError as error:
        raise GalenaError(
            f"Model version {version} of tenant {tenant_id!r} cannot be read by this release:"
            f" {error}."
        ) from error


def _scored(connection: Connection, tenant_id: str, row: Row[Any]) -> Scored:
    model = document(connection, tenant_id, row.model_version)
    contributions, inputs = (
        np.array(values, dtype=np.float32) for values in (row.contributions, row.inputs)
    )
    factors, features = len(model.spec.factors), len(model.spec.features)
    if (len(contributions), len(inputs)) != (factors, features):
        raise GalenaError(
            f"The score of {utc(row.calculated_at)} of lead {row.lead_id!r} of tenant"
            f" {tenant_id!r} has {len(contributions)} contributions of {len(inputs)} inputs, its"
            f" model version {row.model_version} takes {factors} of {features}: restore the row"
            " in ml.lead_score_history from a backup."
        )
    return Scored(model, contributions, inputs)


def utc(at: datetime) -> str:
    # Whole: a time cut to its second lies before the score that it was read from.
    return f"{at.astimezone(UTC).replace(tzinfo=None).isoformat()} UTC"
