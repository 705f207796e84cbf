"""Where a text leads: links, images and forms as browsers, mail programs and chats read them."""

# ruff: noqa: RUF001 (apostrophes and letters as people write them)

import html
import re
from collections.abc import Iterator
from urllib.parse import unquote, urlsplit

from ai.guards.normalise import normalise

Link = tuple[str, str]
"""Host, and all that comes after it: what a request to it would tell."""

_STOP = r"\s<>\"'`|\\^{}\[\]"
# Browsers take http:/host, http:\\host and http:host for http://host (WHATWG URL, special schemes).
_SPECIAL = r"(?:https?|ftp|wss?)"
_URL = re.compile(
    rf"\b{_SPECIAL}:[/\\]*[^{_STOP}]+|(?:[a-z][a-z0-9+.-]{{1,20}}:)?//[^{_STOP}]+"
    rf"|(?<![\w@./-])www\.[^{_STOP}]+|\b(?:data|file):[^{_STOP}]+",
    re.IGNORECASE,
)
# Where mail programs and chats make links of their own.
_TOP = (
    "com|net|org|edu|gov|info|biz|io|co|ai|app|dev|xyz|site|online|top|link|click|shop|store|live|page|cloud"
    "|me|tv|cc|ru|cn|de|fr|uk|nl|it|es|pl|br|in|jp|us|eu|ch|at|se|no|dk|fi|cz|ly|gg|to|sh|rocks|website"
    "|space|tech|pro|host|fun|icu|vip|buzz|club|world|zone|mobi|ws|su|ua|kz|ro|hu|gr|pt|ie|ca|au|nz|mx|kr"
)
_DOMAIN = re.compile(
    rf"(?<![\w@./:-])(?:[^\W_](?:[\w-]{{0,61}}[^\W_])?\.)+"
    rf"(?:(?:{_TOP})(?![\w@.-]|\.\w)(?::\d+)?(?:[/?#][^{_STOP}]*)?"
    # With a path any end is a domain's: there are more than a thousand.
    rf"|[^\W\d_]{{2,24}}(?::\d+)?[/?][^{_STOP}]+)",
    re.IGNORECASE,
)
_VALUE = r"(?:\"([^\"]*)\"|'([^']*)'|([^\s\"'>]+))"
_IMAGE = re.compile(
    r"!\[[^\]]{0,500}\]\(\s*<?([^\s)>]+)"
    rf"|<(?:img|video|source|image)\b[^<>]{{0,500}}?\b(?:src|srcset|poster)\s*=\s*{_VALUE}",
    re.IGNORECASE,
)
_TARGET = re.compile(
    r"\]\(\s*(?:<([^<>\n]*)>|([^\s)>]+))|^\s{0,3}\[[^\]\n]{1,200}\]:\s*<?([^\s>]+)"
    rf"|\b(?:src|href|poster|srcset|action|formaction|background|ping|data|cite)\s*=\s*{_VALUE}"
    r"|\burl\(\s*[\"']?([^\"')\s]+)",
    re.IGNORECASE | re.MULTILINE,
)
_LEAVES = re.compile(r"(?!mailto:)[a-z][a-z0-9+.-]*:|[/\\]{2}", re.IGNORECASE)
_SCHEME = re.compile(rf"(?:({_SPECIAL}):|([a-z][a-z0-9+.-]{{0,20}}):(?=//))", re.IGNORECASE)
_ESCAPED = re.compile(r"\\([!-/:-@\[-`{-~])")
_NOT_IN_URLS = re.compile(r"[\t\n\r]|^[\x00-\x20]+")
_TRAILING = ".,;:!?)*_~'\"’”»"


def read(text: str) -> str:
    """The text as a browser reads it: entities, unseen characters, full-width letters and dots."""
    return normalise(html.unescape(text)).replace("。", ".")


def links(text: str) -> set[Link]:
    """Every place it leads to; relative links, which stay here, are none. text: of read()."""
    found = {_parts(match[0]) for pattern in (_URL, _DOMAIN) for match in pattern.finditer(text)}
    found.update(_parts(one) for one in _targets(_TARGET, text) if _LEAVES.match(one))
    return found - {("", "")}


def images(text: str) -> set[Link]:
    """Those that are fetched as soon as they are shown. text: of read()."""
    return {_parts(target) for target in _targets(_IMAGE, text)} & links(text)


def _targets(of: re.Pattern[str], text: str) -> Iterator[str]:
    """What the matches say, whole and, for a set of images, one by one."""
    for match in of.finditer(text):
        whole = next(filter(None, match.groups()), "")
        for target in (whole, *re.split(r"[\s,]+", whole)):
            yield _NOT_IN_URLS.sub("", _ESCAPED.sub(r"\1", target))


def _parts(url: str) -> Link:
    url = _balanced(url)
    if re.match(r"(?:data|file):", url, re.IGNORECASE):
        return "", url
    named = _SCHEME.match(url)
    scheme = (named[1] or named[2]).lower() if named else ""
    if not named and _LEAVES.match(url) and url[0] not in "/\\" and not _DOMAIN.match(url):
        return "", url
    rest = (url[named.end() :] if named else url).replace("\\", "/").lstrip("/")
    try:
        split = urlsplit(f"//{rest}")
        host = (split.netloc or "").lower().removesuffix(".")
    except ValueError:
        return "", url
    path = unquote(split.path).rstrip("/")
    tail = f"{path}?{unquote(split.query)}#{split.fragment}".rstrip("?#")
    if scheme not in ("", "http", "https"):
        tail = f"{scheme}:{tail}"
    return host, tail


def _balanced(url: str) -> str:
    """Without the punctuation of the sentence around it."""
    while url and url[-1] in _TRAILING and not (url[-1] == ")" and "(" in url):
        url = url[:-1]
    return url
