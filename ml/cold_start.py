"""What serves a tenant whose outcomes are too few for rolling windows.

Three answers, and the measured log-loss between them:
- prior model: the mean of boosted tables and a logistic regression whose prior is as wide as the
  evidence asks for; only where the outcomes have something to do with the columns (ml.signal) and
  the model beats the base rate on leads it was not shown;
- pooled model: what tenants who agreed have in common (ml.pooling), with the tenant's own
  conversion rate; for a tenant that agreed, until its own outcomes do better;
- base rate: the conversion rate of the newest rows for every lead.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from ml import confidence, signal
from ml.algorithm import Bools, Floats, Predictor
from ml.blend import Blend
from ml.calibration import Calibrated
from ml.comparison import losses
from ml.history import History
from ml.model import ConfidenceTable, Stage
from ml.pooled_model import PooledModel
from ml.report import Report
from ml.settings import TrainingSettings
from ml.spec import FeatureSpec
from ml.tables import Tables
from ml.validation import Folds, by_lead, rate_log_odds, window
from ml.windows import Rows, Times

# Leads of each kind; below it nothing is learnt from a tenant's own outcomes but their rate.
FEWEST_LEADS = 3
# Below it the pooled model is not measured on a tenant's outcomes, but believed.
FEWEST_TO_MEASURE = 10
# A base rate rests on the newest rows that hold so many of each kind, or on all.
BASE_RATE_OF_EACH = 50

Progress = Callable[[str, float, Mapping[str, float]], None]


@dataclass(frozen=True, eq=False)
class Found:
    """What is to serve. rows: those it was made from. folds, judged: what measured it, if any."""

    stage: Stage
    predictor: Predictor
    confidence: ConfidenceTable
    rows: Rows
    report: Report
    folds: Folds | None = None
    judged: Calibrated | None = None

    @property
    def unseen(self) -> list[Floats] | None:
        """The log-odds of each fold's window by what was not shown it; None where nothing was
        measured."""
        if self.folds is None:
            return None
        return self.folds.base_rates() if self.judged is None else self.judged.log_odds


def train(
    history: History,
    lacking: str,
    p_value: float,
    settings: TrainingSettings,
    pooled: PooledModel | None,
    seed: int,
    progress: Progress,
) -> Found:
    """The answer that the outcomes allow. lacking: what they are too few for, in words. p_value: of
    the test for a signal."""
    kinds = (history.label, ~history.label)
    if min(len(np.unique(history.lead[kind])) for kind in kinds) < FEWEST_LEADS:
        return no_signal(history, f"not enough evidence: {lacking}", pooled)
    return _measured(history, lacking, settings, pooled, seed, p_value, progress)


def no_signal(history: History, lacking: str, pooled: PooledModel | None) -> Found:
    """The pooled model where there is one, believed as it is; else the base rate."""
    if pooled is None:
        return base_rate(history, lacking)
    rows = history.all_rows()
    predictor = pooled.predictor(history.sample(rows, {}))
    report = replace(_report(history, rows, lacking), algorithm="pooled")
    return _unjudged("pooled_model", history, predictor, rows, report)


def base_rate(history: History, lacking: str) -> Found:
    """The conversion rate of the newest rows for every lead."""
    newest_first = history.all_rows()[::-1]
    converted = np.cumsum(history.label[newest_first])
    others = np.arange(1, len(converted) + 1) - converted
    enough = int(np.searchsorted(np.minimum(converted, others), BASE_RATE_OF_EACH)) + 1
    recent = newest_first[:enough]
    predictor = Tables.constant(len(history.spec.features), rate_log_odds(history.label[recent]))
    return _unjudged("base_rate", history, predictor, recent, _report(history, recent, lacking))


def bare(label: Bools, snapshot_at: Times) -> History:
    """Outcomes of which nothing but their time is known, one lead each."""
    order = np.argsort(snapshot_at, kind="stable")
    spec = FeatureSpec(columns=(), interaction_kinds=(), dropped=())
    matrix = np.zeros((len(label), len(spec.features)), np.float32)
    times = snapshot_at[order]
    return History(spec, np.arange(len(label)), matrix, label[order], times, times)


def _measured(
    history: History,
    lacking: str,
    settings: TrainingSettings,
    pooled: PooledModel | None,
    seed: int,
    p_value: float,
    progress: Progress,
) -> Found:
    folds = Folds(history, by_lead(history, seed), "cross-validation by lead")
    judged = {}
    if p_value < signal.LEVEL:
        judged["prior_model"] = folds.judged(_prior_scores(folds, settings, seed, progress))
    if pooled is not None:
        judged["pooled_model"] = folds.judged(_pooled_scores(folds, pooled))
    outcome = np.concatenate(folds.outcomes)
    loss = {
        name: float(losses(outcome, np.concatenate(one.log_odds)).mean())
        for name, one in judged.items()
    }
    base = float(losses(outcome, np.concatenate(folds.base_rates())).mean())
    progress("measured on leads left out", 0.8, {f"log_loss {n}": v for n, v in loss.items()})
    converted = int(outcome.sum())
    if pooled is not None and converted < FEWEST_TO_MEASURE:
        return no_signal(history, lacking, pooled)
    better = {name: value for name, value in loss.items() if value < base}
    if not better:
        found = "no signal" if p_value >= signal.LEVEL else "a signal too weak to use"
        return base_rate(history, f"{found} (p = {p_value:.3f}): {lacking}")
    chosen = min(better, key=lambda name: better[name])
    if chosen == "pooled_model" and pooled is not None:
        predictor: Predictor = pooled.predictor(history.sample(history.all_rows(), {}))
        name, parameters = "pooled", dict[str, dict[str, object]]()
    else:
        fitted, parameters = _prior_model(history, settings, seed, history.all_rows())
        predictor, name = fitted, " + ".join(parameters)
    report = Report(
        lacking=lacking,
        algorithm=name,
        hyperparameters=parameters,
        calibration="as it is",
        fitted_on=window(history, history.all_rows()),
        hold_out=folds.hold_out(folds.candidates(judged), judged[chosen], predictor),
    )
    stage: Stage = "pooled_model" if chosen == "pooled_model" else "prior_model"
    known = confidence.table(folds.scored(judged[chosen]))
    return Found(stage, predictor, known, history.all_rows(), report, folds, judged[chosen])


def _unjudged(
    stage: Stage, history: History, predictor: Predictor, rows: Rows, report: Report
) -> Found:
    scored = confidence.Scored(
        predictor.raw(history.matrix[rows]), history.label[rows], history.lead[rows]
    )
    return Found(stage, predictor, confidence.table([scored]), rows, report)


def _report(history: History, rows: Rows, lacking: str) -> Report:
    fitted_on = window(history, rows) if len(rows) else None
    return Report(lacking, "base rate", {}, "as it is", fitted_on, None)


def _prior_model(
    history: History, settings: TrainingSettings, seed: int, rows: Rows
) -> tuple[Predictor, dict[str, dict[str, object]]]:
    from ml.algorithms.boosted_tables import BoostedTables
    from ml.algorithms.logistic_regression import LogisticRegression

    sample = history.sample(rows, settings.monotone)
    parts = (BoostedTables(), LogisticRegression())
    fitted = tuple(part.fit(sample, seed=seed, progress=lambda _done: None) for part in parts)
    return Blend.mean(fitted), {part.name: dict(vars(part)) for part in parts}


def _prior_scores(
    folds: Folds, settings: TrainingSettings, seed: int, progress: Progress
) -> list[Floats]:
    found = []
    for number, fold in enumerate(folds.folds):
        progress("measuring the prior model", 0.1 + 0.7 * number / len(folds.folds), {})
        predictor, _ = _prior_model(folds.history, settings, seed, fold.fit)
        found.append(predictor.raw(folds.history.matrix[fold.window]))
    return found


def _pooled_scores(folds: Folds, pooled: PooledModel) -> list[Floats]:
    history = folds.history
    return [
        pooled.predictor(history.sample(fold.fit, {})).raw(history.matrix[fold.window])
        for fold in folds.folds
    ]
