"""Instructions in data: which sentences of a text speak to the model instead of to its reader.

Two linear scores of a sentence: whether it is directed at an assistant (its rules, its answer, its
tools), and whether it is a task for an assistant that has nothing to do with the message around
it. docs/decisions/injection-guard.md has the method, its figures and its limits.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ai.guards.decoding import decoded, disguises
from ai.guards.injection_features import Seen, features, phrase_weight, segments, words
from ai.guards.normalise import hidden, normalise, scored

# Scores are scaled so that at this one 2 in 100 clean messages are found, or fewer.
THRESHOLD = 0.5
_WEIGHTS = Path(__file__).with_name("injection.json")
# A task is out of place in what surrounds it only if there is something else around it.
_WORDS_OF_A_TASK, _WORDS_AROUND, _SHARE = 3, 8, 0.5
_CALM_TASK, _CALM_DIRECTED = -1.0, -2.5
# Tasks put into mails have cosines below 0.15 with them, a text's own questions 0.25 to 0.65.
_COSINE, _PER_COSINE = 0.2, 6.0
_NOTHING = -20.0


@dataclass(frozen=True)
class Finding:
    """A sentence that looks like an attack.

    start, end: where it is in normalise(text); both 0 for what normalise() takes away. score: 0 to
    1, THRESHOLD and above. why: in words for logs and people, without contents.
    """

    start: int
    end: int
    score: float
    why: str


@dataclass(frozen=True, eq=False)
class Head:
    """A linear score, so that 0 is where THRESHOLD is.

    weights: for the numbers of a sentence. phrases: for the places of its phrases. bias: added.
    """

    weights: NDArray[np.float32]
    phrases: NDArray[np.float32]
    bias: float

    def __call__(self, seen: Seen) -> NDArray[np.float32]:
        said = [self.phrases[places].sum() * phrase_weight(places) for places in seen.phrases]
        return seen.rows @ self.weights + np.array(said, np.float32) + np.float32(self.bias)


@dataclass(frozen=True, eq=False)
class Detector:
    """directed: for sentences that are addressed to a model. task: for tasks of another matter."""

    directed: Head
    task: Head

    @classmethod
    def load(cls) -> "Detector":
        """The one that Galena ships. Made by `python -m benchmarks.guards_injection_training`."""
        return _shipped()

    def findings(self, text: str) -> list[Finding]:
        """The sentences at or above THRESHOLD, in their order and apart; [] for a clean text.

        text: as it came in, so that what normalise() takes away is scored as well.
        """
        return _apart([found for found in self.sentences(text) if found.score >= THRESHOLD])

    def score(self, text: str) -> float:
        """The highest of its sentences' scores, 0 to 1; 0 for an empty text."""
        return max((found.score for found in self.sentences(text)), default=0.0)

    def sentences(self, text: str) -> list[Finding]:
        """Every sentence with its score, also those below THRESHOLD."""
        sent = normalise(text)
        places = segments(sent)
        said = [scored(sent[start:end]) for start, end in places]
        seen = features(said)
        directed = self.directed(seen)
        task = self._out_of_place(seen, said, directed)
        found = [
            _finding(place, float(a), float(b))
            for place, a, b in zip(places, directed, task, strict=True)
        ]
        for place, reading, how in _other_readings(text, sent, places, said):
            inner = [scored(reading[start:end]) for start, end in segments(reading)]
            if inner:
                seen = features(inner)
                logit = max(float(self.directed(seen).max()), float(self.task(seen).max()))
                found.append(Finding(*place, _probability(logit), f"written in {how}"))
        return sorted(_highest(found), key=lambda finding: finding.start)

    def _out_of_place(
        self, seen: Seen, said: Sequence[str], directed: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """The task score of each sentence that stands in a message of something else.

        Less by how near its meaning is to the mean of the others' (their cosine, by words).
        """
        task = self.task(seen)
        length = np.array([len(words(sentence)) for sentence in said], np.float32)
        calm = np.where((task < _CALM_TASK) & (directed < _CALM_DIRECTED), length, 0)
        around, others = calm.sum() - calm, length.sum() - length
        meaning = seen.meanings
        by_words = meaning * length[:, None]
        rest = by_words.sum(axis=0) - by_words
        near = (meaning * rest).sum(axis=1) / np.maximum(np.linalg.norm(rest, axis=1), 1e-6)
        placed = (
            (length >= _WORDS_OF_A_TASK) & (around >= _WORDS_AROUND) & (around >= others * _SHARE)
        )
        apart = task - _PER_COSINE * np.maximum(near - _COSINE, 0)
        return np.where(placed, apart, np.float32(_NOTHING)).astype(np.float32)


@cache
def _shipped() -> Detector:
    stored = json.loads(_WEIGHTS.read_text("utf-8"))
    return Detector(*(_head(stored[kind]) for kind in ("directed", "task")))


def _head(stored: dict[str, list[float]]) -> Head:
    weights, phrases = (np.array(stored[name], np.float32) for name in ("weights", "phrases"))
    return Head(weights, phrases, float(stored["bias"][0]))


def _other_readings(
    text: str, sent: str, places: Sequence[tuple[int, int]], said: Sequence[str]
) -> list[tuple[tuple[int, int], str, str]]:
    """What else the text says: encoded, disguised, or in characters that are not sent on."""
    found = [((0, 0), unseen, "unseen characters") for unseen in hidden(text)]
    found += [((code.start, code.end), code.text, code.how) for code in decoded(sent)]
    for place, sentence in zip(places, said, strict=True):
        found += [(place, reading, how) for reading, how in disguises(sentence)]
    return found


def _finding(place: tuple[int, int], directed: float, task: float) -> Finding:
    if task > directed:
        return Finding(*place, _probability(task), "a task that is out of place")
    return Finding(*place, _probability(directed), "directed at a model")


def _apart(found: Sequence[Finding]) -> list[Finding]:
    """Findings in their order, those that overlap made one, as high as the higher."""
    merged: list[Finding] = []
    for finding in found:
        if merged and finding.start < merged[-1].end:
            higher = max(merged[-1], finding, key=lambda one: one.score)
            end = max(merged[-1].end, finding.end)
            merged[-1] = replace(higher, start=merged[-1].start, end=end)
        else:
            merged.append(finding)
    return merged


def _highest(found: list[Finding]) -> list[Finding]:
    """One finding of a place, the highest."""
    best: dict[tuple[int, int], Finding] = {}
    for finding in found:
        place = (finding.start, finding.end)
        if place not in best or best[place].score < finding.score:
            best[place] = finding
    return list(best.values())


def _probability(logit: float) -> float:
    return float(1 / (1 + np.exp(-np.clip(logit, -30, 30))))
