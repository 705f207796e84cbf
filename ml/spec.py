"""What a tenant's features are: the columns found in its CRM and the matrix they become.

A row is of a lead, of a customer, or of a deal, whose attributes are those of its lead and its
customer when the deal began.

A FeatureSpec is inferred once from a tenant's own rows (ml.features.infer), stored with every
model, and read back to build the same matrix when that model scores.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Literal

ColumnKind = Literal["numeric", "boolean", "categorical", "date", "text"]
Subject = Literal["lead", "customer", "deal"]

WINDOWS_DAYS = (1, 7, 30, 90)
DAY_US = 86_400_000_000
OTHER = "(other)"

_SHOWN_DAYS = 30
# The age of a row's subject, and the words for it.
_AGES: Mapping[Subject, tuple[str, str]] = {
    "lead": ("age of the lead", "{value} days since the lead was created"),
    "customer": ("age of the customer", "{value} days since the customer was won"),
    "deal": ("age of the lead", "{value} days from the lead to its deal"),
}
_RECENCY = "recency of interactions"
_TREND = "trend of interactions"
_BREADTH = "breadth of interactions"


@dataclass(frozen=True)
class Column:
    """One attribute of the tenant's leads.

    kind: how its values are read; text becomes its length, a date the days from it to as_of.
    categories: for kind categorical, the values that have a code of their own, code = position;
        the last one is always OTHER, which stands for rare and unseen values.
    """

    name: str
    kind: ColumnKind
    categories: tuple[str, ...] = ()


@dataclass(frozen=True)
class Dropped:
    """An attribute that has no feature, and why: "the same value in every row"."""

    name: str
    reason: str


@dataclass(frozen=True)
class Feature:
    """One column of the feature matrix.

    name: unique within a spec.
    factor: what a salesperson knows it by; several features may share one (e-mails over 1, 7, 30
        and 90 days are one factor). An attribute's factor is its column's name, with "attribute: "
        before it where the name is, or could be, one that interactions have.
    template: words with {value} in them; the value is put in by plain replacement, since the
        name of a column may itself hold braces.
    categories: for categorical features, the values by code.
    """

    name: str
    factor: str
    template: str
    categories: tuple[str, ...] = ()

    @property
    def categorical(self) -> bool:
        return bool(self.categories)


@dataclass(frozen=True)
class Factor:
    """What a reason names: an attribute of the CRM, a kind of interaction, or the activity.

    features: positions in the matrix whose contributions are summed into this factor's weight.
    shown: position of the feature whose value the explanation shows.
    template: of the shown feature: "email: {value} in 30 days".
    categories: the words for the shown value where it is a code: of a categorical column its
        categories, of a boolean one no and yes; empty where the value is a number.
    """

    name: str
    features: tuple[int, ...]
    shown: int
    template: str
    categories: tuple[str, ...] = ()


@dataclass(frozen=True)
class FeatureSpec:
    """The columns and interaction kinds of one tenant, in the order of its feature matrix.

    dropped: the attributes that have no feature; they are read by people, never by build.
    subject: what a row is of, for the words of its age.
    """

    columns: tuple[Column, ...]
    interaction_kinds: tuple[str, ...]
    dropped: tuple[Dropped, ...] = ()
    subject: Subject = "lead"

    def __post_init__(self) -> None:
        if self.subject not in _AGES:
            raise ValueError(f"subject is {self.subject!r}, expected one of {', '.join(_AGES)}")

    @cached_property
    def features(self) -> tuple[Feature, ...]:
        """The columns of the matrix: attributes, counts by kind and window, activity, age."""
        name, words = _AGES[self.subject]
        age = Feature(name, name, words)
        attributes = (_attribute(column, name) for column in self.columns)
        return (*attributes, *_activity(self.interaction_kinds), age)

    @cached_property
    def factors(self) -> tuple[Factor, ...]:
        """The features grouped by factor, in order of first appearance."""
        groups: dict[str, list[int]] = {}
        for position, feature in enumerate(self.features):
            groups.setdefault(feature.factor, []).append(position)
        return tuple(self._factor(name, tuple(group)) for name, group in groups.items())

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_json(document: Mapping[str, Any]) -> "FeatureSpec":
        columns = (
            Column(column["name"], column["kind"], tuple(column["categories"]))
            for column in document["columns"]
        )
        dropped = (Dropped(**attribute) for attribute in document["dropped"])
        return FeatureSpec(
            tuple(columns),
            tuple(document["interaction_kinds"]),
            tuple(dropped),
            # Documents of earlier releases are of leads, and do not say so.
            document.get("subject", "lead"),
        )

    def _factor(self, name: str, positions: tuple[int, ...]) -> Factor:
        of_a_kind = len(positions) > 1
        shown = positions[WINDOWS_DAYS.index(_SHOWN_DAYS)] if of_a_kind else positions[0]
        feature = self.features[shown]
        boolean = shown < len(self.columns) and self.columns[shown].kind == "boolean"
        categories = ("no", "yes") if boolean else feature.categories
        return Factor(name, positions, shown, feature.template, categories)


def _attribute(column: Column, age: str) -> Feature:
    taken = (_RECENCY, _TREND, _BREADTH, age)
    clashes = column.name in taken or column.name.startswith(("interactions: ", "attribute: "))
    name = f"attribute: {column.name}" if clashes else column.name
    words = {"date": "{value} days ago", "text": "{value} characters long"}
    template = f"{column.name}: {words.get(column.kind, '{value}')}"
    return Feature(name, name, template, column.categories)


def _activity(kinds: tuple[str, ...]) -> Iterator[Feature]:
    for kind in kinds:
        factor = f"interactions: {kind}"
        for days in WINDOWS_DAYS:
            yield Feature(f"{factor} in {days} d", factor, f"{kind}: {{value}} in {days} days")
    if kinds:
        yield Feature(_RECENCY, _RECENCY, "{value} days since the last interaction")
        yield Feature(_TREND, _TREND, "interactions in 7 days above the 30-day pace: {value}")
        yield Feature(_BREADTH, _BREADTH, "{value} kinds of interaction in 30 days")
