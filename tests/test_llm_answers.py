"""Answers are kept for one tenant, made by one caller, and read by nobody else."""

import logging
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256

import pytest
from sqlalchemy import Connection, create_engine, text

from ai.calls import Answer, Usage
from ai.stores import Answers, Kept, Similar
from tests.test_tenant_keys import process
from warehouse import retention, tenants
from warehouse.database import Database
from warehouse.embedded import Urls
from warehouse.llm_answers import StoredAnswers

ACME, BRIO = "acme", "brio"
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
SOON, LATER = NOW + timedelta(seconds=30), NOW + timedelta(hours=1)
KEY, GROUP = "a" * 64, "b" * 64
QUESTION = "Why did Zofia Kowalska's quokka order stall?"
VECTOR = bytes(range(256)) * 2
ANSWER = Answer(
    text="Żółw-quokka waits for the signature of Zofia Kowalska.",
    provider="openai",
    model="gpt-5-mini",
    finish_reason="stop",
    usage=Usage(120, 34, 100),
    candidate="small",
)


@pytest.fixture
def both(database: Database) -> Database:
    for tenant_id in (ACME, BRIO):
        tenants.add(database, tenant_id)
    return database


@pytest.fixture
def answers(both: Database) -> StoredAnswers:
    return StoredAnswers(both, process(both))


def _find(
    answers: Answers,
    tenant_id: str = ACME,
    key: str = KEY,
    now: datetime = NOW,
    claim: str = "mine",
) -> Answer | str:
    until = now + timedelta(seconds=30)
    found = answers.find_or_claim(tenant_id, key, claim=claim, now=now, claim_until=until)
    return found.answer if isinstance(found, Kept) else found


def _store(answers: Answers, tenant_id: str = ACME, key: str = KEY, said: str = "") -> None:
    answer = replace(ANSWER, text=said) if said else ANSWER
    times = {"now": NOW, "expires_at": LATER}
    answers.store(tenant_id, key, answer, **times, group=GROUP, text=QUESTION, vector=VECTOR)


@contextmanager
def _past_policies(urls: Urls) -> Iterator[Connection]:
    """What whoever reads the database's files, or owns them, can do."""
    engine = create_engine(urls.superuser)
    with engine.begin() as connection:
        yield connection
    engine.dispose()


def test_one_makes_the_answer_and_the_others_get_it(answers: StoredAnswers) -> None:
    assert _find(answers) == "claimed"
    assert _find(answers) == "taken"
    _store(answers)
    assert _find(answers) == ANSWER
    assert _find(answers, key="c" * 64) == "claimed"


def test_of_many_at_once_one_makes_the_answer(both: Database) -> None:
    start = threading.Barrier(12)

    def find(_number: int) -> Answer | str:
        mine = StoredAnswers(both, process(both))
        mine.similar(ACME, GROUP, now=NOW)
        start.wait()
        return _find(mine)

    with ThreadPoolExecutor(12) as pool:
        assert sorted(map(str, pool.map(find, range(12)))) == ["claimed"] + ["taken"] * 11


def test_a_claim_ends_when_given_up_or_when_its_maker_is_gone(answers: StoredAnswers) -> None:
    assert _find(answers) == "claimed"
    answers.release(ACME, KEY, "mine")
    assert _find(answers) == "claimed"
    assert _find(answers, now=SOON - timedelta(seconds=1)) == "taken"
    assert _find(answers, now=SOON) == "claimed"
    assert _find(answers, now=SOON) == "taken", "a claim of its own time"
    _store(answers)
    answers.release(ACME, KEY, "mine")
    assert _find(answers) == ANSWER, "what is stored is no claim"


def test_nobody_gives_up_a_claim_of_somebody_else(answers: StoredAnswers) -> None:
    assert _find(answers, claim="first") == "claimed"
    answers.release(ACME, KEY, "second")
    assert _find(answers, claim="second") == "taken"
    assert _find(answers, claim="second", now=SOON) == "claimed", "the first took too long"
    answers.release(ACME, KEY, "first")
    assert _find(answers, claim="third", now=SOON) == "taken"
    answers.release(ACME, KEY, "second")
    assert _find(answers, claim="third", now=SOON) == "claimed"
    _store(answers, BRIO)
    assert _find(answers, BRIO, key="c" * 64, claim="third") == "claimed"
    answers.release(ACME, "c" * 64, "third")
    assert _find(answers, BRIO, key="c" * 64) == "taken", "nor of another tenant"


