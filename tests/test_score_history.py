"""The history of scores on a real database: past scores, what moved, replays, and who may ask."""

import math
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from rich.console import Console
from sqlalchemy import Connection, create_engine, text
from typer.testing import CliRunner, Result

from ml import reasons
from ml.model import ConfidenceTable, Evidence, Model, dumps
from ml.movement import Scored, moves
from ml.scoring import score
from ml.spec import Column, FeatureSpec
from ml.tables import Tables
from orchestration import lead_commands
from tests.conftest import in_database
from tests.test_scoring import MODEL as FIRST
from tests.test_tables import train
from warehouse import crm, models, score_history, score_replay, scores, tenants
from warehouse.database import Database
from warehouse.embedded import Urls
from warehouse.errors import GalenaError

MINE, THEIRS = "mine", "theirs"
MICROSECOND = timedelta(microseconds=1)
LIFETIME = timedelta(days=2)
OCTOBER_5, OCTOBER_20, NOVEMBER_3, NOVEMBER_10 = TIMES = (
    datetime(2026, 10, 5, 10, tzinfo=UTC),
    datetime(2026, 10, 20, 10, tzinfo=UTC),
    datetime(2026, 11, 3, 10, 30, 0, 250_000, tzinfo=UTC),
    datetime(2026, 11, 10, 10, tzinfo=UTC),
)
# Model version 1 of each tenant serves in October, version 2 in November.
VERSIONS = dict(zip(TIMES, (1, 1, 2, 2), strict=True))
# "young" comes in November, "gone" was scored once and is in the CRM no more.
SCORED = {
    OCTOBER_5: ["a", "b", "gone"],
    OCTOBER_20: ["a", "b"],
    NOVEMBER_3: ["a", "b", "young"],
    NOVEMBER_10: ["a", "b"],
}


def second() -> Model:
    """Another training: a column is new, one is gone, jobs have other codes, the base moved."""
    columns = (
        Column("budget", "numeric"),
        Column("job", "categorical", ("retired", "nurse", "(other)")),
        Column("newsletter", "boolean"),
    )
    spec = FeatureSpec(columns, ("call", "email", "visit"))
    matrix = inputs(spec, 2000, seed=1)
    filled = np.nan_to_num(matrix)
    signal = filled[:, 0] + (filled[:, 1] == 0) * 2 - filled[:, 2] + filled[:, 4]
    booster = train(matrix, signal > np.quantile(signal, 0.7), categorical=(1,), rounds=40)
    confidence = ConfidenceTable(
        np.array([0.0]), np.array([0.1, 0.3]), np.array([0.2, 0.8]), np.array([900, 100])
    )
    evidence = Evidence("own_model", 2000, 600)
    tables = Tables.compile(booster.dump_model()).scaled(1.1, 0.4)
    return Model(spec, tables, confidence, evidence, OCTOBER_20, 30)


def inputs(spec: FeatureSpec, rows: int, seed: int) -> Any:
    random = np.random.default_rng(seed)
    matrix = random.poisson(2.0, (rows, len(spec.features))).astype(np.float32)
    for factor in spec.factors:
        if factor.categories:
            matrix[:, factor.shown] = random.integers(0, len(factor.categories), rows)
    matrix[random.random(matrix.shape) < 0.1] = np.nan
    return matrix


MODELS = {1: FIRST, 2: second()}


@pytest.fixture(scope="module")
def shared_urls(server: Urls, new_database: Callable[[str], str]) -> Urls:
    """A database with both tenants' scores for tests that change nothing in it."""
    urls = in_database(server, new_database("template"))
    found = Database(urls.app)
    _fill(found)
    found.close()
    return urls


@pytest.fixture
def both(shared_urls: Urls) -> Iterator[Database]:
    found = Database(shared_urls.app)
    yield found
    found.close()


@pytest.fixture
def mine(both: Database) -> Iterator[Connection]:
    with both.tenant(MINE) as connection:
        yield connection


@pytest.fixture
def own(database: Database) -> Database:
    """A database of its own for a test that breaks things in it."""
    _fill(database)
    return database


@pytest.fixture(scope="module")
def reader_url(shared_urls: Urls, worker_id: str) -> str:
    return tenants.add_reader(shared_urls.owner, MINE, f"history_reader_{worker_id}")


