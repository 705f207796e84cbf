"""Batches of predictions: every item once, bad ones alone, gone on with, cancelled, told of."""

import csv
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from sqlalchemy import create_engine, text

from ml import features, scoring
from ml.deal_value import DealValue
from ml.kinds import Name
from ml.model import Document, Evidence
from ml.tables import Tables
from orchestration import prediction_report
from tests.installations import lead_rows
from tests.test_scoring import MODEL
from warehouse import (
    crm,
    events,
    models,
    predicting,
    prediction_files,
    prediction_items,
    prediction_jobs,
    prediction_results,
    retention,
    tenants,
)
from warehouse.database import Database
from warehouse.embedded import Urls
from warehouse.errors import GalenaError
from warehouse.imports.mapping import LeadsMapping
from warehouse.prediction_jobs import PredictionJob
from warehouse.prediction_results import Result

ACME = "acme"
LEADS = 40


@pytest.fixture
def acme(database: Database) -> Database:
    """A tenant with 40 open leads, l00 to l39, and a model that serves."""
    tenants.add(database, ACME)
    with database.tenant(ACME) as connection:
        jobs = ["nurse", "clerk"]
        for parity, job in enumerate(jobs):
            names = [f"l{number:02}" for number in range(parity, LEADS, 2)]
            rows = lead_rows(names, f'{{"job": "{job}", "age": {40 + parity}, "member": true}}')
            crm.upsert(connection, ACME, "leads", rows)
        version = models.register(connection, ACME, MODEL, metrics={}, run_id="run")
        models.promote(connection, ACME, version, "champion", actor="test", why="a test")
    return database


def _queue(database: Database, ids: Sequence[str]) -> str:
    with database.tenant(ACME) as connection:
        return prediction_items.queue_ids(connection, ACME, ids, requested_by="a test")


def _query(database: Database, **document: Any) -> str:
    query = prediction_items.parse_query(document)
    with database.tenant(ACME) as connection:
        return prediction_items.queue_query(connection, ACME, query, requested_by="a test")


def _file(database: Database, path: Path, mapping: LeadsMapping | None = None) -> str:
    with database.tenant(ACME) as connection:
        return prediction_files.queue_file(connection, ACME, path, mapping, requested_by="a test")


def _run(database: Database, job_id: str, run_id: str = "run", block: int = 7) -> PredictionJob:
    return predicting.run(database, ACME, job_id, run_id=run_id, block=block)


def _results(database: Database, job_id: str, **page: Any) -> list[Result]:
    with database.tenant(ACME) as connection:
        return prediction_results.page(connection, ACME, job_id, **page)


def _find(database: Database, job_id: str) -> PredictionJob:
    with database.tenant(ACME) as connection:
        return prediction_jobs.find(connection, ACME, job_id)


def test_predictions_are_what_the_model_says_of_the_leads(acme: Database) -> None:
    job_id = _queue(acme, ["l03", "l00", "l03"])
    queued = _find(acme, job_id)
    assert (queued.status, queued.total_items, queued.progress) == ("queued", 3, 0.0)
    ended = _run(acme, job_id)
    assert (ended.status, ended.completed_items, ended.failed_items) == ("completed", 3, 0)
    assert (ended.progress, ended.model_id, ended.run_id) == (1.0, 1, "run")
    found = _results(acme, job_id)
    assert [(one.item, one.subject_id) for one in found] == [(1, "l03"), (2, "l00"), (3, "l03")]
    since = datetime.now(UTC) - timedelta(days=90)
    with acme.tenant(ACME) as connection:
        leads, interactions = crm.changed_leads(connection, ACME, ["l00", "l03"], since)
    as_of = leads.with_columns(as_of=pl.lit(found[0].predicted_at))
    expected = scoring.score(MODEL, features.build(MODEL.spec, as_of, interactions))
    for one, position in zip(found, (1, 0, 1), strict=True):
        assert one.prediction is not None
        assert one.prediction["probability"] == expected.probability[position]
        assert one.prediction["score"] == expected.score[position]
        assert one.reasoning is not None
        weights = sum(reason["weight"] for reason in one.reasoning)
        odds = MODEL.base + weights
        np.testing.assert_allclose(1 / (1 + np.exp(-odds)), one.prediction["probability"], 1e-6)


