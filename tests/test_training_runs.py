"""Trainings in processes of their own, started by the daemon: watched, cancelled, killed."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator

import psutil
import pytest
from dagster import DagsterInstance
from sqlalchemy import text

from orchestration import run_processes, runs, training_runs
from sensors.job_runs import run_of
from sensors.training_requests import settle
from tests.dagster_services import at_work
from tests.installations import await_true
from tests.running import GALENA
from tests.training_definitions import BROKEN, DEAF, QUICK, SLOW, SLOW_S
from warehouse import training_jobs
from warehouse.database import Database
from warehouse.embedded import Urls
from warehouse.errors import GalenaError
from warehouse.training_jobs import Request, TrainingJob

ACME, BRIO = "acme", "brio"


@pytest.fixture(scope="module")
def database(server: Urls, new_database: Callable[[str], str]) -> Iterator[Database]:
    """An installation with a daemon and a code server, whose trainings are those of
    tests.training_definitions."""
    with at_work(server, new_database, "tests.training_definitions", [ACME, BRIO]) as found:
        yield found


@pytest.fixture
def instance(database: Database) -> Iterator[DagsterInstance]:  # noqa: ARG001
    with runs.instance() as found:
        yield found


def _ask(database: Database, tenant_id: str, kind: str) -> str:
    with database.tenant(tenant_id) as connection:
        return training_jobs.create(
            connection, tenant_id, Request(algorithms=(kind,)), requested_by="a test"
        )


def _find(database: Database, tenant_id: str, job_id: str) -> TrainingJob:
    with database.tenant(tenant_id) as connection:
        return training_jobs.find(connection, tenant_id, job_id)


def _await_step(database: Database, tenant_id: str, job_id: str, step: str) -> TrainingJob:
    await_true(step, lambda: _find(database, tenant_id, job_id).step == step)
    return _find(database, tenant_id, job_id)


def _await_end(database: Database, tenant_id: str, job_id: str) -> TrainingJob:
    await_true("an end", lambda: _find(database, tenant_id, job_id).ended_at is not None)
    return _find(database, tenant_id, job_id)


def _process(instance: DagsterInstance, job_id: str) -> psutil.Process:
    run = run_of(instance, training_jobs.RUN_TAG, job_id)
    assert run is not None
    process = run_processes.process_of(instance, run)
    assert process is not None
    return process


def _cancel(
    instance: DagsterInstance, database: Database, tenant_id: str, job_id: str
) -> TrainingJob:
    began = time.monotonic()
    ended = training_runs.cancel(instance, database, tenant_id, job_id, actor="a test")
    assert time.monotonic() - began < SLOW_S / 2, "it was ended, and did not end by itself"
    return ended


def _versions(database: Database, tenant_id: str, job: TrainingJob) -> list[int]:
    with database.tenant(tenant_id) as connection:
        query = text("SELECT version FROM ml.models WHERE run_id = :run_id")
        return list(connection.scalars(query, {"run_id": job.run_id}))


def test_a_training_is_started_watched_and_completed(
    database: Database, instance: DagsterInstance
) -> None:
    job_id = _ask(database, ACME, QUICK)
    ended = _await_end(database, ACME, job_id)
    assert (ended.status, ended.progress, ended.error) == ("completed", 1.0, None)
    assert (ended.algorithm, ended.hyperparameters) == (QUICK, {"leaves": 8})
    assert ended.metrics == {"log_loss": 0.4}
    assert _versions(database, ACME, ended) == [ended.model_version]
    run = run_of(instance, training_jobs.RUN_TAG, job_id)
    assert run is not None
    assert run.run_id == ended.run_id
    await_true("the run's end", lambda: instance.get_run_by_id(run.run_id).is_finished)  # type: ignore[union-attr]
    materialized = {
        event.asset_key.to_user_string()  # type: ignore[union-attr]
        for record in instance.all_logs(run.run_id)
        if (event := record.dagster_event) is not None and event.is_step_materialization
    }
    assert materialized == {"lead_features", "lead_model", "lead_scores"}


@pytest.mark.parametrize("kind", [SLOW, DEAF])
def test_a_cancelled_training_ends_with_its_process_and_without_a_model(
    database: Database, instance: DagsterInstance, kind: str
) -> None:
    job_id = _ask(database, ACME, kind)
    _await_step(database, ACME, job_id, kind)
    process = _process(instance, job_id)
    ended = _cancel(instance, database, ACME, job_id)
    assert (ended.status, ended.error) == ("cancelled", "cancelled by a test")
    assert not process.is_running()
    assert _versions(database, ACME, ended) == []
    run = run_of(instance, training_jobs.RUN_TAG, job_id)
    assert run is not None
    assert run.status.value == "CANCELED"
    with pytest.raises(GalenaError, match="ended already: it is cancelled"):
        _cancel(instance, database, ACME, job_id)


def test_a_queued_training_waits_for_the_one_before_and_can_be_cancelled(
    database: Database, instance: DagsterInstance
) -> None:
    first, second = _ask(database, ACME, SLOW), _ask(database, ACME, QUICK)
    other = _await_end(database, BRIO, _ask(database, BRIO, BROKEN))
    assert (other.status, other.error) == ("failed", "RuntimeError: the columns are gone")
    _await_step(database, ACME, first, SLOW)
    assert run_of(instance, training_jobs.RUN_TAG, second) is None
    assert _cancel(instance, database, ACME, second).status == "cancelled"
    third = _ask(database, ACME, QUICK)
    _process(instance, first).kill()
    assert _cancel(instance, database, ACME, first).status == "cancelled", "its process was dead"
    assert _await_end(database, ACME, third).status == "completed"
    assert run_of(instance, training_jobs.RUN_TAG, second) is None, (
        "what was cancelled is never started"
    )


def test_a_killed_training_has_failed_and_says_so(
    database: Database, instance: DagsterInstance
) -> None:
    job_id = _ask(database, ACME, SLOW)
    _await_step(database, ACME, job_id, SLOW)
    _process(instance, job_id).kill()
    ended = _await_end(database, ACME, job_id)
    assert ended.status == "failed"
    assert ended.error == "its process ended before it did: killed, or out of memory"
    assert _versions(database, ACME, ended) == []


def test_orphans_of_an_earlier_start_have_failed(
    database: Database, instance: DagsterInstance
) -> None:
    job_id = _ask(database, ACME, SLOW)
    _await_step(database, ACME, job_id, SLOW)
    process = _process(instance, job_id)
    runs.fail_orphans(instance)
    settle(instance, database)
    ended = _find(database, ACME, job_id)
    process.kill()
    assert ended.status == "failed"
    assert ended.error == "Its process ended together with `galena up`."


def _galena(*arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [*GALENA, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "COLUMNS": "200"},
    )


def _said(*arguments: str, code: int = 0) -> str:
    process = _galena(*arguments)
    output, _ = process.communicate()
    assert process.returncode == code, output
    return output


@pytest.mark.usefixtures("database")
def test_the_commands() -> None:
    said = _said("train", ACME)
    assert " 10%  boosted_tables, log_loss 0.5000" in said
    assert "is completed: model version" in said
    (job_id,) = re.findall(r"queued as job (\w+)", said)
    assert job_id in _said("jobs", ACME)
    assert job_id not in _said("jobs", BRIO)
    details = _said("job", ACME, job_id)
    assert re.search(r"^status +completed, 100%, completed$", details, re.MULTILINE)
    assert re.search(
        r"^\d\d:\d\d:\d\d +10%  boosted_tables, log_loss 0.5000$", details, re.MULTILINE
    )
    assert "is gone" in _said("job", ACME, job_id, "--delete")
    assert "has no training job" in _said("job", ACME, job_id, code=1)


def test_ctrl_c_leaves_the_training_alone(database: Database) -> None:
    following = _galena("train", ACME, "--algorithm", SLOW)
    assert following.stdout is not None
    (job_id,) = re.findall(r"queued as job (\w+)", following.stdout.readline())
    _await_step(database, ACME, job_id, SLOW)
    following.send_signal(signal.SIGINT)
    assert f"`galena cancel {ACME} {job_id}` ends it" in following.communicate()[0]
    assert following.returncode == 130
    assert _find(database, ACME, job_id).status == "running"
    assert "is cancelled" in _said("cancel", ACME, job_id)
    assert "ended already" in _said("cancel", ACME, job_id, code=1)
    assert _find(database, ACME, job_id).status == "cancelled"
