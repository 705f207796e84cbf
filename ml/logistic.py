"""Logistic regression on the same matrix: the simple model that the real one is checked against.

It never serves. Where it is the better one on the hold-out, something is wrong with the trees,
the features or the amount of data, and the report shows it.
"""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ml.spec import FeatureSpec

Matrix: TypeAlias = NDArray[np.float32]

STRENGTH = 0.3  # scikit-learn's C
MAX_ITERATIONS = 200


def log_odds(
    spec: FeatureSpec, fit: Matrix, outcome: NDArray[np.bool_], score: Matrix
) -> NDArray[np.float64]:
    """Fit on `fit` (n, features) with `outcome` (n,) and return the log-odds of `score` (m,).

    Categories are one-hot (missing is one of them); numbers are imputed by the median with a
    column that says so, and standardised.
    """
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler
    from threadpoolctl import threadpool_limits

    categorical = [i for i, feature in enumerate(spec.features) if feature.categorical]
    numeric = [i for i, feature in enumerate(spec.features) if not feature.categorical]
    numbers = make_pipeline(
        SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True),
        StandardScaler(),
    )
    model = make_pipeline(
        ColumnTransformer(
            [
                ("numbers", numbers, numeric),
                ("categories", OneHotEncoder(handle_unknown="ignore"), categorical),
            ],
            sparse_threshold=1.0,  # dense, 200,000 rows with 600 categories take 2 GB
        ),
        LogisticRegression(C=STRENGTH, max_iter=MAX_ITERATIONS),
    )
    # Two busy cores make BLAS threads wait for each other; one is faster and repeatable.
    with threadpool_limits(limits=1):
        model.fit(_finite(fit), outcome)
        decision: NDArray[np.float64] = model.decision_function(_finite(score))
    return decision


def _finite(matrix: Matrix) -> NDArray[np.float64]:
    return np.nan_to_num(matrix.astype(np.float64), nan=np.nan, posinf=1e9, neginf=-1e9)