def test_a_bad_id_fails_alone_and_says_why(acme: Database) -> None:
    with acme.tenant(ACME) as connection:
        for lead, fact in (("l01", "converted_at = now()"), ("l02", "closed_at = now()")):
            connection.execute(text(f"UPDATE crm.leads SET {fact} WHERE lead_id = '{lead}'"))
        far = text("UPDATE crm.leads SET created_at = 'infinity' WHERE lead_id = 'l04'")
        connection.execute(far)
    ids = ["l00", "nobody", "", "l01", "l02", "x" * 300, "l\0", "l04", "l03"]
    ended = _run(acme, _queue(acme, ids), block=20)
    assert (ended.status, ended.completed_items, ended.failed_items) == ("completed", 2, 7)
    expected = {
        2: "lead_id: 'nobody' is no lead of the tenant; expected the id of an open lead",
        3: "id: '' is no id; expected one in every item",
        4: "lead_id: 'l01' has converted; expected the id of an open lead",
        5: "lead_id: 'l02' is closed; expected the id of an open lead",
        6: f"id: '{'x' * 80}...' has 300 characters; expected at most 255",
        7: "id: 'l\N{SYMBOL FOR NULL}' holds a NUL character; expected text without",
        8: "lead_id: 'l04' has a time that no model reads; expected the id of an open lead",
    }
    assert {one.item: one.error for one in _results(acme, ended.job_id, failures=True)} == expected
    good = [one for one in _results(acme, ended.job_id) if one.error is None]
    assert [(one.item, one.subject_id) for one in good] == [(1, "l00"), (9, "l03")]


def test_what_nobody_thought_of_fails_alone(acme: Database) -> None:
    """An interaction at a time that no datetime holds: whoever reads the block raises."""
    with acme.tenant(ACME) as connection:
        connection.execute(
            text(
                "INSERT INTO crm.interactions (tenant_id, interaction_id, lead_id, kind,"
                " occurred_at) VALUES ('acme', 'i', 'l05', 'call', 'infinity')"
            )
        )
    ids = [f"l{number:02}" for number in range(LEADS)]
    ended = _run(acme, _queue(acme, ids), block=100)
    (failed,) = _results(acme, ended.job_id, failures=True)
    assert (failed.item, failed.subject_id, ended.completed_items) == (6, "l05", LEADS - 1)
    assert "cannot be predicted (DataError: timestamp too large" in str(failed.error)


def test_results_are_paged_and_each_item_has_one(acme: Database) -> None:
    job_id = _queue(acme, [f"l{number:02}" for number in range(LEADS)])
    _run(acme, job_id, block=7)
    first = _results(acme, job_id, limit=15)
    second = _results(acme, job_id, after=first[-1].item, limit=15, reasons=False)
    assert [one.item for one in first + second] == list(range(1, 31))
    assert all(one.reasoning for one in first)
    assert not any(one.reasoning for one in second)
    with pytest.raises(GalenaError, match="limit: got 0; expected 1 to 10,000"):
        _results(acme, job_id, limit=0)
    with acme.tenant(ACME) as connection:
        assert connection.scalar(text("SELECT count(*) FROM ml.prediction_items")) == 0


