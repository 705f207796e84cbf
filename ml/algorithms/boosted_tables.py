"""Boosted trees of depth 2 as tables: the default, whose exact reasons cost less than a score."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ml.algorithm import Sample
from ml.booster import dataset, directions, told
from ml.settings import AlgorithmName
from ml.tables import Tables

if TYPE_CHECKING:
    from lightgbm import Booster
    from optuna import Trial

# What suits the columns of a CRM, and one thread: two busy ones wait for each other.
FIXED = {
    "objective": "binary",
    "bagging_freq": 1,
    # 63 bins cost some AUC at 20,000 rows, 255 gained none; a table has as many steps at most.
    "max_bin": 127,
    # Between two faults, measured on simulated tenants with a column of 60 categories. With
    # LightGBM's own 10 and 10 it weighed half of the strongest column where it had no effect;
    # with 100 and 50 (categories of fewer than 100 rows are not looked at) a real effect was lost.
    "cat_smooth": 20,
    "cat_l2": 50,
    "min_data_per_group": 100,
    "num_threads": 1,
    "deterministic": True,
    "force_col_wise": True,
    "verbosity": -1,
}
# Where the signal is strong, as of churned telephone customers, 4,000 rows need hundreds of rounds;
# with a few hundred rows of the bank's calls more than some 120 learn noise.
LEAST_ROUNDS, MOST_ROUNDS, ROWS_A_ROUND = 120, 600, 10
LEAST_IN_LEAF, MOST_IN_LEAF = 5, 50


@dataclass(frozen=True)
class BoostedTables:
    """LightGBM with trees of depth 2, compiled to tables (docs/decisions/sums-of-tables.md).

    Two boosters, each on its own random rows and columns, are averaged: one learns from all rows
    alike, one the more from a row the newer it is, so that a moving conversion rate is followed.

    rounds: trees of each booster; None: one for 10 rows, 120 to 600.
    rows_share, columns_share: drawn for each tree. l2: added to the rows' weight in each leaf.
    half_life: share of the rows after which, counted from the newest, a row weighs half in the
        second booster.
    """

    name: ClassVar[AlgorithmName] = "boosted_tables"
    monotone: ClassVar[bool] = True

    rounds: int | None = None
    learning_rate: float = 0.05
    rows_share: float = 0.8
    columns_share: float = 0.4
    l2: float = 5.0
    half_life: float = 0.4

    def fit(self, sample: Sample, *, seed: int, progress: Callable[[float], None]) -> Tables:
        rows = len(sample.label)
        newest_first = np.arange(rows)[::-1]
        weights = (None, 0.5 ** (newest_first / (self.half_life * rows)))
        dumps = [
            self._booster(sample, weight, 2 * seed + half, progress).dump_model()
            for half, weight in enumerate(weights)
        ]
        trees = [tree for dump in dumps for tree in dump["tree_info"]]
        return Tables.compile({**dumps[0], "tree_info": trees}).scaled(1 / len(dumps), 0.0)

    @classmethod
    def suggest(cls, trial: "Trial") -> "BoostedTables":
        rounds: Any = trial.suggest_categorical("rounds", [None, 100, 200, 400, 800, 1600])
        return cls(
            rounds=rounds,
            learning_rate=trial.suggest_float("learning_rate", 0.01, 0.1, log=True),
            rows_share=trial.suggest_float("rows_share", 0.5, 1.0),
            columns_share=trial.suggest_float("columns_share", 0.2, 1.0),
            l2=trial.suggest_float("l2", 0.5, 50.0, log=True),
            half_life=trial.suggest_float("half_life", 0.1, 2.0, log=True),
        )

    def _booster(
        self,
        sample: Sample,
        weight: NDArray[np.float64] | None,
        seed: int,
        progress: Callable[[float], None],
    ) -> "Booster":
        import lightgbm as lgb

        rows, rounds = len(sample.label), self._rounds(len(sample.label))
        parameters: dict[str, Any] = {
            **FIXED,
            "max_depth": 2,
            "num_leaves": 4,
            "learning_rate": self.learning_rate,
            "bagging_fraction": self.rows_share,
            "feature_fraction": self.columns_share,
            "lambda_l2": self.l2,
            "min_data_in_leaf": int(np.clip(rows // 20, LEAST_IN_LEAF, MOST_IN_LEAF)),
            "seed": seed,
            **directions(sample),
        }
        data = dataset(sample, parameters, weight=weight)
        half = (seed % 2) / 2
        alive = told(progress, rounds, (half, half + 0.5))
        return lgb.train(parameters, data, rounds, callbacks=[alive])

    def _rounds(self, rows: int) -> int:
        if self.rounds is not None:
            return self.rounds
        return int(np.clip(rows // ROWS_A_ROUND, LEAST_ROUNDS, MOST_ROUNDS))
