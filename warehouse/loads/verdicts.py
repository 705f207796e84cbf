"""What was said of each load: kept, asked for, accepted; and what the next is measured against."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Connection, Row, text

from warehouse import alerts, audit
from warehouse.errors import GalenaError
from warehouse.loads.expectations import ABSOLUTE, Failure
from warehouse.loads.limits import ENOUGH_ROWS
from warehouse.loads.profile import Profile
from warehouse.schema import load_checks

Said = Literal["passed", "warned", "blocked", "accepted"]

# The source of the records as they are published, whoever wrote them.
RECORDS = "crm_records"
BLOCKED = "load_blocked"
# Verdicts kept of each source and table.
_KEPT = 100


@dataclass(frozen=True)
class Verdict:
    """source: a file's name with # for its numbers, SOURCE/TABLE of a CRM database, or RECORDS.
    accepted_by: who let it pass though it would be blocked."""

    source: str
    table: str
    loaded_at: datetime
    said: Said
    profile: Profile
    failures: list[Failure]
    accepted_by: str | None = None

    @property
    def blocking(self) -> list[Failure]:
        return [failure for failure in self.failures if failure.severity == "critical"]

    @property
    def warnings(self) -> list[Failure]:
        return [failure for failure in self.failures if failure.severity == "warning"]


class LoadBlockedError(GalenaError):
    """Loads that would poison scores; nothing of them is published."""

    def __init__(self, verdicts: Sequence[Verdict], way_out: str) -> None:
        reasons = "; ".join(
            f"{verdict.source} ({verdict.table}): {failure} ({failure.expectation})"
            for verdict in verdicts
            for failure in verdict.blocking
        )
        super().__init__(f"Nothing was published, for it would spoil scores: {reasons}. {way_out}")
        self.verdicts = verdicts


def reference(connection: Connection, tenant_id: str, source: str, table: str) -> Profile | None:
    """The load to measure against: the newest good one of ENOUGH_ROWS, or else the one with the
    most rows, since one was last accepted. None of a first load.

    For the published records an accepted load of any source is the beginning of another time.
    """
    document = connection.scalar(
        text(
            "SELECT profile FROM crm.load_checks WHERE tenant_id = :tenant_id"
            " AND source = :source AND record_table = :table AND verdict <> 'blocked'"
            " AND load_id >= coalesce((SELECT max(load_id) FROM crm.load_checks"
            "  WHERE tenant_id = :tenant_id AND record_table = :table AND verdict = 'accepted'"
            "  AND source IN (:source, CASE WHEN :source = :records THEN source END)), 0)"
            " ORDER BY least(rows, :enough) DESC, load_id DESC LIMIT 1"
        ),
        {
            "tenant_id": tenant_id,
            "source": source,
            "table": table,
            "records": RECORDS,
            "enough": ENOUGH_ROWS,
        },
    )
    return None if document is None else Profile.from_json(document)


def accepted_before(
    connection: Connection, tenant_id: str, source: str, table: str, failures: Sequence[Failure]
) -> str | None:
    """Who accepted the newest load, if it was blocked for all of these reasons.

    What is held against the load alone, and was accepted, stays so.
    """
    row = connection.execute(
        text(
            "SELECT verdict, accepted_by, failures FROM crm.load_checks"
            " WHERE tenant_id = :tenant_id AND source = :source AND record_table = :table"
            " ORDER BY load_id DESC LIMIT 1"
        ),
        {"tenant_id": tenant_id, "source": source, "table": table},
    ).one_or_none()
    if row is None:
        return None
    if row.verdict == "accepted" and not {failure.check for failure in failures} <= ABSOLUTE:
        return None
    known = {(one["check"], one["column"]) for one in row.failures if one["severity"] == "critical"}
    same = all((failure.check, failure.column) in known for failure in failures)
    return row.accepted_by if same else None


def keep(connection: Connection, tenant_id: str, verdict: Verdict) -> None:
    """Keep the verdict; raise or resolve the alert; have what was accepted in the audit log."""
    mine = {"tenant_id": tenant_id, "source": verdict.source, "record_table": verdict.table}
    failures = [asdict(failure) for failure in verdict.failures]
    connection.execute(
        load_checks.insert().values(
            **mine,
            loaded_at=verdict.loaded_at,
            rows=verdict.profile.rows,
            verdict=verdict.said,
            profile=verdict.profile.to_json(),
            failures=failures,
            accepted_by=verdict.accepted_by,
        )
    )
    connection.execute(
        text(
            "DELETE FROM crm.load_checks WHERE tenant_id = :tenant_id AND source = :source"
            " AND record_table = :record_table AND load_id <= (SELECT load_id FROM crm.load_checks"
            "  WHERE tenant_id = :tenant_id AND source = :source AND record_table = :record_table"
            f"  ORDER BY load_id DESC OFFSET {_KEPT} LIMIT 1)"
        ),
        mine,
    )
    subject = f"{verdict.source} ({verdict.table})"
    if verdict.said == "blocked":
        reasons = "; ".join(str(failure) for failure in verdict.blocking)
        alerts.raise_alert(connection, tenant_id, BLOCKED, subject, reasons)
    else:
        alerts.resolve(connection, tenant_id, BLOCKED, [subject])
    if verdict.said == "accepted":
        assert verdict.accepted_by is not None
        _audit(connection, tenant_id, verdict.accepted_by, "load.accepted", verdict, failures)


def accept(connection: Connection, tenant_id: str, source_id: str, *, actor: str) -> list[str]:
    """Let the newest loads of a CRM database, or of RECORDS, pass when they come again.

    Those that were blocked, and then for no other reasons. Returns their sources and tables. Raises
    GalenaError if none was blocked.
    """
    rows = connection.execute(
        text(
            "UPDATE crm.load_checks c SET accepted_by = :actor WHERE c.tenant_id = :tenant_id"
            " AND c.verdict = 'blocked' AND split_part(c.source, '/', 1) = :source_id"
            " AND c.load_id = (SELECT max(n.load_id) FROM crm.load_checks n"
            "  WHERE n.tenant_id = c.tenant_id AND n.source = c.source"
            "  AND n.record_table = c.record_table)"
            " RETURNING c.source, c.record_table"
        ),
        {"tenant_id": tenant_id, "source_id": source_id, "actor": actor},
    ).all()
    if not rows:
        raise GalenaError(f"No load of {source_id!r} is blocked: there is nothing to accept.")
    return [f"{row.source} ({row.record_table})" for row in rows]


def newest(connection: Connection, tenant_id: str) -> list[Verdict]:
    """The newest verdict of each source and table."""
    rows = connection.execute(
        text(
            "SELECT DISTINCT ON (source, record_table) source, record_table, loaded_at, verdict,"
            " profile, failures, accepted_by FROM crm.load_checks WHERE tenant_id = :tenant_id"
            " ORDER BY source, record_table, load_id DESC"
        ),
        {"tenant_id": tenant_id},
    )
    return [_verdict(row) for row in rows]


def _verdict(row: Row[Any]) -> Verdict:
    return Verdict(
        row.source,
        row.record_table,
        row.loaded_at,
        row.verdict,
        Profile.from_json(row.profile),
        [Failure(**one) for one in row.failures],
        row.accepted_by,
    )


def _audit(
    connection: Connection,
    tenant_id: str,
    actor: str,
    action: str,
    verdict: Verdict,
    failures: list[dict[str, Any]],
) -> None:
    details = {
        "source": verdict.source,
        "table": verdict.table,
        "rows": verdict.profile.rows,
        "failures": failures,
    }
    audit.note(connection, tenant_id, action, details, actor=actor)
