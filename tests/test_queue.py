"""The queue of changed leads: what enters it, what a scorer takes, and what fails alone."""

import threading
import time
from contextlib import ExitStack
from typing import Any

import pytest
from sqlalchemy import Connection, create_engine, text

from tests import counting_model
from tests.installations import await_true
from warehouse import alerts, models, queue, rescorings, scores, tenants
from warehouse.database import Database
from warehouse.embedded import Urls
from warehouse.rescoring import Rescorer
from warehouse.scoring import Champions, score_claimed, score_open_leads

ACME, BRIO = "acme", "brio"


@pytest.fixture
def both(database: Database) -> Database:
    """Two tenants with the leads 1, 2 and 3 and a model that counts; nothing is queued."""
    for tenant_id in (ACME, BRIO):
        tenants.add(database, tenant_id)
        with database.tenant(tenant_id) as connection:
            counting_model.serve(connection, tenant_id)
            for lead_id in "123":
                _lead(connection, tenant_id, lead_id)
            connection.execute(text("DELETE FROM crm.rescore_queue"))
    scores.ensure_partitions(database)
    return database


def _lead(connection: Connection, tenant_id: str, lead_id: str) -> None:
    connection.execute(
        text(
            "INSERT INTO crm.leads (tenant_id, lead_id, created_at, attributes)"
            " VALUES (:tenant_id, :lead_id, now() - interval '9 days', '{\"visits\": 0}')"
        ),
        {"tenant_id": tenant_id, "lead_id": lead_id},
    )


def _call(connection: Connection, tenant_id: str, lead_id: str | None, name: str = "c") -> None:
    connection.execute(
        text(
            "INSERT INTO crm.interactions (tenant_id, interaction_id, lead_id, kind, occurred_at)"
            " VALUES (:tenant_id, :name, :lead_id, 'call', now() - interval '1 hour')"
        ),
        {"tenant_id": tenant_id, "lead_id": lead_id, "name": name},
    )


def _queued(database: Database, tenant_id: str) -> list[str]:
    with database.tenant(tenant_id) as connection:
        found = connection.scalars(text("SELECT lead_id FROM crm.rescore_queue ORDER BY lead_id"))
        return list(found)


def _drain(database: Database) -> Rescorer:
    rescorer = Rescorer(database, "run")
    while rescorer.step():
        pass
    return rescorer


def _scored(database: Database, tenant_id: str) -> dict[str, int]:
    """Each lead's score in place, as the calls that its inputs counted."""
    with database.tenant(tenant_id) as connection:
        rows = connection.execute(
            text(
                "SELECT s.lead_id, h.inputs FROM ml.lead_scores s"
                " JOIN ml.lead_score_history h USING (tenant_id, lead_id, calculated_at)"
            )
        )
        return {lead_id: int(inputs[counting_model.CALLS]) for lead_id, inputs in rows}


CHANGES = {
    "a new attribute": ("UPDATE crm.leads SET attributes = '{\"visits\": 1}'", "123"),
    "one lead's attribute": (
        "UPDATE crm.leads SET attributes = '{\"visits\": 1}' WHERE lead_id = '2'",
        "2",
    ),
    "a conversion": ("UPDATE crm.leads SET converted_at = now() WHERE lead_id = '2'", "2"),
    "another id": ("UPDATE crm.leads SET lead_id = '9' WHERE lead_id = '2'", "29"),
    "a deletion": ("DELETE FROM crm.leads WHERE lead_id <> '2'", "13"),
    "the same again": ("UPDATE crm.leads SET attributes = attributes", ""),
    "what no score depends on": ("UPDATE crm.leads SET account_id = 'x', known_at = now()", ""),
    "interactions": (
        "INSERT INTO crm.interactions (tenant_id, interaction_id, lead_id, kind, occurred_at)"
        " SELECT 'acme', n::text, CASE WHEN n > 4 THEN '3' WHEN n > 2 THEN '1' END, 'call', now()"
        " FROM generate_series(1, 6) n",
        "13",
    ),
}


@pytest.mark.parametrize(("statement", "leads"), CHANGES.values(), ids=CHANGES)
def test_what_a_score_depends_on_queues_its_lead_once_a_statement(
    both: Database, statement: str, leads: str
) -> None:
    with both.tenant(ACME) as connection:
        connection.execute(text(statement))
    assert _queued(both, ACME) == list(leads)
    assert _queued(both, BRIO) == []


