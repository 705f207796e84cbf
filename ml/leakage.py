"""Which attributes look as if they were filled in after the outcome: evidence for each, in words.

A model learns from such an attribute what it will not know when it scores. Three kinds of evidence
are read, each with an interval of 99 %, and nothing is said where the rows are too few for one:
- ranking: one attribute alone ranks outcomes far better than everything else together;
- value: one value, or having a value at all, nearly decides the outcome;
- history: its writings came with or after the outcome, and to one kind of lead above all.
All are signs and no proof: an honest attribute may decide as much (docs/decisions/leakage-audit.md
has the figures that the limits stand on).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ml import within_windows
from ml.metrics import Bools, Floats
from ml.spec import OTHER, Column, FeatureSpec
from ml.windows import Times
from ml.within_windows import Windows

EvidenceKind = Literal["ranking", "value", "history"]

# Of each kind of outcome. With fewer, the interval of an AUC is wider than what it is to show.
FEWEST_OUTCOMES = 50
# Leads of a kind that had an attribute written.
FEWEST_WRITES = 20
MOST_ROWS = 50_000

# All limits are asked of the near end of the interval. Of the sample tenants' honest attributes the
# strongest reaches AUC 0.67, the bank's `duration` 0.73 at least (benchmarks.leakage).
LEAST_AUC, LEAST_ABOVE_REST = 0.7, 0.03
# Suspected whatever the rest achieves.
TOO_GOOD = 0.8
# Correlation of what two attributes say.
SAME = 0.9
NEARLY_ALL, NEARLY_NONE = 0.9, 0.1
MOSTLY_AFTER, TIMES_AS_OFTEN = 0.8, 2.0
_TAIL, _Z = 0.005, 2.576


@dataclass(frozen=True)
class Writes:
    """Leads of one kind, and how many of them had an attribute written before their outcome, and
    at or after it. A lead counts once: by the first writing after its first version."""

    leads: int
    before: int
    after: int


@dataclass(frozen=True)
class WrittenAfter:
    """When an attribute was written, of leads that converted and of all others."""

    converted: Writes
    others: Writes


@dataclass(frozen=True)
class Suspect:
    """An attribute that looks as if it was filled in after the outcome, by one kind of evidence.

    figures: what the evidence rests on, by name. sentence: the same for a person.
    """

    column: str
    evidence: EvidenceKind
    figures: Mapping[str, float]
    sentence: str


def audit(
    spec: FeatureSpec,
    matrix: NDArray[np.float32],
    label: Bools,
    snapshot_at: Times,
    *,
    written_after: Mapping[str, WrittenAfter] | None = None,
) -> tuple[Suspect, ...]:
    """The suspects, in the order of spec.columns; one may be there by several kinds of evidence.

    matrix: float32 (n, features of spec), as ml.features.build makes it; label, snapshot_at: (n,),
        in any order. Of more than 50,000 rows as many are read, evenly over time.
    written_after: by attribute (warehouse.attribute_writes); None, or an attribute that it lacks,
        is no evidence.

    Interactions are counted as of each row's time, and so are no suspects; they are part of what
    an attribute is compared with. Fewer than 50 rows that converted, or that did not, show no
    ranking and no value; fewer than 20 leads of a kind written to, no history.
    """
    writes = written_after or {}
    found = [
        suspect
        for column in spec.columns
        if column.name in writes and (suspect := _history(column.name, writes[column.name]))
    ]
    order = np.argsort(snapshot_at, kind="stable")
    step = max(len(order) / MOST_ROWS, 1.0)
    some = order[np.arange(0, len(order), step).astype(np.intp)]
    read, outcome = matrix[some], label[some]
    if min(outcome.sum(), (~outcome).sum()) >= FEWEST_OUTCOMES:
        window = within_windows.windows(outcome)
        found += _by_value(spec, read, outcome, window)
        known = {suspect.column for suspect in found}
        found += _by_ranking(spec, read, outcome, window, known)
    position = {column.name: position for position, column in enumerate(spec.columns)}
    return tuple(sorted(found, key=lambda suspect: position[suspect.column]))


def _history(name: str, written: WrittenAfter) -> Suspect | None:
    """A suspect where most writings came late, and twice as many leads of one kind had one."""
    kinds = (("converted", written.converted), ("did not convert", written.others))
    for (words, own), (_, other) in zip(kinds, kinds[::-1], strict=True):
        writings = own.before + own.after
        if writings < FEWEST_WRITES:
            continue
        late, _ = _interval(own.after, writings)
        often, _ = _interval(writings, own.leads)
        _, seldom = _interval(other.before + other.after, other.leads)
        if late >= MOSTLY_AFTER and often >= TIMES_AS_OFTEN * seldom:
            figures = {
                "leads": own.leads,
                "written": writings,
                "written at or after the outcome": own.after,
                "share at or after, at least": late,
                "other leads": other.leads,
                "other leads written": other.before + other.after,
            }
            sentence = (
                f"{name} was written to {writings:,} of {own.leads:,} leads that {words}, to "
                f"{own.after:,} of them with the outcome or after it, and to "
                f"{other.before + other.after:,} of {other.leads:,} other leads"
            )
            return Suspect(name, "history", figures, sentence)
    return None


def _by_value(
    spec: FeatureSpec, matrix: NDArray[np.float32], label: Bools, window: Windows
) -> Iterator[Suspect]:
    """The attributes of which one value decides, each by the first such value."""
    usual = (np.bincount(window, label) / np.bincount(window))[window]
    for position, column in enumerate(spec.columns):
        for words, rows, any_share in _sides(column, matrix[:, position]):
            count, converted, expected = rows.sum(), label[rows].sum(), usual[rows].sum()
            if not count:
                continue
            least, most = _interval(converted, count)
            all_of_them = least >= NEARLY_ALL and expected <= count / 2
            none_of_them = most * count <= NEARLY_NONE * expected
            if all_of_them or (none_of_them and (any_share or count >= len(label) / 2)):
                figures = {
                    "rows": int(count),
                    "converted": int(converted),
                    "expected": float(expected),
                    "rate, at least": float(least),
                    "rate, at most": float(most),
                }
                sentence = (
                    f"of {count:,} rows {words}, {converted:,} converted; at the rates of their "
                    f"times it would have been {expected:,.0f}"
                )
                yield Suspect(column.name, "value", figures, sentence)
                break


def _sides(column: Column, values: NDArray[np.float32]) -> Iterator[tuple[str, Bools, bool]]:
    """Words, the rows meant, and whether it is telling that few rows with no conversion are such.

    That is so for having a value; but that a small category never converts is nothing strange.
    """
    missing = np.isnan(values)
    yield f"in which {column.name} is filled", ~missing, True
    yield f"in which {column.name} is empty", missing, True
    named = column.categories or (("no", "yes") if column.kind == "boolean" else ())
    for code, value in enumerate(named):
        if value != OTHER:
            yield f"with {column.name} = {value!r}", values == code, False
            yield f"with {column.name} other than {value!r}", values != code, False


def _by_ranking(
    spec: FeatureSpec, matrix: NDArray[np.float32], label: Bools, window: Windows, known: set[str]
) -> Iterator[Suspect]:
    """The attributes that alone rank far better than everything else that is not suspected.

    One after the other, the strongest first, so that a leak found hides no second one; and without
    what says the same, so that one leak in two units does not hide itself.
    """
    said = [
        within_windows.alone(matrix[:, position], len(feature.categories), label, window)
        for position, feature in enumerate(spec.features)
    ]
    suspected = {i for i, column in enumerate(spec.columns) if column.name in known}
    alone = [within_windows.auc(label, window, said[i]) for i in range(len(spec.columns))]
    waiting = sorted(
        (i for i, (area, error) in enumerate(alone) if area - _Z * error >= LEAST_AUC),
        key=lambda i: -alone[i][0],
    )

    def stands_out(position: int) -> Suspect | None:
        rest = [
            other
            for i, other in enumerate(said)
            if i not in {*suspected, position} and not _same(other, said[position])
        ]
        together = within_windows.together(rest, label, window)
        gain, error = within_windows.auc(label, window, said[position], together)
        area, least = alone[position][0], alone[position][0] - _Z * alone[position][1]
        if least < TOO_GOOD and gain - _Z * error < LEAST_ABOVE_REST:
            return None
        name, figures = spec.columns[position].name, {"auc": area, "auc of the rest": area - gain}
        sentence = (
            f"{name} alone ranks outcomes at AUC {area:.2f}, everything else together at "
            f"{area - gain:.2f}"
        )
        return Suspect(name, "ranking", {**figures, "auc, at least": least}, sentence)

    while found := next(((i, s) for i in waiting if (s := stands_out(i))), None):
        position, suspect = found
        waiting.remove(position)
        suspected.add(position)
        yield suspect


def _same(one: Floats, other: Floats) -> bool:
    """Whether two features say the same of nearly all rows; what says nothing is like nothing."""
    deviation = one.std() * other.std()
    covariance = np.mean((one - one.mean()) * (other - other.mean()))
    return bool(covariance >= SAME * deviation > 0)


def _interval(converted: int, rows: int) -> tuple[float, float]:
    """The 99 % interval of a rate under Jeffreys' prior, as ml.confidence has it for 90 %."""
    from scipy.special import betaincinv

    a, b = converted + 0.5, rows - converted + 0.5
    return float(betaincinv(a, b, _TAIL)), float(betaincinv(a, b, 1 - _TAIL))
