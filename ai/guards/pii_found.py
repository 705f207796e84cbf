"""What finders of personal data say: where it stands and what it is."""

import re
from typing import NamedTuple

from ai.guards.placeholders import Kind


class Found(NamedTuple):
    """A stretch of a text, from start up to end."""

    start: int
    end: int
    kind: Kind


def said_before(text: str, start: int, words: re.Pattern[str], within: int = 40) -> bool:
    """Whether one of the words stands shortly before, with no other sentence between."""
    before = text[max(0, start - within) : start]
    ends = [match.end() for match in words.finditer(before)]
    return bool(ends) and not _NEW_SENTENCE.search(before, ends[-1])


_NEW_SENTENCE = re.compile(r"[.!?]\s+[A-ZÀ-Þ]|\n\s*\n")