def test_an_answer_says_until_when_it_serves(answers: StoredAnswers) -> None:
    _store(answers)
    times = {"now": NOW + timedelta(minutes=5), "claim_until": SOON + timedelta(minutes=5)}
    assert answers.find_or_claim(ACME, KEY, claim="mine", **times) == Kept(ANSWER, LATER)


def test_an_answer_takes_the_place_of_a_claim_and_a_claim_of_what_expired(
    answers: StoredAnswers, urls: Urls
) -> None:
    states = []
    for happens in (
        lambda: _find(answers, claim="first"),
        lambda: _store(answers),
        lambda: _find(answers, now=LATER, claim="second"),
    ):
        happens()
        with _past_policies(urls) as connection:
            row = connection.execute(text("SELECT claim, sealed IS NULL FROM ml.llm_answers"))
            states.append(tuple(row.one()))
    assert states == [("first", True), (None, False), ("second", True)]


def test_an_answer_serves_until_it_expires(answers: StoredAnswers) -> None:
    _store(answers)
    assert _find(answers, now=LATER - timedelta(seconds=1)) == ANSWER
    assert len(answers.similar(ACME, GROUP, now=LATER - timedelta(seconds=1))) == 1
    assert answers.similar(ACME, GROUP, now=LATER) == []
    assert _find(answers, now=LATER) == "claimed"
    _store(answers, said="anew")
    assert _find(answers) == replace(ANSWER, text="anew")


def test_a_tenant_never_gets_anothers_answer(answers: StoredAnswers) -> None:
    _store(answers, BRIO)
    assert answers.similar(ACME, GROUP, now=NOW) == []
    assert _find(answers) == "claimed"
    _store(answers, said="mine")
    assert _find(answers, BRIO) == ANSWER
    assert _find(answers) == replace(ANSWER, text="mine")
    assert [one.answer.text for one in answers.similar(ACME, GROUP, now=NOW)] == ["mine"]


def test_similar_questions_are_the_newest_of_their_group(answers: StoredAnswers) -> None:
    for number in range(203):
        at = NOW + timedelta(seconds=number)
        asked = f"{number}"
        answers.store(ACME, asked, ANSWER, now=at, expires_at=LATER, group=GROUP, text=asked)
    answers.store(ACME, "other", ANSWER, now=NOW, expires_at=LATER, group="c" * 64, text="other")
    answers.store(ACME, "none", ANSWER, now=NOW, expires_at=LATER)
    found = answers.similar(ACME, GROUP, now=NOW)
    assert [one.text for one in found] == [str(number) for number in range(202, 2, -1)]


def test_a_similar_question_comes_as_it_was_stored(answers: StoredAnswers) -> None:
    _store(answers)
    assert answers.similar(ACME, GROUP, now=NOW) == [Similar(QUESTION, VECTOR, ANSWER)]


def test_the_table_tells_nothing_of_what_was_said(answers: StoredAnswers, urls: Urls) -> None:
    _store(answers)
    _find(answers, key="c" * 64)
    with _past_policies(urls) as connection:
        rows = connection.scalars(text("SELECT a::text FROM ml.llm_answers a")).all()
        keys = connection.scalars(text("SELECT k::text FROM ml.tenant_keys k")).all()
    assert len(rows) == 2
    contents = (ANSWER.text, QUESTION, "Zofia", "quokka", "gpt-5-mini", KEY, GROUP)
    secrets = [content.encode() for content in contents] + [VECTOR[:32], VECTOR[-32:]]
    # Nor what a question that somebody guesses would give away.
    secrets += [bytes.fromhex(KEY), sha256(KEY.encode()).digest(), sha256(bytes(32)).digest()]
    for shown in (*rows, *keys):
        for secret in secrets:
            assert secret.hex() not in shown
            assert secret.decode("latin-1") not in shown