def _fill(database: Database) -> None:
    """Both tenants have leads, models and scores of the same names, times and versions."""
    for seed, tenant_id in enumerate((MINE, THEIRS)):
        tenants.add(database, tenant_id)
        with database.tenant(tenant_id) as connection:
            _import_leads(connection, tenant_id)
            for version, model in MODELS.items():
                assert _register(connection, tenant_id, model) == version
            for number, (at, lead_ids) in enumerate(SCORED.items()):
                _score(connection, tenant_id, at, lead_ids, seed=10 * seed + number)


def _import_leads(connection: Connection, tenant_id: str) -> None:
    times = pl.Datetime("us", "UTC")
    frame = pl.DataFrame(
        {
            "lead_id": ["a", "b", "young", "waiting", "converted", "closed"],
            "created_at": [OCTOBER_5 - timedelta(days=9)] * 6,
            "converted_at": [None] * 4 + [OCTOBER_5 - timedelta(days=1), None],
            "closed_at": [None] * 5 + [OCTOBER_5 - timedelta(days=1)],
            "attributes": ["{}"] * 6,
        },
        schema_overrides={"created_at": times, "converted_at": times, "closed_at": times},
    )
    crm.upsert(connection, tenant_id, "leads", frame)


def _register(connection: Connection, tenant_id: str, model: Model) -> int:
    return models.register(
        connection,
        tenant_id,
        artifact=dumps(model),
        factors=[
            {
                "factor": factor.name,
                "template": factor.template,
                "shown": factor.shown,
                "categories": list(factor.categories),
            }
            for factor in model.spec.factors
        ],
        feature_set=1,
        stage=model.evidence.stage,
        outcomes=model.evidence.outcomes,
        base=model.base,
        horizon_days=model.horizon_days,
        metrics={},
        run_id="training",
        trained_at=model.trained_at,
    )


def _score(
    connection: Connection, tenant_id: str, at: datetime, lead_ids: list[str], seed: int
) -> None:
    model = MODELS[VERSIONS[at]]
    matrix = inputs(model.spec, len(lead_ids), seed)
    made = score(model, matrix)
    frame = pl.DataFrame(
        {
            "lead_id": lead_ids,
            "score": made.score,
            "probability": made.probability,
            "confidence": made.confidence,
            "contributions": pl.Series(made.contributions).arr.to_list(),
            "inputs": pl.Series(matrix).arr.to_list(),
        }
    )
    connection.execute(text("SELECT ml.ensure_history_partition(:at)"), {"at": at})
    scores.begin_anew(connection, tenant_id)
    stamp = scores.Stamp(VERSIONS[at], at, at + LIFETIME, at, f"run-{at:%m-%d}")
    scores.write(connection, tenant_id, frame, stamp)
    scores.rank(connection, tenant_id, at, sorted(made.probability.tolist()))


def _served(connection: Connection, lead_id: str, at: datetime) -> Any:
    """The row of the view, of whatever tenant the connection is bound to."""
    return connection.execute(
        text(
            "SELECT * FROM serving.lead_score_history_v1"
            " WHERE lead_id = :lead_id AND calculated_at = :at"
        ),
        {"lead_id": lead_id, "at": at},
    ).one()


def _stored(connection: Connection, lead_id: str, at: datetime) -> Scored:
    row = connection.execute(
        text(
            "SELECT contributions, inputs FROM ml.lead_score_history"
            " WHERE lead_id = :lead_id AND calculated_at = :at"
        ),
        {"lead_id": lead_id, "at": at},
    ).one()
    model = MODELS[VERSIONS[at]]
    return Scored(model, np.array(row[0], np.float32), np.array(row[1], np.float32))


@contextmanager
def _connected(url: str) -> Iterator[Connection]:
    engine = create_engine(url)
    with engine.connect() as connection:
        yield connection
    engine.dispose()


def _break(database: Database, statement: str, **values: Any) -> None:
    with database.tenant(MINE) as connection:
        assert connection.execute(text(statement), values).rowcount > 0


# What the score was


