"""Batches of predictions in processes of their own, started by the daemon: killed, cancelled, told
of, and asked for by the commands."""

import csv
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl
import psutil
import pytest
from dagster import DagsterInstance, RunsFilter
from sqlalchemy import text

from orchestration import prediction_runs, run_processes, runs
from sensors.job_runs import run_of
from tests import counting_model
from tests.commands import invoke
from tests.dagster_services import at_work
from tests.installations import await_true, lead_rows
from tests.running import GALENA
from tests.test_webhooks import SECRET, VARIABLE, Receiver
from warehouse import crm, prediction_items, prediction_jobs, webhooks
from warehouse.database import Database
from warehouse.embedded import Urls
from warehouse.errors import GalenaError
from warehouse.prediction_jobs import RUN_TAG, PredictionJob

ACME = "acme"
LEADS = 2_000
# So many items that a person or a test can look at the work before it is done.
MANY = 60_000


@pytest.fixture(scope="module")
def database(server: Urls, new_database: Callable[[str], str]) -> Iterator[Database]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, SECRET)
        with at_work(server, new_database, "tests.prediction_definitions", [ACME]) as found:
            with found.tenant(ACME) as connection:
                rows = lead_rows([f"l{one:04}" for one in range(LEADS)], '{"visits": 1}')
                crm.upsert(connection, ACME, "leads", rows)
                counting_model.serve(connection, ACME)
            with runs.instance() as instance:
                instance.add_dynamic_partitions("tenants", [ACME])
            yield found


@pytest.fixture
def instance(database: Database) -> Iterator[DagsterInstance]:  # noqa: ARG001
    with runs.instance() as found:
        yield found


def _ask(database: Database, items: int) -> str:
    ids = [f"l{one % LEADS:04}" for one in range(items)]
    with database.tenant(ACME) as connection:
        return prediction_items.queue_ids(connection, ACME, ids, requested_by="a test")


def _find(database: Database, job_id: str) -> PredictionJob:
    with database.tenant(ACME) as connection:
        return prediction_jobs.find(connection, ACME, job_id)


def _at_work(database: Database, instance: DagsterInstance, job_id: str) -> psutil.Process:
    await_true("items that are done", lambda: _find(database, job_id).done_items > 0)
    run = run_of(instance, RUN_TAG, job_id)
    assert run is not None
    process = run_processes.process_of(instance, run)
    assert process is not None
    return process


def test_a_killed_run_is_followed_by_one_that_goes_on_and_the_webhook_is_told(
    database: Database, instance: DagsterInstance
) -> None:
    receiver = Receiver()
    with receiver.listening():
        with database.tenant(ACME) as connection:
            webhooks.configure(connection, ACME, receiver.url, VARIABLE, actor="ann")
        job_id = _ask(database, MANY)
        _at_work(database, instance, job_id).kill()
        killed_at = _find(database, job_id).done_items
        assert 0 < killed_at < MANY
        await_true("its end", lambda: _find(database, job_id).ended_at is not None)
        await_true("the webhook", lambda: len(receiver.got) > 0)
    ended = _find(database, job_id)
    assert (ended.status, ended.completed_items) == ("completed", MANY)
    assert instance.get_runs_count(RunsFilter(tags={RUN_TAG: job_id})) == 2
    with database.tenant(ACME) as connection:
        webhooks.remove(connection, ACME, actor="ann")
        items = connection.execute(
            text("SELECT count(*), count(DISTINCT item), max(item) FROM ml.prediction_results")
        ).one()
    assert tuple(items) == (MANY, MANY, MANY)
    assert b"prediction.completed" in receiver.got[0][1]


def test_a_batch_at_work_is_cancelled_and_its_run_ends(
    database: Database, instance: DagsterInstance
) -> None:
    job_id = _ask(database, MANY)
    process = _at_work(database, instance, job_id)
    began = time.monotonic()
    ended = prediction_runs.cancel(instance, database, ACME, job_id, actor="ann")
    assert ended.status == "cancelled"
    assert 0 < ended.done_items < MANY
    assert time.monotonic() - began < 60, "it was ended, and did not end by itself"
    await_true("the process's end", lambda: not process.is_running())


def _said(*arguments: str, code: int = 0) -> str:
    """What the command prints, or the error that it ends with."""
    done = invoke(*arguments)
    assert done.exit_code == code, (done.output, done.exception)
    return str(done.exception) if isinstance(done.exception, GalenaError) else done.output


