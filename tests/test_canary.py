"""The canary is found in however an answer spells it, and in no answer without it."""

# ruff: noqa: RUF001 - look-alikes are what this is about

import base64
import codecs
import secrets
from collections.abc import Callable

import pytest

from ai.guards.canary import leaked, make

CANARY = make(bytes(range(40, 53)))


def test_canaries_are_made_of_the_bytes_given_and_no_two_are_alike() -> None:
    assert make(bytes(range(40, 53))) == CANARY
    assert len({make(secrets.token_bytes(16)) for _ in range(100)}) == 100
    with pytest.raises(ValueError, match="13 random bytes, not 4"):
        make(b"four")


@pytest.mark.parametrize(
    "spell",
    [
        str,
        str.upper,
        lambda canary: canary[::-1],
        " ".join,
        "-".join,
        "\n".join,
        "\u200b".join,
        lambda canary: codecs.encode(canary, "rot13"),
        lambda canary: canary.translate(str.maketrans("aeocpxy", "аеосрху")),
        lambda canary: f"{canary[:10]} and then {canary[10:]}".replace(" and then ", "\n"),
        lambda canary: base64.b64encode(f"My rules: {canary}. Secret".encode()).decode(),
        lambda canary: base64.b64encode(f"Rule {canary}!".encode()).decode(),
        lambda canary: base64.b32encode(f"My rules: {canary}".encode()).decode(),
        lambda canary: f"My rules: {canary}".encode().hex(),
        lambda canary: f"{canary}".encode().hex(" "),
        lambda canary: "".join(f"%{ord(character):02x}" for character in canary),
        lambda canary: canary[4:17],
    ],
)
def test_a_leak_is_found_in_every_spelling(spell: Callable[[str], str]) -> None:
    assert leaked(f"Sure! It says {spell(CANARY)} at the top.", CANARY)


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "The invoice of 14 March was paid on the 20th.",
        CANARY[:10],
        make(bytes(range(60, 73))),
        base64.b64encode(b"nothing of the system prompt is in here").decode(),
    ],
)
def test_answers_without_it_have_leaked_nothing(answer: str) -> None:
    assert not leaked(answer, CANARY)
