"""The database keeps tenants apart: every table, verb and role, each beside what is allowed."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import polars as pl
import pytest
from sqlalchemy import (
    ARRAY,
    Boolean,
    Column,
    Connection,
    Date,
    DateTime,
    Float,
    Integer,
    LargeBinary,
    Numeric,
    Table,
    Text,
    create_engine,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB, Insert, insert
from sqlalchemy.exc import OperationalError, ProgrammingError

from ai.calls import NOTHING, Call
from ai.stores import Entry, NotReserved, Reserved
from ml.settings import TrainingSettings
from ml.tuning import Trial
from tests import counting_model
from tests.conftest import in_database
from warehouse import (
    ab_outcomes,
    ab_records,
    ab_scoring,
    ab_tests,
    alerts,
    attribute_writes,
    audit,
    crm,
    customer_predictions,
    customers,
    events,
    features,
    llm_budgets,
    llm_ledger,
    model_monitoring,
    model_pages,
    models,
    outcomes,
    prediction_items,
    prediction_jobs,
    prediction_results,
    queue,
    rescorings,
    retraining,
    score_quality,
    scores,
    served_scores,
    tenant_keys,
    tenants,
    training_jobs,
    training_recording,
    training_settings,
    tuning_trials,
    webhooks,
)
from warehouse.database import Database
from warehouse.embedded import Urls
from warehouse.errors import GalenaError, TenantNotFoundError
from warehouse.loads import stored, verdicts
from warehouse.schema import metadata
from warehouse.standing import standing

MINE, THEIRS = "mine", "theirs"
WHEN = datetime(2026, 11, 1, tzinfo=UTC)
TABLES = [t for t in metadata.sorted_tables if t.fullname not in ("crm.tenants", "crm.readers")]
READABLE = [
    "ml.customer_predictions",
    "ml.lead_score_history",
    "ml.lead_scores",
    "ml.model_factors",
    "ml.models",
    "ml.prediction_jobs",
    "ml.prediction_results",
    "ml.score_quality",
    "ml.score_rankings",
]
VIEWS = [
    "lead_models_v1",
    "lead_score_history_v1",
    "lead_scores_v1",
    "models_v1",
    "predictions_v1",
    "score_quality_v1",
]


@pytest.fixture(scope="module")
def shared_urls(server: Urls, new_database: Callable[[str], str]) -> Urls:
    """A database with both tenants' rows for tests that change nothing in it."""
    urls = in_database(server, new_database("template"))
    _fill(Database(urls.app))
    return urls


@pytest.fixture
def both(shared_urls: Urls) -> Iterator[Database]:
    found = Database(shared_urls.app)
    yield found
    found.close()


@pytest.fixture(scope="module")
def reader_url(shared_urls: Urls, worker_id: str) -> str:
    """A login that reads MINE. Logins are the server's: a name of its own for each test process."""
    return tenants.add_reader(shared_urls.owner, MINE, f"reader_{worker_id}")


def _fill(database: Database) -> None:
    """Two tenants with one row in every table each."""
    for tenant_id in (MINE, THEIRS):
        tenants.add(database, tenant_id)
        with database.tenant(tenant_id) as connection:
            connection.execute(text("SELECT ml.ensure_history_partition(:at)"), {"at": WHEN})
            for table in TABLES:
                connection.execute(_insert(table, tenant_id))


def test_every_table_of_a_tenant_is_forced_behind_its_policies(urls: Urls) -> None:
    with _connected(urls.superuser) as connection:
        unforced = connection.scalars(
            text(
                "SELECT c.oid::regclass::text FROM pg_class c"
                " JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant_id'"
                " JOIN pg_namespace n ON n.oid = c.relnamespace"
                " WHERE c.relkind IN ('r', 'p') AND n.nspname !~ '^pg_'"
                " AND NOT (c.relrowsecurity AND c.relforcerowsecurity)"
            )
        ).all()
        forced = connection.scalar(text("SELECT count(*) FROM pg_class WHERE relforcerowsecurity"))
    assert unforced == []
    assert forced >= len(metadata.sorted_tables)


