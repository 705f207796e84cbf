"""From won deals to the model of deals' amounts, and a report of what it is worth.

Method. Deals stand in order of the time at which they were won. Five rolling windows share the
newer half; for each the candidates are fitted on the deals won before it began, and say what those
of the window would bring, from what was known as each deal began. The default, boosted tables of
the logarithm of the amount, serves unless the linear model's mean absolute error of the logarithm
is lower and chance does not explain it; the median of the newest deals serves unless the chosen one
is better than that beyond chance (ml.comparison). The residuals of the windows give the smearing
factor and the interval (split conformal: V. Vovk and others, "Algorithmic learning in a random
world", 2005); each window's figures use the residuals of the windows before it alone.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from ml.algorithm import Floats, Predictor
from ml.comparison import Difference, paired
from ml.deal_candidates import CANDIDATES, MEDIAN, NEWEST, Deals, Fit, median
from ml.deal_value import LEVEL, DealValue
from ml.model import Evidence
from ml.scoring import by_factor
from ml.windows import Fold, rolling

# Won deals with an amount: for a model, and for so much as a median with an interval.
FEWEST, FEWEST_FOR_MEDIAN = 100, 20

_FEWEST_WINDOWS = 3


@dataclass(frozen=True)
class Figures:
    """What a way to say amounts is worth on deals it had not seen.

    mae: mean absolute error, in the CRM's currency. median_ape: median of |value - amount| /
    amount. r2_log: share of the variance of the logarithm that is explained. bias: the values' sum
    over the amounts' sum, less 1. coverage: share of the amounts inside their interval; 0.8 is the
    aim.
    """

    mae: float
    median_ape: float
    r2_log: float
    bias: float
    coverage: float


@dataclass(frozen=True)
class Report:
    """How the model that serves was made, and its figures.

    lacking: why the median serves; None where a model does. algorithm: what serves.
    deals: won deals it learnt from; judged: those of the windows that the figures are of.
    model, median: figures of the chosen candidate and of what it has to beat; None where deals are
        too few. against_median: the difference of the mean absolute error of the logarithm, with a
        95 % interval. candidates: figures by name.
    importance: mean absolute contribution of each factor, in logarithms, the strongest first.
    """

    lacking: str | None
    algorithm: str
    deals: int
    judged: int
    model: Figures | None
    median: Figures | None
    against_median: Difference | None
    candidates: Mapping[str, Figures]
    importance: Mapping[str, float]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Trained:
    model: DealValue
    report: Report


def train(
    deals: Deals,
    *,
    trained_at: datetime,
    seed: int = 0,
    progress: Callable[[str, float, Mapping[str, float]], None] = lambda _step, _done, _known: None,
) -> Trained:
    """Train on won deals; the same arguments give the same model.

    trained_at: aware; nothing may have become known after it. progress: told the step in words, the
    share done, 0 to 1, and figures; it may raise to end the training.

    Raises ValueError for fewer than FEWEST_FOR_MEDIAN deals, and for ones won after trained_at.
    """
    deals, count = deals.in_order(), len(deals.amount)
    if count < FEWEST_FOR_MEDIAN:
        raise ValueError(f"{count} won deals with an amount, expected at least {FEWEST_FOR_MEDIAN}")
    now = np.datetime64(trained_at.astimezone(UTC).replace(tzinfo=None), "us")
    if deals.won_at[-1] > now:
        raise ValueError(f"won_at: {deals.won_at[-1]} is after trained_at ({now})")
    folds = rolling(deals.won_at, np.timedelta64(0, "us"))
    if count < FEWEST:
        few = f"{count} won deals with an amount, at least {FEWEST} are needed for a model"
        return _of_the_median(deals, few, seed, trained_at)
    if len(folds) < _FEWEST_WINDOWS or len(folds[0].fit) < FEWEST_FOR_MEDIAN:
        few = f"{count} deals were won at only {len(np.unique(deals.won_at))} different times"
        return _of_the_median(deals, few, seed, trained_at)
    residuals_of: dict[str, list[Floats]] = {}
    for number, (name, fit) in enumerate(CANDIDATES.items()):
        progress(f"measuring {name}", 0.8 * number / len(CANDIDATES), {})
        residuals_of[name] = [_residuals(fit, deals, fold, seed) for fold in folds]
    chosen, against = _chosen(deals, folds, residuals_of)
    figures = {name: _figures(deals, folds, found) for name, found in residuals_of.items()}
    lacking: str | None = None
    if chosen == MEDIAN:
        beside = f"the median of the newest {NEWEST} deals"
        lacking = f"not plainly better than {beside}: {_words(against)}"
    progress(f"fitting {chosen} on all deals", 0.9, {"mae": figures[chosen].mae})
    served = CANDIDATES[chosen](deals, np.arange(count), seed)
    model = _model(
        deals, served, np.concatenate(residuals_of[chosen]),
        "base_rate" if lacking else "own_model", trained_at,
    )  # fmt: skip
    judged = sum(len(fold.window) for fold in folds[1:])
    best = next(name for name in figures if name != MEDIAN) if chosen == MEDIAN else chosen
    return Trained(
        model,
        Report(
            lacking, chosen, count, judged, figures[best], figures[MEDIAN], against,
            figures, _importance(model, deals),
        ),
    )  # fmt: skip


def _of_the_median(deals: Deals, lacking: str, seed: int, trained_at: datetime) -> Trained:
    """The median of the newest deals, unjudged."""
    served = median(deals, np.arange(len(deals.amount)), seed)
    residuals = np.log(deals.amount) - served.raw(deals.matrix)
    report = Report(lacking, MEDIAN, len(deals.amount), 0, None, None, None, {}, {})
    return Trained(_model(deals, served, residuals, "base_rate", trained_at), report)


def _residuals(fit: Fit, deals: Deals, fold: Fold, seed: int) -> Floats:
    predictor = fit(deals, fold.fit, seed)
    said = predictor.raw(deals.matrix[fold.window])
    residuals: Floats = np.log(deals.amount[fold.window]) - said
    return residuals


def _chosen(
    deals: Deals, folds: Sequence[Fold], residuals: Mapping[str, list[Floats]]
) -> tuple[str, Difference]:
    """What serves, and how the best that is no median compares to the median."""
    buyer = np.concatenate([deals.buyer[fold.window] for fold in folds])
    losses = {name: [np.abs(one) for one in found] for name, found in residuals.items()}
    default, other, _ = losses
    chosen = other if paired(losses[other], losses[default], buyer).better else default
    against = paired(losses[chosen], losses[MEDIAN], buyer)
    return (chosen if against.better else MEDIAN), against


def _interval(residuals: Floats) -> tuple[float, float]:
    """The residuals between which a new one lies with the probability LEVEL, at least, where
    deals are exchangeable; the least and the greatest where they are too few for that."""
    ordered, tail = np.sort(residuals), (1 - LEVEL) / 2
    low = int(np.floor(tail * (len(ordered) + 1))) - 1
    high = int(np.ceil((1 - tail) * (len(ordered) + 1))) - 1
    return float(ordered[max(low, 0)]), float(ordered[min(high, len(ordered) - 1)])


def _figures(deals: Deals, folds: Sequence[Fold], residuals: Sequence[Floats]) -> Figures:
    """Of all windows but the first, each by the residuals before it."""
    amount, value, inside, log_residual = [], [], [], np.concatenate(residuals[1:])
    for number in range(1, len(folds)):
        known = np.concatenate(residuals[:number])
        low, high = _interval(known)
        happened = deals.amount[folds[number].window]
        amount.append(happened)
        value.append(happened * np.exp(-residuals[number]) * np.exp(known).mean())
        inside.append((residuals[number] >= low) & (residuals[number] <= high))
    happened, said = np.concatenate(amount), np.concatenate(value)
    variance = np.var(np.log(happened))
    return Figures(
        mae=float(np.abs(said - happened).mean()),
        median_ape=float(np.median(np.abs(said - happened) / happened)),
        r2_log=float(1 - (log_residual**2).mean() / variance) if variance else 0.0,
        bias=float(said.sum() / happened.sum() - 1),
        coverage=float(np.concatenate(inside).mean()),
    )


def _model(
    deals: Deals, predictor: Predictor, residuals: Floats, stage: Any, trained_at: datetime
) -> DealValue:
    low, high = _interval(residuals)
    count = len(deals.amount)
    return DealValue(
        deals.spec, predictor, float(np.exp(residuals).mean()), low, high,
        Evidence(stage, count, count), trained_at,
    )  # fmt: skip


def _importance(model: DealValue, deals: Deals) -> dict[str, float]:
    contributions, _ = by_factor(model.spec, model.predictor, deals.matrix[-2_000:])
    strength = np.abs(contributions).mean(axis=0).tolist()
    named = zip([factor.name for factor in model.spec.factors], strength, strict=True)
    return dict(sorted(named, key=lambda one: (-one[1], one[0])))


def _words(against: Difference) -> str:
    return (
        f"the mean absolute error of the logarithm differs by {against.mean:+.4f} "
        f"({against.low:+.4f} to {against.high:+.4f})"
    )
