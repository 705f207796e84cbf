"""The job that rescores changed leads, the sensor that starts it, and the jobs of the night."""

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
from sqlalchemy import create_engine, text

from assets import nightly, rescoring
from assets.lead_scores import changes_are_rescored_in_time, lead_scores, timeliness
from orchestration.definitions import build_defs
from resources.warehouse import Warehouse
from sensors import crm_changes
from tests import counting_model
from warehouse import alerts, queue, rescorings, retention, scores, tenants
from warehouse.database import Database
from warehouse.embedded import Urls
from warehouse.rescoring import Rescorer
from warehouse.scoring import Champions, score_open_leads

ACME, BRIO = "acme", "brio"


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as found:
        yield found


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run ends when nothing waits, and does not stay for what may come."""
    monkeypatch.setattr(rescoring, "_LINGER_S", 0.5)


@pytest.fixture
def both(database: Database) -> Database:
    """Two tenants with the leads 1, 2 and 3, which are queued, and a model that counts."""
    for tenant_id in (ACME, BRIO):
        tenants.add(database, tenant_id)
        with database.tenant(tenant_id) as connection:
            counting_model.serve(connection, tenant_id)
            connection.execute(
                text(
                    "INSERT INTO crm.leads (tenant_id, lead_id, created_at)"
                    " SELECT :tenant_id, n::text, now() - interval '9 days'"
                    " FROM generate_series(1, 3) n"
                ),
                {"tenant_id": tenant_id},
            )
    return database


def _touch(database: Database, tenant_id: str, lead_id: str = "1") -> None:
    with database.tenant(tenant_id) as connection:
        connection.execute(
            text(
                "UPDATE crm.leads SET created_at = created_at - interval '1 day' WHERE lead_id=:l"
            ),
            {"l": lead_id},
        )


def _run(database: Database, instance: dg.DagsterInstance, job: dg.JobDefinition) -> str:
    resources = {"warehouse": Warehouse(database_url=database.url)}
    result = job.execute_in_process(instance=instance, resources=resources, raise_on_error=False)
    return result.run_id if result.success else ""


def _told(instance: dg.DagsterInstance) -> dict[str | None, list[dg.AssetMaterialization]]:
    """The materializations of lead_scores by partition."""
    found: dict[str | None, list[dg.AssetMaterialization]] = {}
    for record in instance.fetch_materializations(lead_scores.key, limit=100).records:
        event = record.asset_materialization
        assert event is not None
        found.setdefault(event.partition, []).append(event)
    return found


def _evaluations(instance: dg.DagsterInstance) -> list[dg.AssetCheckEvaluation]:
    records = instance.event_log_storage.get_asset_check_execution_history(
        changes_are_rescored_in_time.check_key, limit=10
    )
    found = []
    for record in records:
        event = record.event
        if event is not None and event.dagster_event is not None:
            found.append(event.dagster_event.asset_check_evaluation_data)
    return found


def test_a_run_rescores_and_reports_each_tenant_once(
    both: Database, instance: dg.DagsterInstance
) -> None:
    assert _run(both, instance, rescoring.rescore_changed_leads)
    told = _told(instance)
    assert {name: len(events) for name, events in told.items()} == {ACME: 1, BRIO: 1}
    metadata = {name: value.value for name, value in told[ACME][0].metadata.items()}
    assert (metadata["leads rescored"], metadata["changes"]) == (3, 3)
    assert float(str(metadata["median change to score (s)"])) > 0
    assert rescorings.unreported_tenants(both) == []
    (evaluation,) = _evaluations(instance)
    assert evaluation.passed
    assert evaluation.metadata["leads rescored in the last hour"].value == 6


def test_what_an_earlier_run_could_not_report_is_reported(
    both: Database, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as dying:
        dying.setattr(rescoring, "_report", lambda *_: 1 / 0)
        assert not _run(both, instance, rescoring.rescore_changed_leads)
    assert _told(instance) == {}
    assert {name for name, _ in rescorings.unreported_tenants(both)} == {ACME, BRIO}
    assert _run(both, instance, rescoring.rescore_changed_leads)
    assert {name: len(events) for name, events in _told(instance).items()} == {ACME: 1, BRIO: 1}


def test_a_second_run_leaves_the_work_to_the_first(
    both: Database, instance: dg.DagsterInstance
) -> None:
    with queue.lane(both) as lane:
        assert lane is not None
        assert _run(both, instance, rescoring.rescore_changed_leads)
    assert len(queue.waiting(both)) == 2
    assert _told(instance) == {}


def test_a_tenant_that_goes_is_not_told_of(both: Database, instance: dg.DagsterInstance) -> None:
    rescorer = Rescorer(both, "earlier run")
    while rescorer.step():
        pass
    score = threading.Thread(target=_run, args=(both, instance, rescoring.rescore_changed_leads))
    score.start()
    tenants.set_status(both, BRIO, "removing")
    with both.erasing(BRIO):
        pass
    told_before = len(_told(instance).get(BRIO, []))
    score.join()
    told = _told(instance)
    assert len(told.get(BRIO, [])) == told_before
    assert ACME in told


@pytest.fixture
def tick(both: Database, instance: dg.DagsterInstance) -> Callable[[str | None], dg.SensorResult]:
    def evaluate(cursor: str | None = None) -> dg.SensorResult:
        resources = {"warehouse": Warehouse(database_url=both.url)}
        with dg.build_sensor_context(
            instance=instance, resources=resources, cursor=cursor
        ) as context:
            result = crm_changes.crm_changes(context)
        assert isinstance(result, dg.SensorResult)
        return result

    return evaluate


def _why(result: dg.SensorResult) -> str:
    assert not result.run_requests
    assert isinstance(result.skip_reason, dg.SkipReason)
    return str(result.skip_reason.skip_message)


def test_the_sensor_starts_a_run_when_leads_have_changed(
    both: Database,
    instance: dg.DagsterInstance,
    tick: Callable[..., dg.SensorResult],
) -> None:
    assert len(tick().run_requests or []) == 1
    _run(both, instance, rescoring.rescore_changed_leads)
    assert _why(tick()) == "No changed lead is due to be rescored."
    _touch(both, ACME)
    assert len(tick().run_requests or []) == 1


def test_one_run_is_in_flight(both: Database, tick: Callable[..., dg.SensorResult]) -> None:
    with queue.lane(both):
        assert _why(tick()).startswith("A rescoring run is at work. Leads of 2 tenants wait")
    assert tick().run_requests, "the lock went with its holder"


def test_a_run_whose_launch_failed_is_ended(
    instance: dg.DagsterInstance,
    tick: Callable[..., dg.SensorResult],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The database was away between its creation and its launch: nobody will start it."""
    created = instance.add_run(
        dg.DagsterRun(
            job_name=rescoring.rescore_changed_leads.name, status=dg.DagsterRunStatus.NOT_STARTED
        )
    )
    first = tick()
    assert _why(first).startswith("A rescoring run is starting or ending.")
    monkeypatch.setattr(crm_changes, "_STUCK_AFTER_S", -1)
    assert tick(first.cursor).run_requests
    ended = instance.get_run_by_id(created.run_id)
    assert ended is not None
    assert ended.status is dg.DagsterRunStatus.FAILURE