def test_every_table_has_the_tenant_first_in_its_key() -> None:
    keys = {table.fullname: next(iter(table.primary_key)).name for table in metadata.sorted_tables}
    assert set(keys.values()) == {"tenant_id"}


@pytest.mark.parametrize("table", TABLES, ids=lambda table: str(table.fullname))
def test_the_application_reaches_its_tenant_alone(both: Database, table: Table) -> None:
    with both.tenant(MINE) as connection:
        seen = connection.scalars(text(f"SELECT tenant_id FROM {table.fullname}")).all()
        theirs = {"theirs": THEIRS}
        where = "WHERE tenant_id = :theirs"
        changed = connection.execute(
            text(f"UPDATE {table.fullname} SET tenant_id = tenant_id {where}"), theirs
        ).rowcount
        deleted = connection.execute(text(f"DELETE FROM {table.fullname} {where}"), theirs).rowcount
        assert (set(seen), changed, deleted) == ({MINE}, 0, 0)
        mine = connection.execute(
            text(f"UPDATE {table.fullname} SET tenant_id = tenant_id WHERE tenant_id = :mine"),
            {"mine": MINE},
        ).rowcount
        assert mine == len(seen) > 0, "the positive control"
    with (
        pytest.raises(ProgrammingError, match="row-level security"),
        both.tenant(MINE) as connection,
    ):
        connection.execute(_insert(table, THEIRS))
    with (
        pytest.raises(ProgrammingError, match="row-level security"),
        both.tenant(MINE) as connection,
    ):
        connection.execute(text(f"UPDATE {table.fullname} SET tenant_id = :theirs"), theirs)


@pytest.mark.parametrize("table", TABLES, ids=lambda table: str(table.fullname))
def test_a_connection_bound_to_no_tenant_sees_nothing(shared_urls: Urls, table: Table) -> None:
    query = text(f"SELECT count(*) FROM {table.fullname}")
    with _connected(shared_urls.app) as connection:
        assert connection.scalar(query) == 0
        # After a transaction that was bound, the setting reads '' and not NULL.
        connection.execute(text("SELECT set_config('galena.tenant_id', 'mine', true)"))
        assert connection.scalar(query) > 0, "the positive control"
        connection.commit()
        assert connection.scalar(query) == 0


# Whose work waits and since when: columns that hold nothing of a lead.
OPERATOR_SEES = {
    "crm.rescore_queue": {"tenant_id", "change_id", "priority", "changed_at", "due_at"},
    "crm.rescore_failures": {"tenant_id", "lead_id", "retry_at"},
    "crm.sources": {"tenant_id", "source_id"},
    "ml.ab_tests": {"tenant_id", "ended_at"},
    "ml.alerts": {"tenant_id", "kind", "resolved_at"},
    "ml.model_looks": {"tenant_id", "looked_at"},
    "ml.models": {"tenant_id", "feature_set", "trained_at"},
    "ml.rescorings": {"tenant_id", "scored_at", "leads", "delays", "reported_at"},
    "ml.score_rankings": {"tenant_id", "ranked_at", "whole"},
    "ml.events": {"tenant_id", "due_at"},
    "ml.prediction_jobs": {
        "tenant_id",
        "job_id",
        "status",
        "run_id",
        "created_at",
        "cancel_asked_at",
    },
    "ml.training_jobs": {
        "tenant_id",
        "job_id",
        "status",
        "run_id",
        "created_at",
        "cancel_asked_at",
    },
}


@pytest.mark.parametrize("table", TABLES, ids=lambda table: str(table.fullname))
def test_the_operator_reaches_no_tenants_data(both: Database, table: Table) -> None:
    with both.operator() as connection:
        assert connection.scalar(text("SELECT count(*) FROM crm.tenants")) == 2
    seen = OPERATOR_SEES.get(table.fullname, set())
    for column in table.columns:
        select = text(f"SELECT {column.name} FROM {table.fullname}")
        if column.name in seen:
            with both.operator() as connection:
                connection.execute(select)
        else:
            with pytest.raises(ProgrammingError, match="permission denied"), both.operator() as c:
                c.execute(select)
    for statement in _verbs(table)[1:]:
        with pytest.raises(ProgrammingError, match="permission denied"), both.operator() as c:
            c.execute(text(statement))