MOVES = {
    "to another lead": ("UPDATE crm.interactions SET lead_id = '2'", "12"),
    "to no lead": ("UPDATE crm.interactions SET lead_id = NULL", "1"),
    "another kind": ("UPDATE crm.interactions SET kind = 'visit'", "1"),
    "another text": ("UPDATE crm.interactions SET text = 'hello'", ""),
    "away": ("DELETE FROM crm.interactions", "1"),
}


@pytest.mark.parametrize(("statement", "leads"), MOVES.values(), ids=MOVES)
def test_an_interaction_that_changes_queues_the_leads_it_was_and_is_of(
    both: Database, statement: str, leads: str
) -> None:
    with both.tenant(ACME) as connection:
        _call(connection, ACME, "1")
    _drain(both)
    with both.tenant(ACME) as connection:
        connection.execute(text(statement))
    assert _queued(both, ACME) == list(leads)


def test_whoever_writes_queues(both: Database, urls: Urls) -> None:
    """A superuser is under no policy and is no part of the application."""
    engine = create_engine(urls.superuser)
    with engine.begin() as connection:
        _call(connection, ACME, "1")
        _call(connection, BRIO, "2")
    engine.dispose()
    assert (_queued(both, ACME), _queued(both, BRIO)) == (["1"], ["2"])


def test_a_change_becomes_a_score_with_its_history(both: Database) -> None:
    with both.tenant(ACME) as connection:
        _call(connection, ACME, "1", "a")
        _call(connection, ACME, "1", "b")
    _drain(both)
    assert _scored(both, ACME) == {"1": 2}
    with both.tenant(ACME) as connection:
        _call(connection, ACME, "1", "c")
        connection.execute(text("UPDATE crm.leads SET converted_at = now() WHERE lead_id = '2'"))
        _call(connection, ACME, "2", "d")
    rescorer = _drain(both)
    assert _scored(both, ACME) == {"1": 3}
    assert rescorer.tally.leads == 1
    with both.tenant(ACME) as connection:
        history = connection.scalar(text("SELECT count(*) FROM ml.lead_score_history"))
    assert history == 2
    assert (_queued(both, ACME), _scored(both, BRIO)) == ([], {})


def test_a_lead_that_ends_loses_its_score_and_keeps_its_history(both: Database) -> None:
    with both.tenant(ACME) as connection:
        _call(connection, ACME, "1")
    _drain(both)
    with both.tenant(ACME) as connection:
        connection.execute(text("DELETE FROM crm.leads WHERE lead_id = '1'"))
    _drain(both)
    assert _scored(both, ACME) == {}
    with both.tenant(ACME) as connection:
        assert connection.scalar(text("SELECT count(*) FROM ml.lead_score_history")) == 1
        report = rescorings.unreported(connection, ACME)
    assert report is not None
    assert (report.leads, report.removed, report.changes) == (1, 1, 2)


def test_a_change_that_commits_late_is_not_lost(both: Database) -> None:
    with both.tenant(ACME) as late:
        _call(late, ACME, "1", "late")
        with both.tenant(ACME) as connection:
            _call(connection, ACME, "1", "early")
        _drain(both)
        assert _scored(both, ACME) == {"1": 1}
    _drain(both)
    assert _scored(both, ACME) == {"1": 2}


def test_a_change_during_the_scoring_stays_queued(both: Database) -> None:
    with both.tenant(ACME) as connection:
        _call(connection, ACME, "1", "a")
    with both.tenant(ACME) as connection:
        claimed = queue.claim(connection, ACME, 10)
        assert claimed is not None
        with both.tenant(ACME) as other:
            _call(other, ACME, "1", "b")
        score_claimed(connection, ACME, claimed, Champions(), "run")
    assert _queued(both, ACME) == ["1"]
    _drain(both)
    assert _scored(both, ACME) == {"1": 2}


def test_a_scorer_that_dies_leaves_its_claim(both: Database) -> None:
    with both.tenant(ACME) as connection:
        _call(connection, ACME, "1")
    with both.tenant(ACME) as connection:
        claimed = queue.claim(connection, ACME, 10)
        assert claimed is not None
        score_claimed(connection, ACME, claimed, Champions(), "run")
        connection.rollback()
    assert _scored(both, ACME) == {}
    _drain(both)
    assert _scored(both, ACME) == {"1": 1}


