"""Fits the pooled model: what the activity of many tenants' leads says, for one without outcomes.

Method. An additive logistic regression on bins (T. Hastie, R. Tibshirani, "Generalized additive
models", 1986) with an offset per tenant. Differences of neighbouring bins are penalised, so that
curves are smooth; every tenant weighs the same; a bin in which too few rows of too few tenants lie
has its nearest neighbour's value. The tenants' offsets are the prior of another tenant's (empirical
Bayes: B. Efron, C. Morris, "Data analysis using Stein's estimator and its generalizations", 1975).
What the model is worth is measured on tenants that it was not fitted on.

docs/decisions/cold-start.md says what this protects of a tenant, and what it does not.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ml.algorithm import Bools, Floats, Sample
from ml.bins import NumberBins
from ml.calibration import offset
from ml.metrics import log_loss
from ml.pooled_model import EDGES, FEWEST_TENANTS, Curve, PooledModel, Worth

# Of each kind: what a model of one's own is judged by (ml.training). A tenant that has fewer is
# served by the pooled model and has no part in it.
FEWEST_OUTCOMES = 100
FEWEST_IN_BIN = 20
MOST_ROWS = 4_000

# Of the mean log-loss, per squared difference of neighbouring bins and per squared coefficient. Ten
# times more or less of either cost at most 0.0009 of log-loss 0.3967 on twelve simulated tenants.
_SMOOTH, _SHRINK = 1e-3, 1e-4
# Three tenants that happen to be alike do not make a fourth one like them.
_LEAST_SPREAD = 0.3
_MOST_GROUPS = 10


class TooFewTenantsError(ValueError):
    """A figure over fewer than FEWEST_TENANTS tenants would say too much of each."""


def fit(samples: Iterable[Sample]) -> PooledModel:
    """Fit on one sample per tenant, the newest MOST_ROWS rows of each; one is held at a time.

    Samples without FEWEST_OUTCOMES converted and as many other rows have no part. Whether the
    model is of any use, its worth says. Raises TooFewTenantsError where fewer than FEWEST_TENANTS
    are left.
    """
    tenants = [_Rows.of(sample) for sample in samples if _enough(sample.label)]
    if len(tenants) < FEWEST_TENANTS:
        raise TooFewTenantsError(
            f"{len(tenants)} tenants have {FEWEST_OUTCOMES} converted and {FEWEST_OUTCOMES} other"
            f" rows, a pooled model needs {FEWEST_TENANTS}"
        )
    stands_for = _stands_for(tenants)
    coefficient, offsets = _most_probable(tenants, stands_for)
    curves, gained = _centred(tenants, coefficient, stands_for != _NOWHERE)
    base = offsets + gained
    # Wider by what the mean of so few tenants does not know.
    spread = float(base.std(ddof=1)) * (1 + 1 / len(tenants)) ** 0.5
    rows = sum(len(tenant.label) for tenant in tenants)
    return PooledModel(
        curves=curves,
        offset=round(float(base.mean()), 1),
        spread=round(max(spread, _LEAST_SPREAD), 1),
        tenants=len(tenants),
        rows=int(float(f"{rows:.2g}")),
        worth=_worth(tenants, stands_for),
    )


def _enough(label: Bools) -> bool:
    newest = label[-MOST_ROWS:]
    return bool(FEWEST_OUTCOMES <= newest.sum() <= len(newest) - FEWEST_OUTCOMES)


def _places() -> dict[str, slice]:
    ends = np.cumsum([0, *(len(edges) + 2 for edges in EDGES.values())]).tolist()
    return {name: slice(*pair) for name, pair in zip(EDGES, pairwise(ends), strict=True)}


# The bins of all curves, one after the other; _NOWHERE is that of a feature that a tenant has not.
_PLACES = _places()
_NOWHERE = max(place.stop for place in _PLACES.values())


@dataclass(frozen=True, eq=False)
class _Rows:
    """The bins that a tenant's rows lie in, (n, curves), and their labels, (n,)."""

    bins: NDArray[np.intp]
    label: Bools

    @staticmethod
    def of(sample: Sample) -> "_Rows":
        matrix, label = sample.matrix[-MOST_ROWS:], sample.label[-MOST_ROWS:]
        names = [feature.name for feature in sample.spec.features]
        bins = np.full((len(label), len(EDGES)), _NOWHERE)
        for curve, (name, place) in enumerate(_PLACES.items()):
            if name in names:
                column = np.ascontiguousarray(matrix[:, names.index(name)])
                edges = np.array(EDGES[name], np.float64)
                bins[:, curve] = place.start + NumberBins(edges).of(column).astype(np.intp)
        return _Rows(bins, label)

    @property
    def counts(self) -> NDArray[np.intp]:
        """How many rows lie in each bin."""
        return np.bincount(self.bins.ravel(), minlength=_NOWHERE + 1)[:_NOWHERE]