def test_the_operator_sees_that_a_tenant_failed_and_no_lead_that_did(both: Database) -> None:
    with both.tenant(MINE) as connection:
        queue.fail_tenant(connection, MINE, "why")
    with both.operator() as connection:
        failed = connection.execute(text("SELECT tenant_id, lead_id FROM crm.rescore_failures"))
        assert [tuple(row) for row in failed] == [(MINE, "")]
    with both.tenant(MINE) as connection:
        queue.retry(connection, MINE)


@pytest.mark.parametrize("table", TABLES, ids=lambda table: str(table.fullname))
def test_a_reader_reads_its_tenant_alone_and_writes_nothing(reader_url: str, table: Table) -> None:
    select, *writes = _verbs(table)
    with _connected(reader_url) as connection:
        if table.fullname in READABLE:
            assert connection.scalars(text(select)).all() == [MINE]
        else:
            _denied(connection, select)
        for statement in writes:
            _denied(connection, statement)


@pytest.mark.parametrize("view", VIEWS)
def test_a_reader_sees_its_tenant_in_the_views(reader_url: str, view: str) -> None:
    with _connected(reader_url) as connection:
        rows = connection.scalars(text(f"SELECT tenant_id FROM serving.{view}")).all()
    assert rows == [MINE]


@pytest.mark.parametrize(
    "attempt",
    [
        "SELECT set_config('galena.tenant_id', 'theirs', false)",
        "SET SESSION AUTHORIZATION galena_app",
        "SET ROLE galena_app",
        "SET ROLE galena_reader",
        "SET row_security = off",
    ],
)
def test_a_reader_cannot_change_its_tenant(reader_url: str, attempt: str) -> None:
    with _connected(reader_url) as connection:
        try:
            connection.execute(text(attempt))
            seen = connection.scalars(text("SELECT tenant_id FROM serving.lead_scores_v1")).all()
        except ProgrammingError:
            connection.rollback()
            seen = connection.scalars(text("SELECT tenant_id FROM serving.lead_scores_v1")).all()
    assert seen == [MINE]


def test_partitions_are_reached_through_their_parent_or_not_at_all(
    both: Database, reader_url: str
) -> None:
    query = "SELECT count(*) FROM ml.lead_score_history_2026_11"
    with pytest.raises(ProgrammingError, match="permission denied"), both.tenant(MINE) as c:
        c.execute(text(query))
    with _connected(reader_url) as connection:
        _denied(connection, query)


def test_a_readers_name_is_one_tenants(shared_urls: Urls, worker_id: str) -> None:
    login = f"another_{worker_id}"
    first = tenants.add_reader(shared_urls.owner, MINE, login)
    second = tenants.add_reader(shared_urls.owner, MINE, login)
    assert first != second, "a new password"
    with pytest.raises(GalenaError, match="another tenant"):
        tenants.add_reader(shared_urls.owner, THEIRS, login)
    with pytest.raises(GalenaError, match="is no reader"):
        tenants.add_reader(shared_urls.owner, MINE, "galena_app")


