"""From customers to segments, and a report of what they are worth.

Method. Mixtures (ml.segments) of 1 to 8 segments, with and without covariances, are fitted by
expectation-maximisation from k-means. Of those the one with the greatest integrated completed
likelihood serves (C. Biernacki, G. Celeux, G. Govaert, "Assessing a mixture model for clustering
with the integrated completed likelihood", 2000): the Bayesian information criterion less the
entropy of the assignments, so that segments that overlap do not count as two. It has to be stable:
fitted on resampled customers it assigns them alike (adjusted Rand index of at least 0.6), else the
next best is taken. Where one segment is best the customers have no groups, and the report says so.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ml.algorithm import Floats, Matrix
from ml.mixture_fitting import SHAPES, Fitted, Prepared, Shape, fit, stability, start
from ml.model import Evidence
from ml.segment_words import ACTIVITY, Profile, names, profiles
from ml.segments import Category, Form, Mixture, Number, Segments
from ml.spec import WINDOWS_DAYS, FeatureSpec

Progress: TypeAlias = Callable[[str, float, Mapping[str, float]], None]

FEWEST = 60
MOST_SEGMENTS, FEWEST_IN_SEGMENT = 8, 20
STABLE = 0.6

# Drawn of the customers: to fit on, and to take silhouettes of.
_MOST_ROWS, _SAMPLE_ROWS = 5_000, 2_000
# Columns of so many values are read as categories; of more categories than these, not at all.
_FEW_VALUES, _MOST_CATEGORIES = 5, 12
_MOST_NUMBERS = 20


@dataclass(frozen=True)
class Report:
    """What the segments are worth.

    lacking: why there is one segment only; None where there are several.
    shape: of the covariances. silhouette: mean over customers, -1 to 1 (P. Rousseeuw, 1987), of the
    columns as they are scaled. stability: mean adjusted Rand index of resampled fits, 1 is the
    same each time. Both None of one segment. criterion: the integrated completed likelihood per
    customer by number of segments, of the better shape.
    """

    lacking: str | None
    customers: int
    segments: int
    shape: Shape
    silhouette: float | None
    stability: float | None
    criterion: Mapping[str, float]
    profiles: tuple[Profile, ...]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Trained:
    model: Segments
    report: Report


def train(
    spec: FeatureSpec,
    matrix: Matrix,
    *,
    trained_at: datetime,
    seed: int = 0,
    progress: Progress = lambda _step, _done, _known: None,
) -> Trained:
    """Group customers; the same arguments give the same segments.

    matrix: float32 (customers, features of spec), as of one time. progress: told the step in words,
    the share done, 0 to 1, and figures; it may raise to end the training.

    Raises ValueError for fewer than FEWEST customers.
    """
    if len(matrix) < FEWEST:
        raise ValueError(f"{len(matrix)} customers, expected at least {FEWEST}")
    random = np.random.default_rng(seed)
    drawn = matrix[np.sort(random.permutation(len(matrix))[:_MOST_ROWS])]
    numbers, categories = list(_numbers(spec, drawn)), list(_categories(spec, drawn))
    rows = Prepared.of(numbers, categories, drawn)
    most = min(MOST_SEGMENTS, len(drawn) // FEWEST_IN_SEGMENT) if numbers or categories else 1
    found: list[Fitted] = []
    for k in range(1, most + 1):
        progress(f"fitting {k} segments", 0.7 * (k - 1) / most, {})
        first = start(rows, k, seed)
        found += [fit(rows, first, shape) for shape in SHAPES]
    best = sorted(found, key=lambda one: -one.criterion)
    chosen, stable = _stable(best, rows, random, progress)
    order = np.argsort(-chosen.mixture.weights, kind="stable")
    mixture = _reordered(chosen.mixture, order)
    model = Segments(
        spec, tuple(numbers), tuple(categories), mixture, names(numbers, categories, rows, mixture),
        Evidence("own_model" if chosen.k > 1 else "base_rate", len(matrix), 0), trained_at,
    )  # fmt: skip
    criterion = {
        str(k): float(max(one.criterion for one in found if one.k == k) / len(drawn))
        for k in sorted({one.k for one in found})
    }
    lacking = None if chosen.k > 1 else f"no groups that part from each other: {_why(best)}"
    report = Report(
        lacking, len(matrix), chosen.k, chosen.shape,
        _silhouette(model, drawn, random), stable, criterion, profiles(model, matrix),
    )  # fmt: skip
    return Trained(model, report)


def _numbers(spec: FeatureSpec, matrix: Matrix) -> Iterator[Number]:
    """The most filled numeric columns, and the number of interactions in 90 days."""
    of_columns: list[tuple[str, tuple[int, ...]]] = [
        (column.name, (position,))
        for position, column in enumerate(spec.columns)
        if column.kind == "numeric"
    ]
    filled = {name: np.isfinite(matrix[:, at[0]]).mean() for name, at in of_columns}
    kept = sorted(of_columns, key=lambda one: (-filled[one[0]], one[0]))[:_MOST_NUMBERS]
    last = len(WINDOWS_DAYS) - 1
    counts = range(len(spec.columns) + last, len(spec.features) - 4, len(WINDOWS_DAYS))
    if spec.interaction_kinds:
        kept.append((ACTIVITY, tuple(counts)))
    for name, features in kept:
        plain = Number(name, features, "plain", fill=0.0, centre=0.0, scale=1.0)
        raw = plain.raw(matrix)
        known = raw[np.isfinite(raw)]
        if len(known) < len(raw) / 2 or len(np.unique(known)) <= _FEW_VALUES:
            continue
        form: Form = "plain"
        if name == ACTIVITY:
            form = "count"
        elif known.min() >= 0 and _skewed(known):
            form = "log"
        value = replace(plain, form=form).formed(matrix)
        value = value[np.isfinite(value)]
        yield Number(
            name, features, form, float(np.median(value)), float(value.mean()), float(value.std())
        )


def _skewed(known: Floats) -> bool:
    """Whether a number's skewness is above 1."""
    return bool(((known - known.mean()) ** 3).mean() > known.std() ** 3)


