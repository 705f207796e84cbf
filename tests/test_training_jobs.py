"""Training jobs: their rows, from the request to the end, each tenant's its own."""

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from sqlalchemy import text

from tests import counting_model
from warehouse import crm, features, models, tenants, training_files, training_jobs
from warehouse.database import Database
from warehouse.errors import GalenaError
from warehouse.imports.mapping import LeadsMapping
from warehouse.training_jobs import Request, TrainingJob
from warehouse.training_recording import (
    Recording,
    TrainingCancelledError,
    begin,
    end,
    recorded,
)

ACME, BRIO = "acme", "brio"
NOW = datetime(2026, 11, 1, tzinfo=UTC)


@pytest.fixture
def both(database: Database) -> Database:
    for tenant_id in (ACME, BRIO):
        tenants.add(database, tenant_id)
    return database


def _create(database: Database, tenant_id: str = ACME, request: Request | None = None) -> str:
    with database.tenant(tenant_id) as connection:
        return training_jobs.create(
            connection, tenant_id, request or Request(), requested_by="a test"
        )


def _find(database: Database, job_id: str, tenant_id: str = ACME) -> TrainingJob:
    with database.tenant(tenant_id) as connection:
        return training_jobs.find(connection, tenant_id, job_id)


def _cancel(database: Database, job_id: str) -> TrainingJob:
    with database.tenant(ACME) as connection:
        return training_jobs.ask_to_cancel(connection, ACME, job_id, actor="ann")


def _register(database: Database, job: Recording) -> None:
    with database.tenant(ACME) as connection:
        version = counting_model.register(connection, ACME)
        job.registers(
            connection,
            version,
            algorithm="boosted_tables",
            hyperparameters={"leaves": 8},
            metrics={"log_loss": 0.25},
        )


def _train(database: Database, job_id: str | None = None) -> str:
    with recorded(database, ACME, run_id="run", job_id=job_id) as job:
        _register(database, job)
    return job.job_id


def test_a_job_from_the_request_to_the_model(both: Database) -> None:
    request = Request(algorithms=("random_forest",), trials=5, seconds=60)
    job_id = _create(both, request=request)
    assert _find(both, job_id).status == "queued"
    with recorded(both, ACME, run_id="run-1", job_id=job_id) as job:
        assert job.request == request
        with both.tenant(ACME) as connection:
            job.learns_from(connection, feature_set=4, rows=100, sha256="ab")
            job.validates_by(connection, {"windows": 5})
        job.progress("window 1 of 5", 0.2, {"log_loss": 0.5})
        running = _find(both, job_id)
        _register(both, job)
    ended = _find(both, job_id)
    assert (running.status, running.step, running.run_id) == ("running", "window 1 of 5", "run-1")
    assert running.progress == pytest.approx(0.2)
    assert running.metrics == {"log_loss": 0.5}
    assert (ended.status, ended.progress, ended.model_version) == ("completed", 1.0, 1)
    assert (ended.algorithm, ended.metrics) == ("boosted_tables", {"log_loss": 0.25})
    assert ended.hyperparameters == {"leaves": 8}
    assert ended.validation_config == {"windows": 5}
    assert ended.training_data == {
        "feature_set": 4, "rows": 100, "sha256": "ab", "ended_leads": 0
    }  # fmt: skip
    assert ended.created_at < ended.started_at < ended.ended_at  # type: ignore[operator]


def test_a_run_that_nobody_asked_for_has_its_job_too(both: Database) -> None:
    with recorded(both, ACME, run_id="run-2") as job:
        found = _find(both, job.job_id)
    assert (found.requested_by, found.run_id, found.status) == ("run run-2", "run-2", "running")
    assert job.request == Request()


