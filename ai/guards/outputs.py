"""What comes back from a provider is looked at before anybody sees it.

Links: an answer that was talked into it carries data out in the address of an image or a link
(OWASP Top 10 for LLM Applications 2025, LLM01 and LLM02), so that none is let through which the
sources do not have, with its path and query.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Literal

from ai.guards.canary import leaked
from ai.guards.links import Link, images, links, read
from ai.guards.normalise import in_latin
from ai.guards.pii_gazetteer import Gazetteer
from ai.guards.pii_numbers import emails
from ai.guards.pii_words import folded
from ai.guards.placeholders import look_alikes
from ai.guards.unsafe import CATEGORIES


@dataclass(frozen=True)
class Violation:
    """What an answer may not hold.

    kind: canary (the system prompt was given out); foreign (another tenant's id or name); link,
        image, email (one that is in no source); unsafe (ai.guards.unsafe); placeholder (one that
        stands for nothing). detail: how many, and which category; nothing of the answer.
    """

    kind: Literal["canary", "foreign", "link", "image", "email", "unsafe", "placeholder"]
    detail: str


class Checker:
    """Looks at what one call is answered, piece by piece or whole.

    sources: every text that an answer may quote, as it came; what they hold is looked up once, when
        the first answer needs it. canary: of the system prompt, "" for none. foreign: ids and names
        of other tenants; one that is a common word counts with a capital within a sentence only.
    """

    def __init__(
        self, sources: Sequence[str], *, canary: str = "", foreign: frozenset[str] = frozenset()
    ) -> None:
        self._sources = tuple(sources)
        self._canary, self._foreign = canary, foreign

    def violations(self, text: str) -> list[Violation]:
        """What stands against showing the text; empty when nothing does.

        text: with its placeholders put back.
        """
        found = list(self._links(text))
        if self._canary and leaked(text, self._canary):
            found.append(Violation("canary", "the system prompt's mark"))
        if strangers := self._strangers(text):
            found.append(Violation("foreign", f"{strangers} of other tenants"))
        for category, pattern in CATEGORIES.items():
            if pattern.search(text):
                found.append(Violation("unsafe", category))
        unknown = {text[start:end] for start, end in look_alikes(text)}
        if unknown := {one for one in unknown if not any(one in known for known in self._sources)}:
            found.append(Violation("placeholder", f"{len(unknown)} that stand for nothing"))
        return found

    def _links(self, text: str) -> Iterator[Violation]:
        written = read(text)
        strange = {link for link in links(written) if not self._is_known(link)}
        shown = strange & images(written) if strange else strange
        if shown:
            yield Violation("image", f"{len(shown)} in no source")
        if strange - shown:
            yield Violation("link", f"{len(strange - shown)} in no source")
        addresses = _addresses(written)
        if addresses and (strangers := addresses - self._known_addresses):
            yield Violation("email", f"{len(strangers)} in no source")

    def _is_known(self, link: Link) -> bool:
        return link in self._known_links or (link[0] in self._known_hosts and not link[1])

    def _strangers(self, text: str) -> int:
        if not self._foreign:
            return 0
        found = _names(_index(self._foreign), text)
        return len(found - self._known_names) if found else 0

    @cached_property
    def _read_sources(self) -> list[str]:
        return [read(source) for source in self._sources]

    @cached_property
    def _known_links(self) -> set[Link]:
        return {link for source in self._read_sources for link in links(source)}

    @cached_property
    def _known_hosts(self) -> set[str]:
        return {host for host, _ in self._known_links if host}

    @cached_property
    def _known_addresses(self) -> set[str]:
        return {one for source in self._read_sources for one in _addresses(source)}

    @cached_property
    def _known_names(self) -> set[str]:
        index = _index(self._foreign)
        return {name for source in self._sources for name in _names(index, source)}


def _addresses(text: str) -> set[str]:
    return {text[one.start : one.end].casefold() for one in emails(text)}


def _names(index: Gazetteer, text: str) -> set[str]:
    text = in_latin(text)
    return {
        " ".join(folded(word) for word in re.findall(r"\w+", text[one.start : one.end]))
        for one in index.find(text)
    }


@lru_cache(maxsize=256)
def _index(foreign: frozenset[str]) -> Gazetteer:
    return Gazetteer(map(in_latin, foreign), parts=False)
