"""What a tenant may decide about its own training; every field has a default that serves."""

from itertools import pairwise
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PositiveInt

Direction = Literal["increasing", "decreasing"]
AlgorithmName = Literal[
    "boosted_tables",
    "deep_boosting",
    "logistic_regression",
    "random_forest",
    "neural_network",
    "naive_bayes",
]
Name = Annotated[str, Field(min_length=1, max_length=200)]


def _ascending(edges: tuple[float, ...]) -> tuple[float, ...]:
    if any(after <= before for before, after in pairwise(edges)):
        raise ValueError("edges have to ascend")
    return edges


Edges = Annotated[
    tuple[Annotated[float, Field(allow_inf_nan=False)], ...], AfterValidator(_ascending)
]


class _Frozen(BaseModel):
    # What JSON cannot hold would be stored as null, and be refused at every reading.
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Fairness(_Frozen):
    """The groups whose figures are compared.

    groups: attributes of leads; for a numeric one the edges that part it into bands, ascending
        ([30, 45, 60] makes four), for others an empty list: one group per value.
    alarm_below: the alarm is raised where a group's rate of entering the top tenth is less than
        this share of the greatest group's; 0.8 is the four-fifths rule of the US guidelines on
        employee selection (29 CFR 1607.4 D).
    fewest_rows: groups of fewer rows are shown, but raise no alarm.
    """

    groups: dict[Name, Edges] = {}
    alarm_below: float = Field(default=0.8, ge=0, le=1)
    fewest_rows: PositiveInt = 200


class Retraining(_Frozen):
    """When a tenant is due to be trained again: as soon as one of these holds.

    after_days: age of the model that serves. new_outcomes: leads whose outcome became known since,
    as a share of the outcomes it was trained on. on_drift: an open alert says that its scores no
    longer mean what they say.
    """

    after_days: PositiveInt = 30
    new_outcomes: float = Field(default=0.1, gt=0)
    on_drift: bool = True


class Monitoring(_Frozen):
    """When the model that serves has become too bad, and what is done then.

    worse_by: how far the log-loss of what it served may lie above what its hold-out promised, as a
        share of that; beyond it, and beyond chance, the model has degraded. So it has where it is
        worse than the version before it, or than the base rate, would have been.
    fewest_outcomes: nothing is decided on fewer.
    rollback: whether the version before it then serves again, unless it is known to do no better.
    """

    worse_by: float = Field(default=0.2, ge=0)
    fewest_outcomes: PositiveInt = 100
    rollback: bool = True


class Governance(_Frozen):
    """When a model that was trained may serve.

    approval: a person has to approve it first, also where the gate (ml.gate) lets it pass.
    undecided: what becomes of a model whose log-loss is neither plainly lower nor plainly higher
        than the champion's; "deploy" because it knows the newer outcomes, "keep" leaves the
        champion where it is.
    calibration_error: how far probabilities may be off in the mean, beyond what chance makes.
    fairness: whether a model is refused that lets a group seldom into the top tenth (Fairness) when
        the champion does not; otherwise there is an alert, and it may serve.
    """

    approval: bool = False
    undecided: Literal["deploy", "keep"] = "deploy"
    calibration_error: float = Field(default=0.05, ge=0, le=1)
    fairness: bool = True


class Tuning(_Frozen):
    """How long hyperparameters may be searched for at a training; no trials, no search."""

    trials: int = Field(default=0, ge=0, le=1000)
    seconds: PositiveInt = 600


class TrainingSettings(_Frozen):
    """A tenant's training.

    algorithms: the ones that may serve, first the one that does unless another is better; empty
        lets Galena choose.
    monotone: numeric attributes whose rise may only raise, or only lower, the score.
    keep: attributes that are used although the leakage audit warns of them. drop: attributes that
        are never used.
    pooling: the tenant agrees that figures of its activity, never a row or a category, enter the
        model shared by those who agree, and is served by it until its own outcomes do better.
    """

    algorithms: tuple[AlgorithmName, ...] = ()
    monotone: dict[Name, Direction] = {}
    keep: frozenset[Name] = frozenset()
    drop: frozenset[Name] = frozenset()
    pooling: bool = False
    fairness: Fairness = Fairness()
    retraining: Retraining = Retraining()
    governance: Governance = Governance()
    monitoring: Monitoring = Monitoring()
    tuning: Tuning = Tuning()
