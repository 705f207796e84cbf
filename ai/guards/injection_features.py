"""What the injection scorer sees of a sentence: which concepts, in which order, and its meaning."""

# ruff: noqa: RUF001 - look-alikes are what this is about

import math
import re
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ai.embedding import DIMENSIONS, embed
from ai.guards.injection_glossary import in_english
from ai.guards.injection_lexicon import CONCEPTS, concepts

# A sentence ends at its full stop, at an empty line, at a new line that does not go on in lower
# case, and at the bars that mails flattened to one line are joined with.
_END = re.compile(
    r"(?<=[.!?…])[\"')\]»”]{0,3}\s+|(?<=[a-z][.!?])(?=[A-Z][a-z'’]|[A-Z] )|[。！？।؟]"
    r"|\n[ \t]{0,50}(?![a-z \t])|\s\|\s|\|(?=[A-Z_ ]{1,40}:)"
)
# A sentence takes 0.1 ms, so that "A. " 33,000 times took 3 s when each was one.
_TINY = 10
# Longer ones are cut, so that every pattern takes time in proportion to the text.
_LONGEST, _LONGEST_RUN = 1000, re.compile(r"(\S{200})\S+")
_WORD = re.compile(r"[^\W_]+(?:['-][^\W_]+)*")
_SIGNS = {
    "question": re.compile(r"\?"),
    "exclamation": re.compile("!"),
    "colon": re.compile(r":(?:\s|$)"),
    "quoted": re.compile(r"[\"“”„«»]|(?<!\w)'\w[^']{1,200}'"),
    "link": re.compile(r"https?://|www\.|\w\.(?:com|net|org|io|xyz|co|me|site|test|example)\b"),
    "image": re.compile(r"!\[[^\]]{0,200}\]\("),
    "address": re.compile(r"\S@\S{1,80}\.\w"),
    "fence": re.compile("```|<script|\\$\\("),
    "tag": re.compile(
        r"<\|?/?\s*(?:im_\w+|system|assistant|user|data|email|document|context|untrusted\w*|s|inst)"
        r"\s*\|?>|<<sys>>|\[/?(?:inst|system)\]|#{2,}\s*(?:system|instruction|assistant|human)"
    ),
    "speaker": re.compile(
        r"^\W*(?:system|assistant|human|admin|user|ai|developer)(?: message)?\s*:"
    ),
    "ruled": re.compile(r"[-=%#*]{3}\s{0,9}\w[^\n]{0,80}?[-=%#*]{3}"),
    "json": re.compile(r"\{\s*\"\w+\"\s*:"),
    "code": re.compile(r"\bimport \w|\w\.\w{1,40}\(|\w\(\)|;\s?$|\bdef \w{1,40}\("),
    "number": re.compile(r"\d"),
    "money": re.compile(r"[$€£]\s?\d|\d\s?(?:usd|eur|%)"),
    "kept quiet": re.compile(
        r"\b(?:not|n't|never|nothing|no word|leave|keep)\b[^.;]{1,60}"
        r"\b(?:in|from|out of)\W+(?:your|the|any) (?:answer|reply|response|summary|recap|output)"
    ),
    "fixed answer": re.compile(
        r"\b(?:every|any|each|all|whatever)\b[^.;]{0,60}\b(?:question|quer|request|prompt|asked?\b)"
        r"[^.;]{0,60}(?:\bis\b|\bbe\b|:)"
    ),
    "whoever": re.compile(
        r"\b(?:whoever|any(?:one|body) who|anyone \w+ing|any (?:program|system|tool|reader)"
        r"|the (?:one|person) who|summaries|recaps)\b"
    ),
    "first person": re.compile(r"^(?:i|we|my|our)\b"),
}
_WINDOW = 7
_BEFORE_VERBS = ("please", "kindly", "bitte", "now", "and", "then")
_ONE, _FIRST, _PAIR = 0, len(CONCEPTS), 2 * len(CONCEPTS)
_SIGN = _PAIR + len(CONCEPTS) ** 2
_MEANING = _SIGN + len(_SIGNS) + 1
WIDTH = _MEANING + DIMENSIONS
# Places for phrases of one to three words; different phrases share some, which costs little.
PLACES = 2**14
_OF_PHRASE = re.compile(r"\w+|[?!:]")
_MIX = 0x9E3779B1  # Knuth's multiplier: phrases of the same words in another order differ
_WEIGHT_OF_PHRASES = 2.0
# Meanings are of length one over 256 numbers: without a weight they would be learnt last.
_WEIGHT_OF_MEANING = 2.0