def _categories(spec: FeatureSpec, matrix: Matrix) -> Iterator[Category]:
    """Categorical and boolean columns, and numeric ones of a few values."""
    for position, column in enumerate(spec.columns):
        known = np.unique(matrix[:, position][np.isfinite(matrix[:, position])])
        few = _MOST_CATEGORIES if column.kind == "categorical" else _FEW_VALUES
        if column.kind in ("date", "text") or not 1 <= len(known) <= few:
            continue
        values = tuple(known.tolist())
        if column.kind == "categorical":
            words = tuple(column.categories[int(value)] for value in values)
        elif column.kind == "boolean":
            words = tuple("yes" if value else "no" for value in values)
        else:
            words = tuple(f"{value:g}" for value in values)
        yield Category(column.name, position, values, words)


def _stable(
    best: Sequence[Fitted],
    rows: Prepared,
    random: np.random.Generator,
    progress: Progress,
) -> tuple[Fitted, float | None]:
    """The best mixture that is stable, and how stable; one segment always is."""
    for number, one in enumerate(best):
        progress("resampling", 0.7 + 0.3 * number / len(best), {})
        found = stability(one, rows, random)
        if found is None or found >= STABLE:
            return one, found
    raise AssertionError("one segment is among them")


def _silhouette(model: Segments, matrix: Matrix, random: np.random.Generator) -> float | None:
    from sklearn.metrics import silhouette_score

    sample = matrix[random.permutation(len(matrix))[:_SAMPLE_ROWS]]
    rows = Prepared.of(model.numbers, model.categories, sample)
    group = model.assign(sample).segment
    if len(np.unique(group)) < 2:
        return None
    return float(silhouette_score(rows.together(), group))


def _reordered(mixture: Mixture, order: NDArray[np.intp]) -> Mixture:
    return Mixture(
        mixture.weights[order], mixture.means[order], mixture.covariances[order],
        tuple(share[order] for share in mixture.shares),
    )  # fmt: skip


def _why(best: Sequence[Fitted]) -> str:
    several = next((one for one in best if one.k > 1), None)
    if several is None:
        return "no column to group by"
    if several is best[0]:
        return f"{several.k} segments came out otherwise when customers were resampled"
    return f"one segment describes them better than {several.k} do"