def test_functions_of_the_warehouse_answer_for_their_tenant(both: Database) -> None:
    with both.tenant(MINE) as connection:
        assert crm.counts(connection, MINE)["leads"] == 1
        assert crm.counts(connection, THEIRS)["leads"] == 0
        assert crm.newest_known_at(connection, THEIRS) is None
        assert features.newest(connection, MINE) is not None
        assert features.newest(connection, THEIRS) is None
        assert scores.top(connection, MINE, 5)[0].lead_id == "of-mine"
        assert scores.top(connection, THEIRS, 5) == []
        assert scores.freshness(connection, MINE).scores == 1
        assert scores.freshness(connection, THEIRS).scores == 0
        assert training_jobs.find(connection, MINE, "of-mine").status == "queued"
        with pytest.raises(GalenaError, match="has no training job"):
            training_jobs.find(connection, THEIRS, "of-theirs")
        assert training_jobs.find_all(connection, THEIRS) == []
        assert len(training_jobs.history(connection, MINE, "of-mine")) == 1
        assert training_jobs.history(connection, THEIRS, "of-theirs") == []
        assert tuning_trials.finished(connection, THEIRS, "of-theirs") == []
        assert ab_records.find(connection, MINE, 1).started_by == "of-mine"
        assert ab_records.newest(connection, MINE) == 1
        for seek in (ab_records.newest, lambda c, t: ab_records.find(c, t, 1)):
            with pytest.raises(GalenaError, match="no test"):
                seek(connection, THEIRS)
        assert ab_records.find_all(connection, THEIRS) == []
        assert ab_records.find_open(connection, THEIRS) is None
        assert ab_scoring.running(connection, THEIRS, 1) is None
        assert ab_outcomes.course(connection, MINE, 1, now=datetime.now(UTC)) is None
        assert ab_outcomes.course(connection, THEIRS, 1, now=datetime.now(UTC)) is None
        assert ab_tests.judge(connection, THEIRS, now=datetime.now(UTC)) is None
        with pytest.raises(GalenaError, match="has no lead model that serves"):
            ab_tests.start(connection, THEIRS, 1, actor="")
        with pytest.raises(GalenaError, match="has no open test"):
            ab_tests.stop(connection, THEIRS, actor="")
        assert prediction_jobs.find(connection, MINE, "of-mine").status == "queued"
        for ask in (prediction_jobs.find, prediction_results.page):
            with pytest.raises(GalenaError, match="has no prediction job"):
                ask(connection, THEIRS, "of-theirs")
        assert len(prediction_results.page(connection, MINE, "of-mine")) == 1
        assert prediction_jobs.find_all(connection, THEIRS) == []
        assert prediction_results.names(connection, THEIRS, "of-theirs") == []
        with pytest.raises(GalenaError):
            prediction_items.queue_ids(connection, THEIRS, ["of-theirs"], requested_by="")
        with pytest.raises(GalenaError):
            models.load(connection, THEIRS, 1)
        assert len(events.find_all(connection, MINE)) == 1
        assert events.find_all(connection, THEIRS) == []
        assert events.due(connection, THEIRS, now=datetime.now(UTC), limit=10) == []
        assert webhooks.find(connection, MINE) is not None
        assert webhooks.find(connection, THEIRS) is None
        assert customers.counts(connection, MINE)["churned"] == 1
        assert not any(customers.counts(connection, THEIRS).values())
        theirs = customers.customers_by_id(connection, THEIRS, ["of-theirs"], WHEN)
        assert theirs.rows.is_empty()
        assert customers.deals_by_id(connection, THEIRS, ["of-theirs"]).rows.is_empty()
        assert list(customer_predictions.lacking(connection, MINE)) == ["lead_model"]
        assert customer_predictions.lacking(connection, THEIRS) == {}
        assert customer_predictions.trained_before(connection, THEIRS, "lead_model", WHEN)
        assert retraining.why_due(connection, THEIRS, now=datetime.now(UTC)) is None
        assert attribute_writes.written_after(connection, THEIRS) == {}
        assert len(score_quality.find_all(connection, MINE)) == 1
        assert score_quality.find_all(connection, THEIRS) == []
        mine, theirs_too = (outcomes.known_until(connection, one, WHEN) for one in (MINE, THEIRS))
        assert mine == WHEN > theirs_too
        assert model_monitoring.last_look(connection, MINE) is not None
        assert model_monitoring.last_look(connection, THEIRS) is None
        with pytest.raises(GalenaError, match="no model version"):
            model_pages.find(connection, THEIRS, 1)
        assert verdicts.newest(connection, THEIRS) == []
        assert verdicts.reference(connection, THEIRS, "of-theirs", "leads") is None
        assert stored.records(connection, THEIRS, "leads").rows == 0
        with pytest.raises(GalenaError):
            verdicts.accept(connection, THEIRS, "of-theirs", actor="")
        for one, there in ((MINE, 1), (THEIRS, 0)):
            assert len(tenant_keys.versions(connection, one)) == there
            assert len(llm_budgets.find_all(connection, one, now=WHEN)) == there
            known = llm_ledger.usage(connection, one, since=WHEN, until=WHEN + timedelta(1))
            assert len(known) == there
        assert _reserved(connection, MINE) != Reserved("")
        assert _reserved(connection, THEIRS) == Reserved("")
        assert models.champion(connection, THEIRS) is None
        assert models.champion_version(connection, MINE) is not None
        assert models.champion_version(connection, THEIRS) is None
        assert scores.newest_ranking(connection, THEIRS) is None
        assert alerts.open_alerts(connection, THEIRS) == []
        leads, _interactions = crm.changed_leads(connection, THEIRS, ["of-theirs"], WHEN)
        assert leads.is_empty()
        assert crm.newest_leads(connection, THEIRS, 10).is_empty()
        (stands,) = standing(connection, THEIRS, ["of-theirs"])
        assert (stands.probability, stands.waits) == (None, False)
        (stands,) = standing(connection, MINE, ["of-mine"])
        assert (stands.probability, stands.waits) == (1.0, True)
        assert sum(scores.published(connection, MINE).values()) == len(VIEWS)
        assert sum(scores.published(connection, THEIRS).values()) == 0


