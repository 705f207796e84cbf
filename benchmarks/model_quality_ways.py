"""The ways to a score that model_quality compares: the product's own, and those by hand.

All are given the same matrix, one thread, and no search for hyperparameters.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, TypeAlias

import lightgbm as lgb
import numpy as np
from scipy.special import expit
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression as PlainLogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from threadpoolctl import threadpool_limits

from ml.algorithm import Algorithm, Floats, Matrix, Sample
from ml.algorithms.logistic_regression import LogisticRegression
from ml.algorithms.naive_bayes import NaiveBayes
from ml.history import History
from ml.scoring import Scores, score
from ml.training import Trained, train

# From labelled rows and a matrix to the probability of each of its rows.
Way: TypeAlias = Callable[[Sample, Matrix], Floats]


def pipeline(history: History, matrix: Matrix, *, horizon_days: int) -> tuple[Trained, Scores]:
    """The product's own training with default settings, once all outcomes are known."""
    trained = train(history, trained_at=all_known(history), horizon_days=horizon_days)
    names = [feature.name for feature in history.spec.features]
    used = [names.index(feature.name) for feature in trained.model.spec.features]
    return trained, score(trained.model, matrix[:, used])


def all_known(history: History) -> datetime:
    last: datetime = history.label_known_at.max().astype("datetime64[us]").item()
    return last.replace(tzinfo=UTC)


def base_rate(sample: Sample, matrix: Matrix) -> Floats:
    rate = (sample.label.sum() + 0.5) / (len(sample.label) + 1)
    return np.full(len(matrix), rate)


def ours(algorithm: Algorithm) -> Way:
    """One of the product's algorithms by itself, uncalibrated."""

    def way(sample: Sample, matrix: Matrix) -> Floats:
        predictor = algorithm.fit(sample, seed=0, progress=lambda _done: None)
        return np.asarray(expit(predictor.raw(matrix)))

    return way


def plain_logistic(c: float) -> Way:
    """scikit-learn's, one-hot and scaled, a missing number its mean and an indicator."""

    def way(sample: Sample, matrix: Matrix) -> Floats:
        categorical = np.array([feature.categorical for feature in sample.spec.features])
        numbers = make_pipeline(
            SimpleImputer(add_indicator=True, keep_empty_features=True), StandardScaler()
        )
        columns = make_column_transformer(
            (OneHotEncoder(handle_unknown="ignore"), np.flatnonzero(categorical)),
            (numbers, np.flatnonzero(~categorical)),
        )
        model = make_pipeline(columns, PlainLogisticRegression(C=c, max_iter=2000))
        with threadpool_limits(limits=1):
            model.fit(sample.matrix, sample.label)
            return np.asarray(model.predict_proba(matrix)[:, 1], dtype=np.float64)

    return way


def random_forest(sample: Sample, matrix: Matrix) -> Floats:
    """scikit-learn's with 300 trees and categories as codes; 20 rows a leaf, or a hundredth of the
    rows where they are few. What no tree has seen it says 0.001 of, not 0."""
    leaf = int(np.clip(len(sample.label) // 100, 2, 20))
    model = RandomForestClassifier(300, min_samples_leaf=leaf, n_jobs=1, random_state=0)
    with threadpool_limits(limits=1):
        model.fit(np.nan_to_num(sample.matrix, nan=-1.0), sample.label)
        probability = model.predict_proba(np.nan_to_num(matrix, nan=-1.0))[:, 1]
    return np.asarray(np.clip(probability, 0.001, 0.999))


def plain_lightgbm(sample: Sample, matrix: Matrix) -> Floats:
    """As it comes: 100 trees of 31 leaves, learning rate 0.1."""
    return _lightgbm(sample, matrix, 100, {})


def depth_2(trees: int) -> Way:
    """LightGBM set by hand for such data: little depth, slow, drawn rows and columns; 50 rows a
    leaf, or a twentieth of the rows where they are few."""

    def way(sample: Sample, matrix: Matrix) -> Floats:
        parameters = {
            "max_depth": 2,
            "learning_rate": 0.03,
            "min_data_in_leaf": int(np.clip(len(sample.label) // 20, 5, 50)),
            "bagging_fraction": 0.8,
            "bagging_freq": 1,
            "feature_fraction": 0.7,
            "lambda_l2": 5.0,
        }
        return _lightgbm(sample, matrix, trees, parameters)

    return way


def _lightgbm(sample: Sample, matrix: Matrix, trees: int, parameters: Mapping[str, Any]) -> Floats:
    fixed = {"objective": "binary", "num_threads": 1, "seed": 0, "deterministic": True}
    categorical = [i for i, feature in enumerate(sample.spec.features) if feature.categorical]
    data = lgb.Dataset(sample.matrix, sample.label, categorical_feature=categorical)
    booster = lgb.train({**fixed, "verbosity": -1, **parameters}, data, trees)
    return np.asarray(booster.predict(matrix, num_threads=1))


WITH_MANY_ROWS: dict[str, Way] = {
    "base rate": base_rate,
    "naive Bayes, as in Odoo": ours(NaiveBayes()),
    "logistic regression": plain_logistic(1.0),
    "random forest": random_forest,
    "LightGBM as it comes": plain_lightgbm,
    "LightGBM of depth 2 by hand": depth_2(600),
}
WITH_FEW_ROWS: dict[str, Way] = {
    "base rate": base_rate,
    "naive Bayes, as in Odoo": ours(NaiveBayes()),
    "logistic regression, C = 0.3": plain_logistic(0.3),
    "logistic regression with a prior": ours(LogisticRegression()),
    "random forest": random_forest,
    "LightGBM as it comes": plain_lightgbm,
    "LightGBM of depth 2, 200 trees": depth_2(200),
    "LightGBM of depth 2, 600 trees": depth_2(600),
}
