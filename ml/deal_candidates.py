"""Won deals to learn from, and the ways to learn amounts from them: the candidates."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np

from ml.algorithm import Floats, Matrix, Predictor
from ml.algorithms.boosted_tables import FIXED
from ml.encoding import Encoding
from ml.linear import Linear
from ml.spec import FeatureSpec
from ml.tables import Tables
from ml.windows import Rows, Times

MEDIAN = "median"
# Deals whose median it is: prices move.
NEWEST = 500

_ROUNDS, _LEAST_ROUNDS, _DEALS_A_ROUND = 400, 60, 5
_PENALTIES = np.logspace(-1, 4, 21)


@dataclass(frozen=True, eq=False)
class Deals:
    """Won deals, in any order.

    matrix: float32 (n, features of spec), of what was known as each deal began.
    amount: (n,), all above 0. won_at: (n,) datetime64, UTC.
    buyer: (n,) integer codes; deals of one lead or customer share one.
    """

    spec: FeatureSpec
    matrix: Matrix
    amount: Floats
    won_at: Times
    buyer: Rows

    def __post_init__(self) -> None:
        rows = len(self.amount)
        if self.matrix.shape != (rows, len(self.spec.features)):
            raise ValueError(
                f"matrix has shape {self.matrix.shape}, {rows} amounts and the spec make "
                f"({rows}, {len(self.spec.features)}): build it from the won deals"
            )
        if not (np.isfinite(self.amount) & (self.amount > 0)).all():
            raise ValueError("amount: expected finite numbers above 0; leave out the other deals")

    def in_order(self) -> "Deals":
        """The same in order of the time at which they were won."""
        order = np.argsort(self.won_at, kind="stable")
        return replace(
            self, matrix=self.matrix[order], amount=self.amount[order],
            won_at=self.won_at[order], buyer=self.buyer[order],
        )  # fmt: skip


# Of deals in order of time, the rows to learn from, and a seed: a predictor of the logarithm.
Fit: TypeAlias = Callable[[Deals, Rows, int], Predictor]


def _boosted(deals: Deals, rows: Rows, seed: int) -> Predictor:
    """LightGBM with trees of depth 2 on the logarithm, compiled to tables."""
    import lightgbm as lgb

    log_amount = np.log(deals.amount[rows])
    middle = float(log_amount.mean())
    parameters: dict[str, Any] = {
        **FIXED,
        "objective": "regression",
        "boost_from_average": False,
        "max_depth": 2,
        "num_leaves": 4,
        "learning_rate": 0.05,
        "bagging_fraction": 0.8,
        "feature_fraction": 0.6,
        "lambda_l2": 1.0,
        "min_data_in_leaf": int(np.clip(len(rows) // 20, 5, 30)),
        "seed": seed,
    }
    categorical = [i for i, feature in enumerate(deals.spec.features) if feature.categorical]
    data = lgb.Dataset(
        deals.matrix[rows], log_amount - middle,
        categorical_feature=categorical, params=dict(parameters),
    )  # fmt: skip
    rounds = int(np.clip(len(rows) // _DEALS_A_ROUND, _LEAST_ROUNDS, _ROUNDS))
    return Tables.compile(lgb.train(parameters, data, rounds).dump_model()).scaled(1.0, middle)


def _linear(deals: Deals, rows: Rows, seed: int) -> Predictor:  # noqa: ARG001 nothing is drawn
    """Ridge regression of the logarithm, whose penalty leaves the least leave-one-out error."""
    from sklearn.linear_model import RidgeCV
    from threadpoolctl import threadpool_limits

    log_amount = np.log(deals.amount[rows])
    encoding = Encoding.of(deals.spec, deals.matrix[rows])
    if not encoding.size:
        return median(deals, rows, 0)
    with threadpool_limits(limits=1):
        found = RidgeCV(alphas=_PENALTIES).fit(encoding.encode(deals.matrix[rows]), log_amount)
    return Linear(encoding, float(found.intercept_), np.asarray(found.coef_, np.float64))


def median(deals: Deals, rows: Rows, seed: int) -> Predictor:  # noqa: ARG001 nothing is drawn
    newest = np.log(deals.amount[rows[-NEWEST:]])
    return Tables.constant(len(deals.spec.features), float(np.median(newest)))


# The default first.
CANDIDATES: Mapping[str, Fit] = {"boosted_tables": _boosted, "linear": _linear, MEDIAN: median}
