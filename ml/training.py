"""From labelled snapshots to the model that serves, and a report of what it is worth.

Method. Attributes that look as if they were filled in after the outcome are kept out (ml.leakage).
Rows stand in order of time. Five rolling windows share the newer half; for each a model is fitted
on what was known when the window began, as a retraining would have been, and scores the window.
Those scores, which no model could have learnt, give the figures, the calibration and the
confidence. The default algorithm serves unless another has a lower log-loss on all windows and
chance does not explain it (ml.comparison). What serves is fitted on all rows. The base rate is
served instead where the model's log-loss is above that of the base rate beyond chance, and where it
is not plainly below and the outcomes have nothing to do with the columns either (ml.signal).
One of the two is enough: where rates drift, months of windows cannot tell, and the model still
ranks; and columns that tell only together are not seen by the test.

The windows need 50 converted and 50 other rows to fit the first, and 100 of each in those that hold
both. A tenant with fewer outcomes gets a careful model, the pooled one or its base rate
(ml.cold_start).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol, TypeAlias

import numpy as np

from ml import cold_start, confidence, groups, leakage, preparation, signal
from ml.algorithm import Algorithm, Bools, Floats
from ml.comparison import losses
from ml.fairness import FairnessReport
from ml.gate import Unseen
from ml.history import History
from ml.leakage import Suspect, WrittenAfter
from ml.model import Evidence, Model
from ml.pooled_model import PooledModel
from ml.report import Candidate, Report
from ml.settings import AlgorithmName, TrainingSettings
from ml.validation import Folds, window
from ml.windows import Rows, Times, rolling

FEWEST_TO_FIT = 50
FEWEST_TO_JUDGE = 100
SEARCHED_WINDOWS = 3
DEFAULTS: tuple[AlgorithmName, ...] = ("boosted_tables", "logistic_regression")
FEWER_ROUNDS = "boosted_tables of fewer rounds"

# How models are judged, as a training's job tells it.
VALIDATION = {
    "method": "rolling windows, in order of time",
    "windows": 5,
    "first window after": 0.5,
    "choice": "log-loss, paired 95 % interval",
    "few outcomes": "five folds of leads",
}

# Told the step in words, the share done, 0 to 1, and the figures known so far; it may raise to end
# the training.
Progress: TypeAlias = Callable[[str, float, Mapping[str, float]], None]


class Search(Protocol):
    """A search for hyperparameters: from an algorithm's class and its loss over the windows (which
    is told each window's loss so far), the best instance."""

    def __call__(
        self,
        algorithm: type[Algorithm],
        evaluate: Callable[[Algorithm, Callable[[int, float], None]], float],
    ) -> Algorithm: ...


@dataclass(frozen=True)
class Trained:
    """unseen: what the procedure said of rows that it had not learnt from; None where nothing was
    measured."""

    model: Model
    report: Report
    unseen: Unseen | None = None


def train(
    history: History,
    *,
    trained_at: datetime,
    horizon_days: int,
    settings: TrainingSettings | None = None,
    pooled: PooledModel | None = None,
    written_after: Mapping[str, WrittenAfter] | None = None,
    search: Search | None = None,
    seed: int = 0,
    progress: Progress = lambda _step, _done, _figures: None,
) -> Trained:
    """Train on labelled snapshots; the same arguments give the same model.

    trained_at: aware; nothing may have become known after it.
    settings: the tenant's own; None: the defaults. pooled: what may serve while outcomes are few.
    written_after: when attributes were written, for the leakage audit.
    search: of the first algorithm's hyperparameters; None: its defaults.

    Raises ValueError where a label was not yet known at trained_at, and for settings that name an
    attribute the tenant does not have or ask an algorithm for what it cannot hold.
    """
    history.known_by(trained_at)
    settings = settings or TrainingSettings()
    preparation.refuse_what_cannot_be(history, settings)
    progress("leakage audit", 0.0, {})
    suspects = leakage.audit(
        history.spec, history.matrix, history.label, history.snapshot_at,
        written_after=written_after,
    )  # fmt: skip
    used = history.without(preparation.left_out(settings, suspects))
    folds = rolling(used.snapshot_at, _gap(used, horizon_days))
    job = _Job(used, settings, trained_at, horizon_days, seed, progress)
    p_value = signal.p_value(used, seed)
    progress("looked for a signal", 0.03, {"p_value": p_value})
    if lacking := _lacking(used, [(fold.fit, fold.window) for fold in folds]):
        found = cold_start.train(used, lacking, p_value, settings, pooled, seed, progress)
    else:
        found = _own_model(job, Folds(used, folds, "rolling windows"), p_value, search)
    return _told(job, history, suspects, found, p_value)


