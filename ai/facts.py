"""What two questions must have in common before the answer to one may serve the other."""

import unicodedata
from collections.abc import Container
from pathlib import Path

_ENDS = "?!….\u037e\u061f\u0964\u3002\uff01\uff1f"
_QUOTES = "\"'“”„«»\u2018\u2019\u201a\u2039\u203a"
_OPENING = _QUOTES + "([{¿¡"
_PAUSES = ",;:\u060c\u061b\u3001\uff0c\uff1a\uff1b" + _ENDS.replace("!", "").replace("\uff01", "")
_CLOSING = _PAUSES + _ENDS + _QUOTES + ")]}"


def agree(one: str, other: str) -> bool:
    """Whether two texts say the same word for word, but for how they address, ask and end.

    Whatever stands between two spaces has to be equal, with its signs, marks and capitals. What may
    differ is listed in free_words.txt. A list of what must be equal would have holes: an embedding
    puts "right" beside "wrong" and "before" beside "after", and no list of such pairs is whole.
    """
    return facts(one) == facts(other)


def facts(text: str) -> list[str]:
    """The words that say something, in order, synonyms as one word; all but the first as they are
    written, for Sie is not sie in German, nor US us."""
    words = [word for word in map(_bare, unicodedata.normalize("NFC", text).split()) if word]
    begun: list[str] = []
    while not begun and (opener := _longest(_OPENERS, [word.lower() for word in words])):
        begun, words = _OPENERS[opener].split(), words[len(opener) :]
    backwards = words[::-1]
    while closer := _longest(_CLOSERS, backwards):
        backwards = backwards[len(closer) :]
    words = begun + backwards[::-1]
    if words and words[0] == words[0].capitalize():
        words[0] = words[0].lower()
    return [_SAME.get(word, word) for word in words if word not in _FREE]


def _bare(word: str) -> str:
    """The word without the punctuation of its sentence. Beside a digit quotes, brackets and ! are
    no such: 5" are inches and (500) is what is owed."""
    word = word.replace("\u2019", "'")
    if not any(map(str.isalnum, word)):
        # French sets marks apart; smileys and operators say something.
        return "" if set(word) <= set(_ENDS) else word
    begins = word.lstrip(_OPENING)
    word = word if begins[0].isdigit() else begins
    ends = word.rstrip(_CLOSING)
    return word.rstrip(_PAUSES) if ends[-1].isdigit() else ends


def _longest(phrases: Container[tuple[str, ...]], words: list[str]) -> tuple[str, ...]:
    """The longest of the phrases that the words begin with; () for none."""
    for length in range(min(_LONGEST, len(words)), 0, -1):
        if tuple(words[:length]) in phrases:
            return tuple(words[:length])
    return ()


def _read() -> dict[str, list[list[str]]]:
    """The lines of free_words.txt by their mark, each as its phrases."""
    lines: dict[str, list[list[str]]] = {mark: [] for mark in "#-=^$"}
    for line in (Path(__file__).parent / "free_words.txt").read_text().splitlines():
        if line:
            lines[line[0]].append([phrase.strip() for phrase in line[1:].split("/")])
    return lines


_LINES = _read()
_FREE = frozenset(word for line in _LINES["-"] for word in line)
_SAME = {word: line[0] for line in _LINES["="] for word in line}
_OPENERS = {tuple(one.split()): line[0] for line in _LINES["^"] for one in line if one}
_CLOSERS = {tuple(one.split()[::-1]) for line in _LINES["$"] for one in line}
_LONGEST = max(map(len, [*_OPENERS, *_CLOSERS]))
