"""What is served of customers is of the version that serves, whatever happens at once."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import polars as pl
import pytest
from sqlalchemy import text

from ml import kinds
from ml.kinds import Name
from ml.settings import Governance
from ml.tables import Tables
from tests.counting_model import MODEL, SPEC
from tests.installations import await_true
from warehouse import (
    bulk,
    crm,
    customer_predictions,
    customer_scoring,
    customers,
    deployment,
    models,
    tenants,
)
from warehouse.customer_scoring import Summary
from warehouse.database import Database

ACME = "acme"
NAME: Name = "customer_churn"
NOW = datetime.now(UTC)


@pytest.fixture
def acme(database: Database) -> Database:
    """A tenant with ten customers, and two versions, of which the first serves."""
    tenants.add(database, ACME)
    ids = [f"c{number}" for number in range(10)]
    rows = pl.DataFrame({"customer_id": ids, "name": ids, "attributes": ["{}"] * 10})
    with database.tenant(ACME) as connection:
        crm.upsert(connection, ACME, "customers", rows.with_columns(created_at=pl.lit(NOW)))
        for log_odds in (0.0, 1.0):
            predictor = Tables.constant(len(SPEC.features), log_odds)
            model = replace(MODEL, spec=replace(SPEC, subject="customer"), predictor=predictor)
            models.register(connection, ACME, model, name=NAME, metrics={}, run_id="run")
    _deploy(database, 1)
    return database


def _deploy(database: Database, version: int) -> None:
    with database.tenant(ACME) as connection:
        deployment.deploy(connection, ACME, version, Governance(), actor="ann", why="a test")


def _predict(database: Database) -> Summary | None:
    return customer_scoring.predict_all(database, ACME, NAME, "run", now=NOW)


def _served(database: Database) -> list[tuple[Any, ...]]:
    with database.tenant(ACME) as connection:
        rows = connection.execute(
            text(
                "SELECT model_version, round(avg(probability)::numeric, 2)::float8, count(*)"
                " FROM serving.customer_churn_v1 GROUP BY 1"
            )
        )
        return [tuple(row) for row in rows]


def test_a_version_deployed_meanwhile_is_not_overwritten_by_the_old_one(
    acme: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    present, deployed = customers.present, list[int]()

    def slow(*arguments: Any) -> customers.Rows:
        found = present(*arguments)
        if not deployed:
            deployed.append(2)
            _deploy(acme, 2)
            assert _predict(acme) == Summary(2, 10)
        return found

    monkeypatch.setattr(customers, "present", slow)
    assert _predict(acme) == Summary(2, 10)
    assert _served(acme) == [(2, 0.73, 10)]


def test_of_two_at_once_the_second_waits(acme: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    replace_all = customer_predictions.replace

    def slow(*arguments: Any) -> int:
        """The first has written and not committed until the second waits for it."""
        rows = replace_all(*arguments)
        monkeypatch.setattr(customer_predictions, "replace", replace_all)
        others.append(pool.submit(_predict, acme))
        await_true("the second waits", lambda: _waits(acme))
        return rows

    monkeypatch.setattr(customer_predictions, "replace", slow)
    others: list[Any] = []
    with ThreadPoolExecutor() as pool:
        assert _predict(acme) == Summary(1, 10)
    assert others[0].result() == Summary(1, 10)
    assert _served(acme) == [(1, 0.5, 10)]


def _waits(database: Database) -> bool:
    with database.tenant(ACME) as connection:
        waiting = connection.scalars(
            text(
                "SELECT pid FROM pg_stat_activity"
                " WHERE wait_event_type = 'Lock' AND datname = current_database()"
            )
        )
        return bool(waiting.all())


def test_what_is_built_and_written_at_a_time_is_bounded(
    acme: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    insert, sizes, written = bulk.insert, list[int](), list[int]()

    def watched(model: Any, matrix: Any) -> pl.DataFrame:
        sizes.append(len(matrix))
        assert sum(written) == sum(sizes[:-1]), "what was said before is written"
        return kinds.predict(model, matrix)

    def noted(*arguments: Any) -> int:
        written.append(insert(*arguments))
        return written[-1]

    monkeypatch.setattr(customer_scoring, "_BLOCK", 4)
    monkeypatch.setattr(customer_scoring, "predict", watched)
    monkeypatch.setattr(bulk, "insert", noted)
    assert _predict(acme) == Summary(1, 10)
    assert sizes == [4, 4, 2]
    assert _served(acme) == [(1, 0.5, 10)]


def test_where_none_serves_any_more_nothing_is_left(acme: Database) -> None:
    _predict(acme)
    with acme.tenant(ACME) as connection:
        connection.execute(text("DELETE FROM ml.model_aliases"))
    assert _predict(acme) is None
    assert _served(acme) == []