@pytest.mark.parametrize(
    ("at", "calculated_at", "expired"),
    [
        (OCTOBER_5, OCTOBER_5, False),
        (OCTOBER_5 + LIFETIME, OCTOBER_5, False),
        (OCTOBER_20 - MICROSECOND, OCTOBER_5, True),
        (OCTOBER_20, OCTOBER_20, False),
        (NOVEMBER_3 - MICROSECOND, OCTOBER_20, True),
        (NOVEMBER_10 - timedelta(days=6), NOVEMBER_3, False),
        (datetime(2030, 1, 1, tzinfo=UTC), NOVEMBER_10, True),
    ],
)
def test_the_score_at_a_time_is_the_newest_by_then_as_it_was_served(
    mine: Connection, at: datetime, calculated_at: datetime, expired: bool
) -> None:
    found = score_history.score_at(mine, MINE, "a", at)
    served = _served(mine, "a", calculated_at)._mapping
    assert vars(found) == {name: served[name] for name in vars(found)}
    assert len(found.reasoning) > 3
    assert found.run_id == f"run-{calculated_at:%m-%d}"
    assert found.expired(at) is expired


def test_a_lead_that_is_no_longer_in_the_crm_keeps_its_past(mine: Connection) -> None:
    assert score_history.score_at(mine, MINE, "gone", NOVEMBER_10).calculated_at == OCTOBER_5


@pytest.mark.parametrize(
    ("lead_id", "words"),
    [
        ("young", r"'young' of tenant 'mine' had no score at 2026-11-03T10:30:00.249999 UTC:"
                  r" it was scored first at 2026-11-03T10:30:00.250000 UTC; ask"),
        ("waiting", r"'waiting' of tenant 'mine' was never scored: it waits .*`galena up`"),
        ("converted", r"'converted' of tenant 'mine' was never scored: it converted before"),
        ("closed", r"'closed' of tenant 'mine' was never scored: it was closed before"),
        ("nobody", r"Tenant 'mine' has no lead 'nobody' in its CRM.*: check the id"),
    ],
)  # fmt: skip
def test_a_lead_without_a_score_by_then_gets_a_clear_answer(
    mine: Connection, lead_id: str, words: str
) -> None:
    before = NOVEMBER_3 - MICROSECOND
    for ask in (
        lambda: score_history.score_at(mine, MINE, lead_id, before),
        lambda: score_history.moved(mine, MINE, lead_id, None, before),
        lambda: score_replay.replay(mine, MINE, lead_id, before),
    ):
        with pytest.raises(GalenaError, match=words):
            ask()


def test_a_lead_with_several_scores_was_scored_first_at_the_oldest(mine: Connection) -> None:
    with pytest.raises(GalenaError, match="scored first at 2026-10-05T10:00:00 UTC"):
        score_history.score_at(mine, MINE, "a", OCTOBER_5 - MICROSECOND)


def test_the_history_is_newest_first_and_says_the_strongest_reason(mine: Connection) -> None:
    lines = score_history.history(mine, MINE, "a", 20)
    assert [line.calculated_at for line in lines] == [*reversed(TIMES)]
    for line in lines:
        served = _served(mine, "a", line.calculated_at)
        assert line.strongest_reason == served.reasoning[0]["explanation"]
        assert (line.score, line.probability) == (served.score, served.probability)
        assert (line.confidence, line.model_version) == (served.confidence, served.model_version)
    assert score_history.history(mine, MINE, "a", 2) == lines[:2]
    with pytest.raises(GalenaError, match="no lead 'nobody'"):
        score_history.history(mine, MINE, "nobody", 20)


# What moved


@pytest.mark.parametrize(
    ("since", "until", "between"),
    [
        (None, NOVEMBER_10, (NOVEMBER_3, NOVEMBER_10)),
        (None, NOVEMBER_10 - MICROSECOND, (OCTOBER_20, NOVEMBER_3)),
        (OCTOBER_5, NOVEMBER_10, (OCTOBER_5, NOVEMBER_10)),
        (OCTOBER_20 - MICROSECOND, OCTOBER_20, (OCTOBER_5, OCTOBER_20)),
    ],
)
def test_what_moved_adds_up_to_the_change_of_the_served_log_odds(
    mine: Connection,
    since: datetime | None,
    until: datetime,
    between: tuple[datetime, datetime],
) -> None:
    found = score_history.moved(mine, MINE, "a", since, until)
    assert (found.before.calculated_at, found.after.calculated_at) == between
    before, after = (
        math.log(served.probability / (1 - served.probability))
        for served in (_served(mine, "a", at) for at in between)
    )
    assert sum(move.change for move in found.moves) == pytest.approx(after - before, abs=1e-9)
    assert sum(move.before for move in found.moves) == pytest.approx(before, abs=1e-9)
    assert found.moves == moves(*(_stored(mine, "a", at) for at in between))
    versions = {VERSIONS[at] for at in between}
    base = next(move for move in found.moves if move.factor is None)
    assert (base.change != 0) == (len(versions) == 2)
    assert found.moves[0].change != 0


