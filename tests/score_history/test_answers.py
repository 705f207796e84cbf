"""What the scores were and what moved, for the application and for readers; who may ask."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, create_engine, text

from ml import reasons
from ml.movement import moves
from tests.score_history.past import (
    LIFETIME,
    MICROSECOND,
    MINE,
    NOVEMBER_3,
    NOVEMBER_10,
    OCTOBER_5,
    OCTOBER_20,
    THEIRS,
    TIMES,
    VERSIONS,
    served_row,
    stored_row,
    tamper,
)
from warehouse import score_history, score_replay, tenants
from warehouse.database import Database
from warehouse.embedded import Urls
from warehouse.errors import GalenaError


@pytest.fixture(scope="module")
def reader_url(shared_urls: Urls, worker_id: str) -> str:
    return tenants.add_reader(shared_urls.owner, MINE, f"history_reader_{worker_id}")


@contextmanager
def _connected(url: str) -> Iterator[Connection]:
    engine = create_engine(url)
    with engine.connect() as connection:
        yield connection
    engine.dispose()


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
    served = served_row(mine, "a", calculated_at)._mapping
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
        served = served_row(mine, "a", line.calculated_at)
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
        for served in (served_row(mine, "a", at) for at in between)
    )
    assert sum(move.change for move in found.moves) == pytest.approx(after - before, abs=1e-9)
    assert sum(move.before for move in found.moves) == pytest.approx(before, abs=1e-9)
    assert found.moves == moves(*(stored_row(mine, "a", at) for at in between))
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
                assert _ask(connection, AT, MINE, "a", asked) == [served_row(connection, "a", at)]
        assert _ask(connection, AT, MINE, "a", OCTOBER_5 - MICROSECOND) == []


@pytest.mark.parametrize(
    ("since", "until"), [(OCTOBER_5, OCTOBER_20), (OCTOBER_20, NOVEMBER_3), (OCTOBER_5, OCTOBER_5)]
)
def test_a_reader_gets_the_weights_and_words_of_ml_movement(
    reader_url: str, since: datetime, until: datetime
) -> None:
    with _connected(reader_url) as connection:
        rows = _ask(connection, MOVES, MINE, "a", since, until)
        before, after = stored_row(connection, "a", since), stored_row(connection, "a", until)
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


# Where rows are gone or damaged


def test_without_its_model_a_score_has_no_answer_and_never_an_older_one(own: Database) -> None:
    tamper(own, "DELETE FROM ml.models WHERE version = 2")
    with own.tenant(MINE) as connection:
        assert _ask(connection, AT, MINE, "a", NOVEMBER_10) == []
        assert _ask(connection, MOVES, MINE, "a", OCTOBER_5, NOVEMBER_10) == []
        assert len(_ask(connection, AT, MINE, "a", OCTOBER_20)) == 1
        with pytest.raises(GalenaError, match=r"version 2 .* is gone"):
            score_history.score_at(connection, MINE, "a", NOVEMBER_10)
        lines = score_history.history(connection, MINE, "a", 20)
    assert [line.strongest_reason is None for line in lines] == [True, True, False, False]


def test_without_its_ranking_a_score_says_so(own: Database) -> None:
    tamper(own, "DELETE FROM ml.score_rankings WHERE ranked_at = :at", at=NOVEMBER_10)
    with (
        own.tenant(MINE) as connection,
        pytest.raises(GalenaError, match=r"2026-11-10T10:00:00 UTC of lead 'a'.*score_rankings"),
    ):
        score_history.score_at(connection, MINE, "a", NOVEMBER_10)


def test_a_row_that_does_not_fit_its_model_is_not_compared(own: Database) -> None:
    tamper(own, "UPDATE ml.lead_score_history SET inputs = inputs[1\\:5] WHERE lead_id = 'a'")
    with own.tenant(MINE) as connection, pytest.raises(GalenaError, match="restore the row"):
        score_history.moved(connection, MINE, "a", None, NOVEMBER_10)
