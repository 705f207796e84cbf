"""The records of A/B tests: found, changed, ended, each with its audit entry."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Connection, Row, select, text

from warehouse import alerts, audit, models
from warehouse.ab_scoring import ALERT
from warehouse.errors import GalenaError
from warehouse.schema import ab_tests

Mode = Literal["split", "shadow"]
Status = Literal[
    "open", "promoted", "awaiting_approval", "dropped", "undecided", "overtaken", "stopped"
]


@dataclass(frozen=True)
class ABTest:
    """One test.

    champion, challenger: versions of the tenant's lead model. share: of leads that the challenger
    serves; 0 in shadow mode, where it serves none. horizon_days: after a lead's first scoring in
    the test its outcome counts, not before. status: open; promoted (the challenger serves);
    awaiting_approval (it was better, and a person has to decide); dropped; undecided (the champion
    stays); overtaken (another champion came); stopped. verdict: why, in words. result: what the
    last look found, as ml.sequential.Course.to_json; empty before the first.
    """

    test_id: int
    champion: int
    challenger: int
    mode: Mode
    share: float
    horizon_days: int
    status: Status
    started_at: datetime
    started_by: str
    ends_at: datetime
    ended_at: datetime | None
    verdict: str
    result: Mapping[str, Any]


def find_open(connection: Connection, tenant_id: str) -> ABTest | None:
    """The tenant's open test; whoever may end it holds models.lock."""
    query = _SELECT.where(ab_tests.c.tenant_id == tenant_id, ab_tests.c.ended_at.is_(None))
    row = connection.execute(query).one_or_none()
    return None if row is None else _read(row)


def find(connection: Connection, tenant_id: str, test_id: int) -> ABTest:
    """Raises GalenaError when the tenant has no such test."""
    query = _SELECT.where(ab_tests.c.tenant_id == tenant_id, ab_tests.c.test_id == test_id)
    row = connection.execute(query).one_or_none()
    if row is None:
        raise GalenaError(
            f"Tenant {tenant_id!r} has no test {test_id}: `galena test list {tenant_id}` shows"
            " those there are."
        )
    return _read(row)


def newest(connection: Connection, tenant_id: str) -> int:
    """The tenant's newest test. Raises GalenaError when there was none."""
    tests = find_all(connection, tenant_id)
    if not tests:
        raise GalenaError(
            f"Tenant {tenant_id!r} had no test yet: `galena test start {tenant_id} VERSION` begins"
            " one."
        )
    return tests[0].test_id


def find_all(connection: Connection, tenant_id: str) -> list[ABTest]:
    """The tenant's tests, the newest first."""
    query = _SELECT.where(ab_tests.c.tenant_id == tenant_id)
    return [_read(row) for row in connection.execute(query.order_by(ab_tests.c.test_id.desc()))]


def change(connection: Connection, tenant_id: str, test: ABTest, **facts: Any) -> None:
    """Set facts of a test."""
    connection.execute(
        ab_tests.update()
        .where(ab_tests.c.tenant_id == tenant_id, ab_tests.c.test_id == test.test_id)
        .values(**facts)
    )


def end(
    connection: Connection,
    tenant_id: str,
    test: ABTest,
    status: Status,
    verdict: str,
    actor: str,
    now: datetime,
) -> ABTest:
    """End a test: the challenger alone serves no lead from the next scoring on, and those that it
    served are queued; where it is promoted, its deployment queues all."""
    change(connection, tenant_id, test, status=status, verdict=verdict, ended_at=now)
    why = f"test {test.test_id}: {verdict}"
    models.remove_challenger(connection, tenant_id, actor=actor, why=why)
    asked = {"tenant_id": tenant_id, "test_id": test.test_id}
    if status != "promoted":
        connection.execute(_RESCORE_SERVED, asked)
    alerts.resolve(connection, tenant_id, ALERT, [""])
    ended = find(connection, tenant_id, test.test_id)
    note(connection, tenant_id, ended, status, actor)
    return ended


def note(connection: Connection, tenant_id: str, test: ABTest, what: str, actor: str) -> None:
    """Write an entry of the audit log: what became of a test, with what it had seen by then."""
    details = {
        "test": test.test_id,
        "champion": test.champion,
        "challenger": test.challenger,
        "mode": test.mode,
        "share": test.share,
        "verdict": test.verdict,
        "result": test.result,
    }
    audit.note(connection, tenant_id, f"test.{what}", details, actor=actor)


_SELECT = select(*(ab_tests.c[field] for field in ABTest.__dataclass_fields__))


def _read(row: Row[*tuple[Any, ...]]) -> ABTest:
    return ABTest(**row._mapping)


# Behind live changes, as a bulk load's are.
_RESCORE_SERVED = text(
    "INSERT INTO crm.rescore_queue (tenant_id, lead_id, priority)"
    " SELECT s.tenant_id, s.lead_id, -1 FROM ml.ab_scores s JOIN crm.leads l"
    "  ON l.tenant_id = s.tenant_id AND l.lead_id = s.lead_id"
    " WHERE s.tenant_id = :tenant_id AND s.test_id = :test_id AND s.challenger_served"
    " AND l.converted_at IS NULL AND l.closed_at IS NULL"
)
