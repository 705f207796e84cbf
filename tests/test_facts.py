"""Two questions whose answers may serve each other hold the same facts, whatever their words."""

import subprocess
import sys

import pytest

from ai import cache, facts
from ai.calls import Answer, Usage
from ai.stores import Similar

ANSWER = Answer("Yes.", "openai", "gpt", "stop", Usage(10, 2))


SAME = [
    ("How can I cancel my order?", "How do I cancel my order"),
    ("How can I cancel the order?", "how to cancel order"),
    ("Show me deals over 500", "show deals over 500 please"),
    ("I want to cancel an order", "Please, I'd like to cancel an order."),
    ("What did <PERSON_1> complain of?", "please tell me what did <PERSON_1> complain of"),
    ("What is wrong with invoice 4711?", "what is wrong with the invoice 4711"),
    ('Hello, could you please tell me who paid "Acme"?', "Who paid Acme?"),
    ("Can you tell me which orders are late? Thank you!", "Which orders are late"),
    ("What do I owe Acme?", "what do i owe Acme"),
    ("How does a user reset a password?", "How can a user reset a password?"),
    ("For how long is the link valid?", "How long is the link valid?"),
    ("What is Anna's telephone number?", "what is Anna\u2019s phone number"),
    ("customers (in Berlin), please", "customers in Berlin"),
    ("Does it cost 1,500.50 EUR?", "does it cost 1,500.50 EUR"),
    ("Is C# supported?", "is C# supported ?"),
    ("the caf\u00e9 pays", "The cafe\u0301 pays"),
    ("Welche Rechnung ist offen?", "welche Rechnung ist denn offen"),
    ("Bitte zeigen Sie mir offene Rechnungen", "zeige offene Rechnungen"),
    ("Hallo, können Sie mir sagen, wer zahlt?", "Wer zahlt?"),
    ("Comment annuler une commande ?", "Comment puis-je annuler une commande, s'il vous plaît ?"),
    ("Bonjour, pouvez-vous me dire qui paie ?", "Qui paie, merci !"),
    ("¿Cómo puedo cancelar un pedido?", "Hola, cómo cancelar un pedido, por favor"),
    ("राग के बारे में बताओ।", "राग के बारे में बताओ"),
    ("谁付款\uff1f", "谁付款"),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_other_words_with_the_same_facts_agree(one: str, other: str) -> None:
    assert facts.agree(one, other)
    assert facts.agree(other, one)


# By what would be lost if one word, sign or capital were not looked at.
OTHER = [
    # Numbers, units, dates, ids
    ("deals over 500", "deals over 600"),
    ("deals over 1.500 EUR", "deals over 1,500 EUR"),
    ("what cost $5", "what cost €5"),
    ("₹500 refund", "500 refund"),
    ("a discount of 5 %", "a discount of 5 ‰"),
    ('a screen of 5" size', "a screen of 5 size"),
    ('a screen of 5"', "a screen of 5'"),
    ("pipes of 5 m", "pipes of 5 m²"),
    ("pipes of 5 mm", "pipes of 5 Mm"),
    ("does 5 mi count", "does 5 km count"),
    ("orders since 2026-11-03", "orders since 2026-11-04"),
    ("orders since March", "orders since April"),
    ("who paid on Monday", "who paid on Tuesday"),
    ("order A-17 is late", "order A-18 is late"),
    ("is plan A cheaper", "is plan cheaper"),
    ("write to anna@x.example", "write to bob@x.example"),
    ("three of them", "four of them"),
    ("are there a few left", "are there few left"),
    # Signs, operators, emoji
    ("Is the balance -500 EUR right?", "Is the balance 500 EUR right?"),
    ("Is the balance \u2212500 EUR right?", "Is the balance 500 EUR right?"),
    ("Is the balance +500 EUR right?", "Is the balance -500 EUR right?"),
    ("Is the balance - 500 EUR right?", "Is the balance 500 EUR right?"),
    ("Is the balance (500) right?", "Is the balance 500 right?"),
    ("Is the balance (500 EUR) right?", "Is the balance 500 EUR right?"),
    ("customers with <=5 orders", "customers with >=5 orders"),
    ("customers with x ≤ 5 orders", "customers with x ≥ 5 orders"),
    ("customers with x <5 orders", "customers with x >5 orders"),
    ("orders where x != 5", "orders where x = 5"),
    ("orders where x ~ 5", "orders where x ≈ 5"),
    ("what is 5!", "what is 5"),
    ("what is 6*2", "what is 6/2"),
    ("is C# supported", "is C supported"),
    ("is C++ supported", "is C supported"),
    ("is .NET supported", "is NET supported"),
    ("feedback 👍 customers", "feedback 👎 customers"),
    ("who said 👍", "who said"),
    ("who said :)", "who said :("),
    ("who said ✓", "who said ✗"),
    # Names and capitals
    ("what did Anna buy", "what did Bob buy"),
    ("what did acme buy", "what did brio buy"),
    ("what did <PERSON_1> buy", "what did <PERSON_2> buy"),
    ("how much do we sell to US customers", "how much do we sell to us customers"),
    ("who leads IT now", "who leads it now"),
    ("did we Bill Gates", "did we bill Gates"),
    ("show Polish invoices", "show polish invoices"),
    ("who sells Merci", "who sells"),
    ("SVP orders", "orders"),
    # Negation, time, degree
    ("is it open", "is it not open"),
    ("who pays", "who doesn't pay"),
    ("what is right with it", "what is wrong with it"),
    ("does she pay", "did she pay"),
    ("Is the invoice paid?", "Was the invoice paid?"),
    ("do they pay", "will they pay"),
    ("when can I cancel", "where can I cancel"),
    ("who left before the call", "who left after the call"),
    ("the cheapest plan", "the most expensive plan"),
    ("is it here", "is it there"),
    ("delete this", "delete that"),
    # Who does what to whom
    ("What do we owe you for 500?", "What do you owe us for 500?"),
    ("who called me", "who called you"),
    ("show my balance", "show your balance"),
    ("show my deals", "show the deals"),
    ("did Anna pay Bob", "did Bob pay Anna"),
    ("does the customer like the product", "does the product like the customer"),
    ("show the last order", "show the last purchase"),
    # Modals, prepositions, verbs
    ("Must I pay 500 now?", "May I pay 500 now?"),
    ("should we call him", "could we call him"),
    ("should we call him", "would we call him"),
    ("can I cancel", "how can I cancel"),
    ("How does Anna pay?", "How can Anna pay?"),
    ("What should Anna have done?", "What is Anna to do?"),
    ("Which customers like the new price?", "Which customers want the new price?"),
    ("Do I need a licence?", "Do I want a licence?"),
    ("Do I need a licence for Galena?", "Is there a licence for Galena?"),
    ("the order up to 5", "the order of 5"),
    ("a letter from Anna", "a letter to Anna"),
    ("How is Acme doing?", "What is Acme doing?"),
    # German
    ("wer zahlt", "wer zahlt nicht"),
    ("Was will der Kunde zahlen?", "Was muss der Kunde zahlen?"),
    ("Schuldet die Firma der Bank Geld?", "Schuldet der Firma die Bank Geld?"),
    ("Was schulden wir Ihnen?", "Was schulden Sie uns?"),
    ("Wann zahlen Sie?", "Wann zahlen sie?"),
    ("Stimmen die Maße?", "Stimmen die Masse?"),
    ("zwei mal 500", "zwei 500"),
    # French
    ("qui paie", "qui ne paie pas"),
    ("Que vous devons-nous ?", "Que nous devez-vous ?"),
    ("Faut-il payer ?", "Peut-on payer ?"),
    ("Qui le paie ?", "Qui la paie ?"),
    ("payé par Anna", "payé pour Anna"),
    # Spanish
    ("¿Debo pagar 500?", "¿Puedo pagar 500?"),
    ("¿Qué nos debe usted?", "¿Qué le debemos?"),
    ("¿Quién paga este mes?", "¿Quién paga este?"),
    ("¿Si paga Ana?", "¿Sí paga Ana?"),
    # Scripts whose vowels or tones are marks
    ("राग के बारे में बताओ", "रोग के बारे में बताओ"),
    ("ราคาใกล้", "ราคาไกล"),
    ("கல் விலை", "கால் விலை"),
    ("谁付款给我们", "我们付款给谁"),
]


@pytest.mark.parametrize(("one", "other"), OTHER)
def test_other_facts_do_not(one: str, other: str) -> None:
    assert not facts.agree(one, other)
    assert not facts.agree(other, one)


@pytest.mark.parametrize("text", ["", "  ", "?", "... !", "please", "Hello, thank you!"])
def test_a_text_that_says_nothing_holds_no_facts(text: str) -> None:
    assert facts.facts(text) == []


@pytest.mark.parametrize(("one", "_other"), OTHER)
def test_no_word_of_a_question_is_looked_past(one: str, _other: str) -> None:
    words = one.split()
    for place, word in enumerate(words):
        if word.lower() not in {"the", "show", "?"}:
            fewer = " ".join(words[:place] + words[place + 1 :])
            assert not facts.agree(one, fewer), word


def stored(text: str, answer: Answer = ANSWER) -> Similar:
    return Similar(text, cache.vector(text), answer)


def test_the_nearest_question_with_the_same_facts_serves() -> None:
    asked = "How do I cancel the order?"
    other = Answer("No.", "openai", "gpt", "stop", Usage(10, 2))
    kept = [stored("How can I cancel 2 orders?", other), stored("How can I cancel the order?")]
    assert cache.best(asked, cache.vector(asked), kept, 0.7) is ANSWER


@pytest.mark.parametrize(
    ("asked", "near"),
    [
        ("Is the balance -500 EUR right?", "Is the balance 500 EUR right?"),
        ("What do we owe you for 500?", "What do you owe us for 500?"),
        ("Must I pay the invoice 4711?", "May I pay the invoice 4711?"),
    ],
)
def test_a_question_that_is_near_with_other_facts_does_not(asked: str, near: str) -> None:
    answer = Answer("No.", "openai", "gpt", "stop", Usage(10, 2))
    assert cache.best(near, cache.vector(near), [stored(near)], 0.85) is ANSWER
    assert cache.best(asked, cache.vector(asked), [stored(near)], 0.85) is None
    kept = [stored(near), stored(f"Please, {asked}", answer)]
    assert cache.best(asked, cache.vector(asked), kept, 0.7) is answer


def test_a_question_that_is_not_near_enough_does_not() -> None:
    asked = "hello, could you please tell me how to e-mail, thank you"
    kept = [stored("how do i email")]
    assert facts.agree(asked, "how do i email")
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