def test_without_a_score_in_between_nothing_moved(mine: Connection) -> None:
    found = score_history.moved(mine, MINE, "a", OCTOBER_5, OCTOBER_20 - MICROSECOND)
    assert found.before == found.after
    assert {move.change for move in found.moves} == {0}


def test_what_cannot_be_compared_is_said(mine: Connection) -> None:
    with pytest.raises(GalenaError, match=r"since, 2026-11-10.* lies after until, 2026-11-03"):
        score_history.moved(mine, MINE, "a", NOVEMBER_10, NOVEMBER_3)
    with pytest.raises(GalenaError, match=r"had one score .*2026-11-03T.*none before"):
        score_history.moved(mine, MINE, "young", None, NOVEMBER_10)
    with pytest.raises(GalenaError, match="scored first at 2026-11-03"):
        score_history.moved(mine, MINE, "young", OCTOBER_20, NOVEMBER_10)


# The same for readers, in SQL

AT = "SELECT * FROM serving.lead_score_at_v1(:tenant_id, :lead_id, :at)"
MOVES = "SELECT * FROM serving.lead_score_moves_v1(:tenant_id, :lead_id, :since, :until)"


def _ask(connection: Connection, query: str, tenant_id: str, lead_id: str, *at: datetime) -> Any:
    times = {"at": at[0]} if len(at) == 1 else {"since": at[0], "until": at[1]}
    return connection.execute(
        text(query), {"tenant_id": tenant_id, "lead_id": lead_id, **times}
    ).all()


def test_a_reader_asks_what_a_score_was(reader_url: str) -> None:
    with _connected(reader_url) as connection:
        for at in TIMES:
            for asked in (at, at + MICROSECOND):
                assert _ask(connection, AT, MINE, "a", asked) == [_served(connection, "a", at)]
        assert _ask(connection, AT, MINE, "a", OCTOBER_5 - MICROSECOND) == []


@pytest.mark.parametrize(
    ("since", "until"), [(OCTOBER_5, OCTOBER_20), (OCTOBER_20, NOVEMBER_3), (OCTOBER_5, OCTOBER_5)]
)
def test_a_reader_gets_the_weights_and_words_of_ml_movement(
    reader_url: str, since: datetime, until: datetime
) -> None:
    with _connected(reader_url) as connection:
        rows = _ask(connection, MOVES, MINE, "a", since, until)
        before, after = _stored(connection, "a", since), _stored(connection, "a", until)
    assert {row.factor: (row.weight_before, row.weight_after, row.change) for row in rows} == {
        move.factor: (move.before, move.after, move.change) for move in moves(before, after)
    }
    strengths = [abs(row.change) for row in rows]
    assert strengths == sorted(strengths, reverse=True)
    for side, column in ((before, "explanation_before"), (after, "explanation_after")):
        expected = {
            factor.name: reasons.words(factor, float(side.inputs[factor.shown]))
            for factor in side.model.spec.factors
        }
        said = {row.factor: getattr(row, column) for row in rows}
        assert said == {name: expected.get(name) for name in said} | {None: "the model's base"}
        assert expected.keys() <= said.keys()


def test_a_reader_gets_no_moves_where_one_of_the_scores_is_missing(reader_url: str) -> None:
    with _connected(reader_url) as connection:
        assert _ask(connection, MOVES, MINE, "young", NOVEMBER_3, NOVEMBER_10) != []
        assert _ask(connection, MOVES, MINE, "young", OCTOBER_20, NOVEMBER_10) == []
        assert _ask(connection, MOVES, MINE, "young", NOVEMBER_10, OCTOBER_20) == []
        assert _ask(connection, MOVES, MINE, "nobody", NOVEMBER_3, NOVEMBER_10) == []


