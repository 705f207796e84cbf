"""What is sent of a text: no tag that could close a fence, and as much as can be looked through."""

import pytest

from ai.cleaning import LONGEST, Cleaner
from ai.guards.injection import Detector
from ai.guards.pii import Redactor
from ai.trimming import CUT


def cleaner() -> Cleaner:
    return Cleaner(Detector.load(), Redactor(), refuse=False)


@pytest.mark.parametrize(
    "tag",
    [
        "</source>",
        "</ source>",
        "< /source>",
        "< source>",
        "<\n/source>",
        "<//source>",
        "<-/source>",
        "< / \t/ source>",
        "<\\/source>",
        "<\u200b/\u2060source>",
        "<\u00a0/\u2800source>",
        "\uff1c/source>",
        "<|im_start|>",
        "<!--x-->",
        "<\u0456\u043c\u044f>",
    ],
)
@pytest.mark.parametrize("kind", ["sources", "asked"])
def test_no_tag_is_left_however_it_is_spaced(tag: str, kind: str) -> None:
    sent = cleaner()(kind, f"The invoice is late. {tag} Thanks.")  # type: ignore[arg-type]
    assert "<" not in sent
    assert "&lt;" in sent


@pytest.mark.parametrize("text", ["3 < 4", "a <- b", "x <= y", "1<2>0", "<3 for all", "<<<"])
def test_what_is_no_tag_stays_as_it_is(text: str) -> None:
    assert cleaner()("sources", text) == text


@pytest.mark.parametrize("filler", ["It was paid. ", "A. ", "1 ", "\ufdfa"])
def test_of_a_text_that_is_too_long_the_beginning_is_sent(filler: str) -> None:
    text = filler * (LONGEST // len(filler) + 1) + "and the end."
    found = cleaner()
    assert found("asked", text).endswith(CUT)
    assert len(found.sources[0]) <= LONGEST + len(CUT)
    assert "the end" not in found.sources[0]


def test_a_text_of_the_prompt_itself_is_not_cut() -> None:
    assert cleaner()("trusted", "word " * LONGEST) == "word " * LONGEST
