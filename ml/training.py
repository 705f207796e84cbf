"""From labelled snapshots to the model that serves, and a report of what it is worth.

Method. Rows stand in order of time. Five rolling windows share the newer half; for each a model
is fitted on what was known when the window began, as a retraining would have been, and scores the
window. Those scores, which no model could have learnt, give the figures, the slope of the
calibration and the confidence. The model that serves is fitted on all rows. Its offset, like each
window's, is set on the newest fifth of the rows it was fitted on, so that its probabilities know
the newest conversion rate (ml.calibration). A logistic regression, made in the same way, and the
conversion rate of that newest fifth are measured beside the model.

A model of its own needs 50 converted and 50 other rows to fit the first window, 100 of each in the
windows that hold both, and a lower log-loss than the base rate on all of them. A tenant without is
served the base rate of its newest rows: as many as hold 50 of each kind, or all.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ml import boosting, confidence, logistic
from ml.calibration import offset, slope
from ml.metrics import Bools, CalibrationPoint, Figures, Floats, auc, calibration, figures
from ml.model import ConfidenceTable, Evidence, Model, Stage
from ml.spec import FeatureSpec
from ml.tables import Tables
from ml.windows import Fold, Rows, Times, rolling

FEWEST_TO_FIT = 50
FEWEST_TO_JUDGE = 100
NEWEST_SHARE = 0.2

Progress: TypeAlias = Callable[[str, float], None]
# From rows to fit on and rows to score, the log-odds of the latter.
Scorer: TypeAlias = Callable[[Rows, Rows], Floats]


@dataclass(frozen=True)
class Window:
    """Labelled snapshots between two times (both inclusive); converted counts among rows."""

    rows: int
    converted: int
    first: datetime
    last: datetime


@dataclass(frozen=True)
class HoldOut:
    """What the procedure is worth: measured on windows that lay in each model's future.

    windows: the rolling windows, oldest first.
    base_rate: the figures of the conversion rate known when each window began.
    window_auc: mean over the windows of the AUC within each, of "model" and "logistic". The
        pooled AUC in the figures also rewards knowing in which window rates are high.
    importance: mean absolute contribution of each factor in log-odds over the newest window, the
        strongest first.
    calibration: predicted and observed rates of the model.
    slope: what each model's log-odds are multiplied by to mean what they say.
    """

    windows: tuple[Window, ...]
    model: Figures
    logistic: Figures
    base_rate: Figures
    window_auc: Mapping[str, float]
    importance: Mapping[str, float]
    calibration: tuple[CalibrationPoint, ...]
    slope: float


@dataclass(frozen=True)
class Report:
    """How the model that serves was made, and its figures.

    lacking: why there is no model of the tenant's own; None where there is one.
    fitted_on: the rows of the model that serves; None where there is not a single row.
    rounds: trees of the model that serves; 0 of a base rate.
    hold_out: None where there are too few outcomes to measure.
    """

    lacking: str | None
    fitted_on: Window | None
    rounds: int
    hold_out: HoldOut | None

    def to_json(self) -> dict[str, Any]:
        """The report as plain JSON values; times in ISO 8601, UTC."""
        document: dict[str, Any] = json.loads(json.dumps(asdict(self), default=datetime.isoformat))
        return document


@dataclass(frozen=True)
class Trained:
    model: Model
    report: Report


def train(
    spec: FeatureSpec,
    matrix: NDArray[np.float32],
    label: Bools,
    snapshot_at: Times,
    label_known_at: Times,
    *,
    trained_at: datetime,
    horizon_days: int,
    seed: int = 0,
    progress: Progress = lambda _step, _done: None,
) -> Trained:
    """Train on labelled snapshots in any order; the same arguments give the same model.

    matrix: float32 (n, features of spec), as ml.features.build makes it; n may be 0.
    label, snapshot_at, label_known_at: (n,), as ml.labels.snapshots gives them; datetime64, UTC.
    trained_at: aware; nothing may have become known after it.
    progress: told each step's name and the part of the work done before it, 0 to 1.

    Raises ValueError where lengths differ or a label was not yet known at trained_at.
    """
    _check(spec, matrix, label, snapshot_at, label_known_at, trained_at)
    history = _History(spec, matrix, label, snapshot_at, trained_at, horizon_days, seed)
    # Not the longest delay alone: snapshots younger than the horizon are never trained on
    # (ml.labels), however soon their outcome is known.
    horizon = np.timedelta64(horizon_days, "D")
    gap = np.append(label_known_at - snapshot_at, horizon).max()
    folds = rolling(snapshot_at, gap)
    if lacking := _lacking(history, folds):
        trained = _base_rate(history, lacking, None)
    else:
        trained = _own_model(history, folds, progress)
    progress("trained", 1.0)
    return trained


def base_rate(
    label: Bools, snapshot_at: Times, *, trained_at: datetime, horizon_days: int
) -> Trained:
    """The model of a tenant before its first training: the conversion rate of its newest labelled
    snapshots for every lead; a half where there are none. Arguments as for train()."""
    spec = FeatureSpec(columns=(), interaction_kinds=(), dropped=())
    matrix = np.zeros((len(label), len(spec.features)), np.float32)
    history = _History(spec, matrix, label, snapshot_at, trained_at, horizon_days, seed=0)
    return _base_rate(history, "not trained yet", None)


@dataclass(frozen=True, eq=False)
class _History:
    """The labelled snapshots of one training, and what every model made from them shares."""

    spec: FeatureSpec
    matrix: NDArray[np.float32]
    label: Bools
    snapshot_at: Times
    trained_at: datetime
    horizon_days: int
    seed: int

    def tables(self, fit: Rows) -> tuple[Tables, int]:
        """Uncalibrated tables fitted on these rows, and their rounds."""
        return boosting.fit(self.spec, self.matrix[fit], self.label[fit], self.seed)

    def model(self, stage: Stage, tables: Tables, rows: Rows, known: ConfidenceTable) -> Model:
        evidence = Evidence(stage, len(rows), int(self.label[rows].sum()))
        return Model(self.spec, tables, known, evidence, self.trained_at, self.horizon_days)

    def window(self, rows: Rows) -> Window | None:
        if not len(rows):
            return None
        first, last = (
            time.astype("datetime64[us]").item().replace(tzinfo=UTC)
            for time in (self.snapshot_at[rows].min(), self.snapshot_at[rows].max())
        )
        return Window(len(rows), int(self.label[rows].sum()), first, last)


@dataclass(frozen=True, eq=False)
class _Rolled:
    """Calibrated log-odds per window, and the slope that all windows together ask for."""

    log_odds: list[Floats]
    slope: float


def _own_model(history: _History, folds: list[Fold], progress: Progress) -> Trained:
    newest_tables: list[Tables] = []

    def boosted(fit: Rows, score: Rows) -> Floats:
        progress(f"window {len(newest_tables) + 1} of {len(folds)}", 0.14 * len(newest_tables))
        newest_tables.append(history.tables(fit)[0])
        return newest_tables[-1].raw(history.matrix[score])

    def checked(fit: Rows, score: Rows) -> Floats:
        matrix = history.matrix
        return logistic.log_odds(history.spec, matrix[fit], history.label[fit], matrix[score])

    model = _roll(history, folds, boosted)
    progress("logistic regression beside it", 0.7)
    check = _roll(history, folds, checked)
    hold_out = _measured(history, folds, model, check, newest_tables[-1])
    if hold_out.model.log_loss >= hold_out.base_rate.log_loss:
        lacking = (
            f"log-loss {hold_out.model.log_loss:.4f} on outcomes it had not seen, expected less "
            f"than the base rate's {hold_out.base_rate.log_loss:.4f}"
        )
        return _base_rate(history, lacking, hold_out)
    progress("fitting the model that serves", 0.8)
    everything = np.argsort(history.snapshot_at, kind="stable")
    raw, rounds = history.tables(everything)
    newest = _newest(everything)
    shift = offset(model.slope * raw.raw(history.matrix[newest]), history.label[newest])
    outcome = np.concatenate([history.label[fold.window] for fold in folds])
    known = confidence.table(np.concatenate(model.log_odds), outcome)
    served = history.model("own_model", raw.scaled(model.slope, shift), everything, known)
    return Trained(served, Report(None, history.window(everything), rounds, hold_out))


def _roll(history: _History, folds: Sequence[Fold], scorer: Scorer) -> _Rolled:
    """Score each window by a model of its past, calibrated with what was known as it began."""
    raw: list[Floats] = []
    calibrated: list[Floats] = []
    seen = [history.label[fold.window] for fold in folds]
    for fold in folds:
        newest = _newest(fold.fit)
        log_odds = scorer(fold.fit, np.concatenate([newest, fold.window]))
        steep = slope(raw, seen[: len(raw)])
        shift = offset(steep * log_odds[: len(newest)], history.label[newest])
        raw.append(log_odds[len(newest) :])
        calibrated.append(steep * raw[-1] + shift)
    return _Rolled(calibrated, slope(raw, seen))


def _newest(rows: Rows) -> Rows:
    """The newest fifth of rows that stand in order of time."""
    return rows[-max(round(NEWEST_SHARE * len(rows)), 1) :]


def _measured(
    history: _History, folds: Sequence[Fold], model: _Rolled, check: _Rolled, newest: Tables
) -> HoldOut:
    from scipy.special import expit

    outcomes = [history.label[fold.window] for fold in folds]
    outcome = np.concatenate(outcomes)
    probability = expit(np.concatenate(model.log_odds))
    rates = [
        np.full(len(fold.window), expit(_rate_log_odds(history.label[_newest(fold.fit)])))
        for fold in folds
    ]
    strength = _importance(history, model.slope, newest, folds[-1].window)
    return HoldOut(
        windows=tuple(w for fold in folds if (w := history.window(fold.window))),
        model=figures(outcome, probability),
        logistic=figures(outcome, expit(np.concatenate(check.log_odds))),
        base_rate=figures(outcome, np.concatenate(rates)),
        window_auc={
            "model": _window_auc(outcomes, model.log_odds),
            "logistic": _window_auc(outcomes, check.log_odds),
        },
        importance=strength,
        calibration=calibration(outcome, probability),
        slope=model.slope,
    )


def _window_auc(outcomes: Sequence[Bools], log_odds: Sequence[Floats]) -> float:
    """The mean AUC of the windows that have outcomes of both kinds."""
    both = [pair for pair in zip(outcomes, log_odds, strict=True) if 0 < pair[0].mean() < 1]
    return float(np.mean([auc(outcome, score) for outcome, score in both]))


def _importance(history: _History, steep: float, tables: Tables, rows: Rows) -> dict[str, float]:
    by_feature = tables.contributions(history.matrix[rows])
    mean = {
        factor.name: steep * float(np.abs(by_feature[:, list(factor.features)].sum(axis=1)).mean())
        for factor in history.spec.factors
    }
    return dict(sorted(mean.items(), key=lambda item: -item[1]))


def _base_rate(history: _History, lacking: str, hold_out: HoldOut | None) -> Trained:
    """The conversion rate of the newest rows for every lead."""
    newest_first = np.argsort(history.snapshot_at, kind="stable")[::-1]
    converted = np.cumsum(history.label[newest_first])
    others = np.arange(1, len(converted) + 1) - converted
    enough = int(np.searchsorted(np.minimum(converted, others), FEWEST_TO_FIT)) + 1
    recent = newest_first[:enough]
    tables = Tables.constant(len(history.spec.features), _rate_log_odds(history.label[recent]))
    known = confidence.table(tables.raw(history.matrix[recent]), history.label[recent])
    model = history.model("base_rate", tables, recent, known)
    return Trained(model, Report(lacking, history.window(recent), 0, hold_out))


def _rate_log_odds(outcome: Bools) -> float:
    """The log-odds of the conversion rate: its mean under Jeffreys' prior, never 0 or 1."""
    converted = float(outcome.sum())
    return float(np.log((converted + 0.5) / (len(outcome) - converted + 0.5)))