def test_nobody_learns_of_another_tenants_scores(both: Database, reader_url: str) -> None:
    with both.tenant(THEIRS) as connection:
        assert len(_ask(connection, AT, THEIRS, "a", NOVEMBER_10)) == 1, "the positive control"
        theirs = score_history.score_at(connection, THEIRS, "a", NOVEMBER_10)
    with both.tenant(MINE) as connection:
        assert score_history.score_at(connection, MINE, "a", NOVEMBER_10) != theirs
        assert _ask(connection, AT, THEIRS, "a", NOVEMBER_10) == []
        assert _ask(connection, MOVES, THEIRS, "a", OCTOBER_5, NOVEMBER_10) == []
        assert list(score_replay.replay_newest(connection, THEIRS)) == []
        for ask in (
            lambda: score_history.score_at(connection, THEIRS, "a", NOVEMBER_10),
            lambda: score_history.moved(connection, THEIRS, "a", None, NOVEMBER_10),
            lambda: score_replay.replay(connection, THEIRS, "a", NOVEMBER_10),
            lambda: score_history.history(connection, THEIRS, "a", 20),
        ):
            with pytest.raises(GalenaError, match="Tenant 'theirs' has no lead 'a'"):
                ask()
    with _connected(reader_url) as connection:
        for bound in ("", f"SELECT set_config('galena.tenant_id', '{THEIRS}', false)"):
            if bound:
                connection.execute(text(bound))
            assert len(_ask(connection, AT, MINE, "a", NOVEMBER_10)) == 1
            assert _ask(connection, AT, THEIRS, "a", NOVEMBER_10) == []
            assert _ask(connection, MOVES, THEIRS, "a", OCTOBER_5, NOVEMBER_10) == []


@pytest.mark.parametrize("query", [AT, MOVES])
def test_a_lead_is_found_by_the_key_behind_the_policies(
    both: Database, reader_url: str, query: str
) -> None:
    """Policies keep a condition from the index when its operator could leak what it compares."""
    times = (NOVEMBER_3,) if query == AT else (OCTOBER_5, NOVEMBER_3)
    with both.tenant(MINE) as app, _connected(reader_url) as reader:
        for connection in (app, reader):
            connection.execute(text("SET LOCAL enable_seqscan = off"))
            rows = _ask(connection, f"EXPLAIN {query}", MINE, "a", *times)
            plan = [row[0].strip() for row in rows]
            conditions = [line for line in plan if line.startswith("Index Cond") and "<=" in line]
            assert conditions, plan
            for condition in conditions:
                assert "lead_id = " in condition, plan
            assert not any("Seq Scan on lead_score_history" in line for line in plan), plan


@pytest.mark.parametrize(
    "signature",
    [
        "lead_score_at_v1(text, text, timestamptz)",
        "score_weights(text, text, timestamptz)",
        "lead_score_moves_v1(text, text, timestamptz, timestamptz)",
    ],
)
def test_the_functions_say_what_they_give(mine: Connection, signature: str) -> None:
    query = text("SELECT obj_description(to_regprocedure(:name), 'pg_proc')")
    comment = mine.scalar(query, {"name": f"serving.{signature}"})
    assert comment is not None
    assert "that a lead had at" in comment


# Whether it comes out again


def _replayed(database: Database, most: int | None = None) -> list[score_replay.Replayed]:
    with database.tenant(MINE) as connection:
        blocks = list(score_replay.replay_newest(connection, MINE, most))
    return [replayed for block in blocks for replayed in block]


def test_every_score_comes_out_the_same_to_the_bit(both: Database) -> None:
    found = _replayed(both)
    assert [(done.lead_id, done.calculated_at) for done in found] == [
        (lead_id, at) for at in reversed(TIMES) for lead_id in SCORED[at]
    ]
    assert {done.differences for done in found} == {()}
    assert {done.model_version for done in found} == {1, 2}
    with both.tenant(MINE) as connection:
        for done in found:
            again = score_replay.replay(connection, MINE, done.lead_id, done.calculated_at)
            assert again == done


