"""The watch over served scores: an alert when they no longer mean what they say."""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from tests.counting_model import serve
from warehouse import alerts, crm, model_drift, scores, tenants
from warehouse.database import Database

# The history has a partition for what is scored today.
SCORED = datetime.now(UTC)
NOW = SCORED + timedelta(days=40)
LEADS = 2_000


@pytest.fixture
def acme(database: Database) -> Database:
    """Two tenants with a model each."""
    for tenant_id in ("acme", "brio"):
        tenants.add(database, tenant_id)
        with database.tenant(tenant_id) as connection:
            serve(connection, tenant_id)
    scores.ensure_partitions(database)
    return database


def scored(database: Database, tenant_id: str, said: float, converted: float) -> None:
    """Leads that were scored 40 days ago, a share of which converted 10 days later."""
    random = np.random.default_rng(1)
    happened = random.random(LEADS) < converted
    at = SCORED
    ids = [f"lead-{number}" for number in range(LEADS)]
    leads = pl.DataFrame({"lead_id": ids, "attributes": ["{}"] * LEADS}).with_columns(
        created_at=pl.lit(at - timedelta(days=1)),
        converted_at=pl.when(pl.Series(happened)).then(pl.lit(at + timedelta(days=10))),
    )
    with database.tenant(tenant_id) as connection:
        crm.upsert(connection, tenant_id, "leads", leads)
        scores.rank(connection, tenant_id, at, [said])
        block = pl.DataFrame(
            {
                "lead_id": ids,
                "score": pl.Series([round(100 * said)] * LEADS, dtype=pl.Int16),
                "probability": [said] * LEADS,
                "confidence": pl.Series([0.5] * LEADS, dtype=pl.Float32),
                "contributions": pl.Series([[0.0]] * LEADS, dtype=pl.List(pl.Float32)),
                "inputs": pl.Series([[0.0]] * LEADS, dtype=pl.List(pl.Float32)),
            }
        )
        scores.write(connection, tenant_id, block, scores.Stamp(1, at, NOW, at, "run"))


def open_kinds(database: Database, tenant_id: str) -> list[str]:
    with database.tenant(tenant_id) as connection:
        return [alert.kind for alert in alerts.open_alerts(connection, tenant_id)]


def test_scores_that_say_half_of_what_happens_raise_an_alert_of_their_tenant(
    acme: Database,
) -> None:
    scored(acme, "acme", said=0.1, converted=0.2)
    scored(acme, "brio", said=0.1, converted=0.1)
    assert model_drift.watch(acme, now=NOW) == 1
    assert open_kinds(acme, "acme") == ["model_drift"]
    assert open_kinds(acme, "brio") == []


def test_scores_of_models_before_the_present_one_are_watched_too(acme: Database) -> None:
    """Trained every month, none serves until its scores have matured."""
    scored(acme, "acme", said=0.1, converted=0.2)
    with acme.tenant("acme") as connection:
        serve(connection, "acme")
    assert model_drift.watch(acme, now=NOW) == 1


def test_the_alert_goes_when_what_drifted_is_long_ago(acme: Database) -> None:
    scored(acme, "acme", said=0.1, converted=0.2)
    model_drift.watch(acme, now=NOW)
    assert model_drift.watch(acme, now=NOW + timedelta(days=60)) == 0
    assert open_kinds(acme, "acme") == []


def test_a_score_whose_horizon_has_not_ended_says_nothing_yet(acme: Database) -> None:
    """Its conversions are known, the others of its kind are not."""
    scored(acme, "acme", said=0.1, converted=0.2)
    with acme.tenant("acme") as connection:
        early = SCORED + timedelta(days=29)
        assert model_drift.outcomes(connection, "acme", now=early).rows == 0
        assert model_drift.outcomes(connection, "acme", now=NOW).rows > 0
