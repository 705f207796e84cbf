"""The sensor `crm_sources` and the asset `crm_source`, on real databases and a Dagster instance."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import dagster as dg
import pytest
from sqlalchemy import make_url, text

from assets.crm_source import crm_source
from resources.warehouse import Warehouse
from sensors.crm_sources import crm_sources, load_crm_source
from tests.sources import LOGGED, PASSWORD, POLLED, Crm, new_crm
from warehouse import tenants
from warehouse.database import Database
from warehouse.embedded import Urls
from warehouse.sources import registry


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as found:
        found.add_dynamic_partitions("tenants", ["acme", "brio", "quiet"])
        yield found


@pytest.fixture
def crms(
    database: Database, server: Urls, new_database: Callable[[str], str]
) -> Iterator[tuple[Crm, Crm]]:
    """Two tenants whose CRMs are followed by their logs; a third has none."""
    tenants.add(database, "quiet")
    found = []
    for tenant_id in ("acme", "brio"):
        url = make_url(server.superuser).set(database=new_database("template0"))
        crm = new_crm(database, tenant_id, url.render_as_string(hide_password=False))
        crm.now = datetime.now(UTC)
        crm.add(LOGGED)
        crm.prepare()
        found.append(crm)
    yield found[0], found[1]
    for crm in found:
        crm.drop_slots()


def _tick(
    database: Database, instance: dg.DagsterInstance, cursor: str | None = None
) -> dg.SensorResult:
    warehouse = Warehouse(database_url=database.url)
    with dg.build_sensor_context(
        instance=instance, resources={"warehouse": warehouse}, cursor=cursor
    ) as context:
        result = crm_sources(context)
    if isinstance(result, dg.SkipReason):
        return dg.SensorResult(skip_reason=result)
    assert isinstance(result, dg.SensorResult)
    return result


def _asked_for(result: dg.SensorResult) -> list[str | None]:
    return [request.partition_key for request in result.run_requests or []]


def _materialize(
    database: Database, instance: dg.DagsterInstance, tenant_id: str
) -> dg.ExecuteInProcessResult:
    return dg.materialize(
        [crm_source],
        partition_key=tenant_id,
        instance=instance,
        resources={"warehouse": Warehouse(database_url=database.url)},
        raise_on_error=False,
    )


def _metadata(result: dg.ExecuteInProcessResult) -> dict[str, object]:
    (event,) = result.asset_materializations_for_node("crm_source")
    return {name: value.value for name, value in event.metadata.items()}


def test_a_new_source_is_loaded_by_a_run_and_then_followed(
    crms: tuple[Crm, Crm], database: Database, instance: dg.DagsterInstance
) -> None:
    acme, brio = crms
    acme.write("INSERT INTO contacts (id, country) VALUES (1, 'de'), (2, 'fr')")
    asked = _tick(database, instance)
    assert _asked_for(asked) == ["acme", "brio"]
    keys = [request.run_key or "" for request in asked.run_requests or []]
    assert not [key for key in keys if "acme" in key or "brio" in key]

    loaded = _metadata(_materialize(database, instance, "acme"))
    assert (loaded["dagster/row_count"], loaded["records written"], loaded["sources"]) == (2, 2, 1)
    assert _asked_for(_tick(database, instance)) == ["brio"]
    _materialize(database, instance, "brio")
    quiet = _tick(database, instance)
    assert quiet.asset_events == []
    assert isinstance(quiet.skip_reason, dg.SkipReason)
    assert "2 of 2 tenants; 0 cannot be read" in (quiet.skip_reason.skip_message or "")

    brio.write("INSERT INTO contacts (id, country) VALUES (1, 'it')")
    (event,) = _tick(database, instance).asset_events
    assert isinstance(event, dg.AssetMaterialization)
    assert (event.asset_key.to_user_string(), event.partition) == ("crm_source", "brio")
    assert event.metadata["records written"].value == 1
    assert brio.leads() == {"1": "it"}


def test_a_tenant_without_a_source(database: Database, instance: dg.DagsterInstance) -> None:
    tenants.add(database, "quiet")
    skipped = _tick(database, instance).skip_reason
    assert isinstance(skipped, dg.SkipReason)
    assert skipped.skip_message == "No active tenant has a CRM database to read."
    metadata = _metadata(_materialize(database, instance, "quiet"))
    assert metadata["dagster/row_count"] == 0
    assert metadata["remark"] == "This tenant has no CRM database to read."


def test_one_source_that_fails_does_not_stop_the_others(
    crms: tuple[Crm, Crm],
    database: Database,
    instance: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    acme, brio = crms
    for crm in crms:
        crm.load()
    down = make_url(acme.owner_url).set(host="/nowhere", username="u", password=PASSWORD, query={})
    monkeypatch.setenv(acme.variable, down.render_as_string(hide_password=False))
    brio.write("INSERT INTO contacts (id) VALUES (1)")
    result = _tick(database, instance)
    assert [event.partition for event in result.asset_events] == ["brio"]
    assert "1 cannot be read" in str(result.skip_reason)
    assert "acme" not in str(result.skip_reason)
    assert PASSWORD not in repr(result)


def test_a_run_that_cannot_read_its_source_says_why_and_no_secret(
    crms: tuple[Crm, Crm],
    database: Database,
    instance: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    acme, _ = crms
    url = make_url(acme.owner_url).set(username="nobody", password=PASSWORD)
    monkeypatch.setenv(acme.variable, url.render_as_string(hide_password=False))
    result = _materialize(database, instance, "acme")
    assert not result.success
    events = [dg.serialize_value(record) for record in instance.all_logs(result.run_id)]
    assert any("The source's database says" in event for event in events)
    for secret in (PASSWORD, url.render_as_string(hide_password=False), "s3cr"):
        assert not [event for event in events if secret in event]
    assert _asked_for(_tick(database, instance)) == ["brio"], "not before its time"


def test_a_load_is_asked_for_once_and_again_after_a_pause(
    crms: tuple[Crm, Crm],
    database: Database,
    instance: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    crms[1].load()
    tags = {"dagster/partition": "acme"}
    run = dg.DagsterRun(load_crm_source.name, tags=tags, status=dg.DagsterRunStatus.STARTED)
    before = [request.run_key for request in _tick(database, instance).run_requests or []]
    instance.add_run(run)
    assert _asked_for(_tick(database, instance)) == []
    instance.report_run_failed(run)
    assert _asked_for(_tick(database, instance)) == []
    monkeypatch.setattr("sensors.crm_sources._PAUSE_SECONDS", 0)
    after = [request.run_key for request in _tick(database, instance).run_requests or []]
    assert len(after) == 1
    assert after != before


def test_paused_and_new_tenants_are_not_read(
    crms: tuple[Crm, Crm], database: Database, instance: dg.DagsterInstance
) -> None:
    tenants.set_status(database, crms[0].tenant_id, "paused")
    instance.delete_dynamic_partition("tenants", "brio")
    assert _asked_for(_tick(database, instance)) == []


def test_every_tenant_gets_its_turn(
    crms: tuple[Crm, Crm],
    database: Database,
    instance: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for crm in crms:
        crm.load()
        crm.write("INSERT INTO contacts (id) VALUES (1)")
    monkeypatch.setattr("sensors.crm_sources._TICK_SECONDS", 0.0)
    served, cursor = [], None
    for _ in crms:
        result = _tick(database, instance, cursor)
        served += [event.partition for event in result.asset_events]
        cursor = result.cursor
    assert served == ["acme", "brio"]


def test_a_polled_source_is_reconciled_by_a_run_when_it_is_due(
    crms: tuple[Crm, Crm], database: Database, instance: dg.DagsterInstance
) -> None:
    acme, brio = crms
    brio.load()
    acme.add(POLLED)
    acme.load()
    assert _asked_for(_tick(database, instance)) == []
    with database.tenant("acme") as connection:
        registry.update(connection, "acme", "crm", loaded_at=text("loaded_at - interval '1 day'"))
    assert _asked_for(_tick(database, instance)) == ["acme"]
