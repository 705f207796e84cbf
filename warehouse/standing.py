"""Where leads stand between a change and its score: what is served of them, and what waits."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, text


@dataclass(frozen=True)
class Standing:
    """A lead's served score, None without one, and whether changes of it wait for a new one."""

    lead_id: str
    probability: float | None
    calculated_at: datetime | None
    waits: bool


def standing(connection: Connection, tenant_id: str, lead_ids: Sequence[str]) -> list[Standing]:
    """Each of the leads, known or not, as a reader of the serving view finds it now."""
    rows = connection.execute(_STANDING, {"tenant_id": tenant_id, "lead_ids": list(lead_ids)})
    return [Standing(*row) for row in rows]


_STANDING = text(
    "SELECT asked.lead_id, s.probability, s.calculated_at,"
    " EXISTS (SELECT FROM crm.rescore_queue q"
    "  WHERE q.tenant_id = :tenant_id AND q.lead_id = asked.lead_id)"
    " FROM unnest(CAST(:lead_ids AS text[])) AS asked (lead_id)"
    " LEFT JOIN serving.lead_scores_v1 s"
    "  ON s.tenant_id = :tenant_id AND s.lead_id = asked.lead_id"
)