def segments(text: str) -> list[tuple[int, int]]:
    """Where its sentences begin and end; a line counts as one when it stands for itself, and
    neighbours of a few letters each count as one together."""
    found, start = [], 0
    for end in _END.finditer(text):
        found += _cut(start, end.start())
        start = end.end()
    found += _cut(start, len(text))
    return _joined([(a, b) for a, b in found if text[a:b].strip()])


def _joined(places: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    joined: list[tuple[int, int]] = []
    open_ended = False
    for start, end in places:
        tiny = end - start < _TINY
        if tiny and open_ended and end - joined[-1][0] <= _LONGEST:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((start, end))
        open_ended = tiny
    return joined


def _cut(start: int, end: int) -> list[tuple[int, int]]:
    return [(at, min(at + _LONGEST, end)) for at in range(start, end, _LONGEST)]


def words(sentence: str) -> list[str]:
    return _WORD.findall(sentence)


@dataclass(frozen=True, eq=False)
class Seen:
    """Sentences as the scorer sees them.

    rows: (sentences, WIDTH) numbers. phrases: of each sentence the places of its phrases, in
    order, of PLACES.
    """

    rows: NDArray[np.float32]
    phrases: list[NDArray[np.intp]]

    @property
    def meanings(self) -> NDArray[np.float32]:
        """The sentences' vectors of length one."""
        return self.rows[:, _MEANING:] / np.float32(_WEIGHT_OF_MEANING)


def phrase_weight(phrases: NDArray[np.intp]) -> float:
    """What each of a sentence's phrases counts, so that long sentences do not count more."""
    return _WEIGHT_OF_PHRASES / math.sqrt(max(1, len(phrases)))


def features(sentences: Sequence[str]) -> Seen:
    """What there is to see of sentences, which are as scored() gives them."""
    sentences = [in_english(_LONGEST_RUN.sub(r"\1", sentence)) for sentence in sentences]
    rows = np.zeros((len(sentences), WIDTH), np.float32)
    for row, sentence in zip(rows, sentences, strict=True):
        _concepts_into(row, words(sentence))
        for number, sign in enumerate(_SIGNS.values()):
            row[_SIGN + number] = sign.search(sentence) is not None
        row[_MEANING - 1] = math.log1p(len(sentence)) / 5
    rows[:, _MEANING:] = embed(sentences) * np.float32(_WEIGHT_OF_MEANING)
    return Seen(rows, [_phrases(sentence) for sentence in sentences])


def _phrases(sentence: str) -> NDArray[np.intp]:
    said = [_hashed(word) for word in _OF_PHRASE.findall(sentence)]
    pairs = [(a * _MIX + b) & 0xFFFFFFFF for a, b in pairwise(said)]
    threes = [(pair * _MIX + c) & 0xFFFFFFFF for pair, c in zip(pairs, said[2:], strict=False)]
    places = {(number >> 7) % PLACES for number in (*said, *pairs, *threes)}
    return np.array(sorted(places), np.intp)


@lru_cache(maxsize=50_000)
def _hashed(word: str) -> int:
    return zlib.crc32(word.encode())


def _concepts_into(row: NDArray[np.float32], said: Sequence[str]) -> None:
    meant = [(at, concepts(word)) for at, word in enumerate(said)]
    meant = [(at, numbers) for at, numbers in meant if numbers]
    for place, (at, numbers) in enumerate(meant):
        for number in numbers:
            row[_ONE + number] = 1
            if at == 0 or (
                at == 1 and said[0] in ("please", "kindly", "bitte", "now", "and", "then")
            ):
                row[_FIRST + number] = 1
        for later, others in meant[place + 1 :]:
            if later - at > _WINDOW:
                break
            for number in numbers:
                for other in others:
                    row[_PAIR + number * len(CONCEPTS) + other] = 1
