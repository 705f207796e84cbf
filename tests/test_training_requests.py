"""The sensor that starts trainings: which run it asks for, and what it notes of runs."""

from collections.abc import Iterator

import dagster as dg
import pytest
from dagster._core.test_utils import create_run_for_test

from assets.training import train_tenant
from resources.warehouse import Warehouse
from sensors.training_requests import settle, training_requests
from warehouse import tenants, training_jobs
from warehouse.database import Database
from warehouse.training_jobs import RUN_TAG, Request, TrainingJob

ACME, BRIO = "acme", "brio"


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as found:
        found.add_dynamic_partitions("tenants", [ACME, BRIO])
        yield found


@pytest.fixture
def both(database: Database) -> Database:
    for tenant_id in (ACME, BRIO):
        tenants.add(database, tenant_id)
    return database


def _ask(database: Database, tenant_id: str = ACME, request: Request | None = None) -> str:
    with database.tenant(tenant_id) as connection:
        return training_jobs.create(
            connection, tenant_id, request or Request(), requested_by="a test"
        )


def _find(database: Database, job_id: str) -> TrainingJob:
    with database.tenant(ACME) as connection:
        return training_jobs.find(connection, ACME, job_id)


def _tick(database: Database, instance: dg.DagsterInstance) -> list[dg.RunRequest]:
    resources = {"warehouse": Warehouse(database_url=database.url)}
    with dg.build_sensor_context(instance=instance, resources=resources) as context:
        result = training_requests(context)
    return list(result.run_requests or []) if isinstance(result, dg.SensorResult) else []


def _start(
    instance: dg.DagsterInstance,
    job_id: str,
    status: dg.DagsterRunStatus = dg.DagsterRunStatus.STARTED,
) -> dg.DagsterRun:
    tags = {RUN_TAG: job_id, "dagster/partition": ACME}
    run: dg.DagsterRun = create_run_for_test(instance, train_tenant.name, status=status, tags=tags)
    return run


def test_the_oldest_job_of_each_tenant_is_started(
    both: Database, instance: dg.DagsterInstance
) -> None:
    assert _tick(both, instance) == []
    first, _, other = _ask(both), _ask(both), _ask(both, BRIO)
    requests = _tick(both, instance)
    assert [(request.run_key, request.partition_key) for request in requests] == [
        (first, ACME),
        (other, BRIO),
    ]
    assert requests[0].tags[RUN_TAG] == first
    _start(instance, first, dg.DagsterRunStatus.NOT_STARTED)
    assert [request.run_key for request in _tick(both, instance)] == [other]


def test_a_tenant_without_its_partition_waits(both: Database, instance: dg.DagsterInstance) -> None:
    _ask(both)
    instance.delete_dynamic_partition("tenants", ACME)
    assert _tick(both, instance) == []


@pytest.mark.parametrize(
    ("request_", "assets"),
    [
        (Request(), ["lead_features", "lead_model", "lead_scores"]),
        (Request(feature_set=3), ["lead_model", "lead_scores"]),
        (Request(feature_set=3, promote=False), ["lead_model"]),
    ],
)
def test_what_a_run_makes(
    both: Database, instance: dg.DagsterInstance, request_: Request, assets: list[str]
) -> None:
    _ask(both, request=request_)
    (run,) = _tick(both, instance)
    assert run.asset_selection is not None
    assert [key.to_user_string() for key in run.asset_selection] == assets


def test_a_run_that_has_begun_is_seen(both: Database, instance: dg.DagsterInstance) -> None:
    job_id = _ask(both)
    run = _start(instance, job_id)
    settle(instance, both)
    found = _find(both, job_id)
    assert (found.status, found.step, found.run_id) == ("running", "making features", run.run_id)


def test_how_runs_end_jobs(both: Database, instance: dg.DagsterInstance) -> None:
    gone, failed, terminated, waiting = (_ask(both) for _ in range(4))
    instance.delete_run(_started(both, instance, gone).run_id)
    instance.report_run_failed(_started(both, instance, failed), "the machine went away")
    instance.report_run_canceled(_started(both, instance, terminated))
    settle(instance, both)
    assert [(_find(both, job).status, _find(both, job).error) for job in (gone, failed)] == [
        ("failed", "its run is no longer known to Dagster"),
        ("failed", "the machine went away"),
    ]
    assert _find(both, terminated).status == "cancelled"
    assert _find(both, waiting).status == "queued"


def _started(database: Database, instance: dg.DagsterInstance, job_id: str) -> dg.DagsterRun:
    run = _start(instance, job_id)
    settle(instance, database)
    return run
