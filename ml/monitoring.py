"""What served scores turned out to be worth: figures of a week, and whether a model has to go.

Judged against three things: what its hold-out promised, the version that served before it, scored
on the same inputs, and the conversion rate that was known when it was trained.
"""

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from ml.comparison import losses, paired
from ml.detector import NEEDED, detect
from ml.metrics import Bools, Floats, calibration_error, figures, log_loss
from ml.settings import Monitoring

Rival = Literal["promise", "predecessor", "base rate"]
Action = Literal["nothing", "retraining", "rollback"]

# A rival's log-odds count as at most so far from the model's: a bet may then be three times as
# bold as with what a probability of 0.5 % could lose, and a small difference shows as much sooner.
FARTHEST = 1.5
# Of the boldest bet that cannot lose all; the evidence is the mean over them.
BETS = (0.03, 0.1, 0.3, 0.9)


@dataclass(frozen=True)
class Quality:
    """Scores against what happened.

    base_rate_log_loss: of the conversion rate known at the training. predicted: mean probability.
    observed: conversion rate. auc, lift10: None where outcomes of one kind alone are there.
    The others as in ml.metrics.Figures.
    """

    rows: int
    converted: int
    log_loss: float
    base_rate_log_loss: float
    brier: float
    predicted: float
    observed: float
    ece: float
    auc: float | None
    lift10: float | None


@dataclass(frozen=True)
class Comparison:
    """Whether a model's log-loss is above a rival's by more than is tolerated.

    evidence: the log of the detector's greatest value; there is an alarm from `needed` on.
    alarm_after: outcomes until the first alarm; None without one.
    since: position of the outcome at which it seems to have begun; 0 where there is no alarm.
    rows: outcomes from there on. log_loss, rival_log_loss: their means.
    """

    rival: Rival
    alarm: bool
    evidence: float
    needed: float
    alarm_after: int | None
    since: int
    rows: int
    log_loss: float
    rival_log_loss: float

    @property
    def sentence(self) -> str:
        words = {
            "promise": "its hold-out promised",
            "predecessor": "the version before it would have had",
            "base rate": "the base rate would have had",
        }[self.rival]
        return (
            f"log-loss {self.log_loss:.4f} over the newest {self.rows:,} outcomes, {words}"
            f" {self.rival_log_loss:.4f}"
        )


@dataclass(frozen=True)
class Verdict:
    """What a look at a model says is to be done, and why.

    predecessor_better: whether the version before it did better on the outcomes in question beyond
    chance; None where that is not known. judged: outcomes that were looked at; enough: whether they
    are as many as the tenant wants.
    """

    action: Action
    comparisons: tuple[Comparison, ...]
    predecessor_better: bool | None
    judged: int
    enough: bool
    sentence: str

    def to_json(self) -> dict[str, Any]:
        """The figures as plain JSON values."""
        return asdict(self)


def quality(outcome: Bools, probability: Floats, base_rate: float) -> Quality:
    """The figures of `probability` (n,) against `outcome` (n,), n >= 1."""
    both_kinds = 0 < outcome.sum() < len(outcome)
    ranked = figures(outcome, probability) if both_kinds else None
    return Quality(
        rows=len(outcome),
        converted=int(outcome.sum()),
        log_loss=log_loss(outcome, probability),
        base_rate_log_loss=log_loss(outcome, np.full(len(outcome), base_rate)),
        brier=float(np.mean((probability - outcome) ** 2)),
        predicted=float(probability.mean()),
        observed=float(outcome.mean()),
        ece=calibration_error(outcome, probability),
        auc=ranked.auc if ranked else None,
        lift10=ranked.lift10 if ranked else None,
    )


