"""Faults while changed leads are rescored by a whole `galena up`, which recovers by itself."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from dagster import DagsterRunStatus, RunsFilter
from sqlalchemy import text

from assets.rescoring import rescore_changed_leads
from orchestration import runs
from orchestration.installation import Installation
from tests.installations import (
    PATIENCE_SECONDS,
    Changing,
    await_true,
    lead_ids,
)
from tests.rescored import assert_goes_on
from tests.running import GALENA, Up, alive, environment, superuser, temporary_home
from tests.test_erasure import files_with, rows_with
from warehouse.database import Database
from warehouse.embedded import EmbeddedPostgres
from warehouse.migrate import migrate
from warehouse.settings import Settings

LEADS = 40
GONE = "numbat-marker"
TENANTS = ("one", "two", GONE)
# How often each lead changes in an hour: 3,600 changes, and some that end leads.
TIMES = 30
# Leads that are closed, converted and deleted in that hour.
ENDED = (lead_ids(LEADS)[-9:-6], lead_ids(LEADS)[-6:-3], lead_ids(LEADS)[-3:])


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    with temporary_home() as folder:
        yield folder


@pytest.fixture(scope="module")
def changing(home: Path) -> Iterator[Changing]:
    """Three tenants whose scores are up to date."""
    server = EmbeddedPostgres(home)
    server.start()
    migrate(server.urls.owner)
    database = Database(server.urls.app)
    made = Changing(database, superuser(home, "galena"))
    for tenant_id in TENANTS:
        made.add_tenant(tenant_id, LEADS)
    settings = Settings.from_environment({"GALENA_HOME": str(home)})
    with pytest.MonkeyPatch.context() as patch:
        for name, value in Installation(settings, database).environment().items():
            patch.setenv(name, value)
        yield made
    database.close()


@pytest.fixture(scope="module")
def up(home: Path, changing: Changing) -> Iterator[Up]:
    """`galena up`, that was down for an hour in which leads changed."""
    for tenant_id in TENANTS:
        _change_for_an_hour(changing, tenant_id)
    running = Up(home, "--port", "3460")
    yield running
    running.kill()


def _change_for_an_hour(changing: Changing, tenant_id: str) -> None:
    for _ in range(TIMES):
        changing.touch(tenant_id, lead_ids(LEADS))
    closed, converted, deleted = ENDED
    with changing.database.tenant(tenant_id) as connection:
        for statement, leads in (
            ("UPDATE crm.leads SET closed_at = now() WHERE lead_id = ANY(:leads)", closed),
            ("UPDATE crm.leads SET converted_at = now() WHERE lead_id = ANY(:leads)", converted),
            ("DELETE FROM crm.leads WHERE lead_id = ANY(:leads)", deleted),
            ("DELETE FROM crm.interactions WHERE lead_id = ANY(:leads)", ["lead-001"]),
            ("UPDATE crm.interactions SET lead_id = 'lead-002' WHERE lead_id = ANY(:leads)",
             ["lead-003"]),
        ):  # fmt: skip
            connection.execute(text(statement), {"leads": leads})
        changing.note(connection, tenant_id, ["lead-001", "lead-002", "lead-003"])
    with changing.everything() as connection:
        connection.execute(_SPREAD_OVER_AN_HOUR, {"tenant_id": tenant_id})


_SPREAD_OVER_AN_HOUR = text(
    "UPDATE crm.rescore_queue SET changed_at = at, due_at = at FROM (SELECT change_id,"
    " clock_timestamp() - interval '1 hour' / count(*) OVER ()"
    "  * row_number() OVER (ORDER BY change_id DESC) AS at"
    "  FROM crm.rescore_queue WHERE tenant_id = :tenant_id) spread"
    " WHERE spread.change_id = rescore_queue.change_id AND tenant_id = :tenant_id"
)


def test_an_hour_of_changes_while_all_was_down(up: Up, changing: Changing) -> None:
    up.await_output("Ctrl-C stops everything.")
    assert_goes_on(changing)
    ended = sum(map(len, ENDED))
    assert changing.ask(
        "SELECT sum(changes), sum(leads), sum(removed) FROM ml.rescorings"
        " WHERE (SELECT max(delay) FROM unnest(delays) delay) > 3000"
    ) == [
        (
            len(TENANTS) * (TIMES * LEADS + ended + 3),
            len(TENANTS) * (LEADS - ended),
            len(TENANTS) * ended,
        )
    ], "changes of one lead are one score"


def test_a_run_killed_in_a_transaction(up: Up, changing: Changing) -> None:
    with changing.held() as await_waiting:
        _touch_all(changing)
        waiting = _queued(changing)
        await_waiting(1)
        up.run().kill()
    assert _queued(changing) == waiting, "nothing of a transaction that was cut off"
    assert_goes_on(changing)


def test_the_daemon_killed_in_a_transaction(up: Up, changing: Changing) -> None:
    with changing.held() as await_waiting:
        _touch_all(changing)
        await_waiting(1)
        up.part("dagster._daemon").kill()
    up.await_output("Dagster daemon ended by itself, and was started again.")
    assert_goes_on(changing)


def test_the_code_server_killed_in_a_transaction(up: Up, changing: Changing) -> None:
    with changing.held() as await_waiting:
        _touch_all(changing)
        await_waiting(1)
        run = up.run()
        up.part("api", "grpc").kill()
        await_true("its runs end with it", lambda: not psutil.pid_exists(run.pid))
    up.await_output("Dagster code server ended by itself, and was started again.")
    assert_goes_on(changing)


def test_postgresql_stopped_in_a_transaction(home: Path, up: Up, changing: Changing) -> None:
    with changing.held() as await_waiting:
        _touch_all(changing)
        await_waiting(1)
        _stop_postgresql(home)
    up.await_output("PostgreSQL ended by itself, and was started again.")
    assert_goes_on(changing)


def test_a_tenant_removed_in_a_transaction(home: Path, up: Up, changing: Changing) -> None:
    with changing.held() as await_waiting:
        changing.touch(GONE, lead_ids(LEADS))
        await_waiting(1)
        run_id = _run_at_work()
        for tenant_id in TENANTS:
            changing.touch(tenant_id, lead_ids(LEADS))
        removal = subprocess.Popen(
            [*GALENA, "tenant", "remove", GONE, "--yes"],
            env=environment(home),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        await_true("the removal waits for the transaction", lambda: _waits_for(changing, GONE))
    output, _ = removal.communicate(timeout=PATIENCE_SECONDS)
    assert removal.returncode == 0, output
    changing.tenant_ids.remove(GONE)
    assert_goes_on(changing)
    assert changing.ask(
        "SELECT DISTINCT tenant_id FROM ml.rescorings WHERE run_id = :run_id ORDER BY 1",
        run_id=run_id,
    ) == [(tenant_id,) for tenant_id in changing.tenant_ids], "the run went on with the others"
    traces = {
        name: rows_with(superuser(home, name), GONE) for name in ("galena", "dagster", "mlflow")
    }
    assert traces == {"galena": {}, "dagster": {}, "mlflow": {}}
    assert files_with(home, GONE) == []
    assert up.end() == 0
    assert alive(home) == []


def _touch_all(changing: Changing) -> None:
    for tenant_id in TENANTS:
        changing.touch(tenant_id, lead_ids(LEADS))


def _stop_postgresql(home: Path) -> None:
    """A fast shutdown, as `pg_ctl stop` asks for; and no more when it is started again."""
    postmaster = int((home / "postgres" / "data" / "postmaster.pid").read_text().split()[0])
    os.kill(postmaster, signal.SIGINT)
    await_true("PostgreSQL stops", lambda: not psutil.pid_exists(postmaster))


def _run_at_work() -> str:
    filtered = RunsFilter(job_name=rescore_changed_leads.name, statuses=[DagsterRunStatus.STARTED])
    with runs.instance() as instance:
        (run,) = instance.get_runs(filtered)
    return run.run_id


def _queued(changing: Changing) -> list[tuple[object, ...]]:
    return changing.ask("SELECT tenant_id, change_id FROM crm.rescore_queue ORDER BY 1, 2")


def _waits_for(changing: Changing, tenant_id: str) -> bool:
    """Whether somebody waits for the transactions of a tenant that is being removed."""
    removing = changing.ask(
        "SELECT FROM crm.tenants WHERE tenant_id = :tenant_id AND status = 'removing'",
        tenant_id=tenant_id,
    )
    waits = changing.ask(
        "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        " AND query LIKE '%FROM crm.tenants%FOR UPDATE%' AND datname = current_database()"
    )
    return bool(removing and waits)
