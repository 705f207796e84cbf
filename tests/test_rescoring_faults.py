"""Faults while changed leads are rescored: late, repeated, concurrent, poisoned, cut off."""

import multiprocessing
from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import text

from assets import rescoring
from orchestration import runs
from orchestration.installation import Installation
from resources.warehouse import Warehouse
from tests.conftest import in_database
from tests.installations import (
    PATIENCE_SECONDS,
    Changing,
    lead_ids,
    lead_rows,
)
from tests.rescored import assert_goes_on, told_of
from warehouse import alerts, crm, queue
from warehouse.database import Database
from warehouse.embedded import Urls
from warehouse.rescoring import Rescorer
from warehouse.settings import Settings

_SPAWN = multiprocessing.get_context("spawn")
LEADS = 51
POISONED = "lead-030"
# More changes than one transaction takes, so that a second scorer has work beside the first.
REPEATED = 6
MANY = 600


@pytest.fixture(scope="module")
def changing(
    server: Urls, new_database: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Changing]:
    """An installation with a bystander; each test adds the tenants that it breaks."""
    urls = in_database(server, new_database("template"))
    dagster = in_database(server, new_database("template0")).dagster
    settings = Settings.from_environment(
        {
            "GALENA_HOME": str(tmp_path_factory.mktemp("home")),
            "GALENA_DATABASE_URL": urls.app,
            "GALENA_OWNER_DATABASE_URL": urls.owner,
            "GALENA_DAGSTER_DATABASE_URL": dagster,
            "GALENA_MLFLOW_DATABASE_URL": dagster,
        }
    )
    database = Database(urls.app)
    made = Changing(database, urls.superuser)
    made.add_tenant("bystander", LEADS)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in Installation(settings, database).environment().items():
            patch.setenv(name, value)
        yield made
    database.close()


@pytest.fixture
def rescore(changing: Changing) -> Callable[[], None]:
    """One run of the job, from its start to its end."""
    return lambda: _run_job(changing.database.url)


def _run_job(url: str) -> None:
    with pytest.MonkeyPatch.context() as patch, runs.instance() as instance:
        patch.setattr(rescoring, "_LINGER_S", 0.1)
        resources = {"warehouse": Warehouse(database_url=url)}
        job = rescoring.rescore_changed_leads
        assert job.execute_in_process(instance=instance, resources=resources).success


def _score(url: str, run_id: str) -> None:
    """What a process that scores does until nothing waits."""
    database = Database(url)
    rescorer = Rescorer(database, run_id)
    while rescorer.step():
        pass
    assert rescorer.tally.failed == 0
    database.close()


def test_a_change_committed_after_the_consumer_passed(
    changing: Changing, rescore: Callable[[], None]
) -> None:
    changing.add_tenant("late", LEADS)
    leads = lead_ids(LEADS)
    with changing.touching("late", leads[:20]):
        changing.touch("late", leads[10:])
        rescore()
        assert not changing.ask("SELECT FROM crm.rescore_queue"), "the consumer has passed"
    assert_goes_on(changing, rescore=rescore)


def test_the_same_changes_delivered_twice_and_scored_by_two_at_once(
    changing: Changing, rescore: Callable[[], None]
) -> None:
    changing.add_tenant("twice", MANY)
    leads = lead_ids(MANY)
    changed = lead_rows(leads, '{"job": "clerk", "age": 41}')
    for _ in range(2):
        with changing.database.tenant("twice") as connection:
            crm.upsert(connection, "twice", "leads", changed)
            changing.note(connection, "twice", leads)
    assert len(_queued(changing)) == MANY, "what says the same is no change"
    for _ in range(REPEATED):
        with changing.everything() as connection:
            connection.execute(
                text(
                    "INSERT INTO crm.rescore_queue (tenant_id, lead_id, priority)"
                    " SELECT 'twice', lead_id, 100 FROM crm.leads WHERE tenant_id = 'twice'"
                )
            )
    scorers = [
        _SPAWN.Process(target=_score, args=(changing.database.url, f"scorer {number}"))
        for number in range(2)
    ]
    with changing.held() as await_waiting:
        for scorer in scorers:
            scorer.start()
        await_waiting(2)
        changing.touch("twice", leads[:20])
    for scorer in scorers:
        scorer.join(PATIENCE_SECONDS)
        assert scorer.exitcode == 0
    assert_goes_on(changing, rescore=rescore)