def test_progress_is_written_about_once_a_second_and_its_last_word_at_the_end(
    both: Database,
) -> None:
    with recorded(both, ACME, run_id="run") as job:
        for number in range(1000):
            job.progress("trials", number / 1000, {"best": 1 - number / 1000})
    with both.tenant(ACME) as connection:
        events = training_jobs.history(connection, ACME, job.job_id)
        later = training_jobs.history(connection, ACME, job.job_id, after=events[0].event_id)
    assert (events[0].share, events[0].metrics) == (0, {"best": 1})
    assert events[-1].share == pytest.approx(0.999)
    assert events[-1].metrics == {"best": pytest.approx(0.001)}
    assert 2 <= len(events) <= 10
    assert later == events[1:]


def test_completion_is_estimated_by_former_jobs_and_then_by_the_share_done(
    both: Database,
) -> None:
    assert _find(both, _create(both)).estimated_completion is None
    former = _train(both)
    with both.tenant(ACME) as connection:
        connection.execute(
            text(
                "UPDATE ml.training_jobs SET started_at = ended_at - interval '1 hour'"
                " WHERE job_id = :job_id"
            ),
            {"job_id": former},
        )
    with recorded(both, ACME, run_id="run") as job:
        found = _find(both, job.job_id)
        assert found.started_at is not None
        assert found.estimated_completion == found.started_at + timedelta(hours=1)
        time.sleep(0.1)
        job.progress("halfway", 0.5)
        found = _find(both, job.job_id)
        assert found.started_at is not None
        assert found.estimated_completion is not None
        left = found.estimated_completion - found.started_at
        assert timedelta(seconds=0.2) <= left < timedelta(minutes=1)


def test_a_training_that_raises_has_failed_and_nothing_of_the_statement_is_told(
    both: Database,
) -> None:
    with (
        pytest.raises(Exception, match="division"),
        recorded(both, ACME, run_id="run") as job,
        both.tenant(ACME) as connection,
    ):
        connection.execute(text("SELECT 1 / (length(:secret) - 6)"), {"secret": "hidden"})
    found = _find(both, job.job_id)
    assert (found.status, found.error) == ("failed", "DivisionByZero: division by zero")


def test_an_interrupted_training_has_failed(both: Database) -> None:
    with pytest.raises(KeyboardInterrupt), recorded(both, ACME, run_id="run") as job:
        raise KeyboardInterrupt
    assert _find(both, job.job_id).status == "failed"
    assert str(_find(both, job.job_id).error).startswith("interrupted")


def test_a_cancelled_training_stops_at_its_next_word(both: Database) -> None:
    def train() -> None:
        with recorded(both, ACME, run_id="run") as job:
            begun.append(job.job_id)
            _cancel(both, job.job_id)
            assert _find(both, job.job_id).step == "cancelling"
            job.progress("window 1", 0.1)

    begun: list[str] = []
    with pytest.raises(TrainingCancelledError):
        train()
    found = _find(both, begun[0])
    assert (found.status, found.error) == ("cancelled", "cancelled by ann")
    assert found.ended_at is not None


def test_a_cancelled_training_registers_no_model(both: Database) -> None:
    def train() -> None:
        with recorded(both, ACME, run_id="run") as job:
            _cancel(both, job.job_id)
            _register(both, job)

    with pytest.raises(TrainingCancelledError):
        train()
    with both.tenant(ACME) as connection:
        assert [job.status for job in training_jobs.find_all(connection, ACME)] == ["cancelled"]
        assert connection.scalar(text("SELECT count(*) FROM ml.models")) == 0


def test_a_training_whose_model_is_registered_is_not_cancelled(both: Database) -> None:
    with recorded(both, ACME, run_id="run") as job:
        _register(both, job)
        with pytest.raises(GalenaError, match="has registered model version 1"):
            _cancel(both, job.job_id)
    assert _find(both, job.job_id).status == "completed"


