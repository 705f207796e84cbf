"""Boosted trees of more than two columns a branch: joint effects that tables cannot hold."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ml.algorithm import Sample
from ml.algorithms.boosted_tables import FIXED
from ml.booster import Booster, dataset, directions, told
from ml.settings import AlgorithmName

if TYPE_CHECKING:
    from optuna import Trial

# Deep trees learn a small sample by heart: how many there may be is asked of the newest fifth.
LEAST_ROUNDS, MOST_ROUNDS, PATIENCE = 30, 400, 40
TAIL_SHARE = 0.2


@dataclass(frozen=True)
class DeepBoosting:
    """LightGBM with categories as they are (G. Ke et al., "LightGBM: a highly efficient gradient
    boosting decision tree", 2017).

    Rounds are those that gave the least log-loss on the newest fifth of the rows to a booster
    fitted on the others, 30 to 400; the booster that serves is fitted on all rows.

    leaves, depth: of a tree, at most. least_in_leaf: rows. rows_share, columns_share: drawn for
    each tree. l2: added to the rows' weight in each leaf.
    """

    name: ClassVar[AlgorithmName] = "deep_boosting"
    monotone: ClassVar[bool] = True

    # With 0.03 there were half as many trees again, and no less log-loss; each tree costs time when
    # reasons are asked for.
    learning_rate: float = 0.05
    leaves: int = 15
    depth: int = 6
    least_in_leaf: int = 20
    rows_share: float = 0.8
    columns_share: float = 0.5
    l2: float = 10.0

    def fit(self, sample: Sample, *, seed: int, progress: Callable[[float], None]) -> Booster:
        import lightgbm as lgb

        parameters = {
            **FIXED,
            **directions(sample),
            "learning_rate": self.learning_rate,
            "num_leaves": self.leaves,
            "max_depth": self.depth,
            "min_data_in_leaf": self.least_in_leaf,
            "bagging_fraction": self.rows_share,
            "feature_fraction": self.columns_share,
            "lambda_l2": self.l2,
            "seed": seed,
        }
        rounds = _rounds(sample, parameters, progress)
        trained = lgb.train(
            parameters, dataset(sample, parameters), rounds,
            callbacks=[told(progress, rounds, (0.5, 1.0))],
        )  # fmt: skip
        return Booster.of(trained, "log_odds")

    @classmethod
    def suggest(cls, trial: "Trial") -> "DeepBoosting":
        return cls(
            learning_rate=trial.suggest_float("learning_rate", 0.01, 0.1, log=True),
            leaves=trial.suggest_int("leaves", 4, 63, log=True),
            depth=trial.suggest_int("depth", 3, 8),
            least_in_leaf=trial.suggest_int("least_in_leaf", 5, 200, log=True),
            rows_share=trial.suggest_float("rows_share", 0.5, 1.0),
            columns_share=trial.suggest_float("columns_share", 0.2, 1.0),
            l2=trial.suggest_float("l2", 0.5, 100.0, log=True),
        )


def _rounds(
    sample: Sample, parameters: Mapping[str, Any], progress: Callable[[float], None]
) -> int:
    import lightgbm as lgb

    cut = round(len(sample.label) * (1 - TAIL_SHARE))
    if len(set(sample.label[cut:].tolist())) < 2:
        # Of a tail without conversions, the surest of none looks best however long it learns.
        return LEAST_ROUNDS
    head = dataset(sample, parameters, slice(cut))
    tail = head.create_valid(sample.matrix[cut:], sample.label[cut:])
    tried = lgb.train(
        dict(parameters), head, MOST_ROUNDS, valid_sets=[tail],
        callbacks=[
            told(progress, MOST_ROUNDS, (0.0, 0.5)), lgb.early_stopping(PATIENCE, verbose=False)
        ],
    )  # fmt: skip
    return max(tried.best_iteration, LEAST_ROUNDS)
