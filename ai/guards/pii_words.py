"""Words that tell names from other words; data/SOURCES.md says where the lists are from."""

# ruff: noqa: RUF001 (apostrophes and letters as people write them)

import unicodedata
from functools import lru_cache
from pathlib import Path

_DATA = Path(__file__).parent / "data"
# Letters that Unicode does not take apart into a plain one and its mark.
_PLAIN = str.maketrans(
    {"ł": "l", "ø": "o", "đ": "d", "ð": "d", "æ": "ae", "œ": "oe", "þ": "th", "ı": "i", "ħ": "h"}
)


@lru_cache(maxsize=65_536)
def folded(word: str) -> str:
    """The word without case and diacritics: Šušulić and SUSULIC are the same."""
    if word.isascii():
        return word.lower()
    apart = unicodedata.normalize("NFKD", word.casefold().translate(_PLAIN))
    return "".join(character for character in apart if not unicodedata.combining(character))


@lru_cache(maxsize=1)
def common_words() -> frozenset[str]:
    """Folded words that a name may be mistaken for, also those of `proper_words`."""
    return frozenset(folded(word) for word in _lines("words.txt"))


@lru_cache(maxsize=1)
def proper_words() -> frozenset[str]:
    """Of the common words those with a capital wherever they stand: days, months, places."""
    return frozenset(folded(word) for word in _lines("words.txt") if word[0].isupper())


@lru_cache(maxsize=1)
def given_names() -> frozenset[str]:
    """Folded first names that are no words besides."""
    return frozenset(folded(name) for name in _lines("given_names.txt"))


@lru_cache(maxsize=1)
def surnames() -> frozenset[str]:
    """Folded surnames that are common words too, such as miller."""
    return frozenset(folded(name) for name in _lines("surnames.txt"))


def is_common(word: str) -> bool:
    """Whether the folded word, or what it is the plural of, is a common one."""
    words = common_words()
    return word in words or (word.endswith("s") and word[:-1] in words)


def _lines(name: str) -> list[str]:
    return (_DATA / name).read_text(encoding="utf-8").split()