@pytest.mark.parametrize(
    ("document", "items"),
    [
        ({}, LEADS),
        ({"where": {"job": "nurse"}}, 20),
        ({"where": {"job": "nurse", "age": "40"}}, 20),
        ({"where": {"age": 41, "member": True}, "limit": 3}, 3),
        ({"created_before": "2100-01-01"}, LEADS),
    ],
)
def test_a_query_finds_open_leads(acme: Database, document: dict[str, Any], items: int) -> None:
    with acme.tenant(ACME) as connection:
        crm.upsert(connection, ACME, "leads", lead_rows(["closed"], '{"job": "nurse", "age": 40}'))
        connection.execute(text("UPDATE crm.leads SET closed_at = now() WHERE lead_id = 'closed'"))
    ended = _run(acme, _query(acme, **document), block=100)
    assert (ended.total_items, ended.completed_items) == (items, items)
    names = [one.subject_id for one in _results(acme, ended.job_id)]
    assert names == sorted(set(names))


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"sql": "SELECT set_config('galena.tenant_id', 'brio', false)"}, "sql: no key; expected"),
        ({"where": {"job": ["nurse"]}}, "expected a text, a number or a boolean"),
        ({"limit": 0}, "limit: Input should be greater than or equal to 1; got 0"),
        ({"created_after": "soon"}, "created_after: .* got 'soon'"),
        ({"where": {"job": "'; DROP TABLE crm.leads --"}}, "would have 0 items"),
        ({"where": {"x' = 'x' OR tenant_id = 'brio' --": "1"}}, "would have 0 items"),
    ],
)
def test_a_query_that_is_none_is_one_clear_error(
    acme: Database, document: dict[str, Any], words: str
) -> None:
    with pytest.raises(GalenaError, match=words):
        _query(acme, **document)
    with acme.tenant(ACME) as connection:
        assert prediction_jobs.find_all(connection, ACME) == []


def _with_customers(database: Database) -> None:
    with database.tenant(ACME) as connection:
        for statement in (
            "INSERT INTO crm.customers (tenant_id, customer_id, name, created_at, churned_at,"
            " attributes) VALUES ('acme', 'c1', 'One', '2026-01-01', NULL, '{\"age\": 50}'),"
            " ('acme', 'c2', 'Two', '2026-01-01', '2026-06-01', '{}')",
            "INSERT INTO crm.deals (tenant_id, deal_id, customer_id, stage, created_at, won)"
            " VALUES ('acme', 'd1', 'c1', 'offer', '2026-10-01', NULL),"
            " ('acme', 'd2', 'c1', 'end', '2026-10-01', true),"
            " ('acme', 'd3', NULL, 'first', '2026-10-01', NULL)",
        ):
            # A colon within a text is no parameter.
            connection.exec_driver_sql(statement)


CHURN = replace(MODEL, spec=replace(MODEL.spec, subject="customer"))
DEALS = DealValue(
    replace(MODEL.spec, subject="deal"),
    Tables.constant(len(MODEL.spec.features), float(np.log(200.0))),
    1.0,
    0.5,
    2.0,
    Evidence("own_model", 50, 50),
    datetime(2026, 11, 1, tzinfo=UTC),
)


@pytest.mark.parametrize(
    ("name", "model", "ids", "found"),
    [
        (
            "customer_churn",
            CHURN,
            ["c1", "c2", "l00"],
            ["c1", "'c2' has left; expected the id of an open customer", "'l00' is no customer"],
        ),
        ("deal_value", DEALS, ["d1", "d2", "d3"], ["d1", "'d2' is won; expected the id", "d3"]),
    ],
)
def test_models_of_customers_and_deals_predict_theirs(
    acme: Database, name: Name, model: Document, ids: list[str], found: list[str]
) -> None:
    _with_customers(acme)
    with acme.tenant(ACME) as connection:
        version = models.register(connection, ACME, model, name=name, metrics={}, run_id="run")
        by_id = prediction_items.queue_ids(connection, ACME, ids, version=version, requested_by="")
        by_query = prediction_items.queue_query(
            connection, ACME, prediction_items.Query(), version=version, requested_by=""
        )
    _run(acme, by_id)
    for one, words in zip(_results(acme, by_id), found, strict=True):
        assert words in (one.error or one.subject_id)
        assert (one.prediction is None) == (one.error is not None)
    _run(acme, by_query)
    told = [one for one in _results(acme, by_query) if one.prediction is not None]
    assert [one.subject_id for one in told] == [one for one in found if " " not in one]
    if name == "deal_value":
        assert [one.prediction["value"] for one in told if one.prediction] == pytest.approx(
            [200.0, 200.0]
        )


