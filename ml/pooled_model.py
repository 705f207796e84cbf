"""The pooled model as it is kept and used: curves over features that every tenant has."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ml.algorithm import Bools, Floats, Sample
from ml.bins import Bins, NumberBins
from ml.tables import Tables

FEWEST_TENANTS = 3

# By feature, for the tenants that have it: one without interactions has its leads' age alone. Days,
# but for trend (interactions in 7 days above the pace of 30) and breadth (kinds in 30 days).
# Constants, never learnt from rows, so that no value of a row is in the model.
EDGES: Mapping[str, tuple[float, ...]] = {
    "age of the lead": (0.01, 1, 3, 7, 14, 21, 30, 45, 60, 90, 120, 180, 365, 730),
    "recency of interactions": (0.5, 1, 2, 4, 7, 14, 30, 60),
    "trend of interactions": (-3, -1.5, -0.7, -0.3, -0.1, 0.1, 0.7, 1.5, 3),
    "breadth of interactions": (0, 1, 2, 3, 4),
}


@dataclass(frozen=True)
class Worth:
    """What the curves are worth to a tenant that is not in them: mean over the tenants.

    log_loss: by the curves of the other tenants. base_rate: of the tenant's conversion rate, on the
    same rows; both know that rate. error: the standard error of their difference.
    """

    log_loss: float
    base_rate: float
    error: float

    @property
    def signal(self) -> bool:
        """Whether the gain over the base rate is more than its standard error."""
        return self.base_rate - self.log_loss > self.error


@dataclass(frozen=True)
class Curve:
    """edges: as of ml.bins.NumberBins. log_odds: per bin, the last one for missing values; their
    mean over the tenants' rows is 0."""

    edges: tuple[float, ...]
    log_odds: tuple[float, ...]


@dataclass(frozen=True)
class PooledModel:
    """What is kept of many tenants: figures of all of them together.

    curves: by feature. offset, spread: mean and deviation of the tenants' log-odds for an average
    lead. tenants, rows: how many it was fitted on; the rows in two digits.
    """

    curves: Mapping[str, Curve]
    offset: float
    spread: float
    tenants: int
    rows: int
    worth: Worth

    def predictor(self, sample: Sample) -> Tables:
        """The model for a tenant, on its own columns. Its offset is the most probable one given the
        outcomes of the sample, which may hold no rows."""
        names = [feature.name for feature in sample.spec.features]
        there = {names.index(name): curve for name, curve in self.curves.items() if name in names}
        bins: dict[int, Bins] = {
            column: NumberBins(np.array(c.edges, np.float64)) for column, c in there.items()
        }
        cells: dict[tuple[int, ...], Floats] = {
            (column,): np.array(c.log_odds)[:, np.newaxis] for column, c in there.items()
        }
        tables = Tables.of(len(names), 0.0, bins, cells)
        base = self._most_probable_offset(tables.raw(sample.matrix), sample.label)
        # What its reasons compare a lead with: the tenant's own leads, once there are any.
        means = tables.contributions(sample.matrix).sum(axis=0) / max(len(sample.label), 1)
        centred = {columns: shares - means[columns[0]] for columns, shares in cells.items()}
        return Tables.of(len(names), base + float(means.sum()), bins, centred)

    def to_json(self) -> dict[str, Any]:
        """A document of plain values."""
        return {"kind": "pooled", **asdict(self)}

    @staticmethod
    def from_json(document: Mapping[str, Any]) -> "PooledModel":
        """The model that to_json wrote; ValueError for a document that it cannot have written."""
        try:
            curves = {
                name: Curve(tuple(curve["edges"]), tuple(curve["log_odds"]))
                for name, curve in document["curves"].items()
            }
            figures = {name: document[name] for name in ("offset", "spread", "tenants", "rows")}
            model = PooledModel(curves, worth=Worth(**document["worth"]), **figures)
            damage = _damage(model)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            damage = f"{type(error).__name__}: {error}"
        if damage:
            raise ValueError(f"the pooled model is damaged ({damage}): fit it again")
        return model

    def _most_probable_offset(self, log_odds: Floats, label: Bools) -> float:
        from scipy.optimize import brentq
        from scipy.special import expit

        def slope(at: float) -> float:
            likelihood = np.sum(label - expit(log_odds + at))
            return float(likelihood - (at - self.offset) / self.spread**2)

        # A row pulls by less than 1.
        reach = 1 + self.spread**2 * len(label)
        return float(brentq(slope, self.offset - reach, self.offset + reach))


def _damage(model: PooledModel) -> str:
    """What cannot be in a document that to_json wrote; empty where there is nothing."""
    for name, curve in model.curves.items():
        if name not in EDGES or not (np.diff(curve.edges) > 0).all():
            return f"the curve {name!r} with edges {curve.edges}"
        if len(curve.log_odds) != len(curve.edges) + 2:
            return f"{name!r} has {len(curve.log_odds)} values for {len(curve.edges)} edges"
    cells = [cell for curve in model.curves.values() for cell in (*curve.edges, *curve.log_odds)]
    figures = {**asdict(model), **asdict(model.worth)}
    del figures["curves"], figures["worth"]
    if not np.isfinite([*cells, *figures.values()]).all():
        return "a figure is not finite"
    if model.spread <= 0 or model.tenants < FEWEST_TENANTS:
        return f"a spread of {model.spread} of {model.tenants} tenants"
    return ""
