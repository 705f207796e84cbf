"""What came of the items of batch predictions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, text

from warehouse import prediction_jobs
from warehouse.errors import GalenaError

_MOST = 10_000


@dataclass(frozen=True)
class Result:
    """What came of one item.

    prediction: what the model says, by name; None where error says why there is none. reasoning:
    the reasons, strongest first, as serving.predictions_v1 has them; None where they were not asked
    for, or the model has none.
    """

    item: int
    subject_id: str
    prediction: Mapping[str, Any] | None
    reasoning: Sequence[Mapping[str, Any]] | None
    error: str | None
    predicted_at: datetime


def page(
    connection: Connection,
    tenant_id: str,
    job_id: str,
    *,
    after: int = 0,
    limit: int = 100,
    failures: bool = False,
    reasons: bool = True,
) -> list[Result]:
    """A page of what came of the items, in their order: the first `limit` behind item `after`.

    failures: only of those that have no prediction. reasons: whether to make the reasons' words,
    some half a millisecond an item. Raises GalenaError for a limit that is not 1 to 10,000.
    """
    if not 1 <= limit <= _MOST:
        raise GalenaError(f"limit: got {limit:,}; expected 1 to {_MOST:,}: ask in pages.")
    prediction_jobs.find(connection, tenant_id, job_id)
    rows = connection.execute(
        text(
            "SELECT item, subject_id, prediction,"
            f" {'reasoning' if reasons else 'NULL AS reasoning'}, error, predicted_at"
            " FROM serving.predictions_v1 WHERE tenant_id = :tenant_id AND job_id = :job_id"
            f" AND item > :after {'AND error IS NOT NULL' if failures else ''}"
            " ORDER BY item LIMIT :limit"
        ),
        {"tenant_id": tenant_id, "job_id": job_id, "after": after, "limit": limit},
    )
    return [Result(*row) for row in rows]


def names(connection: Connection, tenant_id: str, job_id: str) -> list[str]:
    """What the job's model says, by name, as the predictions of all its items have it; none while
    no item is predicted."""
    found = connection.scalars(
        text(
            "SELECT jsonb_object_keys(output) FROM (SELECT output FROM ml.prediction_results"
            "  WHERE tenant_id = :tenant_id AND job_id = :job_id AND output IS NOT NULL"
            "  ORDER BY item LIMIT 1) first"
        ),
        {"tenant_id": tenant_id, "job_id": job_id},
    )
    return list(found)