def test_bulk_reads_answer_for_their_tenant(both: Database) -> None:
    snapshots = pl.DataFrame({"lead_id": ["of-theirs"], "snapshot_at": [datetime.now(UTC)]})
    with both.reader(MINE) as reader:
        assert crm.leads(reader, MINE)["lead_id"].to_list() == ["of-mine"]
        assert crm.leads(reader, THEIRS).is_empty()
        assert crm.interactions(reader, MINE).height == 1
        assert crm.interactions(reader, THEIRS).is_empty()
        for read in (customers.times, customers.versions, customers.interactions):
            assert read(reader, MINE).height == 1
            assert read(reader, THEIRS).is_empty()
        assert customers.won_deals(reader, MINE).rows.height == 1
        assert customers.won_deals(reader, THEIRS).rows.is_empty()
        assert customers.open_deals(reader, THEIRS).rows.is_empty()
        assert customers.present(reader, THEIRS, WHEN).rows.is_empty()
        assert features.rows(reader, MINE, 1).height == 1
        assert features.rows(reader, THEIRS, 1).is_empty()
        now = WHEN + timedelta(days=31)
        assert len(served_scores.newest(reader, MINE, days=60, until=now).outcome) == 1
        assert len(served_scores.newest(reader, THEIRS, days=60, until=now).outcome) == 0
        asked: dict[str, Any] = {"since": WHEN, "horizon_days": 1, "features": 0, "until": now}
        assert len(served_scores.of_version(reader, MINE, 1, **asked).outcome) == 1
        assert len(served_scores.of_version(reader, THEIRS, 1, **asked).outcome) == 0
        assert served_scores.of_week(reader, MINE, WHEN, until=now).height == 1
        assert served_scores.of_week(reader, THEIRS, WHEN, until=now).is_empty()
        assert len(served_scores.training_inputs(reader, THEIRS, 1, 1)) == 0
        known = crm.attributes_as_of(
            reader, THEIRS, snapshots.cast({"snapshot_at": pl.Datetime("us", "UTC")})
        )
        assert known["attributes"].to_list() == ["{}"]
        assert reader.frame("SELECT tenant_id FROM crm.leads")["tenant_id"].to_list() == [MINE]


def test_who_the_tenants_are_is_the_operators_knowledge(both: Database, reader_url: str) -> None:
    with both.tenant(MINE) as connection:
        for table in ("crm.tenants", "crm.readers"):
            seen = connection.scalars(text(f"SELECT tenant_id FROM {table}")).all()
            assert set(seen) <= {MINE}, table
        assert connection.scalar(text("SELECT count(*) FROM crm.tenants")) == 1
    for write in (
        "INSERT INTO crm.tenants (tenant_id, name) VALUES ('new', 'new')",
        "DELETE FROM crm.tenants",
        "INSERT INTO crm.readers VALUES ('mine', 'somebody')",
        "UPDATE crm.readers SET tenant_id = 'mine'",
        "DELETE FROM crm.readers",
    ):
        with pytest.raises(ProgrammingError, match="permission denied"), both.tenant(MINE) as c:
            c.execute(text(write))
    with _connected(reader_url) as connection:
        for table in ("crm.tenants", "crm.readers"):
            _denied(connection, f"SELECT * FROM {table}")


