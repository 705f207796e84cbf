"""Batches of predictions in processes and runs: killed, gone on with, started, settled."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import dagster as dg
import pytest
from dagster._core.test_utils import create_run_for_test
from sqlalchemy import text

from assets.batch_predictions import batch_predictions, predict_batch
from assets.lead_model import lead_model
from orchestration import prediction_runs
from resources.warehouse import Warehouse
from sensors.prediction_requests import MOST_ATTEMPTS, prediction_requests, settle
from sensors.tenants import INTERRUPTED
from tests import counting_model
from tests.installations import await_true, lead_rows
from warehouse import (
    crm,
    predicting,
    prediction_items,
    prediction_jobs,
    prediction_results,
    tenants,
)
from warehouse.database import Database
from warehouse.prediction_jobs import RUN_TAG, PredictionJob

ACME, BRIO = "acme", "brio"
LEADS = 3_000
# Every hundredth names no lead.
BAD = LEADS // 100

_WORKER = """
import sys
from warehouse import predicting
from warehouse.database import Database
predicting.run(Database(sys.argv[1]), "acme", sys.argv[2], run_id="first", block=100)
"""


@pytest.fixture
def both(database: Database) -> Database:
    for tenant_id in (ACME, BRIO):
        tenants.add(database, tenant_id)
        with database.tenant(tenant_id) as connection:
            crm.upsert(connection, tenant_id, "leads", lead_rows(_ids(LEADS), '{"visits": 1}'))
            counting_model.serve(connection, tenant_id)
    return database


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as found:
        found.add_dynamic_partitions("tenants", [ACME, BRIO])
        yield found


def _ids(number: int) -> list[str]:
    return [f"l{one:04}" for one in range(number)]


def _queue(database: Database, ids: list[str], tenant_id: str = ACME) -> str:
    with database.tenant(tenant_id) as connection:
        return prediction_items.queue_ids(connection, tenant_id, ids, requested_by="a test")


def _find(database: Database, job_id: str, tenant_id: str = ACME) -> PredictionJob:
    with database.tenant(tenant_id) as connection:
        return prediction_jobs.find(connection, tenant_id, job_id)


def test_a_batch_killed_at_half_is_gone_on_with_and_each_item_is_done_once(both: Database) -> None:
    ids = ["nobody" if one % 100 == 50 else name for one, name in enumerate(_ids(LEADS))]
    job_id = _queue(both, ids)
    worker = subprocess.Popen([sys.executable, "-c", _WORKER, both.url, job_id])
    await_true("half", lambda: _find(both, job_id).done_items >= LEADS // 2)
    os.kill(worker.pid, signal.SIGKILL)
    assert worker.wait() == -signal.SIGKILL
    half = _find(both, job_id)
    assert half.status == "running"
    assert LEADS // 2 <= half.done_items < LEADS
    ended = predicting.run(both, ACME, job_id, run_id="second")
    assert (ended.status, ended.run_id) == ("completed", "second")
    assert (ended.completed_items, ended.failed_items) == (LEADS - BAD, BAD)
    with both.tenant(ACME) as connection:
        found = connection.execute(
            text("SELECT item, subject_id, error IS NULL FROM ml.prediction_results ORDER BY item")
        )
        assert [tuple(row) for row in found] == [
            (one, name, name != "nobody") for one, name in enumerate(ids, start=1)
        ]
        failures = prediction_results.page(
            connection, ACME, job_id, limit=LEADS, failures=True, reasons=False
        )
    assert [one.item for one in failures] == list(range(51, LEADS + 1, 100))
    assert {one.error for one in failures} == {
        "lead_id: 'nobody' is no lead of the tenant; expected the id of an open lead"
    }


def _materialize(
    database: Database, instance: dg.DagsterInstance, tags: dict[str, str] | None = None
) -> dg.ExecuteInProcessResult:
    return dg.materialize(
        [batch_predictions, lead_model],
        selection=[batch_predictions],
        resources={"warehouse": Warehouse(database_url=database.url), "mlflow": object()},
        instance=instance,
        partition_key=ACME,
        tags=tags,
    )


def test_the_asset_does_the_job_it_was_started_for_or_all_that_are_open(
    both: Database, instance: dg.DagsterInstance
) -> None:
    first, second, third = (_queue(both, ids) for ids in (["l0000"], ["l0001", "nobody"], ["l1"]))
    theirs = _queue(both, ["l0000"], BRIO)
    done = _materialize(both, instance, {RUN_TAG: second})
    assert _find(both, second).run_id == done.run_id
    assert [_find(both, one).status for one in (first, second, third)] == [
        "queued",
        "completed",
        "queued",
    ]
    (materialized,) = done.asset_materializations_for_node("batch_predictions")
    assert materialized.metadata["dagster/row_count"].value == 1
    assert materialized.metadata["items that failed"].value == 1
    _materialize(both, instance)
    assert {_find(both, one).status for one in (first, second, third)} == {"completed"}
    assert _find(both, theirs, BRIO).status == "queued"


def _tick(database: Database, instance: dg.DagsterInstance) -> list[dg.RunRequest]:
    resources = {"warehouse": Warehouse(database_url=database.url)}
    with dg.build_sensor_context(instance=instance, resources=resources) as context:
        result = prediction_requests(context)
    return list(result.run_requests or []) if isinstance(result, dg.SensorResult) else []


def _started(
    database: Database,
    instance: dg.DagsterInstance,
    job_id: str,
    tags: dict[str, str] | None = None,
) -> dg.DagsterRun:
    run: dg.DagsterRun = create_run_for_test(
        instance,
        predict_batch.name,
        status=dg.DagsterRunStatus.STARTED,
        tags={RUN_TAG: job_id, "dagster/partition": ACME, **(tags or {})},
    )
    with database.tenant(ACME) as connection:
        prediction_jobs.begin(connection, ACME, job_id, run.run_id)
    return run


def test_the_oldest_job_of_each_tenant_is_started_once(
    both: Database, instance: dg.DagsterInstance
) -> None:
    assert _tick(both, instance) == []
    first, _, theirs = _queue(both, ["a"]), _queue(both, ["a"]), _queue(both, ["a"], BRIO)
    requests = _tick(both, instance)
    assert [(one.tags[RUN_TAG], one.partition_key) for one in requests] == [
        (first, ACME),
        (theirs, BRIO),
    ]
    assert not any(ACME in str(one.run_key) for one in requests)
    _started(both, instance, first)
    assert [one.tags[RUN_TAG] for one in _tick(both, instance)] == [theirs]
    instance.delete_dynamic_partition("tenants", BRIO)
    assert _tick(both, instance) == []


def test_a_job_whose_run_is_gone_gets_another_five_times_in_all(
    both: Database, instance: dg.DagsterInstance
) -> None:
    job_id = _queue(both, ["l0000"])
    keys = set()
    for attempt in range(MOST_ATTEMPTS):
        (request,) = _tick(both, instance)
        keys.add(request.run_key)
        run = _started(both, instance, job_id)
        assert _tick(both, instance) == [], "it has a run"
        instance.report_run_failed(run, f"the machine went away {attempt}")
    assert len(keys) == MOST_ATTEMPTS, "Dagster starts one run for a key"
    assert _tick(both, instance) == []
    ended = _find(both, job_id)
    assert ended.status == "failed"
    assert ended.error == "the machine went away 4; 5 runs ended before it was done"


def test_runs_that_ended_with_everything_do_not_count(
    both: Database, instance: dg.DagsterInstance
) -> None:
    job_id = _queue(both, ["l0000"])
    for _ in range(MOST_ATTEMPTS):
        run = _started(both, instance, job_id, INTERRUPTED)
        instance.report_run_failed(run, "everything was stopped")
    (request,) = _tick(both, instance)
    assert request.tags[RUN_TAG] == job_id


def test_how_runs_settle_jobs(both: Database, instance: dg.DagsterInstance) -> None:
    gone, terminated, asked = (_queue(both, ["l0000"]) for _ in range(3))
    instance.delete_run(_started(both, instance, gone).run_id)
    instance.report_run_canceled(_started(both, instance, terminated))
    run = _started(both, instance, asked)
    with both.tenant(ACME) as connection:
        prediction_jobs.ask_to_cancel(connection, ACME, asked, actor="ann")
    instance.report_run_failed(run, "killed")
    settle(instance, both)
    assert [_find(both, job_id).status for job_id in (gone, terminated, asked)] == [
        "queued",
        "cancelled",
        "cancelled",
    ]
    assert _find(both, terminated).error == "its run was terminated in Dagster"
    assert _find(both, asked).error == "cancelled by ann"


def test_a_batch_whose_process_is_dead_is_cancelled(
    both: Database, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prediction_runs, "_GRACE_SECONDS", 0.1)
    job_id = _queue(both, ["l0000"])
    instance.report_run_failed(_started(both, instance, job_id), "killed")
    ended = prediction_runs.cancel(instance, both, ACME, job_id, actor="ann")
    assert (ended.status, ended.error) == ("cancelled", "cancelled by ann")
