"""Why a lead scores as it does, in words for a salesperson.

The database renders the same words in a view. The rules, for a factor with its weight (the
contribution in log-odds) and the value of the feature it shows:

1. A value that is null, NaN or infinite is not known: the words are "<factor>: not known".
2. Else the words are the factor's template with every {value} replaced by the value's text: the
   factor's category at that position, counted from 0, or the number where it has none there.
3. A number is its nearest decimal of 15 significant digits, rounded half away from zero to 2
   places, without trailing zeros and without an exponent; in PostgreSQL
       trim_scale(round(value::float8::numeric, 2))::text
4. The effect follows from times = the number, by rule 3, exp(|weight|): "hardly changes the
   odds" where that is 1, else "multiplies the odds by <times>" for a positive weight and
   "divides the odds by <times>" for a negative one.
5. The explanation is "<words> (<effect>)".
6. The strongest reasons are those with the greatest |weight|, earlier factors first where equal;
   a weight of zero is no reason.
"""

import math
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Context, Decimal

import numpy as np
from numpy.typing import NDArray

from ml.model import Model
from ml.spec import Factor

CENT = Decimal("0.01")
DECIMALS = Context(prec=400, rounding=ROUND_HALF_UP)  # digits enough for the greatest float


@dataclass(frozen=True)
class Reason:
    """One factor's part in a score.

    weight: its contribution in log-odds; it multiplies the odds by exp(weight).
    value: the number the factor shows; None where it is not known or is a word (a category, yes
        or no), which the explanation holds.
    """

    factor: str
    weight: float
    value: float | None
    explanation: str


def strongest(
    model: Model,
    contributions_row: NDArray[np.float32],
    matrix_row: NDArray[np.float32],
    k: int = 3,
) -> list[Reason]:
    """At most k reasons for one lead's score, the strongest first.

    contributions_row: log-odds per factor, shape (factors,), of ml.scoring.Scores.
    matrix_row: the lead's features, shape (features,), that it was scored with.
    """
    order = np.argsort(-np.abs(contributions_row), kind="stable")[:k]
    factors, weights, values = model.spec.factors, contributions_row.tolist(), matrix_row.tolist()
    return [
        _reason(factors[position], weights[position], values[factors[position].shown])
        for position in order.tolist()
        if weights[position] != 0
    ]


def words(factor: Factor, value: float) -> str:
    """A factor and its value as a salesperson would say it: "job: retired"."""
    if not math.isfinite(value):
        return f"{factor.name}: not known"
    named = 0 <= value < len(factor.categories)
    text = factor.categories[int(value)] if named else number(value)
    return factor.template.replace("{value}", text)


def effect(weight: float) -> str:
    """What a weight in log-odds does: "multiplies the odds by 1.8"."""
    times = number(math.exp(abs(weight)))
    if times == "1":
        return "hardly changes the odds"
    return f"{'multiplies' if weight > 0 else 'divides'} the odds by {times}"


def number(value: float) -> str:
    """A finite number with at most 2 decimals: "3", "0.5", "1234.57"."""
    rounded = DECIMALS.quantize(Decimal(f"{value:.15g}"), CENT)
    unsigned_zero = DECIMALS.plus(rounded)
    return f"{unsigned_zero:f}".rstrip("0").rstrip(".")


def _reason(factor: Factor, weight: float, value: float) -> Reason:
    return Reason(
        factor.name,
        weight,
        None if factor.categories or not math.isfinite(value) else value,
        f"{words(factor, value)} ({effect(weight)})",
    )
