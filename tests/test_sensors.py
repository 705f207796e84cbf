"""The sensor `tenants`, on a real warehouse and a Dagster instance."""

from collections.abc import Iterator
from datetime import UTC, datetime

import dagster as dg
import polars as pl
import pytest

from resources.warehouse import Warehouse
from sensors.tenants import MOST_ATTEMPTS, score_tenant, tenants
from tests import counting_model
from warehouse import crm, scores
from warehouse import tenants as registry
from warehouse.database import Database
from warehouse.rescoring import Rescorer
from warehouse.scoring import Champions, score_open_leads


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as found:
        yield found


def _tick(database: Database, instance: dg.DagsterInstance) -> dg.SensorResult | dg.SkipReason:
    warehouse = Warehouse(database_url=database.url)
    with dg.build_sensor_context(instance=instance, resources={"warehouse": warehouse}) as context:
        result = tenants(context)
    assert isinstance(result, dg.SensorResult | dg.SkipReason)
    if isinstance(result, dg.SensorResult):
        for request in result.dynamic_partitions_requests or []:
            if isinstance(request, dg.AddDynamicPartitionsRequest):
                instance.add_dynamic_partitions("tenants", request.partition_keys)
            else:
                for key in request.partition_keys:
                    instance.delete_dynamic_partition("tenants", key)
    return result


def _import_lead(database: Database, tenant_id: str) -> None:
    lead = {
        "lead_id": ["1"],
        "created_at": [datetime(2026, 1, 1, tzinfo=UTC)],
        "attributes": ["{}"],
    }
    frame = pl.DataFrame(lead).cast({"created_at": pl.Datetime("us", "UTC")})
    with database.tenant(tenant_id) as connection:
        crm.upsert(connection, tenant_id, "leads", frame)


def _asked_for(result: dg.SensorResult | dg.SkipReason) -> list[str | None]:
    if isinstance(result, dg.SkipReason):
        return []
    return [request.partition_key for request in result.run_requests or []]


def test_partitions_follow_the_tenants(database: Database, instance: dg.DagsterInstance) -> None:
    for tenant_id in ("acme", "brio"):
        registry.add(database, tenant_id)
    _tick(database, instance)
    assert instance.get_dynamic_partitions("tenants") == ["acme", "brio"]
    registry.set_status(database, "brio", "paused")
    assert isinstance(_tick(database, instance), dg.SkipReason), "a paused tenant keeps its own"
    registry.set_status(database, "acme", "removing")
    _tick(database, instance)
    assert instance.get_dynamic_partitions("tenants") == ["brio"]


def test_the_first_records_start_the_first_run(
    database: Database, instance: dg.DagsterInstance
) -> None:
    registry.add(database, "acme")
    assert _asked_for(_tick(database, instance)) == []
    _import_lead(database, "acme")
    assert _asked_for(_tick(database, instance)) == ["acme"]
    registry.set_status(database, "acme", "paused")
    assert _asked_for(_tick(database, instance)) == []


def test_a_tenant_whose_run_ended_before_its_scores_is_run_again(
    database: Database, instance: dg.DagsterInstance
) -> None:
    """The model is registered in a transaction before the scores: one without them is no end."""
    registry.add(database, "acme")
    _import_lead(database, "acme")
    with database.tenant("acme") as connection:
        counting_model.serve(connection, "acme", feature_set=1)
    Rescorer(database, "run").step()
    assert _asked_for(_tick(database, instance)) == ["acme"]
    score_open_leads(database, "acme", Champions(), "run")
    assert _asked_for(_tick(database, instance)) == []


def test_a_base_rate_before_the_first_training_is_no_first_run(
    database: Database, instance: dg.DagsterInstance
) -> None:
    registry.add(database, "acme")
    _import_lead(database, "acme")
    Rescorer(database, "run").step()
    with database.tenant("acme") as connection:
        assert scores.freshness(connection, "acme").scores == 1
    assert _asked_for(_tick(database, instance)) == ["acme"]


def test_a_failing_first_run_is_tried_three_times(
    database: Database, instance: dg.DagsterInstance
) -> None:
    registry.add(database, "acme")
    _import_lead(database, "acme")
    keys = set()
    for _ in range(MOST_ATTEMPTS):
        result = _tick(database, instance)
        assert isinstance(result, dg.SensorResult)
        (request,) = result.run_requests or []
        keys.add(request.run_key)
        instance.add_run(
            dg.DagsterRun(
                job_name=score_tenant.name,
                status=dg.DagsterRunStatus.FAILURE,
                tags={"dagster/partition": "acme"},
            )
        )
    assert len(keys) == MOST_ATTEMPTS, "a key of its own for each attempt"
    assert _asked_for(_tick(database, instance)) == []
