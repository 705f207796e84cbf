"""Which tenants are due to be trained again, and the night's run that trains them."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from sqlalchemy import create_engine, text

from assets.lead_features import lead_features
from assets.lead_model import lead_model
from assets.lead_scores import lead_scores
from assets.training import BIG_ROWS, retrain_due_tenants
from examples.simulator.crm import simulate
from examples.simulator.profiles import FJORD
from ml.settings import Retraining, TrainingSettings
from resources.mlflow import MlflowTracking
from resources.warehouse import Warehouse
from tests import counting_model
from warehouse import alerts, crm, model_pages, models, retraining, schema, tenants, training_jobs
from warehouse import training_settings as settings
from warehouse.database import Database
from warehouse.embedded import Urls
from warehouse.training_recording import recorded

NOW = datetime.now(UTC)
ACME, BRIO, GIANT = "acme", "brio", "giant"


def _add(database: Database, tenant_id: str, *, days: int, rows: int = 10) -> None:
    """A tenant whose model was trained so many days ago on so many labelled rows."""
    trained_at = NOW - timedelta(days=days)
    tenants.add(database, tenant_id)
    with database.tenant(tenant_id) as connection:
        connection.execute(
            schema.feature_sets.insert().values(
                tenant_id=tenant_id, feature_set=1, as_of=trained_at, horizon_days=30,
                spec=counting_model.SPEC.to_json(), rows=rows, converted=0, sha256="", run_id="",
            )
        )  # fmt: skip
        model = replace(counting_model.MODEL, trained_at=trained_at)
        version = models.register(
            connection, tenant_id, model, feature_set=1, metrics={}, run_id="first"
        )
        models.promote(connection, tenant_id, version, "champion", actor="", why="a test")


def _decide(database: Database, tenant_id: str, **rules: Any) -> None:
    with database.tenant(tenant_id) as connection:
        decided = TrainingSettings(retraining=Retraining(**rules))
        settings.save(connection, tenant_id, decided, actor="a test")


def _end_leads(database: Database, tenant_id: str, number: int) -> None:
    with database.tenant(tenant_id) as connection:
        connection.execute(
            text(
                "INSERT INTO crm.leads (tenant_id, lead_id, created_at, closed_at)"
                " SELECT :tenant_id, 'ended-' || gen_random_uuid(), '2025-01-01', '2025-02-01'"
                " FROM generate_series(1, :number)"
            ),
            {"tenant_id": tenant_id, "number": number},
        )


def _train(database: Database, tenant_id: str, data: dict[str, object] | None = None) -> None:
    """A training that was completed, and whose model was not better than the one that serves."""
    with database.tenant(tenant_id) as connection:
        job_id = training_jobs.create(
            connection,
            tenant_id,
            training_jobs.Request(),
            requested_by="a test",
            training_data=data,
        )
    with recorded(database, tenant_id, run_id="run", job_id=job_id):
        pass


def _due(database: Database, now: datetime = NOW) -> dict[str, str]:
    return {one.tenant_id: one.why for one in retraining.due(database, now=now)}


def test_a_model_is_due_at_the_age_that_its_tenant_decided(database: Database) -> None:
    _add(database, ACME, days=29)
    _add(database, BRIO, days=29)
    _decide(database, BRIO, after_days=20)
    assert _due(database) == {BRIO: "trained 29 days ago, 20 or more are due"}
    later = NOW + timedelta(days=1, minutes=1)
    assert set(_due(database, later)) == {ACME, BRIO}


def test_those_trained_longest_ago_come_first(database: Database) -> None:
    _add(database, ACME, days=40)
    _add(database, BRIO, days=50)
    assert list(_due(database)) == [BRIO, ACME]


def test_new_outcomes_are_counted_from_the_last_training(database: Database) -> None:
    _add(database, ACME, days=5)
    _end_leads(database, ACME, 50)
    assert _due(database) == {}, "no job tells how many there were"
    _train(database, ACME)
    _end_leads(database, ACME, 4)
    assert _due(database) == {}
    _end_leads(database, ACME, 1)
    assert _due(database) == {ACME: "5 new outcomes beside 50 (10%)"}
    _train(database, ACME)
    assert _due(database) == {}, "though its model was not better, and does not serve"


def test_an_alert_of_drift_makes_due_until_a_training_has_followed(database: Database) -> None:
    _add(database, ACME, days=5)
    _add(database, BRIO, days=5)
    _add(database, "calm", days=5)
    _decide(database, BRIO, on_drift=False)
    for tenant_id, kind in ((ACME, "model_drift"), (BRIO, "model_drift"), ("calm", "else")):
        with database.tenant(tenant_id) as connection:
            alerts.raise_alert(connection, tenant_id, kind, "", "a test")
    assert _due(database) == {ACME: "its scores have drifted"}
    _train(database, ACME)
    assert _due(database) == {}


def test_a_training_on_a_file_says_nothing_of_the_records(database: Database) -> None:
    _add(database, ACME, days=40)
    _train(database, ACME, {"file": "old.csv"})
    assert set(_due(database)) == {ACME}


def test_who_is_new_paused_or_being_trained_is_not_due(database: Database) -> None:
    tenants.add(database, "new")
    _add(database, ACME, days=40)
    _add(database, BRIO, days=40)
    tenants.set_status(database, BRIO, "paused")
    assert set(_due(database)) == {ACME}
    with database.tenant(ACME) as connection:
        training_jobs.create(connection, ACME, training_jobs.Request(), requested_by="a test")
    assert _due(database) == {}


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as found:
        yield found


def _simulated(database: Database, tenant_id: str) -> None:
    simulated = simulate(replace(FJORD, name=tenant_id, leads=60, customers=5), 3, NOW)
    with database.tenant(tenant_id) as connection:
        crm.upsert(connection, tenant_id, "leads", simulated.leads)
        crm.upsert(connection, tenant_id, "interactions", simulated.interactions)


def test_a_night_trains_who_is_due_and_one_failure_does_not_stop_the_others(
    database: Database,
    urls: Urls,
    mlflow_url: str,
    instance: dg.DagsterInstance,
    tmp_path: Path,
) -> None:
    for tenant_id in (ACME, BRIO):
        _add(database, tenant_id, days=40)
        _simulated(database, tenant_id)
    _add(database, GIANT, days=40, rows=BIG_ROWS + 1)
    resources = {
        "warehouse": Warehouse(database_url=database.url),
        "mlflow": MlflowTracking(tracking_uri=mlflow_url, artifact_root=str(tmp_path)),
    }

    def night() -> bool:
        return retrain_due_tenants.execute_in_process(
            instance=instance, resources=resources, raise_on_error=False
        ).success

    _refuse(urls, ACME)
    assert not night()
    with database.tenant(BRIO) as connection:
        assert alerts.open_alerts(connection, BRIO) == []
    with database.tenant(ACME) as connection:
        (alert,) = alerts.open_alerts(connection, ACME)
        assert models.champion_version(connection, ACME) is not None
    assert (alert.kind, "refused by a test" in alert.message) == ("training_failed", True)
    assert set(_due(database)) == {ACME}
    with database.tenant(BRIO) as connection:
        champion = models.champion(connection, BRIO)
        scores = connection.scalar(text("SELECT count(*) FROM ml.lead_scores"))
        counted = crm.counts(connection, BRIO)
        page = model_pages.find(connection, BRIO, 2)
    (in_mlflow,) = tmp_path.rglob("page.html")
    assert in_mlflow.read_text() == page
    assert champion is not None
    assert champion.version == 2
    assert scores == counted["open_leads"]
    for asset in (lead_features, lead_model, lead_scores):
        events = instance.fetch_materializations(asset.key, limit=10).records
        assert [record.partition_key for record in events] == [BRIO]
    with database.tenant(GIANT) as connection:
        (job,) = training_jobs.find_all(connection, GIANT)
    assert (job.status, job.requested_by) == ("queued", "schedule")

    _allow(urls)
    assert night()
    with database.tenant(ACME) as connection:
        assert alerts.open_alerts(connection, ACME) == []
    assert _due(database) == {}


def _refuse(urls: Urls, tenant_id: str) -> None:
    """No feature set of the tenant can be stored."""
    _execute(
        urls,
        "CREATE FUNCTION ml.refuse() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE 'refused by a test'; END $$",
        "CREATE TRIGGER refuse BEFORE INSERT ON ml.feature_sets FOR EACH ROW"
        f" WHEN (NEW.tenant_id = '{tenant_id}') EXECUTE FUNCTION ml.refuse()",
    )


def _allow(urls: Urls) -> None:
    _execute(urls, "DROP TRIGGER refuse ON ml.feature_sets")


def _execute(urls: Urls, *statements: str) -> None:
    engine = create_engine(urls.superuser)
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))
    engine.dispose()