def test_the_newest_are_replayed_block_by_block(
    both: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    everything = _replayed(both)
    assert _replayed(both, most=4) == everything[:4]
    monkeypatch.setattr(score_replay, "_BLOCK", 3)
    with both.tenant(MINE) as connection:
        blocks = list(score_replay.replay_newest(connection, MINE))
    assert [len(block) for block in blocks] == [3, 3, 3, 1]
    assert [done for block in blocks for done in block] == everything


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("probability = 0.5", "probability: 0.5 stored, 0.* comes out"),
        ("probability = probability * (1 + 4e-16)", "probability: 0.* stored, 0.* comes out"),
        ("score = 101", "score: 101 stored, .* comes out"),
        ("confidence = 0.25", "confidence: 0.25 stored, .* comes out"),
        ("contributions[1] = 9", "contribution of 'job': 9.0 stored, .* comes out"),
        ("contributions[2] = 'NaN'", "contribution of 'age': nan stored, .* comes out"),
        ("contributions[3] = '-0'", "contribution of 'newsletter': -0.0 stored, .* comes out"),
        ("contributions = contributions[1\\:2]", "contributions: 2 stored, 9 come out"),
        ("inputs = inputs[1\\:5]", r"inputs: 5 stored, the model takes \d+"),
    ],
)
def test_a_score_that_was_tampered_with_is_named_with_what_differs(
    own: Database, change: str, words: str
) -> None:
    where = "WHERE lead_id = 'b' AND calculated_at = :at"
    _break(own, f"UPDATE ml.lead_score_history SET {change} {where}", at=OCTOBER_5)
    differing = [done for done in _replayed(own) if done.differences]
    assert [(done.lead_id, done.calculated_at) for done in differing] == [("b", OCTOBER_5)]
    assert len(differing[0].differences) == 1
    assert re.fullmatch(words, differing[0].differences[0]), differing[0].differences
    with own.tenant(MINE) as connection:
        assert score_replay.replay(connection, MINE, "b", OCTOBER_5) == differing[0]


def test_changed_inputs_name_every_number_that_rests_on_them(own: Database) -> None:
    _break(own, "UPDATE ml.lead_score_history SET inputs = array_fill(0::real, '{15}')"
                " WHERE lead_id = 'b' AND calculated_at = :at", at=OCTOBER_5)  # fmt: skip
    (differing,) = (done for done in _replayed(own) if done.differences)
    assert len(differing.differences) > 2


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        (
            "DELETE FROM ml.models WHERE version = 1",
            "version 1 of tenant 'mine' is gone from ml.models.* from a backup",
        ),
        (
            "UPDATE ml.models SET artifact = artifact || ' ' WHERE version = 1",
            r"version 1 of tenant 'mine' is not the document .*sha256 differs\): restore",
        ),
        (
            "UPDATE ml.models SET artifact = '{}',"
            " sha256 = encode(sha256('{}'), 'hex') WHERE version = 1",
            "version 1 of tenant 'mine' cannot be read by this release: .*format",
        ),
    ],
)
def test_a_model_that_is_gone_or_another_is_said_and_the_rest_is_replayed(
    own: Database, statement: str, words: str
) -> None:
    _break(own, statement)
    found = _replayed(own)
    assert len(found) == sum(map(len, SCORED.values()))
    for done in found:
        assert bool(done.differences) == (done.model_version == 1)
    assert re.search(words, found[-1].differences[0])
    with own.tenant(MINE) as connection:
        for ask in (
            lambda: score_replay.replay(connection, MINE, "a", OCTOBER_5),
            lambda: score_history.moved(connection, MINE, "a", OCTOBER_5, NOVEMBER_3),
        ):
            with pytest.raises(GalenaError, match=words):
                ask()


def test_without_its_model_a_score_has_no_answer_and_never_an_older_one(own: Database) -> None:
    _break(own, "DELETE FROM ml.models WHERE version = 2")
    with own.tenant(MINE) as connection:
        assert _ask(connection, AT, MINE, "a", NOVEMBER_10) == []
        assert _ask(connection, MOVES, MINE, "a", OCTOBER_5, NOVEMBER_10) == []
        assert len(_ask(connection, AT, MINE, "a", OCTOBER_20)) == 1
        with pytest.raises(GalenaError, match=r"version 2 .* is gone"):
            score_history.score_at(connection, MINE, "a", NOVEMBER_10)
        lines = score_history.history(connection, MINE, "a", 20)
    assert [line.strongest_reason is None for line in lines] == [True, True, False, False]


