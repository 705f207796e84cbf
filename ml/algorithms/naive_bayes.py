"""Naive Bayes as CRMs have it: what each field's value was worth by itself, multiplied."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from ml.algorithm import Bools, Floats, Matrix, Sample
from ml.bins import Bins, CodeBins, NumberBins
from ml.settings import AlgorithmName
from ml.spec import Feature
from ml.tables import Tables

if TYPE_CHECKING:
    from optuna import Trial


@dataclass(frozen=True)
class NaiveBayes:
    """The rate's log-odds plus, per field, log P(value | converted) / P(value | not).

    So do CRMs score leads today: Odoo counts won and lost leads by field and value, adds 0.1 to
    each count so that none is 0, and multiplies (Odoo documentation, "Assign leads with predictive
    lead scoring"; its source, `_pls_get_naive_bayes_probabilities` in addons/crm/models/
    crm_lead.py). Here numbers have bins of about as many rows each, and a missing value is a value.
    As there, a value that no row had says nothing.

    Fields that carry the same news are counted twice, so that its probabilities are too sure
    until they are calibrated; its reasons are plain shares of a sum.

    bins: of a number, at most; one for each of its values where there are no more.
    smoothing: added to each count.
    """

    name: ClassVar[AlgorithmName] = "naive_bayes"
    monotone: ClassVar[bool] = False

    bins: int = 10
    smoothing: float = 0.1

    def fit(self, sample: Sample, *, seed: int, progress: Callable[[float], None]) -> Tables:  # noqa: ARG002
        features = sample.spec.features
        bins: dict[int, Bins] = {}
        tables: dict[tuple[int, ...], Floats] = {}
        base = float(np.log(sample.label.sum() / (~sample.label).sum()))
        for position, feature in enumerate(features):
            column = sample.matrix[:, position]
            bins[position] = self._binned(feature, column)
            shares, mean = self._shares(bins[position], column, sample.label)
            tables[position,] = shares[:, np.newaxis]
            base += mean
            progress((position + 1) / len(features))
        return Tables.of(len(features), base, bins, tables)

    @classmethod
    def suggest(cls, trial: "Trial") -> "NaiveBayes":
        return cls(
            bins=trial.suggest_int("bins", 2, 40, log=True),
            smoothing=trial.suggest_float("smoothing", 0.01, 30.0, log=True),
        )

    def _binned(self, feature: Feature, column: Matrix) -> Bins:
        if feature.categorical:
            return CodeBins(len(feature.categories))
        distinct = np.unique(column[~np.isnan(column)])
        if len(distinct) > self.bins:
            known = column[~np.isnan(column)]
            inner = np.linspace(0, 1, self.bins + 1)[1:-1]
            edges = np.unique(np.quantile(known, inner, method="inverted_cdf"))
            edges = edges[edges < distinct[-1]]
        else:
            edges = distinct[:-1]
        return NumberBins(edges[np.isfinite(edges)].astype(np.float64))

    def _shares(self, bins: Bins, column: Matrix, label: Bools) -> tuple[Floats, float]:
        """What each bin adds, less the mean over the rows, and that mean."""
        found = bins.of(column)
        converted = np.bincount(found[label], minlength=bins.size)
        others = np.bincount(found[~label], minlength=bins.size)
        seen = converted + others > 0
        likelihoods = [
            (count + self.smoothing) / (count[seen] + self.smoothing).sum()
            for count in (converted, others)
        ]
        weight = np.log(likelihoods[0] / likelihoods[1])
        mean = float((converted + others) @ weight / len(label))
        return np.where(seen, weight - mean, 0.0), mean
