"""Figures of a model by group of leads, and an alarm where a group hardly reaches the top tenth.

Salespeople call those at the top, so that entering the top tenth is what a score decides for a
lead. The alarm says that groups are chosen at different rates, and no more: whether they convert
at different rates, too, stands beside it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ml import confidence
from ml.metrics import TOP_SHARE, Bools, Floats
from ml.metrics import auc as auc_of
from ml.settings import Fairness
from ml.windows import Rows

if TYPE_CHECKING:
    from pandas import DataFrame

NOT_KNOWN = "not known"


@dataclass(frozen=True)
class GroupFigures:
    """One group's leads and what the model made of them.

    conversion_rate, predicted: observed rate and mean probability; rate_low, rate_high: where the
        rate lies nine times in ten, by the outcomes of the group. The model is calibrated for the
        group as far as `predicted` lies between them.
    auc: None where all rows of the group have one outcome.
    selected: share of the group's rows in the top tenth of all; selected_low, selected_high: its
        90 % interval.
    """

    attribute: str
    group: str
    rows: int
    converted: int
    conversion_rate: float
    rate_low: float
    rate_high: float
    predicted: float
    auc: float | None
    selected: float
    selected_low: float
    selected_high: float


@dataclass(frozen=True)
class BiasAlarm:
    """A group that enters the top tenth much less often than another one of the same attribute.

    share: its rate of entering over that of `beside`, the group with the greatest rate.
    """

    attribute: str
    group: str
    beside: str
    share: float
    sentence: str


@dataclass(frozen=True)
class FairnessReport:
    """Every attribute's groups, and the alarms. Groups stand in the order of their names."""

    groups: tuple[GroupFigures, ...]
    alarms: tuple[BiasAlarm, ...]


def by_group(
    groups: Mapping[str, ArrayLike],
    outcome: Bools,
    probability: Floats,
    lead: Rows,
    *,
    settings: Fairness,
) -> FairnessReport:
    """The figures of each group on rows that the model was not fitted on.

    groups: by attribute, the group (n,) of each row, as text (bands() makes it of numbers).
    outcome, probability: (n,), n >= 1. lead: (n,) codes; rows of one lead share one.

    An alarm is raised for a group where the whole 90 % interval of its rate of entering the top
    tenth lies below settings.alarm_below x the interval of the greatest rate, so that chance alone
    raises few, and where both groups have settings.fewest_rows. The rate ratio with its four fifths
    is that of the US guidelines on employee selection (29 CFR 1607.4 D); the figures by group are
    fairlearn's MetricFrame (H. Weerts et al., "Fairlearn: assessing and improving fairness of AI
    systems", 2023). Rows of equal probability enter the top together or not at all, whichever
    makes it nearer to a tenth.

    Raises ValueError where an attribute has not one group per row.
    """
    top = _top(probability)
    figures: list[GroupFigures] = []
    alarms: list[BiasAlarm] = []
    for attribute, labels in groups.items():
        group = np.asarray(labels, dtype=np.str_)
        if group.shape != outcome.shape:
            raise ValueError(
                f"groups[{attribute!r}] has shape {group.shape}, expected {outcome.shape}: "
                "one group for each row"
            )
        own = _figures(attribute, group, outcome, probability, top, lead)
        figures += own
        alarms += _alarms(own, settings)
    return FairnessReport(tuple(figures), tuple(alarms))


def bands(values: NDArray[np.floating[Any]], edges: Sequence[float]) -> list[str]:
    """The band of each number: "below 30", "30 to 45", "60 and above"; NaN is "not known".

    edges: ascending, at least one; a number that is equal to an edge is in the band above it.
    """
    shown = [f"{edge:g}" for edge in edges]
    between = [f"{low} to {high}" for low, high in pairwise(shown)]
    names = [f"below {shown[0]}", *between, f"{shown[-1]} and above"]
    numbers = np.searchsorted(edges, values, side="right")
    return [
        NOT_KNOWN if unknown else names[number]
        for number, unknown in zip(numbers, np.isnan(values), strict=True)
    ]


def _top(probability: Floats) -> Bools:
    """Whether each row is in the top tenth; rows of equal probability are in it together."""
    ordered = np.sort(probability)[::-1]
    aim = int(np.ceil(TOP_SHARE * len(ordered)))
    above, upto = probability > ordered[aim - 1], probability >= ordered[aim - 1]
    top: Bools = above if aim - above.sum() < upto.sum() - aim else upto
    return top


def _figures(
    attribute: str,
    group: NDArray[np.str_],
    outcome: Bools,
    probability: Floats,
    top: Bools,
    lead: Rows,
) -> list[GroupFigures]:
    by_group = _frame(group, outcome, probability, top)
    rows, converted, chosen = (
        by_group[name].to_numpy(np.int64) for name in ("rows", "converted", "chosen")
    )
    # Rows of one lead share its outcome and much of its score: leads are counted, not rows.
    leads = np.array([len(np.unique(lead[group == name])) for name in by_group.index])
    rate_low, rate_high = confidence.jeffreys(converted * leads / rows, leads)
    selected_low, selected_high = confidence.jeffreys(chosen * leads / rows, leads)
    return [
        GroupFigures(
            attribute=attribute,
            group=str(name),
            rows=int(row["rows"]),
            converted=int(row["converted"]),
            conversion_rate=float(row["converted"] / row["rows"]),
            rate_low=float(rate_low[i]),
            rate_high=float(rate_high[i]),
            predicted=float(row["predicted"]),
            auc=None if np.isnan(row["auc"]) else float(row["auc"]),
            selected=float(row["chosen"] / row["rows"]),
            selected_low=float(selected_low[i]),
            selected_high=float(selected_high[i]),
        )
        for i, (name, row) in enumerate(by_group.iterrows())
    ]


def _frame(group: NDArray[np.str_], outcome: Bools, probability: Floats, top: Bools) -> "DataFrame":
    """fairlearn's figures: one row per group, in the order of their names."""
    from fairlearn.metrics import MetricFrame, count

    frame = MetricFrame(
        metrics={
            "rows": count,
            "converted": lambda happened, _: happened.sum(),
            "predicted": lambda _, said: said.mean(),
            "auc": lambda happened, said: (
                auc_of(happened, said) if 0 < happened.mean() < 1 else np.nan
            ),
            "chosen": lambda _, __, top: top.sum(),
        },
        y_true=outcome,
        y_pred=probability,
        sensitive_features=group,
        sample_params={"chosen": {"top": top}},
    )
    by_group: DataFrame = frame.by_group
    return by_group


def _alarms(figures: Sequence[GroupFigures], settings: Fairness) -> list[BiasAlarm]:
    """The alarms among the groups of one attribute."""
    large = [group for group in figures if group.rows >= settings.fewest_rows]
    best = max(large, key=lambda group: group.selected, default=None)
    return [
        BiasAlarm(
            attribute=group.attribute,
            group=group.group,
            beside=best.group,
            share=group.selected / best.selected,
            sentence=f"{group.attribute} {group.group}: {group.selected:.1%} of its rows enter the "
            f"top tenth, {group.selected / best.selected:.2f} times the {best.selected:.1%} of "
            f"{best.group}; of its rows {group.conversion_rate:.1%} converted, of those "
            f"{best.conversion_rate:.1%}",
        )
        for group in large
        if best and group.selected_high < settings.alarm_below * best.selected_low
    ]
