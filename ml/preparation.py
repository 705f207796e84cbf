"""A history made ready for training: the tenant's settings checked, suspects and drops left out."""

from collections.abc import Iterable, Set

from ml.history import History
from ml.leakage import Suspect
from ml.settings import TrainingSettings
from ml.spec import FeatureSpec


def left_out(settings: TrainingSettings, suspects: Iterable[Suspect]) -> dict[str, str]:
    """The attributes that are not used, and why."""
    found = {
        suspect.column: f"the leakage audit: {suspect.sentence}"
        for suspect in suspects
        if suspect.column not in settings.keep
    }
    return found | dict.fromkeys(settings.drop, "the tenant's settings drop it")


def refuse_what_cannot_be(history: History, settings: TrainingSettings) -> None:
    """Raises ValueError for settings that name an attribute the leads do not have, and for what the
    attribute or the algorithm cannot hold."""
    from ml.algorithms import ALGORITHMS

    named = {
        "monotone": settings.monotone.keys(),
        "keep": settings.keep,
        "drop": settings.drop,
        "fairness.groups": settings.fairness.groups.keys(),
    }
    for field, names in named.items():
        if missing := _unknown(set(names), history.spec):
            raise ValueError(
                f"{field}: the leads have no attribute {missing[0]!r}; correct or remove it in the"
                " tenant's settings"
            )
    kinds = {column.name: column.kind for column in history.spec.columns}
    for name in settings.monotone:
        if kinds.get(name, "numeric") == "categorical":
            raise ValueError(f"monotone: {name!r} has categories, expected a number, yes or no")
    for name, edges in settings.fairness.groups.items():
        if name in kinds and bool(edges) == (kinds[name] in ("categorical", "boolean")):
            expected = "none, for it has categories" if edges else "ascending numbers"
            raise ValueError(f"fairness.groups: edges of {name!r} are {edges}, expected {expected}")
    for algorithm in settings.algorithms or ():
        if settings.monotone and not ALGORITHMS[algorithm].monotone:
            raise ValueError(
                f"algorithms: {algorithm} cannot hold the monotone attributes "
                f"{', '.join(sorted(settings.monotone))}; leave out one or the other"
            )


def _unknown(names: Set[str], spec: FeatureSpec) -> list[str]:
    """Of these names, the ones that no attribute of the tenant has."""
    there = {column.name for column in spec.columns} | {drop.name for drop in spec.dropped}
    return sorted(names - there)
