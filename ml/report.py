"""What is told of a training: how the model was made, and what it is worth."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal

from ml.comparison import Difference
from ml.fairness import FairnessReport
from ml.leakage import Suspect
from ml.metrics import CalibrationPoint, Figures

Validation = Literal["rolling windows", "cross-validation by lead"]


@dataclass(frozen=True)
class Window:
    """Labelled snapshots between two times (both inclusive); converted counts among rows."""

    rows: int
    converted: int
    first: datetime
    last: datetime


@dataclass(frozen=True)
class Candidate:
    """An algorithm that might have served, measured like the one that does.

    calibration: the way its log-odds were corrected (ml.calibration). against_default: its log-loss
    less the default's, with a 95 % interval; None of the default itself.
    """

    figures: Figures
    window_auc: float
    calibration: str
    against_default: Difference | None


@dataclass(frozen=True)
class HoldOut:
    """What the procedure is worth: measured on outcomes that no model it judges had learnt from.

    validation: on windows that lay in each model's future, or, where outcomes are too few for
        those, on the leads that each of five models was not shown.
    windows: of the rolling windows, oldest first.
    model: the figures of the candidate that was chosen, which serves unless the report says what it
        is lacking. base_rate: of the conversion rate known at the time.
    against_base_rate: the log-loss of the one less that of the other.
    window_auc: mean over the windows of the AUC within each. The pooled AUC in the figures also
        rewards knowing in which window rates are high.
    candidates: by name, the default first.
    importance: mean absolute contribution of each factor in log-odds over the newest rows, the
        strongest first.
    calibration: predicted and observed rates of the model.
    coverage: how often a rate lay inside the interval that confidence is read from; 0.9 is the
        aim. None where windows are too few to tell.
    roc: points (share of the others, share of the converted) above falling scores.
    gains: share of the converted among the top 0, 5, ... 100 % by score.
    """

    validation: Validation
    windows: tuple[Window, ...]
    model: Figures
    base_rate: Figures
    against_base_rate: Difference
    window_auc: float
    candidates: Mapping[str, Candidate]
    importance: Mapping[str, float]
    calibration: tuple[CalibrationPoint, ...]
    coverage: float | None
    roc: tuple[tuple[float, float], ...]
    gains: tuple[float, ...]


@dataclass(frozen=True)
class Report:
    """How the model that serves was made, and its figures.

    lacking: why there is no model of the tenant's own; None where there is one.
    algorithm: what serves: an algorithm's name, several joined by " + ", "pooled" or "base rate".
    hyperparameters: of the algorithm. calibration: as in Candidate.
    fitted_on: the rows of the model that serves; None where there is not a single row.
    hold_out: None where there are too few outcomes to measure.
    suspects: what the leakage audit found; kept: those of them that the tenant's settings keep.
    signal: the p-value of the test for a signal (ml.signal).
    """

    lacking: str | None
    algorithm: str
    hyperparameters: Mapping[str, Mapping[str, Any]]
    calibration: str
    fitted_on: Window | None
    hold_out: HoldOut | None
    suspects: tuple[Suspect, ...] = ()
    kept: tuple[str, ...] = ()
    fairness: FairnessReport | None = None
    signal: float | None = None

    def to_json(self) -> dict[str, Any]:
        """The report as plain JSON values; times in ISO 8601, UTC."""
        document: dict[str, Any] = json.loads(json.dumps(asdict(self), default=datetime.isoformat))
        return document
