"""A test on a simulated CRM, from its records in the database to the champion it decides for."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from examples.simulator import PROFILES, simulate
from ml import training
from ml.history import History
from ml.model import Model
from ml.settings import Governance
from tests.test_model_quality import snapshots_of
from warehouse import ab_tests, crm, deployment, models, tenants
from warehouse.database import Database
from warehouse.scoring import Champions, score_open_leads

HORIZON = timedelta(days=30)
BEGAN = datetime.now(UTC)


@dataclass(frozen=True, eq=False)
class Simulated:
    """A CRM of which 150 days are known: its records, the model that they trained, the base rate;
    and the leads that convert in the 30 days after."""

    leads: pl.DataFrame
    interactions: pl.DataFrame
    trained: Model
    rate: Model
    converting: pl.DataFrame


@pytest.fixture(scope="module")
def simulated() -> Simulated:
    future = simulate(replace(PROFILES["cielo"], leads=4_000), 1, BEGAN + HORIZON)
    versions = pl.concat([future.leads, future.attribute_changes.select(future.leads.columns)])
    versions = versions.filter(pl.col("known_at") <= BEGAN).sort("known_at")
    ended = [
        pl.when(pl.col(name) <= BEGAN).then(pl.col(name)).alias(name)
        for name in ("converted_at", "closed_at")
    ]
    leads = future.leads.filter(pl.col("created_at") <= BEGAN).with_columns(ended)
    interactions = future.interactions.filter(
        pl.col("lead_id").is_not_null() & (pl.col("occurred_at") <= BEGAN)
    )
    past = snapshots_of(leads, versions, interactions, BEGAN)
    history = History.of(past.spec, past.rows.with_columns(features=past.matrix))
    rate = training.base_rate(
        history.label, history.snapshot_at, trained_at=BEGAN, horizon_days=HORIZON.days
    )
    newest = versions.group_by("lead_id").agg(pl.col("attributes").last())
    return Simulated(
        leads.drop("attributes", "known_at").join(newest, on="lead_id"),
        interactions.drop("known_at", "text"),
        past.train(BEGAN).model,
        rate.model,
        future.leads.filter(pl.col("converted_at") > BEGAN).drop("attributes", "known_at"),
    )


@pytest.mark.parametrize(("champion", "challenger"), [(1, 2), (2, 1)])
def test_the_test_decides_for_the_model_that_is_known_to_be_better(
    database: Database, simulated: Simulated, champion: int, challenger: int
) -> None:
    """Version 1 is the base rate, version 2 the trained model."""
    assert simulated.trained.evidence.stage == "own_model"
    tenants.add(database, "cielo")
    with database.tenant("cielo") as connection:
        crm.upsert(connection, "cielo", "leads", simulated.leads)
        crm.upsert(connection, "cielo", "interactions", simulated.interactions)
        for model in (simulated.rate, simulated.trained):
            models.register(connection, "cielo", model, metrics={}, run_id="run")
        deployment.deploy(
            connection, "cielo", champion, Governance(), actor="test", why="serves first"
        )
        ab_tests.start(connection, "cielo", challenger, actor="test")
    score_open_leads(database, "cielo", Champions(), "run")
    with database.tenant("cielo") as connection:
        crm.upsert(connection, "cielo", "leads", simulated.converting)
        # Outcomes are known as far as the newest one: somebody is lost after the last horizon.
        lost = simulated.leads.filter(pl.col("closed_at").is_not_null()).head(1)
        closed = lost.with_columns(closed_at=pl.lit(BEGAN + HORIZON + timedelta(minutes=59)))
        crm.upsert(connection, "cielo", "leads", closed)
    assert ab_tests.judge_all(database, now=BEGAN + HORIZON - timedelta(hours=1)) == 0
    assert ab_tests.judge_all(database, now=BEGAN + HORIZON + timedelta(hours=1)) == 1
    with database.tenant("cielo") as connection:
        found = models.champion_version(connection, "cielo")
    assert found is not None
    assert found[0] == 2
