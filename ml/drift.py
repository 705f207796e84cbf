"""Whether a model in service still fits: its probabilities to outcomes, its inputs to the training.

Two questions with different weight. Outcomes decide: where more or fewer leads convert than was
said, scores no longer mean what they say, and the tenant is due to be trained again. Attributes
and scores that move inform: on the bank's calls some do in every window (docs/decisions/drift.md),
and a model may be right all the same.
"""

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ml.detector import NEEDED, detect
from ml.metrics import Bools, Floats
from ml.spec import FeatureSpec

Rows: TypeAlias = NDArray[np.intp]

# Odds up to a quarter more or less than was said are no drift: no model is exact.
TOLERANCE = float(np.log(1.25))
# How far beyond it the odds are supposed to be, in log-odds; the evidence is the mean over them.
BEYOND = (0.1, 0.2, 0.4, 0.8, 1.6)

FALSE_ALARMS = 0.01
# Population stability index; 0.25 is the custom of credit scoring for a shift that matters.
LEAST_PSI = 0.25
FEWEST_ROWS = 100
NUMBER_BINS = 10


@dataclass(frozen=True)
class OutcomeDrift:
    """Whether probabilities still mean what they say.

    evidence: the log of the detector's greatest value; there is an alarm from `needed` on.
    alarm_after: outcomes until the first alarm; None without one.
    rows, predicted, observed: of the newest outcomes, from where the drift seems to have begun on
        (from the first one where there is no alarm), the mean probability and the conversion rate.
    """

    alarm: bool
    evidence: float
    needed: float
    alarm_after: int | None
    rows: int
    predicted: float
    observed: float
    sentence: str


@dataclass(frozen=True)
class InputDrift:
    """How far the newest rows of one attribute, or of the score, are from those of the training.

    psi: population stability index, the size of the shift. p_value: of the chi-square test that
    both have one distribution.
    """

    name: str
    alarm: bool
    psi: float
    p_value: float
    sentence: str


def outcomes(outcome: Bools, probability: Floats) -> OutcomeDrift:
    """Test the probabilities that were served against what happened since the model serves.

    outcome, probability: (n,), in the order in which outcomes became known, all since the model's
    training; n may be 0. To be asked again and again as outcomes come: the answer's error is
    controlled over all times of asking together. One moment of a lead should be given, since
    several of one lead share their fate.

    Gathered by ml.detector. Each outcome's e-value is the likelihood ratio of odds shifted by the
    tolerance and more to odds shifted by the tolerance, which has a mean of at most 1 wherever the
    true odds are within it, whatever the order or the attributes of the leads; a detector for both
    directions and each shift.
    """
    from scipy.special import logit

    if not len(outcome):
        return OutcomeDrift(False, 0.0, NEEDED, None, 0, 0.0, 0.0, "no outcome is known yet")
    log_odds = logit(np.clip(probability, 1e-9, 1 - 1e-9))
    found = detect(
        [
            _gain(outcome, log_odds + sign * TOLERANCE, sign * beyond)
            for sign in (1, -1)
            for beyond in BEYOND
        ]
    )
    alarm = found.alarm_after is not None
    newest = slice(found.since, None)
    said, observed = probability[newest].mean(), outcome[newest].mean()
    verdict = "the scores no longer mean what they say" if alarm else "within the tolerance"
    rows = len(outcome) - found.since
    return OutcomeDrift(
        alarm=alarm,
        evidence=found.greatest,
        needed=NEEDED,
        alarm_after=found.alarm_after,
        rows=rows,
        predicted=float(said),
        observed=float(observed),
        sentence=f"of the newest {rows:,} outcomes {observed:.1%} converted, the scores said "
        f"{said:.1%}: {verdict}",
    )


def inputs(
    spec: FeatureSpec,
    trained: NDArray[np.float32],
    newest: NDArray[np.float32],
    *,
    trained_score: Floats,
    newest_score: Floats,
) -> tuple[InputDrift, ...]:
    """Compare each feature, and the score, of the newest rows with those of the training.

    trained, newest: (n, features of spec) and (m, features of spec). The scores, (n,) and (m,),
        are one model's probabilities of these rows; they stand last, named "score".

    Numbers are parted at the tenths of the training rows, categories by code, missing values are a
    part of their own. An alarm needs both a shift that matters, PSI >= 0.25 (N. Siddiqi, "Credit
    Risk Scorecards", 2006), and one that chance does not make: Pearson's chi-square test with the
    chance of a false alarm, 1 %, divided by the number of tests (Bonferroni). Nothing is said of
    fewer than 100 rows on either side.
    """
    if min(len(trained), len(newest)) < FEWEST_ROWS:
        return ()
    tests = len(spec.features) + 1
    by_feature = (
        _shift(feature.name, trained[:, i], newest[:, i], len(feature.categories), tests)
        for i, feature in enumerate(spec.features)
    )
    return (*by_feature, _shift("score", trained_score, newest_score, 0, tests))


def _gain(outcome: Bools, within: Floats, beyond: float) -> Floats:
    """The log of each outcome's e-value (n,); within, within + beyond: the log-odds of either
    hypothesis."""
    sign = np.where(outcome, -1, 1)
    gain: Floats = np.logaddexp(0, sign * within) - np.logaddexp(0, sign * (within + beyond))
    return gain


def _shift(
    name: str,
    trained: NDArray[np.floating[Any]],
    newest: NDArray[np.floating[Any]],
    categories: int,
    tests: int,
) -> InputDrift:
    from scipy.stats import chi2_contingency

    counts = np.array(_counts(trained, newest, categories))
    share = (counts + 0.5) / (counts + 0.5).sum(axis=1, keepdims=True)
    psi = float(((share[1] - share[0]) * np.log(share[1] / share[0])).sum())
    # The test holds for parts of which five rows or more are expected on either side.
    common = counts.sum(axis=0) * counts.sum(axis=1).min() >= 5 * counts.sum()
    parts = np.column_stack([counts[:, common], counts[:, ~common].sum(axis=1)])
    parts = parts[:, parts.sum(axis=0) > 0]
    p_value = float(chi2_contingency(parts).pvalue) if parts.shape[1] > 1 else 1.0
    alarm = psi >= LEAST_PSI and p_value <= FALSE_ALARMS / tests
    verdict = "not as in the training" if alarm else "as in the training"
    sentence = f"{name}: {verdict} (PSI {psi:.2f}, {LEAST_PSI} matters)"
    return InputDrift(name, alarm, psi, p_value, sentence)


def _counts(
    trained: NDArray[np.floating[Any]], newest: NDArray[np.floating[Any]], categories: int
) -> list[Rows]:
    """Rows by part, of the training and of the newest; the last part is missing values."""
    known = trained[~np.isnan(trained)]
    share = np.linspace(0, 1, NUMBER_BINS + 1)[1:-1]
    edges = np.unique(np.quantile(known, share, method="lower")) if len(known) else known
    parts = categories or len(edges) + 1
    return [
        np.bincount(
            np.where(
                np.isnan(values),
                parts,
                np.nan_to_num(values) if categories else np.searchsorted(edges, values),
            ).astype(np.intp),
            minlength=parts + 1,
        )
        for values in (trained, newest)
    ]