def test_a_queued_job_that_is_cancelled_never_begins(both: Database) -> None:
    job_id = _create(both)
    assert _cancel(both, job_id).status == "cancelled"
    with pytest.raises(TrainingCancelledError), recorded(both, ACME, run_id="run", job_id=job_id):
        pytest.fail("it began")
    with both.tenant(ACME) as connection:
        actions = connection.execute(text("SELECT actor, action, details FROM ml.audit_log")).all()
    assert [tuple(row) for row in actions] == [("ann", "training.cancel", {"job_id": job_id})]


def test_a_run_that_is_executed_again_is_a_job_of_its_own(both: Database) -> None:
    job_id = _create(both, request=Request(trials=3))
    with pytest.raises(RuntimeError), recorded(both, ACME, run_id="run-1", job_id=job_id):
        raise RuntimeError("first")
    with recorded(both, ACME, run_id="run-2", job_id=job_id) as job:
        _register(both, job)
    assert job.request == Request(trials=3)
    assert job.job_id != job_id
    assert _find(both, job_id).error == "RuntimeError: first"


def test_a_job_can_be_done_again_on_its_data_while_they_are_there(both: Database) -> None:
    job_id = _create(both, request=Request(trials=50))
    with pytest.raises(GalenaError, match="goes on by itself"):
        _again(both, job_id)
    with pytest.raises(RuntimeError), recorded(both, ACME, run_id="run", job_id=job_id) as job:
        _learn_from_a_feature_set(both, job)
    again = _find(both, _again(both, job_id))
    assert Request.from_json(again.request) == Request(trials=50, feature_set=1)
    assert again.training_data["sha256"] == "ab"
    with both.tenant(ACME) as connection:
        connection.execute(text("DELETE FROM ml.feature_sets"))
    with pytest.raises(GalenaError, match="are gone"):
        _again(both, job_id)


def _again(database: Database, job_id: str) -> str:
    with database.tenant(ACME) as connection:
        return training_jobs.again(connection, ACME, job_id, requested_by="ann")


def _learn_from_a_feature_set(database: Database, job: Recording) -> None:
    with database.tenant(ACME) as connection:
        connection.execute(
            text(
                "INSERT INTO ml.feature_sets (tenant_id, feature_set, as_of, horizon_days, spec,"
                " rows, converted, sha256, run_id)"
                " VALUES (:tenant_id, 1, now(), 30, '{}', 9, 1, 'ab', 'run')"
            ),
            {"tenant_id": ACME},
        )
        job.learns_from(connection, feature_set=1, rows=9, sha256="ab")
    raise RuntimeError("killed")


def test_an_ended_job_can_be_deleted_and_an_open_one_not(both: Database) -> None:
    job_id = _create(both)
    with (
        pytest.raises(GalenaError, match="is queued: `galena cancel"),
        both.tenant(ACME) as connection,
    ):
        training_jobs.delete(connection, ACME, job_id, actor="ann")
    _train(both, job_id)
    with both.tenant(ACME) as connection:
        training_jobs.delete(connection, ACME, job_id, actor="ann")
        assert training_jobs.history(connection, ACME, job_id) == []
        assert models.artifact(connection, ACME, 1), "the model stays"
    with pytest.raises(GalenaError, match="has no training job"):
        _find(both, job_id)


def test_jobs_are_one_tenants(both: Database) -> None:
    mine, theirs = _create(both, ACME), _create(both, BRIO)
    with both.tenant(BRIO) as connection:
        assert [job.job_id for job in training_jobs.find_all(connection, BRIO)] == [theirs]
        assert training_jobs.find_all(connection, ACME) == []
        for attempt in (training_jobs.ask_to_cancel, training_jobs.delete):
            with pytest.raises(GalenaError, match="has no training job"):
                attempt(connection, ACME, mine, actor="ann")
        end(connection, ACME, mine, "failed", "stolen")
        assert not begin(connection, ACME, mine, "run", "stolen")
    assert _find(both, mine).status == "queued"
    assert {(job.tenant_id, job.job_id) for job in training_jobs.open_jobs(both)} == {
        (ACME, mine), (BRIO, theirs)
    }  # fmt: skip


