"""The transaction that publishes loads: the data checks let them pass, or it undoes them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import Connection, text

from warehouse.database import Database
from warehouse.loads import verdicts
from warehouse.loads.expectations import judge
from warehouse.loads.figures import Facts, figures
from warehouse.loads.limits import LEAST_ROWS
from warehouse.loads.profile import Records, profile
from warehouse.loads.verdicts import LoadBlockedError, Said, Verdict


@contextmanager
def publishing(database: Database, tenant_id: str) -> Iterator[Connection]:
    """A transaction of the tenant in which loads are written and then checked.

    A LoadBlockedError undoes it, and its verdicts are kept in one of their own.
    """
    try:
        with database.tenant(tenant_id) as connection:
            yield connection
    except LoadBlockedError as blocked:
        with database.tenant(tenant_id) as connection:
            for verdict in blocked.verdicts:
                verdicts.keep(connection, tenant_id, verdict)
        raise


@dataclass(frozen=True)
class Load:
    """A load that is to be judged. source, table: as a Verdict's. twins: as a Profile's. left_out:
    columns that the mapping takes or ignores, which therefore are not missed."""

    source: str
    table: str
    records: Records
    facts: Facts
    twins: int
    left_out: frozenset[str] = frozenset()


def one_at_a_time(connection: Connection, tenant_id: str, source: str, table: str) -> None:
    """Wait until no other load of this source and table is being published, so that each is
    measured against the last."""
    connection.execute(
        text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))"),
        {"name": f"load {tenant_id} {source} {table}"},
    )


def judged(
    connection: Connection,
    tenant_id: str,
    load: Load,
    now: datetime,
    accepted_by: str | None = None,
) -> Verdict | None:
    """What is to be said of the load; None of one too small to be judged.

    accepted_by: who wants it published whatever is said.
    """
    facts = load.facts
    found = profile(
        load.records,
        twins=load.twins,
        read=facts.read,
        set_aside=facts.set_aside,
        repeated=facts.repeated,
    )
    before = verdicts.reference(connection, tenant_id, load.source, load.table)
    rows = max(facts.read, found.rows)
    if before is not None and facts.whole:
        rows = max(rows, before.rows)
    if rows < LEAST_ROWS:
        return None
    if before is not None:
        kept = {name: one for name, one in before.columns.items() if name not in load.left_out}
        before = replace(before, columns=kept)
    failures = judge(list(figures(load.records, found, before, facts)), load.records, now)
    blocking = [failure for failure in failures if failure.severity == "critical"]
    said: Said = "passed"
    if blocking:
        accepted_by = accepted_by or verdicts.accepted_before(
            connection, tenant_id, load.source, load.table, blocking
        )
        said = "accepted" if accepted_by else "blocked"
    elif any(failure.severity == "warning" for failure in failures):
        said = "warned"
    by = accepted_by if said == "accepted" else None
    return Verdict(load.source, load.table, now, said, found, failures, by)


def publish(connection: Connection, tenant_id: str, said: Sequence[Verdict], way_out: str) -> None:
    """Keep the verdicts; raise LoadBlockedError if any is a block."""
    if blocked := [verdict for verdict in said if verdict.said == "blocked"]:
        raise LoadBlockedError(blocked, way_out)
    for verdict in said:
        verdicts.keep(connection, tenant_id, verdict)
