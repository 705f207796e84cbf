"""What became of the leads of an A/B test, as ml.sequential wants it."""

from datetime import datetime

import numpy as np
from sqlalchemy import Connection, text

from ml import sequential
from ml.sequential import Course
from warehouse import outcomes

# Rows read at a time: memory does not grow with the leads.
_BLOCK = 50_000


def course(connection: Connection, tenant_id: str, test_id: int, *, now: datetime) -> Course | None:
    """The test day by day, as of now; None while no lead counts.

    A lead counts when its horizon has ended by the time up to which outcomes are known
    (warehouse.outcomes), also where it converted long before: early news is of conversions alone.
    One whose conversion or closing turns out to lie before its scoring counts not at all.
    """
    asked: dict[str, object] = {"tenant_id": tenant_id, "test_id": test_id}
    asked["until"] = outcomes.known_until(connection, tenant_id, now)
    days, share = connection.execute(_DAYS, asked).one()
    if days is None:
        return None
    found = np.zeros((days, len(sequential.SUMS)))
    rows = connection.execute(_MATURED, asked, execution_options={"yield_per": _BLOCK})
    for block in rows.partitions(_BLOCK):
        columns = (np.array(column) for column in zip(*block, strict=True))
        look, converted, champion, challenger, served = columns
        found += sequential.sums(look, days, converted, champion, challenger, served, share)
    return sequential.course(found, share)


_COUNTING = (
    " FROM ml.ab_tests t JOIN ml.ab_scores s USING (tenant_id, test_id)"
    " JOIN crm.leads l USING (tenant_id, lead_id)"
    " WHERE t.tenant_id = :tenant_id AND t.test_id = :test_id"
    " AND s.scored_at <= :until - make_interval(days => t.horizon_days)"
    " AND coalesce(least(l.converted_at, l.closed_at) > s.scored_at, true)"
)
# A scoring that had begun before the test finds it too, and its clock is older.
_DAY = "greatest(floor(extract(epoch FROM s.scored_at - t.started_at) / 86400), 0)::int"
_DAYS = text(f"SELECT max({_DAY}) + 1, max(t.share) {_COUNTING}")
_MATURED = text(
    f"SELECT {_DAY}, coalesce(l.converted_at <= s.scored_at"
    "  + make_interval(days => t.horizon_days), false), s.champion, s.challenger,"
    f" s.challenger_served {_COUNTING}"
)