def test_no_two_scorers_have_the_same_lead(both: Database) -> None:
    with both.tenant(ACME) as connection:
        for number in range(40):
            _lead(connection, ACME, f"lead-{number}")
    with ExitStack() as stack:
        claims = []
        for _ in range(3):
            connection = stack.enter_context(both.tenant(ACME))
            claims.append(queue.claim(connection, ACME, 10))
        taken = [lead_id for claimed in claims if claimed for lead_id in claimed.lead_ids]
        assert len(taken) == len(set(taken)) > 0
        assert sum(claimed is not None for claimed in claims) >= 2, "one does not take it all"


def test_a_scoring_of_all_leads_has_the_tenant_to_itself(both: Database) -> None:
    with both.tenant(ACME) as connection:
        _call(connection, ACME, "1")
    with both.tenant(ACME) as whole:
        scores.begin_anew(whole, ACME)
        with both.tenant(ACME) as connection:
            assert queue.claim(connection, ACME, 10) is None
        with both.tenant(BRIO) as connection:
            _call(connection, BRIO, "1")
        _drain(both)
        assert _scored(both, BRIO) == {"1": 1}, "others are served meanwhile"
    _drain(both)
    assert _scored(both, ACME) == {"1": 1}


def test_a_scoring_of_all_leads_includes_what_is_queued(both: Database) -> None:
    with both.tenant(ACME) as connection:
        _call(connection, ACME, "1")
        queue.fail_tenant(connection, ACME, "why")
    score_open_leads(both, ACME, Champions(), "run")
    assert _scored(both, ACME) == {"1": 1, "2": 0, "3": 0}
    assert _queued(both, ACME) == []
    with both.tenant(ACME) as connection:
        assert connection.scalar(text("SELECT count(*) FROM crm.rescore_failures")) == 0


def test_leads_of_high_value_come_first_and_bulk_loads_last(both: Database) -> None:
    with both.tenant(ACME) as connection:
        connection.execute(
            text(
                "INSERT INTO crm.leads (tenant_id, lead_id, created_at)"
                " SELECT 'acme', 'bulk-' || n, now() FROM generate_series(1, 1001) n"
            )
        )
        connection.execute(
            text(
                "INSERT INTO ml.lead_scores VALUES ('acme', '1', 0.2, now(), now()),"
                " ('acme', '2', 0.9, now(), now())"
            )
        )
        for lead_id in "123":
            _call(connection, ACME, lead_id, lead_id)
        order: list[str] = []
        while claimed := queue.claim(connection, ACME, 1):
            order += claimed.lead_ids
            queue.finish(connection, ACME, claimed)
            if len(order) == 4:
                break
    # 3 has no score yet: nobody knows what it is worth.
    assert order[:3] == ["3", "2", "1"]
    assert order[3].startswith("bulk-")


