"""A feature matrix of one spec as another spec's: what an older model is given of newer rows."""

import numpy as np
from numpy.typing import NDArray

from ml.spec import OTHER, Feature, FeatureSpec


def translate(
    matrix: NDArray[np.float32], spec: FeatureSpec, wanted: FeatureSpec
) -> NDArray[np.float32]:
    """The rows of matrix, float32 (n, features of spec), as float32 (n, features of wanted).

    Features are the same where they have one name and are both categorical or both not. A category
    that wanted does not know becomes its OTHER, and a feature that spec does not have is missing.
    What the rows lose is what spec itself holds in its OTHER.
    """
    found = np.full((len(matrix), len(wanted.features)), np.nan, np.float32, order="F")
    positions = {feature.name: i for i, feature in enumerate(spec.features)}
    for column, feature in enumerate(wanted.features):
        position = positions.get(feature.name)
        if position is None or spec.features[position].categorical != feature.categorical:
            continue
        values = matrix[:, position]
        source = spec.features[position]
        found[:, column] = _recoded(values, source, feature) if feature.categorical else values
    return found


def _recoded(values: NDArray[np.float32], source: Feature, wanted: Feature) -> NDArray[np.float32]:
    codes = {category: code for code, category in enumerate(wanted.categories)}
    other = codes.get(OTHER, np.nan)
    table = np.array([codes.get(category, other) for category in source.categories], np.float32)
    missing = np.isnan(values)
    recoded: NDArray[np.float32] = table[np.where(missing, 0, values).astype(np.intp)]
    return np.where(missing, np.float32(np.nan), recoded)
