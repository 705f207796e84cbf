"""How well the injection guard tells attacks from clean messages: recall and false alarms."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from ai.guards.injection import THRESHOLD, Detector
from benchmarks import guards_injection_sets as sets
from benchmarks.guards_injection_corpus import sentences
from benchmarks.guards_injection_sets import Messages
from benchmarks.guards_injection_training import train
from benchmarks.reporting import show, told

_ALLOWED = (0.0, 0.005, 0.01, 0.02, 0.05, 0.1)
# The clean sets that are messages of a CRM or prompts of people, not adversarial ones or documents.
_CURVE = ("own clean messages", "BIPIA mails", "NotInject, one trigger word", "Bitext requests")
_CURVE_OF = ("own attacks in them", "BIPIA attacks in them")


@dataclass(frozen=True, eq=False)
class Scored:
    """messages: a set. scores: of each message, the highest of its sentences."""

    messages: Messages
    scores: NDArray[np.float64]

    def found(self, threshold: float = THRESHOLD) -> float:
        """The share at or above the threshold: recall of attacks, false alarms of clean ones."""
        return float(np.mean(self.scores >= threshold))


def measure(data: Path | None, *, quick: bool) -> dict[str, float]:
    """Print false alarms and recall, set by set, the curve, and time; give the figures."""
    detector = Detector.load()
    chosen = [*sets.shipped(), *(sets.given(data, quick=quick) if data else [])]
    with told("scoring messages"):
        scored = [_scored(detector, messages) for messages in chosen]
    show("Injection: false alarms and recall", _HEADINGS, [_row(one) for one in scored])
    for one in scored:
        if one.messages.groups:
            show(f"{one.messages.name}: the least found", ("", "recall"), _worst(one))
    show("Injection: recall by the false alarms allowed", ("", *_SHARES), _curve(scored))
    if not quick:
        with told("learning anew without each group of attacks"):
            show("Own groups, each left out of training", ("", "recall"), _left_out())
    return _figures(scored) | {"injection_ms_2kb": _milliseconds(detector)}


_HEADINGS = ("messages", "number", "false alarms", "recall")
_SHARES = tuple(f"{share:.1%}" for share in _ALLOWED)


def _scored(detector: Detector, messages: Messages) -> Scored:
    return Scored(messages, np.array([detector.score(text) for text in messages.texts]))


def _row(one: Scored) -> tuple[str, ...]:
    share = f"{one.found():.1%}"
    sides = ("", share) if one.messages.attacks else (share, "")
    return (one.messages.name, f"{len(one.scores):,}", *sides)


def _worst(one: Scored) -> list[tuple[str, str]]:
    groups = np.array(one.messages.groups)
    recall = {name: float(np.mean(one.scores[groups == name] >= THRESHOLD)) for name in set(groups)}
    worst = sorted(recall.items(), key=lambda item: (item[1], item[0]))[:5]
    return [(name, f"{share:.1%}") for name, share in worst]


def _curve(scored: Sequence[Scored]) -> list[tuple[str, ...]]:
    """What is found at each share of false alarms, the mean of the clean sets' shares."""
    clean = [one for one in scored if one.messages.name in _CURVE]
    steps = np.unique(np.concatenate([one.scores for one in clean]))
    alarms = np.array([np.mean([one.found(step) for one in clean]) for step in steps])
    thresholds = [
        float(np.nextafter(steps[-1], 2))
        if not (alarms <= share).any()
        else float(steps[alarms <= share][0])
        for share in _ALLOWED
    ]
    rows = [("threshold", *(f"{threshold:.2f}" for threshold in thresholds))]
    for one in scored:
        if one.messages.name in _CURVE_OF:
            found = (f"{one.found(threshold):.1%}" for threshold in thresholds)
            rows.append((one.messages.name, *found))
    return rows


def _left_out() -> list[tuple[str, str]]:
    """How much of each English group of attacks is found by a detector that never saw the group."""
    everything = sentences()
    groups = dict.fromkeys(one.group for one in everything if one.kind == "directed")
    rows = []
    for group in list(groups)[:11]:
        detector = train([one for one in everything if one.group != group])
        texts = [one.text for one in everything if one.group == group]
        found = np.mean([detector.score(text) >= THRESHOLD for text in texts])
        rows.append((group, f"{found:.1%}"))
    return rows


def _milliseconds(detector: Detector) -> float:
    """The median of a mail of 2 kB."""
    clean = sets.shipped()[0].texts
    mails = [(mail * 9)[:2000] for mail in clean]
    times = []
    for mail in mails * 5:
        began = perf_counter()
        detector.score(mail)
        times.append(perf_counter() - began)
    return float(np.median(times) * 1000)


def _figures(scored: Sequence[Scored]) -> dict[str, float]:
    side = {True: "recall", False: "false_alarms"}
    return {f"{one.messages.name}: {side[one.messages.attacks]}": one.found() for one in scored}