def test_tenants_take_turns(both: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("warehouse.rescoring._MOST", 5)
    for tenant_id, leads in ((ACME, 40), (BRIO, 6)):
        with both.tenant(tenant_id) as connection:
            for number in range(leads):
                _lead(connection, tenant_id, f"lead-{number}")
    rescorer, rounds = Rescorer(both, "run"), []
    while rescorer.step():
        rounds.append((len(_queued(both, ACME)), len(_queued(both, BRIO))))
    first_without_brio = next(n for n, (_, brio) in enumerate(rounds) if brio == 0)
    assert rounds[first_without_brio][0] > 0, "the short queue does not wait for the long one"
    assert rounds[-1] == (0, 0)


def _poison(connection: Connection, lead_id: str) -> None:
    """A time that PostgreSQL knows, and no datetime holds."""
    connection.execute(
        text("UPDATE crm.leads SET created_at = 'infinity' WHERE lead_id = :lead_id"),
        {"lead_id": lead_id},
    )


def _no_waiting(connection: Connection) -> None:
    connection.execute(text("UPDATE crm.rescore_queue SET due_at = now()"))
    connection.execute(
        text("UPDATE crm.rescore_failures SET retry_at = now() WHERE retry_at IS NOT NULL")
    )


def test_a_lead_that_cannot_be_scored_fails_alone(both: Database) -> None:
    with both.tenant(ACME) as connection:
        for number in range(30):
            _lead(connection, ACME, f"lead-{number}")
        _poison(connection, "lead-17")
    for attempt in range(queue.MOST_ATTEMPTS):
        _drain(both)
        assert len(_scored(both, ACME)) == 29, "the others at once"
        assert len(_queued(both, ACME)) == (0 if attempt == queue.MOST_ATTEMPTS - 1 else 2)
        with both.tenant(ACME) as connection:
            _no_waiting(connection)
    _drain(both)
    with both.tenant(ACME) as connection:
        (alert,) = alerts.open_alerts(connection, ACME)
        assert (alert.kind, alert.subject) == ("rescoring_failed", "lead-17")
        assert "attempts: DataError" in alert.message
        connection.execute(text("UPDATE crm.leads SET created_at = now() - interval '1 day'"))
    _drain(both)
    assert "lead-17" in _scored(both, ACME)
    with both.tenant(ACME) as connection:
        assert alerts.open_alerts(connection, ACME) == []


def test_a_tenant_that_cannot_be_scored_is_held_back_and_its_changes_kept(both: Database) -> None:
    for tenant_id in (ACME, BRIO):
        with both.tenant(tenant_id) as connection:
            _call(connection, tenant_id, "1")
    with both.tenant(ACME) as connection:
        connection.execute(text("UPDATE ml.models SET artifact = 'tampered'"))
    for _ in range(queue.MOST_ATTEMPTS):
        _drain(both)
        assert queue.waiting(both) == [], "not tried again at once"
        with both.tenant(ACME) as connection:
            _no_waiting(connection)
    assert queue.waiting(both) == [], "set aside"
    assert (_scored(both, BRIO), _queued(both, ACME)) == ({"1": 1}, ["1"])
    assert alerts.count_open(both) == {ACME: 1}
    with both.tenant(ACME) as connection:
        connection.execute(text("DELETE FROM ml.model_aliases"))
        counting_model.serve(connection, ACME)
        queue.retry(connection, ACME)
    _drain(both)
    assert (_scored(both, ACME), alerts.count_open(both)) == ({"1": 1}, {})


def test_retry_queues_leads_that_were_set_aside(both: Database) -> None:
    with both.tenant(ACME) as connection:
        _poison(connection, "1")
    for _ in range(queue.MOST_ATTEMPTS):
        _drain(both)
        with both.tenant(ACME) as connection:
            _no_waiting(connection)
    assert _queued(both, ACME) == []
    with both.tenant(ACME) as connection:
        assert queue.retry(connection, ACME) == 1
        assert alerts.open_alerts(connection, ACME) == []
    assert _queued(both, ACME) == ["1"]


def test_a_tenant_without_a_model_gets_its_base_rate(both: Database) -> None:
    tenants.add(both, "new")
    with both.tenant("new") as connection:
        connection.execute(
            text(
                "INSERT INTO crm.leads (tenant_id, lead_id, created_at, converted_at, closed_at)"
                " SELECT 'new', n::text, now() - interval '90 days',"
                " CASE WHEN n % 4 = 0 AND n < 40 THEN now() - interval '85 days' END,"
                " CASE WHEN n % 4 > 0 AND n < 40 THEN now() - interval '40 days' END"
                " FROM generate_series(0, 49) n"
            )
        )
    _drain(both)
    with both.tenant("new") as connection:
        served = scores.top(connection, "new", 100)
        champion = models.champion(connection, "new")
    assert len(served) == 10
    assert {score.score for score in served} == {served[0].score}
    assert 5 < served[0].score < 35
    assert served[0].evidence["stage"] == "base_rate"
    assert served[0].evidence["statement"].startswith("not enough evidence")
    assert champion is not None
    assert champion.metrics["lacking"] == "not trained yet"


def test_paused_tenants_wait(both: Database) -> None:
    with both.tenant(ACME) as connection:
        _call(connection, ACME, "1")
    tenants.set_status(both, ACME, "paused")
    assert _drain(both).tally.transactions == 0
    tenants.set_status(both, ACME, "active")
    _drain(both)
    assert _scored(both, ACME) == {"1": 1}


def test_a_crm_never_waits_for_a_scorer(both: Database) -> None:
    """A scorer holds its transaction open after all that it writes; any wait on a lock fails."""
    with both.tenant(ACME) as connection:
        for lead_id in "123":
            _call(connection, ACME, lead_id, f"first {lead_id}")
    with both.tenant(ACME) as scorer:
        claimed = queue.claim(scorer, ACME, 10)
        assert claimed is not None
        score_claimed(scorer, ACME, claimed, Champions(), "run")
        with both.tenant(ACME) as connection:
            connection.execute(text("SET LOCAL lock_timeout = '200ms'"))
            _call(connection, ACME, "1", "second")
            for statement, _ in CHANGES.values():
                connection.execute(text(statement))
    _drain(both)
    assert _queued(both, ACME) == []


def test_two_crm_writers_in_opposite_order_and_a_scorer(
    both: Database, urls: Urls, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a queue that is updated in place, this deadlocked; printed is who waited for whom."""
    errors: list[BaseException] = []
    done = threading.Event()
    waits: list[Any] = []

    def write(name: str, order: str) -> None:
        try:
            for number in range(60):
                with both.tenant(ACME) as connection:
                    connection.execute(text("SET LOCAL lock_timeout = '5s'"))
                    for lead_id in order:
                        _call(connection, ACME, lead_id, f"{name} {number} {lead_id}")
                        time.sleep(0.001)
        except BaseException as error:
            errors.append(error)

    def score() -> None:
        rescorer = Rescorer(both, "run")
        while not done.is_set():
            rescorer.step()

    def watch() -> None:
        engine = create_engine(urls.superuser, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            while not done.is_set():
                waits.extend(
                    connection.scalars(
                        text(
                            "SELECT left(query, 80) FROM pg_stat_activity"
                            " WHERE datname = current_database()"
                            " AND cardinality(pg_blocking_pids(pid)) > 0"
                        )
                    )
                )
        engine.dispose()

    writers = [threading.Thread(target=write, args=("a", "123"))]
    writers.append(threading.Thread(target=write, args=("b", "321")))
    others = [threading.Thread(target=score), threading.Thread(target=watch)]
    for thread in (*writers, *others):
        thread.start()
    for thread in writers:
        thread.join()
    done.set()
    for thread in others:
        thread.join()
    _drain(both)
    with capsys.disabled():
        print(f"\n2 writers x 60 transactions: {len(errors)} errors, {len(waits)} waits seen")
    assert errors == []
    assert waits == []
    assert _scored(both, ACME) == {"1": 120, "2": 120, "3": 120}


def test_a_tenant_whose_leads_all_fail_is_what_fails(both: Database) -> None:
    with both.tenant(ACME) as connection:
        for number in range(60):
            _lead(connection, ACME, f"lead-{number}")
        connection.execute(text("UPDATE crm.leads SET created_at = 'infinity'"))
        _call(connection, ACME, "1")
    with both.tenant(BRIO) as connection:
        _call(connection, BRIO, "1")
    rescorer = _drain(both)
    assert rescorer.tally.failed < 30, "not one lead after the other"
    assert queue.waiting(both) == []
    assert len(_queued(both, ACME)) > 60, "its changes stay"
    assert _scored(both, BRIO) == {"1": 1}


def test_a_trained_model_is_not_followed_by_the_base_rate(both: Database) -> None:
    """A training promotes its model while a scorer that found none makes the base rate."""
    tenants.add(both, "new")
    with both.tenant("new") as connection:
        _lead(connection, "new", "1")
    with both.tenant("new") as training:
        trained = counting_model.register(training, "new", feature_set=1)
    scorer = threading.Thread(target=_drain, args=(both,))
    with both.tenant("new") as training:
        models.promote(training, "new", trained, "champion", actor="test", why="trained")
        scorer.start()
        await_true("the scorer waits for the training", lambda: _waits(both))
    scorer.join()
    with both.tenant("new") as connection:
        champion = models.champion(connection, "new")
    assert champion is not None
    assert champion.version == trained
    assert (_queued(both, "new"), _scored(both, "new")) == ([], {"1": 0})


def _waits(database: Database) -> bool:
    """Whether some transaction waits for another one."""
    with database.tenant(ACME) as connection:
        waiting = connection.scalars(
            text(
                "SELECT pid FROM pg_stat_activity"
                " WHERE wait_event_type = 'Lock' AND datname = current_database()"
            )
        )
        return bool(waiting.all())
