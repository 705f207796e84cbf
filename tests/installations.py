"""Installations whose leads change and are rescored: made, changed, and what must hold of them."""

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
from dagster import AssetRecordsFilter, DagsterInstance
from sqlalchemy import Connection, NullPool, create_engine, text

from assets.lead_scores import lead_scores
from ml import features
from ml.interactions import LOOKBACK_DAYS
from ml.model import Model, dumps
from tests.test_scoring import MODEL
from warehouse import crm, models, schema, tenants
from warehouse.database import Database
from warehouse.scoring import Champions, score_open_leads

PATIENCE_SECONDS = 90
# The run of the scores that the tenants begin with.
FIRST = "first"
_CREATED_AT = datetime.now(UTC) - timedelta(days=30)


def await_true(what: str, condition: Callable[[], bool], seconds: float = PATIENCE_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        time.sleep(0.1)


@dataclass
class Changing:
    """Tenants whose leads change. superuser: URL of the warehouse past all policies.

    changed_at: when each changed lead was last changed: just before the commit, so that a score
    calculated before that time cannot have seen the change.
    """

    database: Database
    superuser: str
    tenant_ids: list[str] = field(default_factory=list)
    changed_at: dict[tuple[str, str], datetime] = field(default_factory=dict)
    _interactions: int = 0

    def add_tenant(self, tenant_id: str, leads: int) -> None:
        """One that has had its first run: open leads, a model of its own, and their scores."""
        tenants.add(self.database, tenant_id)
        with self.database.tenant(tenant_id) as connection:
            crm.upsert(connection, tenant_id, "leads", lead_rows(lead_ids(leads)))
            _register(connection, tenant_id, MODEL)
        score_open_leads(self.database, tenant_id, Champions(), FIRST)
        self.tenant_ids.append(tenant_id)

    def touch(self, tenant_id: str, leads: Sequence[str]) -> None:
        """One more interaction of each of these leads."""
        with self.touching(tenant_id, leads):
            pass

    @contextmanager
    def touching(self, tenant_id: str, leads: Sequence[str]) -> Iterator[Connection]:
        """The same, committed after the body."""
        with self.database.tenant(tenant_id) as connection:
            frame = pl.DataFrame({"lead_id": leads}).with_columns(
                interaction_id=pl.int_range(pl.len()).cast(pl.String) + f" {self._interactions}",
                kind=pl.lit("call"),
                occurred_at=pl.lit(datetime.now(UTC) - timedelta(hours=1)),
            )
            self._interactions += 1
            crm.upsert(connection, tenant_id, "interactions", frame)
            yield connection
            self.note(connection, tenant_id, leads)

    def note(self, connection: Connection, tenant_id: str, leads: Sequence[str]) -> None:
        """These leads were changed by the transaction that is about to commit."""
        at = connection.scalar(text("SELECT clock_timestamp()"))
        self.changed_at.update({(tenant_id, lead_id): at for lead_id in leads})

    def ask(self, query: str, **parameters: Any) -> list[tuple[Any, ...]]:
        """Rows of the warehouse as it is, of all tenants."""
        with self.everything() as connection:
            return [tuple(row) for row in connection.execute(text(query), parameters)]

    @contextmanager
    def everything(self) -> Iterator[Connection]:
        """A transaction past all policies."""
        engine = create_engine(self.superuser, poolclass=NullPool)
        with engine.begin() as connection:
            yield connection

    @contextmanager
    def scoring_held(self, transactions: int = 1) -> Iterator[None]:
        """Writing a score waits until the body ends, which begins when so many transactions wait:
        each has claimed its changes and computed its scores, and none has committed."""
        with self.held("INSERT INTO", "ml.lead_score_history", transactions):
            yield

    @contextmanager
    def held(self, statement: str, table: str, transactions: int = 1) -> Iterator[None]:
        """Such statements on the table wait until the body ends, which begins when they do."""
        waiting = (
            "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            f" AND query LIKE '{statement} {table}%' AND datname = current_database()"
        )
        engine = create_engine(self.superuser, poolclass=NullPool)
        connection = engine.connect()
        try:
            connection.execute(text(f"LOCK TABLE {table} IN SHARE MODE"))
            await_true("transactions wait", lambda: len(self.ask(waiting)) == transactions)
            yield
        finally:
            # The server may have been stopped, and the lock with it.
            connection.invalidate()
            connection.close()


def lead_ids(leads: int) -> list[str]:
    return [f"lead-{number:03}" for number in range(leads)]


def lead_rows(
    leads: Sequence[str], attributes: str = '{"job": "nurse", "age": 40}'
) -> pl.DataFrame:
    return pl.DataFrame({"lead_id": leads}).with_columns(
        created_at=pl.lit(_CREATED_AT), attributes=pl.lit(attributes)
    )


def _register(connection: Connection, tenant_id: str, model: Model) -> None:
    """Let the model serve, and its training be one that has been: nobody waits for it."""
    connection.execute(
        schema.feature_sets.insert().values(
            tenant_id=tenant_id, feature_set=1, as_of=_CREATED_AT, horizon_days=30,
            spec=model.spec.to_json(), rows=0, converted=0, sha256="", run_id=FIRST,
        )
    )  # fmt: skip
    version = models.register(
        connection, tenant_id, artifact=dumps(model), factors=[], feature_set=1,
        stage=model.evidence.stage, outcomes=model.evidence.outcomes, base=model.base,
        horizon_days=model.horizon_days, metrics={}, run_id=FIRST, trained_at=model.trained_at,
    )  # fmt: skip
    models.promote(connection, tenant_id, version, "champion", actor=FIRST, why="a test")


def assert_goes_on(
    changing: Changing,
    instance: Callable[[], DagsterInstance],
    *,
    rescore: Callable[[], None] = lambda: None,
    but: Collection[tuple[str, str]] = (),
    told_again: bool = False,
) -> None:
    """What must hold after every fault, over the whole database.

    Within PATIENCE_SECONDS no change waits; then one more change of each tenant is scored, too,
    with nobody's help, and Dagster has been told of everything. Each open lead has one score,
    calculated after its last change, from what its records say now; no other lead has one. The
    history has exactly one row for each score that was ever served.

    instance: opens Dagster's instance. rescore: does what a sensor would, where there is none.
    but: leads that cannot be scored. told_again: a run ended between telling Dagster and noting
    it, so that Dagster may count some rescorings twice; otherwise it counts each once.
    """
    _await_scores(changing, rescore)
    for tenant_id in changing.tenant_ids:
        changing.touch(tenant_id, lead_ids(1))
    _await_scores(changing, rescore)
    await_true(
        "Dagster is told",
        lambda: not changing.ask("SELECT FROM ml.rescorings WHERE reported_at IS NULL"),
    )
    for what, query in _VIOLATIONS.items():
        found = [row for row in changing.ask(query) if row[:2] not in but]
        assert found == [], f"{what}: {found[:5]}"
    _assert_newest(changing, but)
    for tenant_id in changing.tenant_ids:
        _assert_from_records_of_now(changing, tenant_id, but)
    with instance() as opened:
        _assert_told(changing, opened, told_again)


def _await_scores(changing: Changing, rescore: Callable[[], None]) -> None:
    rescore()
    await_true("no change waits", lambda: not changing.ask("SELECT FROM crm.rescore_queue"))


_VIOLATIONS = {
    "open leads without a score": (
        "SELECT tenant_id, lead_id FROM crm.leads WHERE converted_at IS NULL"
        " AND closed_at IS NULL EXCEPT SELECT tenant_id, lead_id FROM ml.lead_scores"
    ),
    "scores of leads that are closed or gone": (
        "SELECT tenant_id, lead_id FROM ml.lead_scores EXCEPT SELECT tenant_id, lead_id"
        " FROM crm.leads WHERE converted_at IS NULL AND closed_at IS NULL"
    ),
    "scores that are not the newest row of their history": (
        "SELECT tenant_id, lead_id, s.calculated_at, h.newest, h.same FROM ml.lead_scores s"
        " LEFT JOIN LATERAL (SELECT max(calculated_at) AS newest,"
        "  count(*) FILTER (WHERE calculated_at = s.calculated_at"
        "   AND probability = s.probability) AS same FROM ml.lead_score_history h"
        "  WHERE (h.tenant_id, h.lead_id) = (s.tenant_id, s.lead_id)) h ON true"
        " WHERE h.newest IS DISTINCT FROM s.calculated_at OR h.same <> 1"
    ),
    "transactions with more or fewer rows of history than scores": (
        "SELECT tenant_id, run_id, at, h.leads, r.leads FROM"
        " (SELECT tenant_id, run_id, calculated_at AS at, count(*) AS leads"
        f"  FROM ml.lead_score_history WHERE run_id <> '{FIRST}' GROUP BY 1, 2, 3) h"
        " FULL JOIN (SELECT tenant_id, run_id, scored_at AS at, sum(leads) AS leads"
        "  FROM ml.rescorings GROUP BY 1, 2, 3 HAVING sum(leads) > 0) r"
        " USING (tenant_id, run_id, at) WHERE h.leads IS DISTINCT FROM r.leads"
    ),
}


def _assert_newest(changing: Changing, but: Collection[tuple[str, str]]) -> None:
    found = changing.ask("SELECT tenant_id, lead_id, calculated_at FROM ml.lead_scores")
    for tenant_id, lead_id, calculated_at in found:
        changed_at = changing.changed_at.get((tenant_id, lead_id))
        if changed_at is not None and (tenant_id, lead_id) not in but:
            assert calculated_at > changed_at, f"{lead_id} of {tenant_id} has an older score"


def _assert_from_records_of_now(
    changing: Changing, tenant_id: str, but: Collection[tuple[str, str]]
) -> None:
    """The stored inputs are those that the lead's records have at the score's time: a change that
    was lost would make the difference."""
    served = [
        row
        for row in changing.ask(
            "SELECT tenant_id, lead_id, calculated_at, inputs FROM ml.lead_scores"
            " JOIN ml.lead_score_history USING (tenant_id, lead_id, calculated_at)"
            " WHERE tenant_id = :tenant_id ORDER BY lead_id",
            tenant_id=tenant_id,
        )
        if row[:2] not in but
    ]
    times = {lead_id: calculated_at for _, lead_id, calculated_at, _ in served}
    oldest = min(times.values()) - timedelta(days=LOOKBACK_DAYS)
    with changing.everything() as connection:
        leads, interactions = crm.changed_leads(connection, tenant_id, list(times), oldest)
    as_of = pl.Series(
        [times[lead_id] for lead_id in leads["lead_id"]], dtype=pl.Datetime("us", "UTC")
    )
    expected = features.build(MODEL.spec, leads.with_columns(as_of=as_of), interactions)
    stored = np.array([row[3] for row in served], np.float32)
    assert leads["lead_id"].to_list() == [row[1] for row in served]
    np.testing.assert_array_equal(stored, expected)


def _assert_told(changing: Changing, instance: DagsterInstance, told_again: bool) -> None:
    for tenant_id, *rescored in changing.ask(
        "SELECT tenant_id, sum(leads)::int, sum(removed)::int, sum(changes)::int"
        " FROM ml.rescorings GROUP BY 1"
    ):
        told = instance.fetch_materializations(
            AssetRecordsFilter(lead_scores.key, asset_partitions=[tenant_id]), limit=10_000
        )
        counted = [0, 0, 0]
        for record in told.records:
            assert record.asset_materialization is not None
            metadata = record.asset_materialization.metadata
            for place, name in enumerate(("leads rescored", "leads no longer open", "changes")):
                counted[place] += int(str(metadata[name].value))
        if told_again:
            assert all(map(int.__ge__, counted, rescored)), (tenant_id, counted, rescored)
        else:
            assert counted == rescored, tenant_id
