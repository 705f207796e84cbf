"""What two questions must have in common before the answer to one may serve the other."""

import re
from pathlib import Path

# Names, amounts with their currency, dates, addresses and ids are one token each.
_TOKEN = re.compile(r"<\w+>|[^\W_]+(?:[.,:/@'\u2019_+-][^\W_]+)*|[%€$£¥<>=]")


def agree(one: str, other: str) -> bool:
    """Whether two texts say the same, in the same order, but for words that say nothing.

    Numbers, dates, ids, names, placeholders and negations have to be equal, as has every other word
    that is not in free_words.txt. A list of what must be equal would have holes: an embedding puts
    "right" beside "wrong" and "before" beside "after", and no list of such pairs is whole.
    """
    return facts(one) == facts(other)


def facts(text: str) -> list[str]:
    """The words that say something, in lower case and in order, synonyms as one word."""
    words = (word.casefold().replace("\u2019", "'") for word in _TOKEN.findall(text))
    return [_SAME.get(word, word) for word in words if word not in _FREE]


def _read() -> tuple[frozenset[str], dict[str, str]]:
    free: set[str] = set()
    same: dict[str, str] = {}
    for line in (Path(__file__).parent / "free_words.txt").read_text().splitlines():
        words = line.removeprefix("=").split()
        if line.startswith("="):
            same |= dict.fromkeys(words, words[0])
        elif not line.startswith("#"):
            free.update(words)
    return frozenset(free), same


_FREE, _SAME = _read()
