"""The assets of customers' and deals' models: real PostgreSQL and Dagster, a simulated tenant."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import polars as pl
import pytest
from sqlalchemy import create_engine, text

from assets import customer_models, customer_refresh
from examples.simulator import PROFILES, SimulatedCrm, simulate
from ml import model_page
from ml.kinds import KINDS
from resources.warehouse import Warehouse
from sensors.training_requests import training_requests
from tests.conftest import in_database
from warehouse import (
    alerts,
    crm,
    customer_predictions,
    customers,
    model_pages,
    models,
    retraining,
    tenants,
    training_jobs,
)
from warehouse.database import Database
from warehouse.embedded import Urls
from warehouse.errors import GalenaError

NOW = datetime.now(UTC)
ASSETS = [
    customer_models.customer_churn,
    customer_models.deal_value,
    customer_models.customer_segments,
]
NAMES = ["customer_churn", "deal_value", "customer_segments"]


@dataclass(frozen=True)
class Made:
    """`busy` has customers and deals, `bare` has leads alone; both were materialized."""

    urls: Urls
    database: Database
    simulated: SimulatedCrm
    runs: dict[str, dg.ExecuteInProcessResult]

    def metadata(self, tenant_id: str, asset: str) -> dict[str, Any]:
        events = self.runs[tenant_id].asset_materializations_for_node(asset)
        return {name: value.value for name, value in events[0].metadata.items()}

    def rows(self, tenant_id: str, query: str) -> list[Any]:
        with self.database.tenant(tenant_id) as connection:
            return list(connection.execute(text(query)))


@pytest.fixture(scope="module")
def made(server: Urls, new_database: Callable[[str], str]) -> Iterator[Made]:
    urls = in_database(server, new_database("template"))
    database = Database(urls.app)
    profile = replace(PROFILES["brio"], name="busy", leads=4_000, customers=400)
    simulated = simulate(profile, 3, NOW)
    runs = {}
    with dg.DagsterInstance.ephemeral() as instance:
        for tenant_id in ("busy", "bare"):
            tenants.add(database, tenant_id)
            with database.tenant(tenant_id) as connection:
                _write(connection, tenant_id, simulated, whole=tenant_id == "busy")
            instance.add_dynamic_partitions("tenants", [tenant_id])
            runs[tenant_id] = dg.materialize(
                ASSETS,
                instance=instance,
                partition_key=tenant_id,
                resources={"warehouse": Warehouse(database_url=urls.app)},
            )
        yield Made(urls, database, simulated, runs)
    database.close()


def _write(connection: Any, tenant_id: str, simulated: SimulatedCrm, *, whole: bool) -> None:
    crm.upsert(connection, tenant_id, "leads", simulated.leads)
    if whole:
        crm.upsert(connection, tenant_id, "customers", simulated.customers)
        crm.upsert(connection, tenant_id, "deals", simulated.deals)
        crm.upsert(connection, tenant_id, "interactions", simulated.interactions)


def test_each_model_is_registered_with_its_figures_and_serves(made: Made) -> None:
    for name in NAMES:
        with made.database.tenant("busy") as connection:
            champion = models.champion(connection, "busy", name)  # type: ignore[arg-type]
            assert champion is not None
            document = models.artifact(connection, "busy", champion.version)
        assert champion.status == "deployed"
        assert champion.stage != "base_rate"
        assert champion.gate is not None
        assert champion.gate["passed"]
        assert champion.data["rows"] > 0
        assert KINDS[name].read(document).to_json()["evidence"]["stage"] == champion.stage
        told = made.metadata("busy", name)
        assert told["model version"] == champion.version
        assert told["page"] == f"galena model page busy {champion.version}"
        assert "lacking" not in told
    assert made.metadata("busy", "customer_churn")["hold-out auc"] > 0.6
    values = made.metadata("busy", "deal_value")
    assert values["hold-out mae"] < values["median mae"]
    assert made.metadata("busy", "customer_segments")["segments"] >= 3


def test_every_present_customer_and_open_deal_has_its_prediction(made: Made) -> None:
    for view, subject in (
        ("customer_churn_v1", "SELECT customer_id FROM crm.customers WHERE churned_at IS NULL"),
        ("customer_segments_v1", "SELECT customer_id FROM crm.customers WHERE churned_at IS NULL"),
        ("deal_values_v1", "SELECT deal_id FROM crm.deals WHERE won IS NULL"),
    ):
        key = "deal_id" if view == "deal_values_v1" else "customer_id"
        served = made.rows("busy", f"SELECT {key} FROM serving.{view} ORDER BY 1")
        assert served == made.rows("busy", f"{subject} ORDER BY 1") != []


def test_reasons_add_up_to_what_is_served_in_words_of_customers_and_amounts(made: Made) -> None:
    churn = made.rows(
        "busy",
        "SELECT ln(probability / (1 - probability)) - base_log_odds - (SELECT sum(weight)"
        " FROM jsonb_to_recordset(reasoning) AS r (weight float8)) AS gap, reasoning::text AS words"
        " FROM serving.customer_churn_v1",
    )
    assert max(abs(row.gap) for row in churn) < 1e-9
    values = made.rows(
        "busy",
        "SELECT ln(value) - base_log_amount - (SELECT sum(weight)"
        " FROM jsonb_to_recordset(reasoning) AS r (weight float8)) AS gap,"
        " low < value AND value < high AS ordered, reasoning::text AS words"
        " FROM serving.deal_values_v1",
    )
    # The mean is one and the same multiple of the middle for all.
    assert max(row.gap for row in values) - min(row.gap for row in values) < 1e-9
    assert all(row.ordered for row in values)
    assert "days since the lead was created" not in "".join(row.words for row in churn)
    assert any("multiplies the amount" in row.words for row in values)
    assert not any("the odds" in row.words for row in values)


def test_a_tenant_without_the_data_is_told_what_is_missing_and_how_much(made: Made) -> None:
    lacking = {name: made.metadata("bare", name)["lacking"] for name in NAMES}
    assert "0 of 0 customers have churned_at, at least 10" in lacking["customer_churn"]
    assert "0 won deals have an amount" in lacking["deal_value"]
    assert "at least 20" in lacking["deal_value"]
    assert "0 present customers, at least 60" in lacking["customer_segments"]
    with made.database.tenant("bare") as connection:
        assert customer_predictions.lacking(connection, "bare") == lacking
        assert models.find_all(connection, "bare") == []
    with made.database.tenant("busy") as connection:
        assert customer_predictions.lacking(connection, "busy") == {}


def test_a_reader_sees_the_predictions_of_its_tenant_alone(made: Made, worker_id: str) -> None:
    for tenant_id in ("busy", "bare"):
        url = tenants.add_reader(made.urls.owner, tenant_id, f"customers_{tenant_id}_{worker_id}")
        engine = create_engine(url)
        with engine.connect() as connection:
            for view in ("customer_churn_v1", "deal_values_v1", "customer_segments_v1"):
                seen = connection.scalars(text(f"SELECT DISTINCT tenant_id FROM serving.{view}"))
                assert seen.all() == (["busy"] if tenant_id == "busy" else [])
        engine.dispose()


def test_trainings_of_customers_models_do_not_count_as_the_lead_models(made: Made) -> None:
    with made.database.tenant("busy") as connection:
        names = {job.model_name for job in training_jobs.find_all(connection, "busy")}
        assert names == set(NAMES)
        assert retraining.standing(connection, "busy") is None


def test_a_page_that_cannot_be_made_is_an_alert_and_the_version_serves(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    def alerted() -> list[str]:
        with made.database.tenant("busy") as connection:
            found = alerts.open_alerts(connection, "busy")
        return [one.message for one in found if one.kind == "model_page_failed"]

    def train() -> dict[str, Any]:
        with dg.DagsterInstance.ephemeral() as instance:
            instance.add_dynamic_partitions("tenants", ["busy"])
            result = dg.materialize(
                [customer_models.customer_segments],
                instance=instance,
                partition_key="busy",
                resources={"warehouse": Warehouse(database_url=made.urls.app)},
            )
        (event,) = result.asset_materializations_for_node("customer_segments")
        return {name: value.value for name, value in event.metadata.items()}

    def fail(*_arguments: object) -> None:
        raise RuntimeError("no font")

    with monkeypatch.context() as patched:
        patched.setattr(model_page, "render", fail)
        told = train()
    version = told["model version"]
    assert told["page"] == "none: see `galena alerts`"
    assert told["serving version"] == version
    assert alerted() == [f"model version {version} has no page: RuntimeError: no font"]
    served = "SELECT DISTINCT model_version FROM serving.customer_segments_v1"
    assert made.rows("busy", served) == [(version,)]
    with made.database.tenant("busy") as connection:
        assert {job.status for job in training_jobs.find_all(connection, "busy")} == {"completed"}
        with pytest.raises(GalenaError, match="making it failed"):
            model_pages.find(connection, "busy", version)
    assert train()["page"] == f"galena model page busy {version + 1}"
    assert alerted() == []


def test_attributes_of_customers_and_deals_are_those_known_at_the_time(made: Made) -> None:
    """A customer's change after a deal began is not what the deal's features are made of."""
    customer = made.simulated.deals.drop_nulls("customer_id").row(0, named=True)
    when = customer["created_at"]
    changed = pl.DataFrame(
        {
            "customer_id": ["late", "early"],
            "name": ["x", "y"],
            "created_at": [when - timedelta(days=9)] * 2,
            "attributes": ['{"plan": "old"}'] * 2,
            "known_at": [when - timedelta(days=9)] * 2,
        }
    )
    with made.database.tenant("bare") as connection:
        crm.upsert(connection, "bare", "customers", changed)
        for name, at in (("late", timedelta(days=1)), ("early", -timedelta(days=1))):
            crm.upsert(
                connection,
                "bare",
                "customers",
                changed.filter(pl.col("customer_id") == name).with_columns(
                    attributes=pl.lit('{"plan": "new"}'), known_at=pl.lit(when + at)
                ),
            )
        deals = pl.DataFrame(
            {
                "deal_id": ["late", "early"],
                "customer_id": ["late", "early"],
                "stage": ["open"] * 2,
                "created_at": [when] * 2,
            }
        )
        crm.upsert(connection, "bare", "deals", deals)
        found = customers.deals_by_id(connection, "bare", ["late", "early", "none"]).rows
        now = customers.customers_by_id(connection, "bare", ["late", "none"], NOW).rows
        connection.execute(text("DELETE FROM crm.deals"))
        connection.execute(text("DELETE FROM crm.customers"))
    assert dict(found.select("lead_id", "attributes").iter_rows()) == {
        "early": '{"customer: plan": "new"}',
        "late": '{"customer: plan": "old"}',
    }
    assert now["attributes"].to_list() == ['{"plan": "new"}']
    assert now["as_of"].to_list() == [NOW]


def test_a_training_that_was_asked_for_materializes_its_asset_alone(made: Made) -> None:
    with made.database.tenant("bare") as connection:
        asked = training_jobs.Request(model="deal_value")
        job_id = training_jobs.create(connection, "bare", asked, requested_by="a test")
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("tenants", ["bare"])
        warehouse = Warehouse(database_url=made.urls.app)
        with dg.build_sensor_context(
            instance=instance, resources={"warehouse": warehouse}
        ) as context:
            result = training_requests(context)
    assert isinstance(result, dg.SensorResult)
    (run,) = result.run_requests or ()
    assert run.asset_selection == [customer_models.deal_value.key]
    with made.database.tenant("bare") as connection:
        assert training_jobs.find(connection, "bare", job_id).model_name == "deal_value"
        training_jobs.ask_to_cancel(connection, "bare", job_id, actor="a test")


def test_the_night_predicts_anew_and_one_tenants_failure_does_not_stop_the_others(
    made: Made,
) -> None:
    with made.database.tenant("busy") as connection:
        version = models.champion_version(connection, "busy", "customer_churn")
        connection.execute(
            text("UPDATE ml.models SET artifact = 'x' WHERE name = 'customer_churn'")
        )
        connection.execute(text("UPDATE ml.customer_predictions SET calculated_at = '2020-01-01'"))
    result = customer_refresh.refresh_customer_models.execute_in_process(
        resources={"warehouse": Warehouse(database_url=made.urls.app)}, raise_on_error=False
    )
    assert not result.success
    with made.database.tenant("busy") as connection:
        (alert,) = [a for a in alerts.open_alerts(connection, "busy") if "customer" in a.kind]
        assert alert.subject == "customer_churn"
        assert "sha256" in alert.message
        assert models.champion_version(connection, "busy", "customer_churn") == version
    old = "SELECT name FROM ml.customer_predictions WHERE calculated_at < '2021-01-01' GROUP BY 1"
    assert made.rows("busy", old) == [("customer_churn",)]
