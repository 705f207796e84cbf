"""Measuring on rows that a model had not learnt from: windows of time, or leads left out."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC

import numpy as np
from numpy.typing import NDArray

from ml import calibration, confidence
from ml.algorithm import Algorithm, Bools, Floats, Predictor
from ml.calibration import Calibrated
from ml.comparison import losses, paired
from ml.history import History
from ml.metrics import auc, figures, gains, roc
from ml.metrics import calibration as calibration_points
from ml.report import Candidate, HoldOut, Validation, Window
from ml.settings import Direction
from ml.windows import Fold, Rows

NEWEST_SHARE = 0.2
LEAD_FOLDS = 5
IMPORTANCE_ROWS = 2_000


@dataclass(frozen=True, eq=False)
class Folds:
    """The folds of one training, and what happened in their windows.

    known: of each fold, how many of the rows in earlier windows had known outcomes as it began;
    all of them are 0 where folds are of leads, which have no order.
    """

    history: History
    folds: Sequence[Fold]
    validation: Validation

    @property
    def rows(self) -> Rows:
        """All windows' rows, in the order of the folds."""
        return np.concatenate([fold.window for fold in self.folds])

    @property
    def outcomes(self) -> list[Bools]:
        return [self.history.label[fold.window] for fold in self.folds]

    def known(self) -> list[int]:
        if self.validation == "cross-validation by lead":
            return [0] * len(self.folds)
        rows = self.rows
        return [
            int(np.searchsorted(rows, fold.fit[-1], side="right")) if len(fold.fit) else 0
            for fold in self.folds
        ]

    def scores(
        self,
        algorithm: Algorithm,
        directions: Mapping[str, Direction],
        seed: int,
        progress: Callable[[float], None],
        after: Callable[[int, float], None] = lambda _window, _loss: None,
    ) -> list[Floats]:
        """Log-odds of each fold's window by a model of its fit rows; after: told each window's
        number and the mean loss so far, and may raise to end it."""
        found: list[Floats] = []

        def told(done: float) -> None:
            progress((len(found) + done) / len(self.folds))

        for number, fold in enumerate(self.folds):
            sample = self.history.sample(fold.fit, directions)
            predictor = algorithm.fit(sample, seed=seed, progress=told)
            found.append(predictor.raw(self.history.matrix[fold.window]))
            happened = np.concatenate(self.outcomes[: number + 1])
            after(number, float(losses(happened, np.concatenate(found)).mean()))
        return found

    def base_rates(self) -> list[Floats]:
        """The log-odds of the conversion rate of the newest fifth that each fold was fitted on."""
        share = NEWEST_SHARE if self.validation == "rolling windows" else 1.0
        return [
            np.full(
                len(fold.window),
                rate_log_odds(self.history.label[newest(fold.fit, share)]),
            )
            for fold in self.folds
        ]

    def judged(self, raw: Sequence[Floats]) -> Calibrated:
        """Calibrated by what each window's model could know."""
        lead = self.history.lead[self.rows]
        return calibration.choose(raw, self.outcomes, self.known(), lead)

    def scored(self, judged: Calibrated) -> list[confidence.Scored]:
        return [
            confidence.Scored(
                log_odds, self.history.label[fold.window], self.history.lead[fold.window]
            )
            for log_odds, fold in zip(judged.log_odds, self.folds, strict=True)
        ]

    def candidates(self, judged: Mapping[str, Calibrated]) -> dict[str, Candidate]:
        """Every candidate's figures beside those of the first, the default."""
        default = next(iter(judged))
        outcome, lead = np.concatenate(self.outcomes), self.history.lead[self.rows]
        reference = self.losses(judged[default].log_odds)
        return {
            name: Candidate(
                figures(outcome, _probability(one.log_odds)),
                self.window_auc(one.log_odds),
                one.calibration.kind,
                None if name == default else paired(self.losses(one.log_odds), reference, lead),
            )
            for name, one in judged.items()
        }

    def hold_out(
        self, candidates: Mapping[str, Candidate], judged: Calibrated, served: Predictor
    ) -> HoldOut:
        """The figures of the chosen candidate. judged: its scores. served: its predictor fitted on
        all rows."""
        outcome, lead = np.concatenate(self.outcomes), self.history.lead[self.rows]
        own, base = judged.log_odds, self.base_rates()
        probability = _probability(own)
        against = paired(self.losses(own), self.losses(base), lead)
        rolling = self.validation == "rolling windows"
        return HoldOut(
            validation=self.validation,
            windows=tuple(window(self.history, fold.window) for fold in self.folds)
            if rolling
            else (),
            model=figures(outcome, probability),
            base_rate=figures(outcome, _probability(base)),
            against_base_rate=against,
            window_auc=self.window_auc(own),
            candidates=candidates,
            importance=_importance(self.history, served),
            calibration=calibration_points(outcome, probability),
            coverage=confidence.coverage(self.scored(judged)) if rolling else None,
            roc=roc(outcome, probability),
            gains=gains(outcome, probability),
        )

    def losses(self, log_odds: Sequence[Floats]) -> list[Floats]:
        """Of each window's rows."""
        return [losses(*pair) for pair in zip(self.outcomes, log_odds, strict=True)]

    def window_auc(self, log_odds: Sequence[Floats]) -> float:
        """The mean AUC of the windows that have outcomes of both kinds; that of all rows where none
        has."""
        pairs = zip(self.outcomes, log_odds, strict=True)
        both = [(outcome, scored) for outcome, scored in pairs if 0 < outcome.mean() < 1]
        both = both or [(np.concatenate(self.outcomes), np.concatenate(log_odds))]
        return float(np.mean([auc(outcome, scored) for outcome, scored in both]))