@pytest.mark.usefixtures("database")
def test_the_commands(tmp_path: Path) -> None:
    said = _said("predict", ACME, "--id", "l0001", "--id", "nobody")
    assert "1 of 2 items predicted, 1 failed, by model version 1" in said
    (job_id,) = re.findall(r"queued as job (\w+)", said)
    assert re.search(rf"{job_id} +completed +100% +2 +1 +1 +2 ids", _said("predictions", ACME))
    details = _said("prediction", ACME, job_id)
    assert re.search(r"^status +completed, 1 of 2 items predicted, 1 failed$", details, re.M)
    shown = _said("prediction", ACME, job_id, "--results", "--limit", "1")
    assert re.search(r"^ +1  l0001 +.*probability 0.5", shown, re.MULTILINE)
    assert "--after 1" in shown
    failures = _said("prediction", ACME, job_id, "--failures")
    assert "2  nobody                lead_id: 'nobody' is no lead of the tenant" in failures
    out = tmp_path / "out.csv"
    assert "2 results are in" in _said("prediction", ACME, job_id, "--out", str(out))
    rows = list(csv.DictReader(out.read_text().splitlines()))
    assert [(row["item"], row["id"], row["probability"]) for row in rows] == [
        ("1", "l0001", "0.5"),
        ("2", "nobody", ""),
    ]
    assert "is gone" in _said("prediction", ACME, job_id, "--delete")
    assert "has no prediction job" in _said("prediction", ACME, job_id, code=1)


def test_a_file_a_query_and_a_list(database: Database, tmp_path: Path) -> None:
    path = tmp_path / "people.csv"
    pl.DataFrame({"id": ["a", "b"], "visits": ["2", "some"]}).write_csv(path)
    said = _said("predict", ACME, "--file", str(path), "--model", "1")
    assert "1 of 2 items predicted, 1 failed" in said
    ids = tmp_path / "ids.txt"
    ids.write_text("l0001\n\nl0002\n")
    for asked, items in ((("--where", "visits=1", "--limit", "7"), 7), (("--ids", str(ids)), 2)):
        said = _said("predict", ACME, *asked, "--detach")
        (job_id,) = re.findall(r"queued as job (\w+)", said)
        assert _find(database, job_id).total_items == items
    for wrong, words in (
        ((), "in one way"),
        (("--all", "--id", "l0001"), "in one way"),
        (("--where", "visits"), "expected NAME=VALUE"),
        (("--all", "--model", "9"), "no model version 9"),
        (("--created-after", "soon"), "created_after"),
    ):
        assert words in _said("predict", ACME, *wrong, code=1)


def test_ctrl_c_leaves_the_batch_alone(database: Database, tmp_path: Path) -> None:
    path = tmp_path / "many.txt"
    path.write_text("\n".join(f"l{one % LEADS:04}" for one in range(2 * MANY)))
    following = subprocess.Popen(
        [*GALENA, "predict", ACME, "--ids", str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "COLUMNS": "200"},
    )
    assert following.stdout is not None
    (job_id,) = re.findall(r"queued as job (\w+)", following.stdout.readline())
    await_true("items that are done", lambda: _find(database, job_id).done_items > 0)
    following.send_signal(signal.SIGINT)
    assert f"`galena prediction {ACME} {job_id} --cancel` ends it" in following.communicate()[0]
    assert following.returncode == 130
    assert _find(database, job_id).error is None
    assert "is cancelled" in _said("prediction", ACME, job_id, "--cancel")
    assert "ended already" in _said("prediction", ACME, job_id, "--cancel", code=1)


@pytest.mark.usefixtures("database")
def test_the_command_of_webhooks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE)
    asked = ("tenant", "webhook", ACME)
    assert "has no webhook" in _said(*asked)
    given = ("--url", "http://localhost:1/in", "--secret-variable", VARIABLE)
    shown = _said(*asked, *given)
    assert re.search(r"^whsec_\S{44}$", shown, re.MULTILINE)
    assert f"sent to http://localhost:1/in, signed with what is in {VARIABLE}" in _said(*asked)
    monkeypatch.setenv(VARIABLE, SECRET)
    assert "whsec" not in _said(*asked, *given)
    assert "private address" in _said(
        *asked, "--url", "https://10.0.0.1/", "--secret-variable", VARIABLE, code=1
    )
    assert "Nothing is sent any more" in _said(*asked, "--remove")