@pytest.mark.parametrize(
    "spoiled",
    [
        "sealed = set_byte(sealed, length(sealed) - 1, 1 # get_byte(sealed, length(sealed) - 1))",
        "sealed = set_byte(sealed, 30, 1 # get_byte(sealed, 30))",
        "sealed = set_byte(sealed, 2, 1 # get_byte(sealed, 2))",
        "sealed = ''",
        "sealed = (SELECT sealed FROM ml.llm_answers WHERE tenant_id = 'brio')",
        "sealed = (SELECT sealed FROM ml.llm_answers b WHERE b.tenant_id = 'acme'"
        " AND b.digest <> a.digest)",
    ],
)
def test_what_was_changed_or_moved_is_not_said(
    answers: StoredAnswers, urls: Urls, caplog: pytest.LogCaptureFixture, spoiled: str
) -> None:
    with _past_policies(urls) as connection:
        _store(answers)
        digest = connection.scalar(text("SELECT digest FROM ml.llm_answers"))
        _store(answers, key="c" * 64, said="another")
        _store(answers, BRIO)
        connection.execute(
            text(f"UPDATE ml.llm_answers a SET {spoiled} WHERE digest = :digest"),
            {"digest": digest},
        )
    with caplog.at_level(logging.WARNING):
        assert [one.answer.text for one in answers.similar(ACME, GROUP, now=NOW)] == ["another"]
        assert _find(answers) == "claimed", "it is made anew"
    assert "A value in ml.llm_answers.sealed of tenant 'acme' does not open" in caplog.text
    assert "quokka" not in caplog.text
    assert _find(answers, BRIO) == ANSWER


def test_a_row_that_was_given_to_another_tenant_is_not_found(
    answers: StoredAnswers, urls: Urls
) -> None:
    _store(answers, BRIO)
    _find(answers, key="c" * 64)
    with _past_policies(urls) as connection:
        connection.execute(
            text(
                "INSERT INTO ml.llm_answers SELECT 'acme', digest, group_digest,"
                " (SELECT key_id FROM ml.tenant_keys WHERE tenant_id = 'acme'), sealed, claim,"
                " stored_at, expires_at FROM ml.llm_answers WHERE tenant_id = 'brio'"
            )
        )
    assert _find(answers) == "claimed"
    assert answers.similar(ACME, GROUP, now=NOW) == []


def test_a_rotated_key_loses_no_answer(both: Database) -> None:
    keys = process(both)
    answers = StoredAnswers(both, keys)
    for key in (KEY, "c" * 64):
        _store(answers, key=key)
    keys.rotate(ACME, actor="ann")
    assert _find(answers) == ANSWER
    _store(answers, key=KEY, said="anew")
    assert answers.reseal(ACME) == 1, "and the other was stored anew"
    assert keys.retire(ACME, actor="ann") == 1
    fresh = StoredAnswers(both, process(both))
    assert _find(fresh, key="c" * 64) == ANSWER
    assert _find(fresh) == replace(ANSWER, text="anew")
    assert len(fresh.similar(ACME, GROUP, now=NOW)) == 2
    assert {one.text for one in fresh.similar(ACME, GROUP, now=NOW)} == {QUESTION}


def test_of_an_answer_from_before_and_after_a_rotation_the_newer_serves(both: Database) -> None:
    keys = process(both)
    answers = StoredAnswers(both, keys)
    asked = [str(number) for number in range(8)]
    for key in asked:
        _store(answers, key=key)
    keys.rotate(ACME, actor="ann")
    anew = replace(ANSWER, text="anew")
    for key in asked:
        answers.store(ACME, key, anew, now=SOON, expires_at=LATER)
    assert {_find(answers, key=key) for key in asked} == {anew}


def test_a_process_that_remembers_a_destroyed_key_takes_the_new_one(both: Database) -> None:
    answers, elsewhere = StoredAnswers(both, process(both)), process(both)
    _store(answers)
    elsewhere.rotate(ACME, actor="ann")
    elsewhere.retire(ACME, actor="ann")
    assert _find(StoredAnswers(both, elsewhere)) == "claimed", "it went with its key"
    _store(answers)
    assert _find(StoredAnswers(both, elsewhere)) == ANSWER


def test_expired_answers_and_claims_are_deleted(answers: StoredAnswers, both: Database) -> None:
    now = datetime.now(UTC)
    answers.store(ACME, "old", ANSWER, now=NOW, expires_at=now - timedelta(seconds=1))
    answers.store(ACME, "new", ANSWER, now=NOW, expires_at=now + timedelta(hours=1))
    _find(answers, key="claim", now=now - timedelta(minutes=1))
    _store(answers, BRIO)
    with both.tenant(ACME) as connection:
        assert retention.forget(connection, ACME, retention.Ages()) == 2
        left = connection.scalar(text("SELECT count(*) FROM ml.llm_answers"))
    assert left == 1