def _lacking(history: _History, folds: Sequence[Fold]) -> str | None:
    """What there are too few outcomes for, in words; None where there are enough."""
    first = folds[0].fit if folds else np.empty(0, np.intp)
    windows = (fold.window for fold in folds)
    # Windows of one kind each have no AUC, however many of both kinds they hold together.
    telling = (window for window in windows if 0 < history.label[window].mean() < 1)
    judged = np.concatenate([first[:0], *telling])
    for name, rows, fewest in (
        ("to fit a first model", first, FEWEST_TO_FIT),
        ("to judge models by", judged, FEWEST_TO_JUDGE),
    ):
        converted = int(history.label[rows].sum())
        others = len(rows) - converted
        if min(converted, others) < fewest:
            return (
                f"{converted} converted and {others} other snapshots {name}, "
                f"expected at least {fewest} of each"
            )
    return None


def _check(
    spec: FeatureSpec,
    matrix: NDArray[np.float32],
    label: Bools,
    snapshot_at: Times,
    label_known_at: Times,
    trained_at: datetime,
) -> None:
    if matrix.shape != (len(label), len(spec.features)):
        raise ValueError(
            f"matrix has shape {matrix.shape}, {len(label)} labels and the spec make "
            f"({len(label)}, {len(spec.features)}): build it from the labelled snapshots"
        )
    if not len(label) == len(snapshot_at) == len(label_known_at):
        raise ValueError(
            f"label, snapshot_at and label_known_at have {len(label)}, {len(snapshot_at)} and "
            f"{len(label_known_at)} rows, expected as many of each: take them from one frame"
        )
    now = np.datetime64(trained_at.astimezone(UTC).replace(tzinfo=None), "us")
    late = np.flatnonzero(label_known_at > now)
    if len(late):
        raise ValueError(
            f"label_known_at: {label_known_at[late[0]]} in row {late[0]} is after trained_at "
            f"({now}); leave out snapshots whose outcome was still open"
        )