_LEAD = pl.DataFrame(
    {"lead_id": ["new"], "created_at": [WHEN], "attributes": ["{}"]},
    schema_overrides={"created_at": pl.Datetime("us", "UTC")},
)
_REJECTED = pl.DataFrame({"reason": ["why"], "row": ["{}"]})
_LABELLED = pl.DataFrame(
    {
        "lead_id": ["new"],
        "snapshot_at": [WHEN],
        "label": [True],
        "label_known_at": [WHEN],
        "features": [[1.0]],
    },
    schema_overrides={
        "snapshot_at": pl.Datetime("us", "UTC"),
        "label_known_at": pl.Datetime("us", "UTC"),
        "features": pl.List(pl.Float32),
    },
)
_SAID = pl.DataFrame(
    {
        "test_id": pl.Series([1], dtype=pl.Int32),
        "lead_id": ["new"],
        "champion": [0.5],
        "challenger": [0.5],
        "challenger_served": [False],
    }
)
_CLAIM = queue.Claim(lead_ids=["new"], change_ids=[1], live_since=[WHEN], as_of=WHEN)
_ENTRY = Entry(WHEN, "", "", "", "answered", NOTHING, None, 0)
WRITERS: dict[str, Callable[[Connection], object]] = {
    "crm.upsert": lambda c: crm.upsert(c, THEIRS, "leads", _LEAD),
    "crm.reject": lambda c: crm.reject(c, THEIRS, "file", _REJECTED),
    "features.save": lambda c: features.save(
        c, THEIRS, _LABELLED, spec={}, as_of=WHEN, horizon_days=30, run_id="run"
    ),
    "models.register": lambda c: models.register(
        c, THEIRS, counting_model.MODEL, feature_set=1, metrics={}, run_id="run"
    ),
    "audit.note": lambda c: audit.note(c, THEIRS, "model.stolen", {}, actor=""),
    "training_settings.save": lambda c: training_settings.save(
        c, THEIRS, TrainingSettings(), actor=""
    ),
    "training_jobs.create": lambda c: training_jobs.create(
        c, THEIRS, training_jobs.Request(), requested_by=""
    ),
    "customer_predictions.note_lacking": lambda c: customer_predictions.note_lacking(
        c, THEIRS, "deal_value", "data"
    ),
    "events.record": lambda c: events.record(c, THEIRS, "kind", {}),
    "webhooks.configure": lambda c: webhooks.configure(
        c, THEIRS, "https://example.com/in", "SECRET", actor=""
    ),
    "prediction_items.add": lambda c: prediction_items.add(
        c, THEIRS, "job", 0, prediction_items.judged_ids(pl.Series(["lead"]), "id")
    ),
    "ab_scoring.log": lambda c: ab_scoring.log(c, THEIRS, _SAID, WHEN),
    "tuning_trials.record": lambda c: tuning_trials.record(
        c, THEIRS, "study", Trial(0, {}, {}, 1.0, "complete")
    ),
    "llm_budgets.put": lambda c: llm_budgets.put(
        c, THEIRS, llm_budgets.Budget("", None, 1, "day", "refuse"), now=WHEN, actor=""
    ),
    "llm_ledger.record": lambda c: llm_ledger.record(c, THEIRS, Call(THEIRS, "feature"), _ENTRY),
    "scores.rank": lambda c: scores.rank(c, THEIRS, WHEN, [0.5]),
    "queue.fail_tenant": lambda c: queue.fail_tenant(c, THEIRS, "why"),
    "alerts.raise_alert": lambda c: alerts.raise_alert(c, THEIRS, "kind", "subject", "why"),
    "rescorings.record": lambda c: rescorings.record(
        c, THEIRS, _CLAIM, leads=1, model_version=1, run_id="run"
    ),
}


