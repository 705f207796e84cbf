"""Originals come back whatever was done to their placeholders, and never where others wrote one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai.guards.placeholders import Vault


@pytest.fixture
def vault() -> Vault:
    found = Vault()
    found.placeholder("EMAIL", "ada@example.org")
    found.placeholder("PERSON", 'Ada "Countess" Lovelace\\\n')
    return found


def test_the_same_original_has_one_placeholder_and_kinds_are_counted_apart() -> None:
    vault = Vault()
    assert vault.placeholder("EMAIL", "a@b.de") == "<EMAIL_1>"
    assert vault.placeholder("EMAIL", "c@d.de") == "<EMAIL_2>"
    assert vault.placeholder("PERSON", "a@b.de") == "<PERSON_1>"
    assert vault.placeholder("EMAIL", "a@b.de") == "<EMAIL_1>"
    assert len(vault) == 3


@pytest.mark.parametrize(
    "damaged",
    [
        "<EMAIL_1>", "<email_1>", "<Email_1>", "< EMAIL_1 >", "<EMAIL 1>", "<EMAIL-1>", "EMAIL_1",
        "<EMAIL_1", "EMAIL_1>", r"\<EMAIL\_1\>", r"EMAIL\_1", "&lt;EMAIL_1&gt;", "[EMAIL_1]",
        "{EMAIL_1}", "(EMAIL_1)", r"\u003cEMAIL_1\u003e", "<EMAIL_1/>", "</EMAIL_1>",
    ],
)  # fmt: skip
def test_damaged_placeholders_are_restored(vault: Vault, damaged: str) -> None:
    assert vault.restore(f"Write to {damaged}, soon.") == "Write to ada@example.org, soon."


@pytest.mark.parametrize(
    "other", ["email 1", "xEMAIL_1", "EMAIL_1x", "<EMAIL_12>", "EMAIL_", "<EMAIL>", "(email 1)"]
)
def test_what_only_resembles_one_stays(vault: Vault, other: str) -> None:
    assert vault.restore(other) == other


def test_unknown_placeholders_stay_and_are_reported(vault: Vault) -> None:
    text = "<EMAIL_1>, [PERSON_7] and phone_3"
    assert vault.restore(text) == "ada@example.org, [PERSON_7] and phone_3"


def test_originals_are_not_looked_through_again() -> None:
    vault = Vault()
    vault.placeholder("EMAIL", "ada@example.org")
    vault.placeholder("LITERAL", "<EMAIL_1>")
    assert vault.restore("<LITERAL_1>") == "<EMAIL_1>"


def test_nothing_of_the_originals_is_in_the_repr(vault: Vault) -> None:
    assert repr(vault) == "Vault({'EMAIL': 1, 'PERSON': 1})"
    assert "ada" not in repr(vault.stream()).casefold()


_PIECES = st.sampled_from(
    [
        "<", ">", "EMAIL", "email", "PERSON", "_", "1", "2", "\\", "&lt;", "&gt;", "[", "]", " ",
        "x", "&", "-", "/", "\n", "word ", "\\u003c", "\\u003e", "E", "<EMAIL_1>", "PERSON_1",
    ]
)  # fmt: skip


@given(st.lists(_PIECES, max_size=14).map("".join), st.lists(st.integers(1, 5), max_size=60))
def test_a_stream_restores_as_the_whole_however_it_is_cut(text: str, lengths: list[int]) -> None:
    vault = Vault()
    vault.placeholder("EMAIL", "ada@example.org")
    vault.placeholder("PERSON", "Ada")
    stream = vault.stream()
    given_out, at = "", 0
    for length in lengths:
        given_out += stream.feed(text[at : at + length])
        at += length
    given_out += stream.feed(text[at:]) + stream.end()
    assert given_out == vault.restore(text)


def test_a_stream_holds_back_no_more_than_a_beginning(vault: Vault) -> None:
    stream = vault.stream()
    assert stream.feed("Write to <EMA") == "Write to "
    assert stream.feed("IL_1> or call. ") == "ada@example.org or call. "
    assert stream.feed("2 < 3") == "2 < 3"
    assert stream.end() == ""