def by_lead(history: History, seed: int) -> list[Fold]:
    """Five folds: the leads of each kind of outcome are dealt out at random, all rows of a lead to
    one fold."""
    random = np.random.default_rng(seed)
    leads = np.bincount(history.lead, history.label) > 0
    fold_of_lead = np.empty(len(leads), dtype=np.intp)
    dealt = 0
    for kind in (True, False):
        members = random.permutation(np.flatnonzero(leads == kind))
        fold_of_lead[members] = (np.arange(len(members)) + dealt) % LEAD_FOLDS
        dealt += len(members)
    fold = fold_of_lead[history.lead]
    return [Fold(np.flatnonzero(fold != n), np.flatnonzero(fold == n)) for n in np.unique(fold)]


def newest(rows: Rows, share: float = NEWEST_SHARE) -> Rows:
    """The newest share of rows that stand in order of time, at least one."""
    return rows[-max(round(share * len(rows)), 1) :]


def rate_log_odds(outcome: Bools) -> float:
    """The log-odds of the conversion rate: its mean under Jeffreys' prior, never 0 or 1."""
    converted = float(outcome.sum())
    return float(np.log((converted + 0.5) / (len(outcome) - converted + 0.5)))


def window(history: History, rows: Rows) -> Window:
    """These rows, at least one, as the report tells them."""
    first, last = (
        time.astype("datetime64[us]").item().replace(tzinfo=UTC)
        for time in (history.snapshot_at[rows].min(), history.snapshot_at[rows].max())
    )
    return Window(len(rows), int(history.label[rows].sum()), first, last)


def _importance(history: History, served: Predictor) -> dict[str, float]:
    recent: NDArray[np.float32] = history.matrix[-IMPORTANCE_ROWS:]
    by_feature = served.contributions(recent)
    mean = {
        factor.name: float(np.abs(by_feature[:, list(factor.features)].sum(axis=1)).mean())
        for factor in history.spec.factors
    }
    return dict(sorted(mean.items(), key=lambda item: -item[1]))


def _probability(log_odds: Sequence[Floats]) -> Floats:
    from scipy.special import expit

    found: Floats = expit(np.concatenate(log_odds))
    return found
