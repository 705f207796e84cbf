"""A random forest whose reasons are exact: trees of LightGBM, averaged."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ml.algorithm import Sample
from ml.algorithms.boosted_tables import FIXED
from ml.booster import Booster, dataset, directions, told
from ml.settings import AlgorithmName

if TYPE_CHECKING:
    from optuna import Trial


@dataclass(frozen=True)
class RandomForest:
    """L. Breiman, "Random forests", 2001, by LightGBM's boosting "rf".

    Not scikit-learn's: LightGBM's is stored as a text, gives exact contributions, takes
    categories and missing values as they are and holds directions. The objective is "regression"
    on how far labels of 0 and 1 are from their rate: a leaf is its rows' rate, a split the one
    that lowers their variance most, which is Gini's, and the mean of the trees is a probability.
    (With "binary", a leaf would be one Newton step from the base rate's log-odds.)

    trees: how many. leaves, depth: of a tree, at most; the reasons of a thousand rows take 1 s at
    a depth of 7, and 3 s where depth has no bound, for the same log-loss. least_in_leaf: rows.
    rows_share: drawn for each tree. columns_share: drawn for each split. l2: rows of the base rate
    added to each leaf, so that no leaf is certain.
    """

    name: ClassVar[AlgorithmName] = "random_forest"
    monotone: ClassVar[bool] = True

    trees: int = 100
    leaves: int = 63
    depth: int = 7
    least_in_leaf: int = 10
    rows_share: float = 0.632
    columns_share: float = 0.4
    l2: float = 5.0

    def fit(self, sample: Sample, *, seed: int, progress: Callable[[float], None]) -> Booster:
        import lightgbm as lgb

        parameters = {
            **FIXED,
            **directions(sample),
            "objective": "regression",
            "boosting": "rf",
            "num_leaves": self.leaves,
            "max_depth": self.depth,
            "min_data_in_leaf": self.least_in_leaf,
            "bagging_fraction": self.rows_share,
            "feature_fraction_bynode": self.columns_share,
            "lambda_l2": self.l2,
            "seed": seed,
        }
        # Not left to boost_from_average: LightGBM forgets it in trees that find no split, and a
        # forest of a hundred of those said 0.0006 where the rate was 0.25.
        rate = float(sample.label.mean())
        trained = lgb.train(
            parameters, dataset(sample, parameters).set_label(sample.label - rate), self.trees,
            callbacks=[told(progress, self.trees)],
        )  # fmt: skip
        return Booster.of(trained, "probability", start=rate)

    @classmethod
    def suggest(cls, trial: "Trial") -> "RandomForest":
        return cls(
            trees=trial.suggest_int("trees", 50, 300, log=True),
            leaves=trial.suggest_int("leaves", 15, 255, log=True),
            depth=trial.suggest_int("depth", 4, 9),
            least_in_leaf=trial.suggest_int("least_in_leaf", 3, 100, log=True),
            rows_share=trial.suggest_float("rows_share", 0.3, 0.9),
            columns_share=trial.suggest_float("columns_share", 0.1, 0.9),
            l2=trial.suggest_float("l2", 0.1, 50.0, log=True),
        )