_MAPPING = LeadsMapping(
    id="lead_id", created_at="created_at", converted_at="converted_at", closed_at="closed_at"
)
_HEADER = "lead_id,created_at,converted_at,closed_at,industry,visits"


def _file(folder: Path, rows: list[str], name: str = "old.csv", header: str = _HEADER) -> Path:
    path = folder / name
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def _labelled_rows() -> list[str]:
    """Sixty leads: every third converts after nine days, the others are lost after fifty."""
    rows = []
    for number in range(60):
        created = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=number)
        converted = (created + timedelta(days=9)).date() if number % 3 == 0 else ""
        closed = "" if converted else (created + timedelta(days=50)).date()
        rows.append(f"lead-{number},{created.date()},{converted},{closed},x,{number}")
    return rows


def _read(path: Path) -> training_files.LabelledFile:
    return training_files.read(path, _MAPPING, now=NOW, horizon_days=30)


def test_a_file_is_learnt_from_and_does_not_become_records(both: Database, tmp_path: Path) -> None:
    flawed = ["lead-60,yesterday,,,x,1", "lead-1,2026-01-01,,,x,1"]
    file = _read(_file(tmp_path, _labelled_rows() + flawed))
    assert (file.read, file.leads) == (62, 60)
    assert file.reasons == {"created_at cannot be read": 1, "id is repeated": 1}
    with both.tenant(ACME) as connection:
        job_id = training_files.queue(connection, ACME, file, Request(), requested_by="a test")
        training_files.queue(connection, ACME, file, Request(), requested_by="a test")
        counted = crm.counts(connection, ACME)
        sources = connection.scalars(text("SELECT DISTINCT source FROM crm.rejected_rows")).all()
    assert (counted["leads"], counted["rejected_rows"]) == (0, 2)
    assert sources == ["old.csv (training)"]
    job = _find(both, job_id)
    request = Request.from_json(job.request)
    assert not request.promote
    assert job.training_data["file"] == "old.csv"
    assert job.training_data["feature_set"] == request.feature_set
    with recorded(both, ACME, run_id="run", job_id=job_id):
        assert _find(both, job_id).training_data["file"] == "old.csv"


def test_what_a_file_teaches_is_what_its_leads_said(both: Database, tmp_path: Path) -> None:
    file = _read(_file(tmp_path, _labelled_rows()))
    with both.tenant(ACME) as connection:
        training_files.queue(connection, ACME, file, Request(), requested_by="a test")
        saved = features.find(connection, ACME, 1)
    assert saved is not None
    with both.reader(ACME) as reader:
        rows = features.rows(reader, ACME, saved.feature_set)
    visits = [feature.name for feature in file.spec.features].index("visits")
    number = rows["lead_id"].str.strip_prefix("lead-").cast(pl.Int64)
    assert rows["features"].list.get(visits).to_list() == number.to_list()
    assert set(number.filter(rows["label"])) == set(range(0, 60, 3))
    assert set(number.filter(~rows["label"])) <= set(range(60)) - set(range(0, 60, 3))


@pytest.mark.parametrize(
    ("rows", "header", "message"),
    [
        ([], _HEADER, "has a header and no rows"),
        (["1,never,,,x,1"], _HEADER, "none of its 1 rows can be used; the first: created_at: "),
        (["1,2026-01-01,,,x,1"], _HEADER, "none of its 1 leads has an outcome"),
        (
            ["1,2026-01-01,2026-01-03,,x,1"],
            _HEADER,
            "no lead was created 30 days or more before the newest outcome, 2026-01-03",
        ),
        (["1,x"], "lead_id,industry", "has no column 'created_at', named by created_at"),
    ],
)
def test_a_file_that_cannot_be_used_gets_one_precise_error(
    rows: list[str], header: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(GalenaError) as raised:
        _read(_file(tmp_path, rows, header=header))
    assert message in str(raised.value)
