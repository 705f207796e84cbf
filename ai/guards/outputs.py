"""What comes back from a provider is looked at before anybody sees it.

Links: an answer that was talked into it carries data out in the address of an image or a link
(OWASP Top 10 for LLM Applications 2025, LLM01 and LLM02), so that none is let through which the
sources do not have, with its path and query.
"""

# ruff: noqa: RUF001 (apostrophes and letters as people write them)

import html
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal
from urllib.parse import unquote, urlsplit

from ai.guards.canary import leaked
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


def check(
    text: str,
    *,
    sources: Sequence[str],
    canary: str = "",
    foreign: Collection[str] = (),
) -> list[Violation]:
    """What stands against showing the answer; empty when nothing does.

    text: the answer with its placeholders put back. sources: every text that it may quote, as it
    came. canary: of the system prompt, "" for none. foreign: ids and names of other tenants; one
    that is a common word counts with a capital within a sentence only.
    """
    found = list(_links(text, sources))
    if canary and leaked(text, canary):
        found.append(Violation("canary", "the system prompt's mark"))
    if foreign:
        found += _foreign(text, sources, frozenset(foreign))
    for category, pattern in CATEGORIES.items():
        if pattern.search(text):
            found.append(Violation("unsafe", category))
    unknown = {text[start:end] for start, end in look_alikes(text)}
    if unknown := {one for one in unknown if not any(one in source for source in sources)}:
        found.append(Violation("placeholder", f"{len(unknown)} that stand for nothing"))
    return found


_STOP = r"\s<>\"'`|\\^{}\[\]"
_URL = re.compile(
    rf"(?:[a-z][a-z0-9+.-]{{1,20}}:)?//[^{_STOP}]+|(?<![\w@./-])www\.[^{_STOP}]+|\b(?:data|file):[^{_STOP}]+",
    re.IGNORECASE,
)
# Where mail programs and chats make links of their own.
_TOP = (
    "com|net|org|edu|gov|info|biz|io|co|ai|app|dev|xyz|site|online|top|link|click|shop|store|live|page|cloud"
    "|me|tv|cc|ru|cn|de|fr|uk|nl|it|es|pl|br|in|jp|us|eu|ch|at|se|no|dk|fi|cz|ly|gg|to|sh"
)
_DOMAIN = re.compile(
    rf"(?<![\w@./:-])(?:[a-z0-9](?:[a-z0-9-]{{0,61}}[a-z0-9])?\.)+(?:{_TOP})(?![\w@.-]|\.\w)(?::\d+)?(?:[/?#][^{_STOP}]*)?",
    re.IGNORECASE,
)
_IMAGE = re.compile(
    r"!\[[^\]]{0,500}\](?:\(\s*<?([^\s)>]+)|\[[^\]]*\])|<img\b[^<>]{0,500}?\bsrc\s*=\s*[\"']?([^\"'\s>]+)",
    re.IGNORECASE,
)
_TRAILING = ".,;:!?)*_~'\"’”»"


def _links(text: str, sources: Sequence[str]) -> Iterator[Violation]:
    written = html.unescape(text)
    sourced = [html.unescape(source) for source in sources]
    known = {url for source in sourced for url in _urls(source)}
    hosts = {url[0] for url in known}
    images = {_parts(a or b) for a, b in _IMAGE.findall(written) if a or b}
    strange = {
        url
        for url in _urls(written) | images
        if url not in known and not (url[0] in hosts and not url[1])
    }
    for kind, urls in (("image", strange & images), ("link", strange - images)):
        if urls:
            yield Violation("image" if kind == "image" else "link", f"{len(urls)} in no source")
    theirs = {address for source in sourced for address in _addresses(source)}
    if strangers := _addresses(written) - theirs:
        yield Violation("email", f"{len(strangers)} in no source")


def _urls(text: str) -> set[tuple[str, str]]:
    found = {_parts(match[0]) for pattern in (_URL, _DOMAIN) for match in pattern.finditer(text)}
    return found - {("", "")}


def _parts(url: str) -> tuple[str, str]:
    """Host, and all that comes after it: what a request to it would tell."""
    url = _balanced(url)
    scheme, separator, rest = url.partition("://")
    if not separator:
        scheme, rest = "", url.removeprefix("//")
    if re.match(r"(?:data|file):", url, re.IGNORECASE):
        return "", url
    try:
        split = urlsplit(f"//{rest}")
        host = (split.netloc or "").lower().removesuffix(".")
    except ValueError:
        return "", url
    path = unquote(split.path).rstrip("/")
    tail = f"{path}?{unquote(split.query)}#{split.fragment}".rstrip("?#")
    if scheme.lower() not in ("", "http", "https"):
        tail = f"{scheme.lower()}:{tail}"
    return host, tail


def _balanced(url: str) -> str:
    """Without the punctuation of the sentence around it."""
    while url and url[-1] in _TRAILING and not (url[-1] == ")" and "(" in url):
        url = url[:-1]
    return url


def _addresses(text: str) -> set[str]:
    return {text[one.start : one.end].casefold() for one in emails(text)}


def _foreign(text: str, sources: Sequence[str], foreign: frozenset[str]) -> Iterator[Violation]:
    index = _index(foreign)
    found = _names(index, text)
    if found:
        found -= {name for source in sources for name in _names(index, source)}
    if found:
        yield Violation("foreign", f"{len(found)} of other tenants")


def _names(index: Gazetteer, text: str) -> set[str]:
    return {
        " ".join(folded(word) for word in re.findall(r"\w+", text[one.start : one.end]))
        for one in index.find(text)
    }


@lru_cache(maxsize=256)
def _index(foreign: frozenset[str]) -> Gazetteer:
    return Gazetteer(foreign, parts=False)