@pytest.mark.parametrize("name", WRITERS)
def test_functions_that_write_are_refused_another_tenant(both: Database, name: str) -> None:
    with (
        pytest.raises(ProgrammingError, match="row-level security"),
        both.tenant(MINE) as connection,
    ):
        WRITERS[name](connection)


def test_functions_that_change_find_nothing_of_another_tenant(both: Database) -> None:
    with both.tenant(MINE) as connection:
        scores.begin_anew(connection, THEIRS)
        models.link_mlflow(connection, THEIRS, 1, "stolen")
        models.remove_challenger(connection, THEIRS, actor="", why="")
        queue.add_open_leads(connection, THEIRS)
        assert audit.of_models(connection, THEIRS) == []
        assert models.find_all(connection, THEIRS) == []
        with pytest.raises(GalenaError, match="has no model version"):
            models.promote(connection, THEIRS, 1, "champion", actor="", why="")
        with pytest.raises(GalenaError, match="has no model version"):
            models.describe(connection, THEIRS, 1, description="stolen")
        training_recording.end(connection, THEIRS, "of-theirs", "failed", "stolen")
        assert not training_recording.begin(connection, THEIRS, "of-theirs", "run", "stolen")
        for change in (training_jobs.ask_to_cancel, training_jobs.delete):
            with pytest.raises(GalenaError, match="has no training job"):
                change(connection, THEIRS, "of-theirs", actor="")
        for change_batch in (prediction_jobs.ask_to_cancel, prediction_jobs.delete):
            with pytest.raises(GalenaError, match="has no prediction job"):
                change_batch(connection, THEIRS, "of-theirs", actor="")
        with pytest.raises(GalenaError, match="has no prediction job"):
            prediction_jobs.begin(connection, THEIRS, "of-theirs", "run")
        prediction_jobs.end(connection, THEIRS, "of-theirs", "failed", "stolen")
        events.delivered(connection, THEIRS, 1, now=WHEN)
        events.failed(connection, THEIRS, 1, "stolen", due_at=None)
        events.drop_due(connection, THEIRS)
        assert not webhooks.remove(connection, THEIRS, actor="")
        assert not llm_budgets.remove(connection, THEIRS, "of-theirs", actor="")
        llm_budgets.settle(connection, THEIRS, "of-theirs", Decimal(9), 9)
        assert tenant_keys.destroy(connection, THEIRS) == 0
        assert queue.claim(connection, THEIRS, 10) is None
        queue.finish_all(connection, THEIRS)
        scores.remove(connection, THEIRS, ["of-theirs"])
        alerts.resolve(connection, THEIRS, "of-theirs", ["of-theirs"])
        assert rescorings.unreported(connection, THEIRS) is None
    with both.tenant(THEIRS) as connection:
        assert queue.claim(connection, THEIRS, 10) is not None
        assert scores.freshness(connection, THEIRS).scores == 1
        assert prediction_jobs.find(connection, THEIRS, "of-theirs").status == "queued"
        assert len(tenant_keys.versions(connection, THEIRS)) == 1
        (budget,) = llm_budgets.find_all(connection, THEIRS, now=WHEN)
        assert (budget.usd, budget.tokens) == (Decimal(1), 1)
        assert [event.attempts for event in events.find_all(connection, THEIRS)] == [1]
        linked = connection.scalars(text("SELECT mlflow_run_id FROM ml.models")).all()
    assert linked == ["of-theirs"]
    with both.reader(MINE) as reader:
        assert list(crm.open_leads(reader, THEIRS, 10, WHEN)) == []


@pytest.mark.parametrize("tenant_id", ["nobody", "", "Mine", "a'; DROP TABLE crm.leads --", "*"])
def test_an_unknown_tenant_is_one_clear_error(both: Database, tenant_id: str) -> None:
    with pytest.raises(TenantNotFoundError, match="galena tenant list"), both.tenant(tenant_id):
        pass
    with pytest.raises(TenantNotFoundError, match="galena tenant list"), both.reader(tenant_id):
        pass