def test_a_query_of_deals_asks_for_their_columns(acme: Database) -> None:
    _with_customers(acme)
    with acme.tenant(ACME) as connection:
        version = models.register(
            connection, ACME, DEALS, name="deal_value", metrics={}, run_id="run"
        )
        query = prediction_items.parse_query({"where": {"stage": "offer"}})
        job_id = prediction_items.queue_query(
            connection, ACME, query, version=version, requested_by=""
        )
        assert prediction_jobs.find(connection, ACME, job_id).total_items == 1
        wrong = prediction_items.parse_query({"where": {"amount": 3}})
        with pytest.raises(GalenaError, match="amount is no column; expected stage"):
            prediction_items.queue_query(connection, ACME, wrong, version=version, requested_by="")


FILE = """id;created_at;job;age;newsletter;note
a;2026-11-01;nurse;40,5;yes;fine
b;2026-11-01;nurse;old;yes;no number
;2026-11-01;nurse;41;yes;no id
c;2026-11-01;nurse;41;maybe;no boolean
d;soon;nurse;41;yes;no time
e;2026-11-01;nurse;41
f;;;;;all of it missing
"""


def test_a_file_has_an_item_for_each_row(acme: Database, tmp_path: Path) -> None:
    path = tmp_path / "people.csv"
    path.write_text(FILE)
    ended = _run(acme, _file(acme, path))
    found = _results(acme, ended.job_id)
    errors = {one.subject_id: one.error for one in found}
    assert errors == {
        "a": None,
        "b": "age: 'old' cannot be read; expected a number",
        "": "id: '' is no id; expected one in every item",
        "c": "newsletter: 'maybe' cannot be read; expected true, false, yes or no",
        "d": "created_at: 'soon' is no time; expected one such as 2026-02-28 or 2026-02-28 14:30",
        "line 7": "line 7: the row has 4 cells; expected 6, as in the header",
        "f": None,
    }
    row = pl.DataFrame(
        {
            "lead_id": ["a"],
            "created_at": [datetime(2026, 11, 1, tzinfo=UTC)],
            "as_of": [found[0].predicted_at],
            "attributes": ['{"job": "nurse", "age": 40.5, "newsletter": true}'],
        }
    )
    nothing = pl.DataFrame(
        schema={
            "lead_id": pl.String,
            "kind": pl.String,
            "occurred_at": pl.Datetime("us", "UTC"),
            "known_at": pl.Datetime("us", "UTC"),
        }
    )
    expected = scoring.score(MODEL, features.build(MODEL.spec, row, nothing)).probability[0]
    assert found[0].prediction is not None
    assert found[0].prediction["probability"] == expected
    with acme.tenant(ACME) as connection:
        assert crm.counts(connection, ACME)["leads"] == LEADS, "rows do not become leads"


def test_rows_without_ids_are_numbered_across_blocks(
    acme: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prediction_files, "_BLOCK", 4)
    path = tmp_path / "people.parquet"
    pl.DataFrame({"age": range(10), "job": ["nurse"] * 10}).write_parquet(path)
    ended = _run(acme, _file(acme, path))
    found = _results(acme, ended.job_id)
    assert [one.subject_id for one in found] == [str(number) for number in range(1, 11)]
    assert len({one.prediction["probability"] for one in found if one.prediction}) > 1


def test_a_mapping_says_what_columns_are(acme: Database, tmp_path: Path) -> None:
    path = tmp_path / "people.csv"
    path.write_text("key,since,job\nx,01/02/2026,nurse\n")
    mapping = LeadsMapping(id="key", created_at="since", day_first=True)
    ended = _run(acme, _file(acme, path, mapping))
    assert [one.subject_id for one in _results(acme, ended.job_id)] == ["x"]
    with pytest.raises(GalenaError, match="no column 'nokey', named by id"):
        _file(acme, path, LeadsMapping(id="nokey", created_at="since"))


