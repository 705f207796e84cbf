"""Tenants whose leads change, with notes of when, and transactions held in their middle."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
from sqlalchemy import Connection, NullPool, create_engine, text

from ml.model import Model
from tests.test_scoring import MODEL
from warehouse import crm, models, schema, tenants
from warehouse.database import Database
from warehouse.scoring import Champions, score_open_leads

PATIENCE_SECONDS = 180
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
    def held(
        self, statement: str = "INSERT INTO", table: str = "ml.lead_score_history"
    ) -> Iterator[Callable[[int], None]]:
        """Such statements on the table wait until the body ends: with the default, transactions
        that have claimed changes and computed their scores, and have not committed.

        The body gets a function that returns when so many wait.
        """
        waiting = (
            "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            f" AND query LIKE '{statement} {table}%' AND datname = current_database()"
        )
        engine = create_engine(self.superuser, poolclass=NullPool)
        connection = engine.connect()
        try:
            connection.execute(text(f"LOCK TABLE {table} IN SHARE MODE"))
            yield lambda number: await_true(
                f"{number} transactions wait", lambda: len(self.ask(waiting)) == number
            )
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
    version = models.register(connection, tenant_id, model, feature_set=1, metrics={}, run_id=FIRST)
    models.promote(connection, tenant_id, version, "champion", actor=FIRST, why="a test")