def test_without_its_ranking_a_score_says_so(own: Database) -> None:
    _break(own, "DELETE FROM ml.score_rankings WHERE ranked_at = :at", at=NOVEMBER_10)
    with (
        own.tenant(MINE) as connection,
        pytest.raises(GalenaError, match=r"2026-11-10T10:00:00 UTC of lead 'a'.*score_rankings"),
    ):
        score_history.score_at(connection, MINE, "a", NOVEMBER_10)


def test_a_row_that_does_not_fit_its_model_is_not_compared(own: Database) -> None:
    _break(own, "UPDATE ml.lead_score_history SET inputs = inputs[1\\:5] WHERE lead_id = 'a'")
    with own.tenant(MINE) as connection, pytest.raises(GalenaError, match="restore the row"):
        score_history.moved(connection, MINE, "a", None, NOVEMBER_10)


# The command


Lead = Callable[..., Result]


@pytest.fixture
def lead(shared_urls: Urls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lead:
    """Run `galena lead` on the shared database, in a terminal wide enough for its tables."""
    monkeypatch.setattr(lead_commands, "_out", Console(width=200))
    home = {"GALENA_HOME": str(tmp_path / "home")}
    return _command({**home, "GALENA_DATABASE_URL": shared_urls.app}, shared_urls)


def _command(settings: dict[str, str], urls: Urls) -> Lead:
    names = ("OWNER_DATABASE", "DAGSTER_DATABASE", "MLFLOW_DATABASE")
    others = {f"GALENA_{name}_URL": urls.owner for name in names}

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(lead_commands.lead_app, arguments, env={**settings, **others})

    return run


def _refused(done: Result, words: str) -> None:
    assert isinstance(done.exception, GalenaError), (done.output, done.exception)
    assert re.search(words, str(done.exception)), done.exception


def test_show_prints_the_score_of_the_day_with_all_its_reasons(
    lead: Lead, mine: Connection
) -> None:
    done = lead("show", MINE, "a", "--at", "2026-10-20")
    served = _served(mine, "a", OCTOBER_20)
    assert done.exit_code == 0, done.exception
    assert f"a at 2026-10-20T23:59:59.999999 UTC: score {served.score}, probability" in done.output
    assert "2026-10-20T10:00:00 UTC by run run-10-20 with model version 1" in done.output
    assert "It expires at 2026-10-22T10:00:00 UTC." in done.output
    for reason in served.reasoning:
        assert f"{reason['weight']:+.4f}  {reason['explanation']}" in done.output
    assert f"{served.base_log_odds:+.4f}  before anything" in done.output
    late = lead("show", MINE, "a", "--at", "2026-11-03T10:29Z").output
    assert "It had expired at 2026-10-22T10:00:00 UTC, and no newer score" in late
    assert "Calculated 2026-11-10" in lead("show", MINE, "a", "--at", "2026-11-11").output


@pytest.fixture
def tokyo(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The machine's own time zone."""
    with monkeypatch.context() as changed:
        changed.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("tokyo")
def test_times_are_in_utc_unless_they_say_otherwise(lead: Lead) -> None:
    for at, calculated_at in (
        ("2026-11-03T10:30:00.25", "2026-11-03"),
        ("2026-11-03T10:30", "2026-10-20"),
        ("2026-11-03T11:30:01+01:00", "2026-11-03"),
        ("2026-11-03T11:29+01:00", "2026-10-20"),
        ("2026-11-02", "2026-10-20"),
        ("2026-11-03", "2026-11-03"),
    ):
        assert f"Calculated {calculated_at}" in lead("show", MINE, "a", "--at", at).output, at


@pytest.mark.parametrize("nonsense", ["yesterday", "2026-13-01", "10:30", "0001-01-01T00:00+23:00"])
def test_a_time_that_is_none_is_refused_with_its_option(lead: Lead, nonsense: str) -> None:
    for arguments in (
        ("show", MINE, "a", "--at", nonsense),
        ("moved", MINE, "a", "--since", nonsense),
        ("moved", MINE, "a", "--until", nonsense),
        ("replay", MINE, "a", "--at", nonsense),
    ):
        words = f"{arguments[3]} is '{re.escape(nonsense)}' and no time in ISO 8601: give a date"
        _refused(lead(*arguments), words)


def test_history_lists_the_scores_newest_first(lead: Lead) -> None:
    done = lead("history", MINE, "a")
    found = re.findall(r"(2026-\S+) +\d+ +0\.\d{4} +\d\.\d\d +(\d)  \w", done.output)
    times = [at.replace(tzinfo=None).isoformat() for at in reversed(TIMES)]
    assert found == [(at, str(VERSIONS[datetime.fromisoformat(at + "Z")])) for at in times]
    for at in times:
        assert f"Calculated {at} UTC" in lead("show", MINE, "a", "--at", at).output, "given back"
    assert len(re.findall("2026-", lead("history", MINE, "a", "--limit", "2").output)) == 2


def test_moved_prints_what_moved_between_the_two_newest_or_two_days(
    lead: Lead, mine: Connection
) -> None:
    for options, between in (
        ((), (NOVEMBER_3, NOVEMBER_10)),
        (("--since", "2026-10-05", "--until", "2026-11-03"), (OCTOBER_5, NOVEMBER_3)),
        (("--until", "2026-10-20"), (OCTOBER_5, OCTOBER_20)),
    ):
        output = lead("moved", MINE, "a", *options).output
        before, after = (_stored(mine, "a", at) for at in between)
        for at in between:
            served = _served(mine, "a", at)
            assert f"{at:%Y-%m-%dT%H:%M:%S}" in output
            assert f" UTC: score {served.score}, probability" in output
        lines = re.findall(r"^ *([+-]\d+\.\d{4}) +([+-]\S+) +([+-]\S+)  (.*?) *$", output, re.M)
        expected = [move for move in moves(before, after) if move.change != 0]
        assert [line[3] for line in lines[:-1]] == [move.words for move in expected]
        assert lines[-1][3].startswith("log-odds of the probability")
        for column, total in enumerate(
            (after.log_odds - before.log_odds, before.log_odds, after.log_odds)
        ):
            assert float(lines[-1][column]) == pytest.approx(total, abs=6e-5)
        changes = [float(line[0]) for line in lines]
        assert sum(changes[:-1]) == pytest.approx(changes[-1], abs=1e-3)


def test_moved_says_when_no_score_came_in_between(lead: Lead) -> None:
    done = lead("moved", MINE, "a", "--since", "2026-10-05", "--until", "2026-10-19")
    assert "No score of a was calculated between the two times: it stayed" in done.output
    assert "as of 2026-10-05T10:00:00 UTC." in done.output


def test_replay_says_that_all_came_out(lead: Lead) -> None:
    assert lead("replay", MINE).output.strip() == (
        "10 replayed, every one the same to the bit (5 of version 2, 5 of version 1)."
    )
    assert "3 replayed, every one" in lead("replay", MINE, "--most", "3").output
    one = lead("replay", MINE, "a", "--at", "2026-10-31").output
    assert "1 replayed, every one the same to the bit (1 of version 1)." in one
    _refused(lead("replay", MINE, "--at", "2026-10-31"), "--at goes with a LEAD")
    _refused(lead("replay", MINE, "a", "--most", "3"), "--most goes without")


def test_replay_names_what_does_not_come_out_and_fails(
    own: Database, urls: Urls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lead_commands, "_SHOWN", 1)
    run = _command({"GALENA_HOME": str(tmp_path), "GALENA_DATABASE_URL": urls.app}, urls)
    _break(own, "UPDATE ml.lead_score_history SET score = 101 WHERE model_version = 2")
    done = run("replay", MINE)
    assert "a at 2026-11-10T10:00:00 UTC: score: 101 stored, " in done.output
    assert "More differ; they are counted below." in done.output
    assert done.output.count("101 stored") == 1
    _refused(done, r"5 of 10 scores of tenant 'mine' \(5 of version 2, 5 of version 1\) do not")
    _refused(run("replay", MINE, "a"), "1 of 1 scores")
    with own.tenant(MINE) as connection:
        connection.execute(text("DELETE FROM ml.lead_score_history"))
    _refused(run("replay", MINE), "'mine' has no scores to replay")


@pytest.mark.parametrize("command", ["show", "history", "moved", "replay"])
def test_the_commands_name_a_lead_or_tenant_that_is_none(lead: Lead, command: str) -> None:
    _refused(lead(command, MINE, "nobody"), "Tenant 'mine' has no lead 'nobody'")
    _refused(lead(command, "nobody", "a"), "There is no tenant 'nobody'")