def base_rate(
    label: Bools, snapshot_at: Times, *, trained_at: datetime, horizon_days: int
) -> Trained:
    """The model of a tenant before its first training: the conversion rate of its newest labelled
    snapshots for every lead; a half where there are none. label, snapshot_at: (n,), any order."""
    history = cold_start.bare(label, snapshot_at)
    found = cold_start.base_rate(history, "not trained yet")
    return Trained(_model(history, found, trained_at, horizon_days), found.report)


def _model(
    history: History, found: cold_start.Found, trained_at: datetime, horizon_days: int
) -> Model:
    evidence = Evidence(found.stage, len(found.rows), int(history.label[found.rows].sum()))
    return Model(
        history.spec, found.predictor, found.confidence, evidence, trained_at, horizon_days
    )


@dataclass(frozen=True, eq=False)
class _Job:
    """What one training goes by."""

    history: History
    settings: TrainingSettings
    trained_at: datetime
    horizon_days: int
    seed: int
    progress: Progress

    def part(self, words: str, begin: float, size: float) -> Callable[[float], None]:
        """Tells how far the training is by the share of one of its parts that is done."""
        return lambda done: self.progress(words, begin + size * done, {})


def _own_model(job: _Job, folds: Folds, p_value: float, search: Search | None) -> cold_start.Found:
    directions = job.settings.monotone
    algorithms = _algorithms(job, folds, search)
    raw: dict[str, list[Floats]] = {}
    for number, (name, algorithm) in enumerate(algorithms.items()):
        begin, step = 0.3 + 0.5 * number / len(algorithms), 0.5 / len(algorithms)
        told = job.part(f"measuring {name}", begin, step)
        raw[name] = folds.scores(algorithm, directions, job.seed, told)
    judged = {name: folds.judged(scored) for name, scored in raw.items()}
    candidates = folds.candidates(judged)
    chosen = _chosen(candidates)
    figures = {f"log_loss {name}": found.figures.log_loss for name, found in candidates.items()}
    job.progress("fitting the model that serves", 0.8, figures)
    sample = job.history.sample(job.history.all_rows(), directions)
    told = job.part(f"fitting {chosen} on all rows", 0.8, 0.15)
    fitted = algorithms[chosen].fit(sample, seed=job.seed, progress=told)
    predictor = judged[chosen].calibration.applied(fitted)
    hold_out = folds.hold_out(candidates, judged[chosen], predictor)
    against = hold_out.against_base_rate
    no_signal = p_value >= signal.LEVEL and not against.plainly_better
    if no_signal or against.worse:
        beside = (
            f"log-loss {hold_out.model.log_loss:.4f} on outcomes it had not seen, the base rate's "
            f"{hold_out.base_rate.log_loss:.4f}"
        )
        lacking = f"no signal (p = {p_value:.3f}): {beside}" if no_signal else f"worse: {beside}"
        found = cold_start.base_rate(job.history, lacking)
        return replace(found, report=replace(found.report, hold_out=hold_out), folds=folds)
    rows = job.history.all_rows()
    report = Report(
        lacking=None,
        algorithm=chosen,
        hyperparameters={chosen: dict(vars(algorithms[chosen]))},
        calibration=judged[chosen].calibration.kind,
        fitted_on=window(job.history, rows),
        hold_out=hold_out,
    )
    known = confidence.table(folds.scored(judged[chosen]))
    return cold_start.Found("own_model", predictor, known, rows, report, folds, judged[chosen])