def test_a_lost_run_is_ended_and_the_next_is_started(
    instance: dg.DagsterInstance,
    tick: Callable[..., dg.SensorResult],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Killed together with its code server, it stays STARTED in Dagster's eyes."""
    lost = dg.DagsterRun(
        job_name=rescoring.rescore_changed_leads.name, status=dg.DagsterRunStatus.NOT_STARTED
    )
    instance.add_run(lost)
    instance.report_engine_event("it starts", lost)
    instance.handle_run_event(lost.run_id, _started(lost))
    first = tick()
    assert _why(first).startswith("A rescoring run is starting or ending.")
    later = tick(first.cursor)
    assert _why(later).startswith("A rescoring run is starting or ending."), "it has some time"
    monkeypatch.setattr(crm_changes, "_LOST_AFTER_S", -1)
    assert tick(later.cursor).run_requests
    ended = instance.get_run_by_id(lost.run_id)
    assert ended is not None
    assert ended.status is dg.DagsterRunStatus.FAILURE


def _started(run: dg.DagsterRun) -> dg.DagsterEvent:
    return dg.DagsterEvent(
        event_type_value=dg.DagsterEventType.RUN_START.value, job_name=run.job_name
    )


def test_the_check_fails_while_a_change_waits_too_long(both: Database, urls: Urls) -> None:
    warehouse = Warehouse(database_url=both.url)
    assert timeliness(warehouse).passed
    engine = create_engine(urls.superuser)
    with engine.begin() as connection:
        connection.execute(
            text("UPDATE crm.rescore_queue SET changed_at = now() - '40 s'::interval")
        )
    engine.dispose()
    result = timeliness(warehouse)
    assert not result.passed
    assert result.metadata["changes in the queue"].value == 6
    tenants.set_status(both, ACME, "paused")
    tenants.set_status(both, BRIO, "paused")
    assert timeliness(warehouse).passed, "paused tenants wait because they shall"


def test_the_night_scores_every_lead_of_every_tenant_in_one_run(
    both: Database, instance: dg.DagsterInstance
) -> None:
    tenants.add(both, "paused")
    tenants.set_status(both, "paused", "paused")
    run_id = _run(both, instance, nightly.rescore_all_leads)
    told = _told(instance)
    assert {
        name: events[0].metadata["dagster/row_count"].value for name, events in told.items()
    } == {
        ACME: 3,
        BRIO: 3,
    }
    with both.tenant(ACME) as connection:
        runs = connection.scalars(text("SELECT DISTINCT run_id FROM ml.lead_score_history")).all()
    assert runs == [run_id]
    _run(both, instance, nightly.rescore_all_leads)
    assert len(_told(instance)[ACME]) == 1, "one that was killed goes on where it was"


def test_a_tenant_that_fails_at_night_fails_alone(
    both: Database, instance: dg.DagsterInstance
) -> None:
    with both.tenant(ACME) as connection:
        connection.execute(text("UPDATE ml.models SET artifact = 'tampered'"))
    assert not _run(both, instance, nightly.rescore_all_leads)
    assert set(_told(instance)) == {BRIO}
    with both.tenant(ACME) as connection:
        (alert,) = alerts.open_alerts(connection, ACME)
        assert alert.kind == "nightly_scoring_failed"
        assert "sha256 differs" in alert.message
        counting_model.serve(connection, ACME)
    assert _run(both, instance, nightly.rescore_all_leads)
    assert alerts.count_open(both) == {}


def _months(urls: Urls) -> set[str]:
    engine = create_engine(urls.superuser)
    with engine.connect() as connection:
        found = set(
            connection.scalars(
                text(
                    "SELECT right(relname, 7) FROM pg_class WHERE relname LIKE 'lead_score_h%_2%'"
                    " AND relkind = 'r'"
                )
            )
        )
    engine.dispose()
    return found


def test_old_months_of_the_history_go_and_present_scores_stay(both: Database, urls: Urls) -> None:
    for tenant_id in (ACME, BRIO):
        score_open_leads(both, tenant_id, Champions(), "run")
    with both.operator() as connection:
        for month in ("2024-01-15", "2024-02-15"):
            connection.execute(text(f"SELECT ml.ensure_history_partition('{month}+00')"))
    this_month = f"{datetime.now(UTC):%Y_%m}"
    # A paused tenant's score of February 2024 is still what is served.
    with both.tenant(ACME) as connection:
        connection.execute(
            text("UPDATE ml.lead_scores SET calculated_at = '2024-02-15+00' WHERE lead_id = '1'")
        )
        oldest = retention.oldest_served(connection, ACME)
    assert {"2024_01", "2024_02", this_month} <= _months(urls)
    gone = retention.forget_scores(both, oldest, retention.Ages())
    assert gone == ["lead_score_history_2024_01"]
    assert {"2024_02", this_month} <= _months(urls)
    assert retention.forget_scores(both, None, retention.Ages(scores=-1)) == [
        "lead_score_history_2024_02"
    ], "not what is younger than a month, whatever the age"
    assert this_month in _months(urls)


def test_what_is_past_its_age_is_forgotten_and_the_rest_kept(
    both: Database, instance: dg.DagsterInstance
) -> None:
    _run(both, instance, rescoring.rescore_changed_leads)
    score_open_leads(both, ACME, Champions(), "run")
    _touch(both, ACME)
    with both.tenant(ACME) as connection:
        alerts.raise_alert(connection, ACME, "kind", "open", "why")
        alerts.raise_alert(connection, ACME, "kind", "old", "why")
        alerts.resolve(connection, ACME, "kind", ["old"])
        for month in (1, 2):
            scores.rank(connection, ACME, datetime(2024, month, 1, tzinfo=UTC), [0.5])
        connection.execute(
            text("UPDATE ml.alerts SET resolved_at = '2024-01-01' WHERE subject = 'old'")
        )
        connection.execute(text("UPDATE ml.rescorings SET scored_at = '2024-01-01'"))
        # Of the rankings all but the last before the first month of the history.
        assert retention.forget(connection, ACME, retention.Ages()) == 3
        assert [alert.subject for alert in alerts.open_alerts(connection, ACME)] == ["open"]
        assert scores.newest_ranking(connection, ACME) is not None
    with both.tenant(BRIO) as connection:
        assert retention.forget(connection, BRIO, retention.Ages()) == 0


def test_ended_runs_are_deleted_by_their_age_and_trainings_stay(
    instance: dg.DagsterInstance,
) -> None:
    rescored, loaded, trained, working = (
        instance.add_run(dg.DagsterRun(job_name=name, status=status))
        for name, status in (
            ("rescore_changed_leads", dg.DagsterRunStatus.SUCCESS),
            ("load_crm_source", dg.DagsterRunStatus.FAILURE),
            ("score_tenant", dg.DagsterRunStatus.SUCCESS),
            ("rescore_changed_leads", dg.DagsterRunStatus.STARTED),
        )
    )

    def left() -> set[str]:
        return {run.run_id for run in instance.get_runs()}

    now = datetime.now(UTC)
    assert nightly.forget_runs(instance, now) == 0
    assert nightly.forget_runs(instance, now + timedelta(days=3)) == 1
    assert left() == {loaded.run_id, trained.run_id, working.run_id}
    assert nightly.forget_runs(instance, now + timedelta(days=31)) == 1
    assert left() == {trained.run_id, working.run_id}
    assert rescored.run_id not in left()


def test_events_without_a_run_are_deleted_by_their_age(
    both: Database, instance: dg.DagsterInstance
) -> None:
    _run(both, instance, rescoring.rescore_changed_leads)
    instance.report_runless_asset_event(dg.AssetMaterialization("crm_source", partition=ACME))
    now = datetime.now(UTC)
    assert nightly.forget_events(instance, now) == 0
    assert len(_evaluations(instance)) == 1
    assert nightly.forget_events(instance, now + timedelta(days=31)) == 2
    assert _evaluations(instance) == []
    assert len(_told(instance)) == 2, "what belongs to a run goes with the run"


def test_the_jobs_whose_runs_go_exist() -> None:
    defs = build_defs(resources={"warehouse": object(), "mlflow": object()})
    for name in nightly.RUN_DAYS:
        assert defs.resolve_job_def(name).name == name


def test_the_retention_job_does_it_all(both: Database, instance: dg.DagsterInstance) -> None:
    assert _run(both, instance, nightly.retention)
