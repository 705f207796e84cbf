"""What is asked of a trained model before it may serve, and the answers in words.

Four questions: is its log-loss lower than the champion's on rows that neither had learnt from; are
its probabilities calibrated; does it treat the groups that the tenant names alike; and does it know
too much. A model is refused for what is found against it; where outcomes are too few to tell the
two apart, the tenant's settings decide (ml.settings.Governance.undecided).
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ml.algorithm import Floats
from ml.comparison import Difference, losses, paired
from ml.history import History
from ml.model import Model
from ml.report import HoldOut, Report
from ml.settings import Governance
from ml.translation import translate
from ml.windows import Rows

if TYPE_CHECKING:
    from ml.metrics import CalibrationPoint

# Of each kind, among the rows that neither model had learnt from.
FEWEST_TO_COMPARE = 20
# Single attributes are audited before the training; this is of all of them together. The best of
# the simulated tenants has 0.85, the bank's calls with `duration` left in 0.93.
TOO_GOOD_AUC = 0.98
_DRAWS = 1_000


@dataclass(frozen=True)
class Check:
    """One question. name: such as log_loss. sentence: the answer, with its figures."""

    name: str
    passed: bool
    sentence: str


@dataclass(frozen=True)
class Gate:
    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        return all(check.passed for check in self.checks)

    @property
    def refusal(self) -> str:
        """What stands against the model, in words; empty where it passed."""
        return "; ".join(check.sentence for check in self.checks if not check.passed)

    def to_json(self) -> dict[str, Any]:
        return {"passed": self.passed, "checks": [asdict(check) for check in self.checks]}


@dataclass(frozen=True, eq=False)
class Unseen:
    """What a training's procedure said of rows that it had not learnt from.

    history: the rows, with every attribute there is. windows: positions in it, oldest first.
    log_odds: of each window's rows, by what serves if the model does.
    """

    history: History
    windows: Sequence[Rows]
    log_odds: Sequence[Floats]


@dataclass(frozen=True)
class Comparison:
    """The log-loss less the champion's. rows, converted: of those that neither had learnt from.
    difference: None where these are too few."""

    version: int
    rows: int
    converted: int
    difference: Difference | None


def compare(unseen: Unseen, champion: Model, version: int) -> Comparison:
    """Beside the champion, on the rows of the windows that are younger than its training.

    The champion scores the same rows (ml.translation), paired as in ml.comparison.
    """
    history = unseen.history
    trained_at = np.datetime64(champion.trained_at.replace(tzinfo=None), "us")
    later = [history.snapshot_at[rows] > trained_at for rows in unseen.windows]
    pairs = [
        (rows[kept], said[kept])
        for rows, said, kept in zip(unseen.windows, unseen.log_odds, later, strict=True)
        if kept.any()
    ]
    rows = np.concatenate([rows for rows, _ in pairs]) if pairs else np.empty(0, np.intp)
    converted, others = history.converted_and_others(rows)
    if min(converted, others) < FEWEST_TO_COMPARE:
        return Comparison(version, len(rows), converted, None)
    own, its = [], []
    for window, said in pairs:
        outcome = history.label[window]
        matrix = translate(history.matrix[window], history.spec, champion.spec)
        own.append(losses(outcome, said))
        its.append(losses(outcome, champion.predictor.raw(matrix)))
    return Comparison(version, len(rows), converted, paired(own, its, history.lead[rows]))


def judge(
    report: Report,
    governance: Governance,
    comparison: Comparison | None,
    tolerated: Sequence[str] = (),
) -> Gate:
    """The answers of one training.

    comparison: None where nothing trained serves yet. tolerated: groups that the champion's alarms
    name, as "attribute: group"; a model is refused for alarms that are new.
    """
    checks = [_log_loss(report, comparison, governance)]
    if report.hold_out is not None and report.lacking is None:
        checks += [_calibration(report.hold_out, governance), _too_good(report.hold_out)]
    if report.fairness is not None:
        checks.append(_fairness(report, governance, tolerated))
    return Gate(tuple(checks))


def _log_loss(report: Report, comparison: Comparison | None, governance: Governance) -> Check:
    if comparison is None:
        return Check("log_loss", True, "no trained model serves yet")
    champion = f"version {comparison.version}"
    undecided = governance.undecided == "deploy"
    if comparison.difference is None:
        told = (
            f"{comparison.rows} unseen rows with {comparison.converted} conversions are younger"
            f" than {champion}: too few to compare the two"
        )
        # Nothing was measured of it, and it knows less of each lead.
        return Check("log_loss", undecided and report.hold_out is not None, told)
    found = comparison.difference
    beside = (
        f"log-loss {found.mean:+.4f} beside {champion} on {comparison.rows} rows that neither had"
        f" learnt from (95 % interval {found.low:+.4f} to {found.high:+.4f})"
    )
    if found.better:
        return Check("log_loss", True, f"better: {beside}")
    if found.worse:
        return Check("log_loss", False, f"worse: {beside}")
    return Check("log_loss", undecided, f"no plain difference: {beside}")


def _calibration(found: HoldOut, governance: Governance) -> Check:
    error, by_chance = found.model.ece, _ece_by_chance(found.calibration)
    # Where rates move, as the bank's from 8 to 44 %, what would serve instead is off by more.
    instead = found.base_rate.ece
    told = (
        f"probabilities are off by {error:.3f} in the mean ({by_chance:.3f} by chance alone, the"
        f" base rate's by {instead:.3f}; {governance.calibration_error} beyond chance is tolerated)"
    )
    passed = error - by_chance <= governance.calibration_error or error <= instead
    return Check("calibration", passed, told)


def _ece_by_chance(points: Sequence["CalibrationPoint"]) -> float:
    """The mean error that calibrated probabilities show in so many rows, by consistency resampling
    (J. Brocker, L. Smith, "Increasing the reliability of reliability diagrams", 2007)."""
    random = np.random.default_rng(0)
    rows = np.array([point.rows for point in points])
    said = np.array([point.predicted for point in points])
    drawn = random.binomial(rows, said, (_DRAWS, len(rows))) / np.maximum(rows, 1)
    return float((np.abs(drawn - said) * rows).sum(axis=1).mean() / rows.sum())


def _too_good(found: HoldOut) -> Check:
    told = f"AUC {found.model.auc:.3f} on unseen outcomes"
    if found.model.auc > TOO_GOOD_AUC:
        told = f"too good to be true: {told}, so some attributes tell the outcome together"
    return Check("leakage", found.model.auc <= TOO_GOOD_AUC, told)


def _fairness(report: Report, governance: Governance, tolerated: Sequence[str]) -> Check:
    assert report.fairness is not None
    alarms = [
        f"{alarm.attribute}: {alarm.group}"
        for alarm in report.fairness.alarms
        if f"{alarm.attribute}: {alarm.group}" not in tolerated
    ]
    if not alarms:
        return Check("fairness", True, "no group newly falls behind")
    told = f"seldom in the top tenth: {', '.join(alarms)}"
    return Check("fairness", not governance.fairness, told)
