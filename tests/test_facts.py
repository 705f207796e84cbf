"""Two questions whose answers may serve each other hold the same facts, whatever their words."""

import subprocess
import sys

import pytest

from ai import cache, facts
from ai.calls import Answer, Usage
from ai.stores import Similar

ANSWER = Answer("Yes.", "openai", "gpt", "stop", Usage(10, 2))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("How can I cancel my order?", "How do I cancel the order"),
        ("Show me deals over 500", "Show deals over 500 please"),
        ("How do I cancel my purchase?", "I want to cancel an order"),
        ("What did <PERSON_1> complain of?", "please tell me what did <PERSON_1> complain of"),
        ("Welche Rechnung ist offen?", "welche rechnung ist denn offen"),
        ("Comment annuler ma commande ?", "Je voudrais annuler une commande"),
    ],
)
def test_other_words_with_the_same_facts_agree(one: str, other: str) -> None:
    assert facts.agree(one, other)
    assert facts.agree(other, one)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("deals over 500", "deals over 600"),
        ("deals over 1.500 EUR", "deals over 1,500 EUR"),
        ("what cost $5", "what cost €5"),
        ("orders since 2026-11-03", "orders since 2026-11-04"),
        ("orders since March", "orders since April"),
        ("who paid on Monday", "who paid on Tuesday"),
        ("order A-17 is late", "order A-18 is late"),
        ("write to anna@x.example", "write to bob@x.example"),
        ("what did Anna buy", "what did Bob buy"),
        ("what did acme buy", "what did brio buy"),
        ("what did john buy", "what did mary buy"),
        ("what did <PERSON_1> buy", "what did <PERSON_2> buy"),
        ("is it open", "is it not open"),
        ("who pays", "who doesn't pay"),
        ("qui paie", "qui ne paie pas"),
        ("wer zahlt", "wer zahlt nicht"),
        ("what is right with it", "what is wrong with it"),
        ("does she pay", "did she pay"),
        ("when can I cancel", "where can I cancel"),
        ("who left before the call", "who left after the call"),
        ("the cheapest plan", "the most expensive plan"),
        ("three of them", "four of them"),
        ("did Anna pay Bob", "did Bob pay Anna"),
        ("does the customer like the product", "does the product like the customer"),
    ],
)
def test_other_facts_do_not(one: str, other: str) -> None:
    assert not facts.agree(one, other)
    assert not facts.agree(other, one)


def stored(text: str, answer: Answer = ANSWER) -> Similar:
    return Similar(text, cache.vector(text), answer)


def test_the_nearest_question_with_the_same_facts_serves() -> None:
    asked = "How do I cancel the order?"
    other = Answer("No.", "openai", "gpt", "stop", Usage(10, 2))
    kept = [stored("How can I cancel 2 orders?", other), stored("How can I cancel my order?")]
    assert cache.best(asked, cache.vector(asked), kept, 0.7) is ANSWER


def test_a_question_that_is_not_near_enough_does_not() -> None:
    asked = "please please tell me how I could get to cancel the order"
    kept = [stored("cancel my purchase")]
    assert facts.agree(asked, "cancel my purchase")
    assert cache.best(asked, cache.vector(asked), kept, 0.95) is None


def test_the_embedding_leaves_the_log_of_the_process_alone() -> None:
    code = (
        "import logging; from ai.embedding import embed; embed(['hello']);"
        " root = logging.getLogger(); print(root.handlers, root.level == logging.WARNING)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[] True"


def test_a_question_about_something_else_does_not() -> None:
    asked = "how do I reset the password"
    kept = [stored("how do I cancel the order")]
    assert cache.best(asked, cache.vector(asked), kept, 0.0) is None
    assert cache.best(asked, cache.vector(asked), [], 0.8) is None