def test_a_file_that_shares_nothing_with_the_model_is_refused(
    acme: Database, tmp_path: Path
) -> None:
    path = tmp_path / "people.csv"
    path.write_text("id,colour\nx,red\n")
    with pytest.raises(GalenaError, match=r"none of the columns .* job, age, newsletter"):
        _file(acme, path)


def _break(urls: Urls, statement: str) -> None:
    engine = create_engine(urls.superuser)
    with engine.begin() as connection:
        connection.execute(text(statement))
    engine.dispose()


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("artifact = artifact || '!'", "sha256 differs"),
        ("artifact = '\\x80', sha256 = encode(sha256('\\x80'), 'hex')", "not JSON"),
        ("name = 'customer_segments'", "cannot be used as its customer_segments"),
    ],
)
def test_a_tampered_or_foreign_model_predicts_nothing(
    acme: Database, urls: Urls, statement: str, words: str
) -> None:
    """\\x80 is how a pickle begins."""
    job_id = _queue(acme, ["l00"])
    with acme.tenant(ACME) as connection:
        connection.execute(text("DELETE FROM ml.model_aliases"))
    _break(urls, f"UPDATE ml.models SET {statement}")
    ended = _run(acme, job_id)
    assert ended.status == "failed"
    assert words in str(ended.error)
    assert _results(acme, job_id) == []


def test_a_job_that_lost_its_run_is_gone_on_with_by_one_other(acme: Database) -> None:
    job_id = _queue(acme, [f"l{number:02}" for number in range(LEADS)])
    with acme.tenant(ACME) as connection:
        job = prediction_jobs.begin(connection, ACME, job_id, "first")
        model = models.load(connection, ACME, job.model_id)
        assert predicting._do_block(connection, ACME, job, model, "first", 7)
    half = _find(acme, job_id)
    assert (half.status, half.done_items) == ("running", 7)
    assert _run(acme, job_id, "second").completed_items == LEADS
    items = [one.item for one in _results(acme, job_id)]
    assert items == list(range(1, LEADS + 1))
    with (
        pytest.raises(prediction_jobs.TakenOverError, match="another run's"),
        acme.tenant(ACME) as connection,
    ):
        predicting._do_block(connection, ACME, half, model, "first", 7)
    assert [one.item for one in _results(acme, job_id)] == items
    with pytest.raises(prediction_jobs.TakenOverError, match="is completed"):
        _run(acme, job_id, "third")


def test_a_cancelled_job_does_no_more_items(acme: Database) -> None:
    job_id = _queue(acme, [f"l{number:02}" for number in range(LEADS)])
    with acme.tenant(ACME) as connection:
        job = prediction_jobs.begin(connection, ACME, job_id, "run")
        model = models.load(connection, ACME, job.model_id)
        predicting._do_block(connection, ACME, job, model, "run", 7)
        job = prediction_jobs.find(connection, ACME, job_id)
    with acme.tenant(ACME) as connection:
        asked = prediction_jobs.ask_to_cancel(connection, ACME, job_id, actor="ann")
        assert asked.status == "running"
    with acme.tenant(ACME) as connection:
        assert not predicting._do_block(connection, ACME, job, model, "run", 7)
        prediction_jobs.end(connection, ACME, job_id, "completed", None)
    ended = _find(acme, job_id)
    assert (ended.status, ended.done_items) == ("cancelled", 7)
    assert ended.error == "cancelled by ann"
    with pytest.raises(GalenaError, match="has ended already"), acme.tenant(ACME) as connection:
        prediction_jobs.ask_to_cancel(connection, ACME, job_id, actor="ann")


def test_a_queued_job_is_cancelled_at_once_and_an_ended_one_deleted(acme: Database) -> None:
    job_id = _queue(acme, ["l00"])
    with pytest.raises(GalenaError, match="--cancel"), acme.tenant(ACME) as connection:
        prediction_jobs.delete(connection, ACME, job_id, actor="ann")
    with acme.tenant(ACME) as connection:
        assert prediction_jobs.ask_to_cancel(connection, ACME, job_id, actor="ann").status == (
            "cancelled"
        )
        prediction_jobs.delete(connection, ACME, job_id, actor="ann")
        actions = connection.scalars(
            text("SELECT action FROM ml.audit_log WHERE actor = 'ann' ORDER BY entry_id")
        ).all()
    assert actions == ["prediction.cancel", "prediction.delete"]
    with pytest.raises(GalenaError, match="galena predictions acme"):
        _find(acme, job_id)