def _algorithms(job: _Job, folds: Folds, search: Search | None) -> dict[str, Algorithm]:
    """The candidates that are measured, the first with the hyperparameters that were found."""
    from ml.algorithms import ALGORITHMS
    from ml.algorithms.boosted_tables import LEAST_ROUNDS, BoostedTables

    names = job.settings.algorithms or DEFAULTS
    found: dict[str, Algorithm] = {name: ALGORITHMS[name]() for name in names}
    if not job.settings.algorithms:
        # Where the signal is weak and rates move, hundreds of rounds learn last year's months.
        found[FEWER_ROUNDS] = BoostedTables(rounds=LEAST_ROUNDS)
    if search is not None:
        # The later windows judge what was found, and were not searched on.
        searched = Folds(folds.history, folds.folds[:SEARCHED_WINDOWS], folds.validation)
        directions, outcome = job.settings.monotone, np.concatenate(searched.outcomes)
        alive = job.part("searching hyperparameters", 0.05, 0.0)

        def evaluate(one: Algorithm, after: Callable[[int, float], None]) -> float:
            scores = searched.scores(one, directions, job.seed, alive, after)
            return float(losses(outcome, np.concatenate(scores)).mean())

        found[names[0]] = search(ALGORITHMS[names[0]], evaluate)
    return found


def _chosen(candidates: Mapping[str, Candidate]) -> str:
    """The default, or the best of those that are better than it beyond chance."""
    default = next(iter(candidates))
    better = [
        name
        for name, found in candidates.items()
        if found.against_default is not None and found.against_default.better
    ]
    return min(better, key=lambda name: candidates[name].figures.log_loss, default=default)


def _told(
    job: _Job,
    whole: History,
    suspects: Iterable[Suspect],
    found: cold_start.Found,
    p_value: float,
) -> Trained:
    """The model, and its report with what the audit and the groups say."""
    named = {suspect.column for suspect in suspects}
    left_out = ", ".join(sorted(named - job.settings.keep))
    lacking = found.report.lacking
    if lacking and left_out:
        lacking = f"{lacking}; the leakage audit left out {left_out}"
    report = replace(
        found.report,
        lacking=lacking,
        suspects=tuple(suspects),
        kept=tuple(sorted(named & job.settings.keep)),
        fairness=_fairness(whole, job.settings, found),
        signal=p_value,
    )
    job.progress("trained", 1.0, {})
    model = _model(job.history, found, job.trained_at, job.horizon_days)
    return Trained(model, report, _unseen(whole, found))


def _unseen(whole: History, found: cold_start.Found) -> Unseen | None:
    if found.folds is None or found.unseen is None:
        return None
    return Unseen(whole, [fold.window for fold in found.folds.folds], found.unseen)


def _fairness(
    whole: History, settings: TrainingSettings, found: cold_start.Found
) -> FairnessReport | None:
    if found.folds is None or found.judged is None:
        return None
    log_odds = np.concatenate(found.judged.log_odds)
    return groups.by_attributes(whole, found.folds.rows, log_odds, settings.fairness)


def _gap(history: History, horizon_days: int) -> np.timedelta64:
    """The longest time an outcome took to be known, or the horizon: snapshots younger than it are
    never trained on (ml.labels), however soon their outcome is known."""
    horizon = np.timedelta64(horizon_days, "D")
    found: np.timedelta64 = np.append(history.label_known_at - history.snapshot_at, horizon).max()
    return found


def _lacking(history: History, folds: Sequence[tuple[Rows, Rows]]) -> str | None:
    """What there are too few outcomes for, in words; None where there are enough."""
    first = folds[0][0] if folds else np.empty(0, np.intp)
    # Windows of one kind each have no AUC, however many of both kinds they hold together.
    telling = [rows for _, rows in folds if 0 < history.label[rows].mean() < 1]
    judged = np.concatenate([first[:0], *telling])
    for name, rows, fewest in (
        ("to fit a first model", first, FEWEST_TO_FIT),
        ("to judge models by", judged, FEWEST_TO_JUDGE),
    ):
        converted, others = history.converted_and_others(rows)
        if min(converted, others) < fewest:
            return (
                f"{converted} converted and {others} other snapshots {name}, "
                f"expected at least {fewest} of each"
            )
    return None
