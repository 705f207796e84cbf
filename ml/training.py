"""From labelled snapshots to the model that serves, and a report of what it is worth.

Method. Rows stand in order of time. The figures come from a model fitted on the first 60 %,
calibrated on the next 20 % and measured on the last 20 %, which it never saw. The model that
serves is made in the same way one window later: fitted on the first 80 % and calibrated on the
last 20 %, so that its probabilities know the newest conversion rate. Before every window lies a
gap as long as the longest time that an outcome took to be known (ml.windows). A logistic
regression, with the same windows and calibration, and the conversion rate of the calibration
window are measured beside the model.

A model of its own needs 50 converted and 50 other rows in each window that fits, and 20 and 20
in each that calibrates or is held out. A tenant with fewer is served the base rate of its newest
rows: as many as hold 50 of each kind, or all.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ml import boosting, confidence, logistic
from ml.calibration import platt
from ml.metrics import Bools, CalibrationPoint, Figures, Floats, calibration, figures
from ml.model import Evidence, Model
from ml.scoring import score
from ml.spec import FeatureSpec
from ml.tables import Tables
from ml.windows import Rows, Times, split

FIT_SHARE, CALIBRATE_SHARE, HOLD_OUT_SHARE = 0.6, 0.2, 0.2
FEWEST_TO_FIT = 50
FEWEST_TO_JUDGE = 20

Stage: TypeAlias = Literal["own_model", "base_rate"]
Progress: TypeAlias = Callable[[str, float], None]


@dataclass(frozen=True)
class Window:
    """Labelled snapshots between two times (both inclusive); converted counts among rows."""

    rows: int
    converted: int
    first: datetime
    last: datetime


@dataclass(frozen=True)
class HoldOut:
    """What the procedure is worth: measured on rows that none of these models saw.

    windows: "fit", "calibrate" and "hold_out".
    base_rate: the figures of the calibration window's conversion rate, given to every row.
    importance: mean absolute contribution of each factor in log-odds, the strongest first.
    calibration: predicted and observed rates of the model.
    rounds: trees of the model that was measured.
    """

    windows: Mapping[str, Window]
    model: Figures
    logistic: Figures
    base_rate: Figures
    importance: Mapping[str, float]
    calibration: tuple[CalibrationPoint, ...]
    rounds: int


@dataclass(frozen=True)
class Report:
    """How the model that serves was made, and its figures.

    lacking: why there is no model of the tenant's own; None where there is one.
    windows: of the model that serves: "fit" and "calibrate", or "recent" of a base rate (absent
        where there is not a single row).
    rounds: trees of the model that serves; 0 of a base rate.
    hold_out: None of a base rate.
    """

    lacking: str | None
    windows: Mapping[str, Window]
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
    gap = (label_known_at - snapshot_at).max() if len(label) else np.timedelta64(0, "us")
    judged = split(snapshot_at, gap, (FIT_SHARE, CALIBRATE_SHARE, HOLD_OUT_SHARE))
    served = split(snapshot_at, gap, (FIT_SHARE + CALIBRATE_SHARE, HOLD_OUT_SHARE))
    lacking = _lacking(history, judged, served)
    if lacking:
        trained = _base_rate(history, lacking)
    else:
        progress("measuring on the hold-out", 0.0)
        hold_out = _measured(history, *judged)
        progress("fitting the model that serves", 0.6)
        model, rounds = history.fitted(*served)
        windows = history.windows(fit=served[0], calibrate=served[1])
        trained = Trained(model, Report(None, windows, rounds, hold_out))
    progress("trained", 1.0)
    return trained


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

    def fitted(self, fit: Rows, calibrate: Rows) -> tuple[Model, int]:
        """A model fitted on one window and calibrated on the next, and its rounds."""
        raw, rounds = boosting.fit(self.spec, self.matrix[fit], self.label[fit], self.seed)
        tables = raw.scaled(*platt(raw.raw(self.matrix[calibrate]), self.label[calibrate]))
        return self.model("own_model", tables, np.concatenate([fit, calibrate]), calibrate), rounds

    def model(self, stage: Stage, tables: Tables, rests_on: Rows, calibrate: Rows) -> Model:
        known = confidence.table(tables.raw(self.matrix[calibrate]), self.label[calibrate])
        evidence = Evidence(stage, len(rests_on), int(self.label[rests_on].sum()))
        return Model(self.spec, tables, known, evidence, self.trained_at, self.horizon_days)

    def windows(self, **windows: Rows) -> dict[str, Window]:
        return {name: self._window(rows) for name, rows in windows.items() if len(rows)}

    def _window(self, rows: Rows) -> Window:
        first, last = (
            time.astype("datetime64[us]").item().replace(tzinfo=UTC)
            for time in (self.snapshot_at[rows].min(), self.snapshot_at[rows].max())
        )
        return Window(len(rows), int(self.label[rows].sum()), first, last)


def _measured(history: _History, fit: Rows, calibrate: Rows, hold_out: Rows) -> HoldOut:
    model, rounds = history.fitted(fit, calibrate)
    outcome = history.label[hold_out]
    scores = score(model, history.matrix[hold_out])
    strength = np.abs(scores.contributions).mean(axis=0, dtype=np.float64)
    names = [factor.name for factor in history.spec.factors]
    return HoldOut(
        windows=history.windows(fit=fit, calibrate=calibrate, hold_out=hold_out),
        model=figures(outcome, scores.probability),
        logistic=figures(outcome, _logistic(history, fit, calibrate, hold_out)),
        base_rate=figures(
            outcome, np.full(len(hold_out), history.label[calibrate].mean(dtype=np.float64))
        ),
        importance={names[i]: float(strength[i]) for i in np.argsort(-strength, kind="stable")},
        calibration=calibration(outcome, scores.probability),
        rounds=rounds,
    )


def _logistic(history: _History, fit: Rows, calibrate: Rows, hold_out: Rows) -> Floats:
    """Probabilities of the hold-out by the logistic regression, calibrated like the model."""
    from scipy.special import expit

    later = np.concatenate([calibrate, hold_out])
    matrix, label = history.matrix, history.label
    log_odds = logistic.log_odds(history.spec, matrix[fit], label[fit], matrix[later])
    slope, intercept = platt(log_odds[: len(calibrate)], label[calibrate])
    probability: Floats = expit(slope * log_odds[len(calibrate) :] + intercept)
    return probability


def _base_rate(history: _History, lacking: str) -> Trained:
    """The conversion rate of the newest rows for every lead (its mean under Jeffreys' prior)."""
    newest_first = np.argsort(history.snapshot_at, kind="stable")[::-1]
    converted = np.cumsum(history.label[newest_first])
    others = np.arange(1, len(converted) + 1) - converted
    enough = int(np.searchsorted(np.minimum(converted, others), FEWEST_TO_FIT)) + 1
    recent = newest_first[:enough]
    yes = float(history.label[recent].sum())
    base = float(np.log((yes + 0.5) / (len(recent) - yes + 0.5)))
    tables = Tables.constant(len(history.spec.features), base)
    model = history.model("base_rate", tables, recent, recent)
    return Trained(model, Report(lacking, history.windows(recent=recent), 0, None))


def _lacking(history: _History, judged: list[Rows], served: list[Rows]) -> str | None:
    """The first window with too few rows of a kind, in words; None where all have enough."""
    for name, rows, fewest in (
        ("fit", judged[0], FEWEST_TO_FIT),
        ("calibrate", judged[1], FEWEST_TO_JUDGE),
        ("hold-out", judged[2], FEWEST_TO_JUDGE),
        ("fit of the model that serves", served[0], FEWEST_TO_FIT),
        ("calibrate of the model that serves", served[1], FEWEST_TO_JUDGE),
    ):
        converted = int(history.label[rows].sum())
        others = len(rows) - converted
        if min(converted, others) < fewest:
            return (
                f"window {name}: {converted} converted and {others} other snapshots, "
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