def test_the_end_of_a_job_is_an_event(acme: Database) -> None:
    done, cancelled = _queue(acme, ["l00", "nobody"]), _queue(acme, ["l00"])
    with acme.tenant(ACME) as connection:
        prediction_jobs.ask_to_cancel(connection, ACME, cancelled, actor="ann")
    _run(acme, done)
    with acme.tenant(ACME) as connection:
        found = events.find_all(connection, ACME)
        later = events.find_all(connection, ACME, after=found[0].event_id)
    assert [(event.kind, event.payload["job_id"]) for event in found] == [
        ("prediction.cancelled", cancelled),
        ("prediction.completed", done),
    ]
    assert later == found[1:]
    told = {name: found[1].payload[name] for name in ("completed_items", "failed_items")}
    assert told == {"completed_items": 1, "failed_items": 1}
    assert found[1].due_at is None, "there is no webhook"


def test_a_text_in_the_file_of_results_is_no_formula(acme: Database, tmp_path: Path) -> None:
    texts = ['=HYPERLINK("http://evil.example")', "+1", "-1", "@x", "plain", "a=b"]
    path, out = tmp_path / "people.parquet", tmp_path / "out.csv"
    pl.DataFrame({"id": texts, "job": ["nurse"] * len(texts)}).write_parquet(path)
    job_id = _file(acme, path)
    _run(acme, job_id)
    with acme.tenant(ACME) as connection:
        said = r'{"value": -1.5, "segment": "\t=1+1", "segment_name": "\r=1+1"}'
        connection.execute(
            text("UPDATE ml.prediction_results SET output = CAST(:said AS jsonb)"), {"said": said}
        )
    assert prediction_report.write(acme, ACME, job_id, out) == len(texts)
    with out.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in rows] == [*(f"'{one}" for one in texts[:-2]), "plain", "a=b"]
    told = {(row["value"], row["segment"], row["segment_name"]) for row in rows}
    assert told == {("-1.5", "'\t=1+1", "'\r=1+1")}


def test_a_removed_lead_takes_its_predictions_along(acme: Database, tmp_path: Path) -> None:
    job_id = _queue(acme, ["l00", "l01"])
    _run(acme, job_id)
    path = tmp_path / "people.csv"
    path.write_text("id,job\nl00,nurse\n")
    of_file = _file(acme, path)
    _run(acme, of_file)
    with acme.tenant(ACME) as connection:
        connection.execute(text("DELETE FROM crm.leads WHERE lead_id = 'l00'"))
    assert [one.subject_id for one in _results(acme, job_id)] == ["l01"]
    assert [one.subject_id for one in _results(acme, of_file)] == ["l00"], "a row of a file"


def test_what_is_old_goes(acme: Database) -> None:
    old, new, waiting = (_queue(acme, ["l00"]) for _ in range(3))
    _run(acme, old)
    _run(acme, new)
    with acme.tenant(ACME) as connection:
        aged = "now() - interval '31 days'"
        connection.execute(
            text(
                f"UPDATE ml.prediction_jobs SET created_at = {aged}, ended_at = {aged}"
                " WHERE job_id = :old"
            ),
            {"old": old},
        )
        connection.execute(text(f"UPDATE ml.events SET at = {aged} WHERE event_id = 1"))
        retention.forget(connection, ACME, retention.Ages())
        left = {job.job_id for job in prediction_jobs.find_all(connection, ACME)}
        assert left == {new, waiting}
        assert [event.payload["job_id"] for event in events.find_all(connection, ACME)] == [new]
        kept = connection.scalars(text("SELECT job_id FROM ml.prediction_results")).all()
    assert kept == [new]
