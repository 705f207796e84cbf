"""Which sentences of sources bear on a question, without a model: by their words."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ai import sentences

# Of BM25, as is usual (S. Robertson, H. Zaragoza, The Probabilistic Relevance Framework: BM25 and
# Beyond, 2009).
_K1, _B = 1.2, 0.75
# The best sentence has to hold this share of what the question asks about, by weight; another one
# half as much as the best.
_BEARS, _AS_WELL = 0.25, 0.5
# How much it counts that a sentence is like the others, beside what it says to the question.
_CENTRAL = 0.3
_SAME = 0.8
MOST_SENTENCES = 4
# Who asks for a whole asks for no word in it.
_OF_A_WHOLE = frozenset(
    sentences.stems(
        "summarise summarize summary overview zusammenfassung fasse zusammen überblick résumer"
        " résumé synthèse aperçu resumir resumen síntesis"
    )
)


@dataclass(frozen=True)
class Sentence:
    """source_id: "" for a text that is no source. position: among all sentences of the sources."""

    text: str
    source_id: str
    position: int


def of(question: str, sources: Sequence[tuple[str, str]]) -> list[Sentence]:
    """The sentences that bear on the question, best first, no two of them alike; at most
    MOST_SENTENCES. None where nothing does.

    sources: of each its id and text. A question that asks for a whole, or none, is answered by
    the sentences that are most like all the others (degree centrality: G. Erkan, D. Radev,
    LexRank, JAIR 22, 2004).
    """
    split = [(text, source_id) for source_id, source in sources for text in sentences.split(source)]
    found = [Sentence(text, source_id, at) for at, (text, source_id) in enumerate(split)]
    words = _Words([Counter(sentences.stems(sentence.text)) for sentence in found])
    asked = set(sentences.stems(question))
    in_words = asked and not asked & _OF_A_WHOLE
    scores = words.relevant(asked) if in_words else words.central()
    chosen: list[Sentence] = []
    for one in sorted(found, key=lambda one: -scores[one.position]):
        alike = any(words.likeness(one.position, other.position) > _SAME for other in chosen)
        if scores[one.position] > 0 and not alike:
            chosen.append(one)
        if len(chosen) == MOST_SENTENCES:
            break
    return chosen


class _Words:
    """The words of sentences, weighed: the fewer sentences have a word, the more it says."""

    def __init__(self, bags: Sequence[Counter[str]]) -> None:
        self._bags = bags
        self._held = Counter(word for bag in bags for word in bag)
        self._in_all = Counter(word for bag in bags for word in bag.elements())
        self._weights = {word: self._weight(word) for word in self._held}
        self._vectors = [
            {word: count * self._weights[word] for word, count in bag.items()} for bag in bags
        ]
        self._norms = [_norm(vector) for vector in self._vectors]

    def relevant(self, asked: set[str]) -> list[float]:
        """How well each sentence answers; 0 for one that does not bear on what is asked."""
        wanted = sum(map(self._weight, asked))
        held = [sum(map(self._weight, asked & bag.keys())) / wanted for bag in self._bags]
        bar = max(_BEARS, _AS_WELL * max(held, default=0.0))
        matches = _of_highest(self._bm25(asked))
        return [
            match + _CENTRAL * central if share >= bar else 0.0
            for match, central, share in zip(matches, self.central(), held, strict=True)
        ]

    def central(self) -> list[float]:
        """Each sentence's cosine with the sum of all; 1 for the highest."""
        every = {word: held * self._weights[word] for word, held in self._in_all.items()}
        whole = _norm(every)
        return _of_highest(
            [
                _dot(vector, every) / (norm * whole) if norm else 0.0
                for vector, norm in zip(self._vectors, self._norms, strict=True)
            ]
        )

    def likeness(self, one: int, other: int) -> float:
        """The cosine of two sentences."""
        norms = self._norms[one] * self._norms[other]
        return _dot(self._vectors[one], self._vectors[other]) / norms if norms else 0.0

    def _bm25(self, asked: set[str]) -> list[float]:
        sizes = [bag.total() for bag in self._bags]
        mean = sum(sizes) / len(sizes) if any(sizes) else 1.0
        return [
            sum(
                self._weights[word]
                * bag[word]
                * (_K1 + 1)
                / (bag[word] + _K1 * (1 - _B + _B * size / mean))
                for word in asked & bag.keys()
            )
            for bag, size in zip(self._bags, sizes, strict=True)
        ]

    def _weight(self, word: str) -> float:
        # A word that is nowhere says no more than one that is somewhere: else the words that a
        # question is put in would drown the one that it is about.
        held = max(1, self._held[word])
        return math.log(1 + (len(self._bags) - held + 0.5) / (held + 0.5))


def _of_highest(values: Sequence[float]) -> list[float]:
    highest = max(values, default=0.0) or 1.0
    return [value / highest for value in values]


def _dot(one: Mapping[str, float], other: Mapping[str, float]) -> float:
    if len(one) > len(other):
        one, other = other, one
    return sum(value * other[word] for word, value in one.items() if word in other)


def _norm(vector: Mapping[str, float]) -> float:
    return math.sqrt(sum(value * value for value in vector.values()))
