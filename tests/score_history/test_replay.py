"""Whether scores come out again from what is stored, and what is said where they do not."""

import re

import pytest

from tests.score_history.past import (
    MINE,
    NOVEMBER_3,
    OCTOBER_5,
    SCORED,
    TIMES,
    tamper,
)
from warehouse import score_history, score_replay
from warehouse.database import Database
from warehouse.errors import GalenaError


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
    tamper(own, f"UPDATE ml.lead_score_history SET {change} {where}", at=OCTOBER_5)
    differing = [done for done in _replayed(own) if done.differences]
    assert [(done.lead_id, done.calculated_at) for done in differing] == [("b", OCTOBER_5)]
    assert len(differing[0].differences) == 1
    assert re.fullmatch(words, differing[0].differences[0]), differing[0].differences
    with own.tenant(MINE) as connection:
        assert score_replay.replay(connection, MINE, "b", OCTOBER_5) == differing[0]


def test_changed_inputs_name_every_number_that_rests_on_them(own: Database) -> None:
    tamper(own, "UPDATE ml.lead_score_history SET inputs = array_fill(0::real, '{15}')"
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
    tamper(own, statement)
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