@pytest.mark.parametrize("place", ["first", "last"])
def test_a_poisoned_lead_is_set_aside_and_the_others_are_scored(
    changing: Changing, rescore: Callable[[], None], place: str
) -> None:
    tenant_id = f"poisoned-{place}"
    changing.add_tenant(tenant_id, LEADS)
    others = [lead_id for lead_id in lead_ids(LEADS) if lead_id != POISONED]
    if place == "last":
        changing.touch(tenant_id, others)
    _set_created_at(changing, tenant_id, "infinity")
    if place == "first":
        changing.touch(tenant_id, others)
    changing.touch("bystander", others)
    for attempt in (1, 2):
        rescore()
        assert {lead_id for _, lead_id in _queued(changing)} == {POISONED}
        assert _failures(changing, tenant_id) == [(POISONED, attempt, False)]
        _let_time_pass(changing)
    assert _alerts(changing, tenant_id) == []
    assert_goes_on(changing, rescore=rescore, but={(tenant_id, POISONED)})
    assert _failures(changing, tenant_id) == [(POISONED, 3, True)]
    ((subject, message),) = _alerts(changing, tenant_id)
    assert subject == POISONED
    assert "3 attempts: DataError: timestamp too large" in message

    _set_created_at(changing, tenant_id, "2026-01-01T00:00Z")
    assert_goes_on(changing, rescore=rescore)
    assert _failures(changing, tenant_id) == _alerts(changing, tenant_id) == []


def test_a_tenant_whose_model_is_damaged_is_held_back_until_it_is_whole(
    changing: Changing, rescore: Callable[[], None]
) -> None:
    changing.add_tenant("damaged", LEADS)
    artifact = "UPDATE ml.models SET artifact = {} WHERE tenant_id = 'damaged'"
    _execute(changing, artifact.format("artifact || ' '"))
    changing.touch("damaged", lead_ids(LEADS))
    for attempt in (1, 2, 3):
        changing.touch("bystander", lead_ids(LEADS))
        rescore()
        assert _failures(changing, "damaged") == [("", attempt, attempt == 3)]
        assert [tenant_id for tenant_id, _ in _queued(changing)] == ["damaged"] * LEADS
        _let_time_pass(changing)
    ((subject, message),) = _alerts(changing, "damaged")
    assert subject == ""
    assert "3 attempts: Model version 1 of tenant 'damaged' is not the document" in message
    rescore()
    assert _failures(changing, "damaged") == [("", 3, True)], "it is not tried again by itself"

    _execute(changing, artifact.format("substring(artifact for length(artifact) - 1)"))
    with changing.database.tenant("damaged") as connection:
        queue.retry(connection, "damaged")
    assert_goes_on(changing, rescore=rescore)
    assert _failures(changing, "damaged") == _alerts(changing, "damaged") == []


def test_a_run_killed_after_it_told_dagster_and_before_it_noted_that(
    changing: Changing, rescore: Callable[[], None]
) -> None:
    changing.touch("bystander", lead_ids(LEADS))
    _score(changing.database.url, "a run that could not tell")
    run = _SPAWN.Process(target=_run_job, args=(changing.database.url,))
    told = told_of("bystander")
    with changing.held("UPDATE", "ml.rescorings") as await_waiting:
        run.start()
        await_waiting(1)
        assert told_of("bystander")[0] == told[0] + LEADS
        run.kill()
        run.join(PATIENCE_SECONDS)
    assert_goes_on(changing, rescore=rescore, told_again=True)


def _set_created_at(changing: Changing, tenant_id: str, created_at: str) -> None:
    with changing.database.tenant(tenant_id) as connection:
        connection.execute(
            text("UPDATE crm.leads SET created_at = :at WHERE lead_id = :lead_id"),
            {"at": created_at, "lead_id": POISONED},
        )
        changing.note(connection, tenant_id, [POISONED])


def _let_time_pass(changing: Changing) -> None:
    """What waits for another attempt need wait no longer."""
    _execute(changing, "UPDATE crm.rescore_queue SET due_at = now()")
    _execute(changing, "UPDATE crm.rescore_failures SET retry_at = now() WHERE retry_at > now()")


def _execute(changing: Changing, statement: str) -> None:
    with changing.everything() as connection:
        connection.exec_driver_sql(statement)


def _queued(changing: Changing) -> list[tuple[object, ...]]:
    return changing.ask("SELECT tenant_id, lead_id FROM crm.rescore_queue")


def _failures(changing: Changing, tenant_id: str) -> list[tuple[object, ...]]:
    """Lead, attempts and whether it is set aside."""
    return changing.ask(
        "SELECT lead_id, attempts, retry_at IS NULL FROM crm.rescore_failures"
        " WHERE tenant_id = :tenant_id",
        tenant_id=tenant_id,
    )


def _alerts(changing: Changing, tenant_id: str) -> list[tuple[str, str]]:
    with changing.database.tenant(tenant_id) as connection:
        return [(a.subject, a.message) for a in alerts.open_alerts(connection, tenant_id)]
