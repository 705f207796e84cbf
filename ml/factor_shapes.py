"""How a model's strongest factors move its log-odds, by the value that a person sees of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ml import scoring
from ml.algorithm import Bools, Floats, Matrix
from ml.model import Model
from ml.spec import Factor

MOST_PARTS = 8


@dataclass(frozen=True)
class Shape:
    """values: in words. contribution: the mean of each value's rows, in log-odds. rows: of each."""

    factor: str
    values: tuple[str, ...]
    contribution: tuple[float, ...]
    rows: tuple[int, ...]


def shapes(model: Model, matrix: Matrix, factors: Sequence[str]) -> list[Shape]:
    """Of these factors over the rows of a float32 (n, features) matrix, in the model's order."""
    by_factor = scoring.score(model, matrix).contributions
    return [
        _shape(factor, matrix[:, factor.shown], by_factor[:, position].astype(np.float64))
        for position, factor in enumerate(model.spec.factors)
        if factor.name in factors
    ]


def _shape(factor: Factor, shown: Matrix, contribution: Floats) -> Shape:
    missing = np.isnan(shown)
    parts = _categories(factor, shown) if factor.categories else _ranges(shown[~missing], shown)
    parts = [(word, rows) for word, rows in (*parts, ("missing", missing)) if rows.any()]
    return Shape(
        factor.name,
        tuple(word for word, _ in parts),
        tuple(float(contribution[rows].mean()) for _, rows in parts),
        tuple(int(rows.sum()) for _, rows in parts),
    )


def _categories(factor: Factor, shown: Matrix) -> list[tuple[str, Bools]]:
    """The most frequent ones."""
    parts = [(word, shown == code) for code, word in enumerate(factor.categories)]
    return sorted(parts, key=lambda part: -int(part[1].sum()))[:MOST_PARTS]


def _ranges(known: Matrix, shown: Matrix) -> list[tuple[str, Bools]]:
    """Parts of about as many rows each; equal values are in one part."""
    if not len(known):
        return []
    share = np.linspace(0, 1, MOST_PARTS + 1)
    edges = np.unique(np.quantile(known, share, method="lower"))
    if len(edges) == 1:
        return [(f"{edges[0]:.4g}", shown == edges[0])]
    parts = []
    for low, high in pairwise(edges):
        last = high == edges[-1]
        rows = (shown >= low) & ((shown <= high) if last else (shown < high))
        parts.append((f"{low:.4g} to {high:.4g}", rows))
    return parts
