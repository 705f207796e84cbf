"""What moved between two scores of one lead, factor by factor, so that it adds up exactly."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ml import reasons
from ml.model import Model
from ml.spec import Factor


@dataclass(frozen=True, eq=False)
class Scored:
    """One stored score of a lead.

    model: the model that made it.
    contributions: log-odds per factor of the model, float32, shape (factors,).
    inputs: the features it was made from, float32, shape (features,).
    """

    model: Model
    contributions: NDArray[np.float32]
    inputs: NDArray[np.float32]

    @property
    def log_odds(self) -> float:
        """The log-odds of its probability, added up in the order in which ml.scoring does."""
        total = self.model.base
        for weight in self.contributions.tolist():
            total += weight
        return total


@dataclass(frozen=True)
class Move:
    """One factor's part in the difference of two scores.

    factor: its name; None for the model's base.
    before, after: its weights in log-odds; 0 where a model has no such factor.
    words: its value before and after: "visit: 1 -> 6 in 7 days".
    """

    factor: str | None
    before: float
    after: float
    words: str

    @property
    def change(self) -> float:
        return self.after - self.before


def moves(before: Scored, after: Scored) -> list[Move]:
    """The base and every factor of either model, the strongest change first.

    Factors are matched by name. All weights before add up to the log-odds before, all weights
    after to those after, and the changes to their difference, to the rounding of a float; a line
    whose weight stayed has a change of 0. Where changes are equally strong the base comes first,
    then the factors in the order of the later model, then those that it no longer has.
    """
    old, new = _by_name(before), _by_name(after)
    found = [_base(before.model.base, after.model.base)]
    for name in new | old:
        words = _words(before.inputs, old.get(name), after.inputs, new.get(name))
        found.append(Move(name, _weight(old, name), _weight(new, name), words))
    return sorted(found, key=lambda move: -abs(move.change))


@dataclass(frozen=True)
class _Part:
    """A factor with its weight, and the factor as each of its features shows it."""

    weight: float
    faces: tuple[Factor, ...]


def _by_name(scored: Scored) -> dict[str, _Part]:
    spec, weights = scored.model.spec, scored.contributions.tolist()
    return {
        factor.name: _Part(
            weight,
            (
                factor,
                *(
                    replace(factor, shown=other, template=spec.features[other].template)
                    for other in factor.features
                    if other != factor.shown
                ),
            ),
        )
        for factor, weight in zip(spec.factors, weights, strict=True)
    }


def _weight(parts: Mapping[str, _Part], name: str) -> float:
    return parts[name].weight if name in parts else 0.0


def _base(before: float, after: float) -> Move:
    return Move(None, before, after, "the model's base" + " moved" * (before != after))


def _words(
    inputs_before: NDArray[np.float32],
    before: _Part | None,
    inputs_after: NDArray[np.float32],
    after: _Part | None,
) -> str:
    """The value that the factor shows, before and after.

    Interactions show their 30 days; where that number stayed, the first of their windows that
    did not says what moved.
    """
    if before is None:
        assert after is not None
        return f"{_face(after.faces[0], inputs_after)} (not in the model before)"
    if after is None:
        return f"{_face(before.faces[0], inputs_before)} (not in the model after)"
    said = [
        _change(old, _value(old, inputs_before), new, _value(new, inputs_after))
        for old, new in zip(before.faces, after.faces, strict=False)
    ]
    return next((words for words, moved in said if moved), said[0][0])


def _change(old: Factor, value_before: float, new: Factor, value_after: float) -> tuple[str, bool]:
    """The words for a value before and after, and whether they say that it moved."""
    words_before, words_after = reasons.words(old, value_before), reasons.words(new, value_after)
    if words_before == words_after:
        return words_after, False
    if old.template != new.template:
        return f"{words_before} -> {words_after}", True
    both = f"{_text(old, value_before)} -> {_text(new, value_after)}"
    return new.template.replace("{value}", both), True


def _text(factor: Factor, value: float) -> str:
    """The value alone: "retired", "6", "not known"."""
    if not math.isfinite(value):
        return "not known"
    return reasons.words(replace(factor, template="{value}"), value)


def _face(factor: Factor, inputs: NDArray[np.float32]) -> str:
    return reasons.words(factor, _value(factor, inputs))


def _value(factor: Factor, inputs: NDArray[np.float32]) -> float:
    return float(inputs[factor.shown])
