"""Text that is written so that people do not read it and a model does: found and decoded."""

import base64
import binascii
import codecs
import html
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from urllib.parse import unquote

from ai.guards.injection_lexicon import concepts, known

# Shorter ones hold no instruction, and names and numbers look like them.
_FEWEST = 12
_DEEPEST = 2


@dataclass(frozen=True)
class Decoded:
    """start, end: where it is in the text. text: what it says. how: such as base64."""

    start: int
    end: int
    text: str
    how: str


def decoded(text: str, deep: int = _DEEPEST) -> list[Decoded]:
    """What is written in base64, base32, hexadecimal, binary, ASCII codes, escapes or entities.

    Only what decodes to readable text; also what is encoded twice.
    """
    found = []
    for how, pattern, decode in _CODES:
        for match in pattern.finditer(text):
            said = _readable(decode, match[0])
            if said is None:
                continue
            found.append(Decoded(match.start(), match.end(), said, how))
            if deep > 1:
                found += [
                    Decoded(match.start(), match.end(), inner.text, f"{inner.how} in {how}")
                    for inner in decoded(said, deep - 1)
                ]
    return found


def disguises(sentence: str) -> Iterator[tuple[str, str]]:
    """What a sentence says backwards, in ROT13, in leetspeak or letter by letter, and how.

    sentence: as scored() gives it. Only readings with more words of the lexicon than the sentence
    has as it stands, and two at least: most sentences have none.
    """
    plain = _meant(sentence)
    for how, read in _DISGUISES:
        said = read(sentence)
        if said != sentence and _meant(said) >= max(2, plain + 1):
            yield said, how


def _meant(sentence: str) -> int:
    return sum(1 for word in _LETTERS.findall(sentence) if len(word) > 2 and concepts(word))


def _readable(decode: Callable[[str], bytes | str], code: str) -> str | None:
    try:
        raw = decode(code)
        said = raw if isinstance(raw, str) else raw.decode("utf-8")
    except (ValueError, binascii.Error, OverflowError):
        return None
    seen = sum(character.isprintable() or character in "\n\t" for character in said)
    letters = sum(character.isalpha() or character == " " for character in said)
    enough = len(said) >= _FEWEST and seen == len(said) and letters >= 0.7 * len(said)
    return said if enough and said != code else None


def _base64(code: str) -> bytes:
    joined = re.sub(r"\s", "", code).replace("-", "+").replace("_", "/").rstrip("=")
    return base64.b64decode(joined + "=" * (-len(joined) % 4), validate=True)


def _base32(code: str) -> bytes:
    bare = code.rstrip("=")
    return base64.b32decode(bare + "=" * (-len(bare) % 8))


def _hexadecimal(code: str) -> bytes:
    return bytes.fromhex(re.sub(r"0x|\\x|[^0-9a-fA-F]", "", code))


def _binary(code: str) -> bytes:
    return bytes(int(group, 2) for group in re.findall("[01]{8}", code))


def _codes(code: str) -> bytes:
    return bytes(int(number) for number in re.findall(r"\d+", code))


def _escapes(code: str) -> str:
    return re.sub(r"\\u([0-9a-fA-F]{4})", lambda found: chr(int(found[1], 16)), code)


_CODES: tuple[tuple[str, re.Pattern[str], Callable[[str], bytes | str]], ...] = (
    (
        "base64",
        re.compile(r"(?<![\w+/])[A-Za-z0-9+/_-]{16,}(?:\r?\n[A-Za-z0-9+/_-]{8,})*={0,2}"),
        _base64,
    ),
    ("base32", re.compile(r"\b[A-Z2-7]{20,}={0,6}"), _base32),
    (
        "hexadecimal",
        re.compile(r"(?<!\w)(?:(?:0x|\\x)?[0-9a-fA-F]{2}[\s:,;]{0,2}){12,}(?!\w)"),
        _hexadecimal,
    ),
    ("binary", re.compile(r"(?:[01]{8}\s?){12,}"), _binary),
    ("ASCII codes", re.compile(r"(?:\b\d{2,3}\b[\s,;]{1,2}){11,}\d{2,3}\b"), _codes),
    (
        "URL encoding",
        re.compile(r"(?<![\w.~+-])[\w.~+-]{0,40}(?:%[0-9a-fA-F]{2}[\w.~+-]{0,40}){2,}"),
        unquote,
    ),
    ("entities", re.compile(r"(?:&#x?[0-9a-fA-F]{2,6};\s?){6,}"), html.unescape),
    ("escapes", re.compile(r"(?:\\u[0-9a-fA-F]{4}){6,}"), _escapes),
)
_LETTERS = re.compile(r"[^\W\d_]+")
_LEET = str.maketrans("013457@$!|+", "oieastasiit")
_RUN = re.compile(r"\S+")
_APART = re.compile(r"(?:\b\w[ ._*|-]{1,3}){5,}\w\b")


def _leet(sentence: str) -> str:
    return _RUN.sub(lambda run: run[0].translate(_LEET), sentence)


def _together(sentence: str) -> str:
    return _APART.sub(lambda run: _in_words(run[0]), sentence)


def _in_words(run: str) -> str:
    """Letters set apart, as words: by the wider gaps, and else by the lexicon, longest first."""
    if "  " in run:
        return " ".join(re.sub(r"\W|_", "", word) for word in re.split(r" {2,}", run))
    letters, found, at = re.sub(r"\W|_", "", run), [], 0
    while at < len(letters):
        ends = (end for end in range(min(len(letters), at + 16), at + 2, -1))
        end = next((end for end in ends if known(letters[at:end])), 0)
        if end:
            found.append(letters[at:end])
        at = end or at + 1
    return " ".join(found)


_DISGUISES: tuple[tuple[str, Callable[[str], str]], ...] = (
    ("backwards", lambda sentence: sentence[::-1]),
    ("ROT13", lambda sentence: codecs.encode(sentence, "rot13")),
    ("leetspeak", _leet),
    ("letters set apart", _together),
)