def judge(
    outcome: Bools,
    probability: Floats,
    *,
    base_rate: float | None,
    promised: float | None,
    predecessor: Floats | None,
    has_predecessor: bool,
    settings: Monitoring,
) -> Verdict:
    """Say whether the model that served these probabilities may stay.

    outcome, probability: (n,), in the order in which they were served, all since it was trained and
        began to serve; one per lead. To be asked again and again as outcomes come.
    base_rate: the conversion rate known at the training. promised: log-loss of the hold-out.
    predecessor: (n,), what the version before would have said of the same inputs. None: not known.

    It has degraded where its log-loss is above the promised one by more than the tenant's share, or
    above that of the predecessor or of the base rate at all, beyond chance. It is rolled back
    unless the predecessor is known to have done no better: a world that has shifted for both asks
    for another training alone.
    """
    log_odds = _log_odds(probability)
    found: list[Comparison] = []
    if promised is not None:
        found.append(_with_promise(losses(outcome, log_odds), promised, settings.worse_by))
    if predecessor is not None:
        found.append(_with_rival("predecessor", outcome, log_odds, _log_odds(predecessor)))
    if base_rate is not None:
        theirs = _log_odds(np.full(len(outcome), base_rate))
        found.append(_with_rival("base rate", outcome, log_odds, theirs))
    enough = len(outcome) >= settings.fewest_outcomes
    alarms = [one for one in found if one.alarm and enough]
    if not alarms:
        sentence = f"{len(outcome):,} outcomes of its scores are known, and they are no worse"
        return Verdict("nothing", tuple(found), None, len(outcome), enough, sentence)
    better = None
    if predecessor is not None:
        since = min(one.since for one in alarms)
        better = _better(outcome[since:], predecessor[since:], probability[since:])
    goes = settings.rollback and has_predecessor and better is not False
    sentences = [one.sentence for one in alarms]
    if has_predecessor:
        sentences.append(_OF_THE_PREDECESSOR[better])
    action: Action = "rollback" if goes else "retraining"
    return Verdict(action, tuple(found), better, len(outcome), enough, "; ".join(sentences))


_OF_THE_PREDECESSOR = {
    True: "the version before it did better",
    False: "the version before it did no better",
    None: "how the version before it would have done is not known",
}


def _with_promise(loss: Floats, promised: float, worse_by: float) -> Comparison:
    limit = promised * (1 + worse_by)
    return _comparison("promise", loss, np.full(len(loss), promised), loss - limit, limit)


def _with_rival(rival: Rival, outcome: Bools, mine: Floats, theirs: Floats) -> Comparison:
    near = np.clip(theirs, mine - FARTHEST, mine + FARTHEST)
    loss = losses(outcome, mine)
    excess = loss - losses(outcome, near)
    return _comparison(rival, loss, losses(outcome, theirs), excess, FARTHEST)


def _comparison(
    rival: Rival, loss: Floats, theirs: Floats, excess: Floats, most: float
) -> Comparison:
    """excess: (n,), by how much a loss is above what is tolerated, -most or more.

    A bet on the mean excess being above 0 multiplies what is bet by 1 + bet x excess: an e-value as
    long as it is not (Y. Choe, A. Ramdas, "Comparing sequential forecasters", 2023, for the
    comparison; I. Waudby-Smith, A. Ramdas, "Estimating means of bounded random variables by
    betting", 2024, for the bets).
    """
    found = detect([np.log1p(bet / most * excess) for bet in BETS])
    since = found.since
    rows = len(loss) - since
    # It may have been worse for a while and be well again.
    still = rows > 0 and bool(
        excess[since:].mean() > 0 and loss[since:].mean() > theirs[since:].mean()
    )
    return Comparison(
        rival=rival,
        alarm=found.alarm_after is not None and still,
        evidence=found.greatest,
        needed=NEEDED,
        alarm_after=found.alarm_after,
        since=since,
        rows=rows,
        log_loss=float(loss[since:].mean()) if rows else 0.0,
        rival_log_loss=float(theirs[since:].mean()) if rows else 0.0,
    )


def _better(outcome: Bools, predecessor: Floats, probability: Floats) -> bool:
    """Whether the predecessor's log-loss is lower beyond chance."""
    one, other = (losses(outcome, _log_odds(said)) for said in (predecessor, probability))
    return paired([one], [other], np.arange(len(outcome))).better


def _log_odds(probability: Floats) -> Floats:
    bounded = np.clip(probability, 1e-9, 1 - 1e-9)
    found: Floats = np.log(bounded) - np.log1p(-bounded)
    return found
