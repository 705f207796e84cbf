"""The pooled model in the warehouse, and the asset that makes it of the tenants that agreed."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from dagster import materialize
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.exc import ProgrammingError

from assets.pooled_lead_model import pooled_lead_model
from ml.algorithm import Sample
from ml.pooled_model import PooledModel
from ml.pooling import fit
from ml.settings import TrainingSettings
from resources.warehouse import Warehouse
from tests.test_pooling import strings, tenant
from warehouse import features, pooled_models, tenants, training_settings
from warehouse.database import Database
from warehouse.embedded import Urls

NOW = datetime(2026, 6, 1, tzinfo=UTC)
NAMES = ("acme", "brio", "cielo", "dune")
SAMPLES = {name: tenant(seed) for seed, name in enumerate(NAMES)}


@pytest.fixture
def four(database: Database) -> Database:
    """Four tenants with rows that have agreed."""
    for name, sample in SAMPLES.items():
        tenants.add(database, name)
        store(database, name, sample)
        decide(database, name, pooling=True)
    return database


def store(database: Database, tenant_id: str, sample: Sample) -> None:
    count = len(sample.label)
    at = [NOW + timedelta(minutes=minute) for minute in range(count)]
    rows = pl.DataFrame(
        {
            "lead_id": [f"lead-of-{tenant_id}-{number}" for number in range(count)],
            "snapshot_at": at,
            "label": sample.label,
            "label_known_at": at,
            "features": pl.Series(sample.matrix).arr.to_list(),
        },
        schema_overrides={
            "snapshot_at": pl.Datetime("us", "UTC"),
            "label_known_at": pl.Datetime("us", "UTC"),
        },
    )
    with database.tenant(tenant_id) as connection:
        features.save(
            connection,
            tenant_id,
            rows,
            spec=sample.spec.to_json(),
            as_of=NOW,
            horizon_days=30,
            run_id="run",
        )


def decide(database: Database, tenant_id: str, *, pooling: bool) -> None:
    with database.tenant(tenant_id) as connection:
        settings = TrainingSettings(pooling=pooling)
        training_settings.save(connection, tenant_id, settings, actor="ann")


def made(database: Database) -> dict[str, Any]:
    """Materialize the asset; its metadata by name."""
    result = materialize(
        [pooled_lead_model], resources={"warehouse": Warehouse(database_url=database.url)}
    )
    (event,) = result.asset_materializations_for_node("pooled_lead_model")
    return {name: value.value for name, value in event.metadata.items()}


def kept(database: Database) -> PooledModel | None:
    with database.tenant("acme") as connection:
        return pooled_models.newest(connection)


def of(*names: str) -> PooledModel:
    return fit(SAMPLES[name] for name in names)


def test_the_tenants_that_agreed_are_in_it_and_no_other(four: Database) -> None:
    decide(four, "dune", pooling=False)
    told = made(four)
    assert kept(four) == of("acme", "brio", "cielo") != of(*NAMES)
    assert (told["tenants"], told["rows"]) == (3, 4500)
    assert told["log_loss of tenants left out"] < told["log_loss of base rate"]
    decide(four, "dune", pooling=True)
    made(four)
    assert kept(four) == of(*NAMES)


def test_who_decides_nothing_has_not_agreed(four: Database) -> None:
    with four.tenant("dune") as connection:
        connection.execute(text("DELETE FROM ml.training_settings"))
    made(four)
    assert kept(four) == of("acme", "brio", "cielo")


def test_who_is_paused_or_removed_is_left_out(four: Database, urls: Urls) -> None:
    tenants.add(four, "elm")
    decide(four, "elm", pooling=True)
    tenants.set_status(four, "dune", "paused")
    made(four)
    assert kept(four) == of("acme", "brio", "cielo"), "elm has no rows yet"
    tenants.set_status(four, "dune", "active")
    tenants.erase(four, "brio", urls.owner)
    made(four)
    assert kept(four) == of("acme", "cielo", "dune")


def test_a_version_does_not_outlive_the_consent_of_who_is_in_it(four: Database, urls: Urls) -> None:
    assert made(four)["published"] == "version 1"
    assert made(four)["published"] == "version 2"
    assert versions(urls) == [2]
    for name in ("cielo", "dune"):
        decide(four, name, pooling=False)
    assert made(four)["published"].startswith("no: 2 tenants have")
    assert (kept(four), versions(urls)) == (None, [])


def versions(urls: Urls) -> list[int]:
    with connected(urls.superuser) as connection:
        return list(connection.scalars(text("SELECT version FROM ml.pooled_models")))


def test_without_a_common_signal_nothing_is_published(four: Database) -> None:
    made(four)
    for seed, name in enumerate(NAMES):
        store(four, name, tenant(seed, effect=0.0))
    assert made(four)["published"].startswith("no signal")
    assert kept(four) is None


def test_nothing_that_is_stored_or_told_names_a_tenant(
    four: Database, urls: Urls, capfd: pytest.CaptureFixture[str]
) -> None:
    told = json.dumps(made(four))
    with connected(urls.superuser) as connection:
        (row,) = connection.execute(text("SELECT p.*, p::text AS whole FROM ml.pooled_models p"))
    written = row.whole + told + "".join(capfd.readouterr())
    assert "tenants" in written, "the positive control"
    for name, sample in SAMPLES.items():
        own = {name, "lead-of-", *strings(sample.spec.to_json()["columns"])} - KINDS_OF_COLUMNS
        own |= set(sample.spec.interaction_kinds)
        assert not [word for word in own if word in written]


KINDS_OF_COLUMNS = {"name", "kind", "categories", "numeric", "categorical", "(other)"}


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO ml.pooled_models (model, run_id) VALUES ('{}', 'run')",
        "UPDATE ml.pooled_models SET run_id = ''",
        "DELETE FROM ml.pooled_models",
        "TRUNCATE ml.pooled_models",
    ],
)
def test_a_tenant_reads_it_and_does_not_write_it(database: Database, statement: str) -> None:
    model = of(*NAMES)
    tenants.add(database, "acme")
    with database.operator() as connection:
        pooled_models.save(connection, model, run_id="run")
    assert kept(database) == model
    with (
        pytest.raises(ProgrammingError, match="permission denied"),
        database.tenant("acme") as connection,
    ):
        connection.execute(text(statement))
    assert kept(database) == model


def test_a_reader_does_not_read_it(database: Database, urls: Urls, worker_id: str) -> None:
    tenants.add(database, "acme")
    reader = tenants.add_reader(urls.owner, "acme", f"pooled_{worker_id}")
    with connected(reader) as connection:
        connection.execute(text("SELECT * FROM serving.lead_models_v1"))
        with pytest.raises(ProgrammingError, match="permission denied"):
            connection.execute(text("SELECT * FROM ml.pooled_models"))


@contextmanager
def connected(url: str) -> Iterator[Connection]:
    engine = create_engine(url)
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()