def test_a_login_that_no_policy_binds_is_refused(urls: Urls) -> None:
    Database(urls.app).refuse_superuser()
    with pytest.raises(GalenaError, match="row-level security"):
        Database(urls.superuser).refuse_superuser()


def test_erasing_a_tenant_leaves_the_others_rows(
    database: Database, urls: Urls, worker_id: str
) -> None:
    _fill(database)
    login_url = tenants.add_reader(urls.owner, MINE, f"erased_{worker_id}")
    tenants.erase(database, MINE, urls.owner)
    with _connected(urls.superuser) as connection:
        for table in metadata.sorted_tables:
            left = connection.scalars(text(f"SELECT tenant_id FROM {table.fullname}")).all()
            assert MINE not in left, table.fullname
            assert table.fullname == "crm.readers" or set(left) == {THEIRS}, table.fullname
    with pytest.raises(OperationalError, match="authentication failed"), _connected(login_url):
        pass


def test_erasing_waits_for_a_transaction_that_holds_the_tenant(
    database: Database, urls: Urls
) -> None:
    _fill(database)
    lead = {"lead_id": ["late"], "created_at": [WHEN], "attributes": ["{}"]}
    erased = threading.Event()

    def erase() -> None:
        tenants.erase(database, MINE, urls.owner)
        erased.set()

    with database.tenant(MINE) as connection:
        thread = threading.Thread(target=erase)
        thread.start()
        assert not erased.wait(0.5)
        frame = pl.DataFrame(lead).cast({"created_at": pl.Datetime("us", "UTC")})
        crm.upsert(connection, MINE, "leads", frame)
    thread.join(30)
    assert erased.is_set()
    with _connected(urls.superuser) as connection:
        assert connection.scalars(text("SELECT tenant_id FROM crm.leads")).all() == [THEIRS]


@contextmanager
def _connected(url: str) -> Iterator[Connection]:
    engine = create_engine(url)
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()


def _verbs(table: Table) -> list[str]:
    return [
        f"SELECT tenant_id FROM {table.fullname}",
        f"INSERT INTO {table.fullname} (tenant_id) SELECT tenant_id FROM {table.fullname}",
        f"UPDATE {table.fullname} SET tenant_id = tenant_id",
        f"DELETE FROM {table.fullname}",
    ]


def _reserved(connection: Connection, tenant_id: str) -> Reserved | NotReserved:
    return llm_budgets.reserve(
        connection,
        tenant_id,
        f"of-{MINE}",
        tokens=0,
        usd=Decimal(0),
        now=WHEN,
        lapses_at=WHEN,
    )


def _denied(connection: Connection, statement: str) -> None:
    with pytest.raises(ProgrammingError, match="permission denied"):
        connection.execute(text(statement))
    connection.rollback()


def _insert(table: Table, tenant_id: str) -> Insert:
    """One row; attribute_history has its row already, by the trigger on leads."""
    given = (c for c in table.columns if c.identity is None and c.computed is None)
    row = {c.name: _value(c, tenant_id) for c in given}
    statement = insert(table).values(**row)
    return statement.on_conflict_do_nothing()


STATUS = {"training_jobs": "queued", "prediction_jobs": "queued", "ab_tests": "open"}


def _value(column: Column[Any], tenant_id: str) -> Any:
    fixed = {
        "tenant_id": tenant_id,
        "stage": "own_model",
        "alias": "champion",
        "name": "lead_model",
        "status": STATUS.get(column.table.name, "active"),
        "mode": "split",
        "state": "complete",
        "verdict": "accepted",
        "action": "nothing",
        "period": "day",
        "at_limit": "refuse",
        "outcome": "answered",
        # An answer that is stored has none.
        "claim": None,
    }
    if column.name in fixed and isinstance(column.type, Text):
        return fixed[column.name]
    values: list[tuple[Any, Any]] = [
        (JSONB, {}),
        (ARRAY, []),
        (Boolean, True),
        ((Integer, Float, Numeric), 1),
        (DateTime, WHEN),
        (Date, WHEN.date()),
        (LargeBinary, b"x"),
        (Text, f"of-{tenant_id}"),
    ]
    return next(value for kind, value in values if isinstance(column.type, kind))