def _stands_for(tenants: Sequence[_Rows]) -> NDArray[np.intp]:
    """For each bin the one whose coefficient it has, (bins + 1,): itself where enough tenants have
    enough rows in it, else the nearest such one of its curve; of missing values, none."""
    in_bin = np.array([tenant.counts >= FEWEST_IN_BIN for tenant in tenants])
    known = in_bin.sum(axis=0) >= FEWEST_TENANTS
    found = np.full(_NOWHERE + 1, _NOWHERE)
    for place in _PLACES.values():
        missing = place.stop - 1
        if known[missing]:
            found[missing] = missing
        numbers = np.arange(place.start, missing)
        if len(there := numbers[known[numbers]]):
            found[numbers] = there[np.abs(there[:, np.newaxis] - numbers).argmin(axis=0)]
    return found


def _most_probable(tenants: Sequence[_Rows], stands_for: NDArray[np.intp]) -> tuple[Floats, Floats]:
    """The coefficient of each bin, (bins + 1,), and the offset of each tenant."""
    from scipy.optimize import minimize
    from scipy.sparse import csr_array
    from scipy.special import expit

    sizes = [len(tenant.label) for tenant in tenants]
    number = np.repeat(np.arange(len(tenants)), sizes)
    label = np.concatenate([tenant.label for tenant in tenants])
    weight = 1 / (np.array(sizes)[number] * len(tenants))
    # Per row its bins and its tenant; what lies nowhere is worth nothing.
    bins = stands_for[np.concatenate([tenant.bins for tenant in tenants])]
    columns = np.column_stack([bins, _NOWHERE + 1 + number])
    ones = (columns != _NOWHERE).astype(np.float64)
    starts = np.arange(len(columns) + 1) * columns.shape[1]
    size = _NOWHERE + 1 + len(tenants)
    design = csr_array((ones.ravel(), columns.ravel(), starts), shape=(len(columns), size))
    penalty = np.zeros((size, size))
    penalty[: _NOWHERE + 1, : _NOWHERE + 1] = _penalty()

    def loss(at: Floats) -> tuple[float, Floats]:
        log_odds, pull = design @ at, penalty @ at
        value = weight @ (np.logaddexp(0, log_odds) - label * log_odds) + at @ pull
        return float(value), design.T @ (weight * (expit(log_odds) - label)) + 2 * pull

    def curvature(at: Floats) -> Floats:
        probability = expit(design @ at)
        scaled = design.T.multiply(weight * probability * (1 - probability))
        return np.asarray((scaled @ design).todense() + 2 * penalty)

    rates = np.array([tenant.label.mean() for tenant in tenants])
    start = np.append(np.zeros(_NOWHERE + 1), np.log(rates / (1 - rates)))
    found: Floats = minimize(
        loss, start, jac=True, hess=curvature, method="trust-exact", options={"gtol": 1e-7}
    ).x
    return found[stands_for], found[_NOWHERE + 1 :]


def _penalty() -> Floats:
    """The quadratic form that smooths and shrinks."""
    rows = []
    for place in _PLACES.values():
        below = np.arange(place.start, place.stop - 2)
        rows.append(np.eye(_NOWHERE + 1)[below + 1] - np.eye(_NOWHERE + 1)[below])
    differences = np.concatenate(rows)
    penalty: Floats = _SMOOTH * differences.T @ differences + _SHRINK * np.eye(_NOWHERE + 1)
    return penalty


def _centred(
    tenants: Sequence[_Rows], coefficient: Floats, known: Bools
) -> tuple[dict[str, Curve], Floats]:
    """The curves, and what each tenant's offset gains from their having the mean 0."""
    curves, gained = {}, np.zeros(len(tenants))
    for name, place in _PLACES.items():
        shares = np.array([t.counts[place] / len(t.label) for t in tenants]) * known[place]
        mean = float((shares @ coefficient[place]).sum() / max(shares.sum(), 1e-9))
        gained += shares.sum(axis=1) * mean
        # Two digits: what is finer is noise, and would tell more of the rows.
        cells = np.where(known[place], coefficient[place] - mean, 0.0).round(2)
        curves[name] = Curve(EDGES[name], tuple(cells.tolist()))
    return curves, gained


def _worth(tenants: Sequence[_Rows], stands_for: NDArray[np.intp]) -> Worth:
    """Each tenant predicted by the curves of others, which leave out one group at a time."""
    from scipy.special import expit

    losses, base_rates = [], []
    groups = min(len(tenants), _MOST_GROUPS)
    for group in range(groups):
        others = [t for number, t in enumerate(tenants) if number % groups != group]
        coefficient, _ = _most_probable(others, stands_for)
        for tenant in tenants[group::groups]:
            log_odds = coefficient[tenant.bins].sum(axis=1)
            predicted = expit(log_odds + offset(log_odds, tenant.label))
            losses.append(log_loss(tenant.label, predicted))
            rate = np.full(len(tenant.label), tenant.label.mean())
            base_rates.append(log_loss(tenant.label, rate))
    error = np.std(np.subtract(base_rates, losses), ddof=1) / len(tenants) ** 0.5
    figures = (np.mean(losses), np.mean(base_rates), error)
    return Worth(*(round(float(figure), 4) for figure in figures))
