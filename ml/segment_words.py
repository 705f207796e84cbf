"""What sets segments apart, in words and by column."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ml.algorithm import Floats, Matrix
from ml.mixture_fitting import Prepared
from ml.segments import Category, Mixture, Number, Segments

# The number of interactions in 90 days, which is no column.
ACTIVITY = "interactions"

_MOST_TRAITS = 3
# In deviations over all customers: below it a segment is like the others.
_LEAST = 0.4


@dataclass(frozen=True)
class Profile:
    """A segment: its number and name, customers and their share, 0 to 1, and by column what is
    typical of it: the median of a number, the commonest category with its share."""

    segment: int
    name: str
    customers: int
    share: float
    typical: Mapping[str, str]


def names(
    numbers: Sequence[Number], categories: Sequence[Category], rows: Prepared, mixture: Mixture
) -> tuple[str, ...]:
    """A name for each segment of the mixture: the traits that set it apart most from all rows,
    the strongest first; no two are the same."""
    shares = [
        np.bincount(code, minlength=size) / len(rows)
        for code, size in zip(rows.codes, rows.sizes, strict=True)
    ]
    found: list[str] = []
    used: Counter[str] = Counter()
    for segment in range(len(mixture.weights)):
        traits = [
            *_numeric(numbers, mixture.means[segment] - rows.numbers.mean(axis=0)),
            *_categorical(categories, [one[segment] for one in mixture.shares], shares),
        ]
        strongest = sorted(traits, key=lambda trait: (-trait[0], trait[1]))[:_MOST_TRAITS]
        words = ", ".join(trait for _, trait in strongest)
        name = words or ("all customers" if len(mixture.weights) == 1 else "like the average")
        used[name] += 1
        found.append(name if used[name] == 1 else f"{name} ({used[name]})")
    return tuple(found)


def profiles(model: Segments, matrix: Matrix) -> tuple[Profile, ...]:
    """What is typical of each segment's customers."""
    segment = model.assign(matrix).segment
    return tuple(
        Profile(
            number, name, int((segment == number).sum()), float((segment == number).mean()),
            dict(_typical(model, matrix[segment == number])),
        )
        for number, name in enumerate(model.names, start=1)
    )  # fmt: skip


def _numeric(numbers: Sequence[Number], away: Floats) -> Iterator[tuple[float, str]]:
    for number, distance in zip(numbers, away.tolist(), strict=True):
        if abs(distance) < _LEAST:
            continue
        few, many = ("few", "many") if number.name == ACTIVITY else ("low", "high")
        yield abs(distance), f"{many if distance > 0 else few} {number.name}"


def _categorical(
    categories: Sequence[Category],
    mine: Sequence[Floats],
    everyones: Sequence[Floats],
) -> Iterator[tuple[float, str]]:
    for category, share, usual in zip(categories, mine, everyones, strict=True):
        code = int(share.argmax())
        deviation = float(np.sqrt(usual[code] * (1 - usual[code])))
        if code == len(category.values) or deviation == 0:
            continue
        distance = float(share[code] - usual[code]) / deviation
        if distance >= _LEAST and share[code] >= 0.5:
            yield distance, f"{category.name} {category.words[code]}"


def _typical(model: Segments, matrix: Matrix) -> Iterator[tuple[str, str]]:
    for number in model.numbers:
        known = number.raw(matrix)
        known = known[np.isfinite(known)]
        yield number.name, f"{np.median(known):.4g}" if len(known) else "not known"
    for category in model.categories:
        counts = np.bincount(category.of(matrix), minlength=category.codes)
        code = int(counts.argmax())
        word = (*category.words, "other or not known")[code]
        yield category.name, f"{word} ({counts[code] / max(len(matrix), 1):.0%})"
