"""What linear models are given: scaled numbers, one column a category, nothing infinite."""

import json

import numpy as np

from ml.algorithm import Matrix
from ml.encoding import Encoding
from ml.spec import OTHER, Column, FeatureSpec

SPEC = FeatureSpec(
    (
        Column("deal", "numeric"),
        Column("channel", "categorical", ("web", "fair", "mail", OTHER)),
        Column("won", "boolean"),
        Column("empty", "numeric"),
    ),
    (),
)
DEAL, CHANNEL, WON, EMPTY, AGE = range(5)


def rows(seed: int = 0) -> Matrix:
    random = np.random.default_rng(seed)
    matrix = random.normal(100, 20, (1_000, 5)).astype(np.float32)
    matrix[:, CHANNEL] = random.integers(0, 3, 1_000)
    matrix[:, WON] = random.random(1_000) < 0.3
    matrix[:, EMPTY] = np.nan
    matrix[:, AGE] = 7
    matrix[::10, DEAL] = matrix[::7, CHANNEL] = np.nan
    return matrix


def test_columns_are_scaled_and_those_that_never_vary_are_none() -> None:
    matrix = rows()
    encoding = Encoding.of(SPEC, matrix)
    encoded = encoding.encode(matrix)
    # Whether the deal is missing, the deal; of the channel whether it is missing and three codes.
    assert encoding.feature.tolist() == [DEAL] * 2 + [CHANNEL] * 4 + [WON]
    np.testing.assert_allclose(encoded.mean(axis=0), 0, atol=1e-9)
    numbers = encoding.what == -1
    assert encoding.feature[numbers].tolist() == [DEAL, WON]
    known = ~np.isnan(matrix[:, DEAL])
    assert np.isclose(encoded[known, 1].std(), 1)
    assert set(np.round(encoded[~known, 1], 9)) == {0.0}
    assert [len(np.unique(encoded[:, i])) for i in np.flatnonzero(~numbers)] == [2] * 5


def test_one_deal_of_a_billion_is_no_hundred_deals() -> None:
    matrix = rows()
    plain = Encoding.of(SPEC, matrix)
    matrix[[1, 2, 3], DEAL] = [1e9, np.inf, -np.inf]
    found = Encoding.of(SPEC, matrix)
    np.testing.assert_allclose(found.scale, plain.scale, rtol=0.1)
    encoded = found.encode(matrix)
    assert np.isfinite(encoded).all()
    assert np.abs(encoded).max() < 4
    assert encoded[1, 1] == encoded[2, 1] == encoded[:, 1].max()


def test_what_was_never_seen_is_finite_and_no_category() -> None:
    encoding = Encoding.of(SPEC, rows())
    odd = np.array(
        [[np.nan] * 5, [np.inf] * 5, [-np.inf] * 5, [3e38, 3, 2, 3e38, -3e38]], np.float32
    )
    encoded = encoding.encode(odd)
    assert np.isfinite(encoded).all()
    channel = np.flatnonzero((encoding.feature == CHANNEL) & (encoding.what >= 0))
    assert (encoded[:, channel] < 0).all()


def test_shares_of_a_features_columns_are_added() -> None:
    encoding = Encoding.of(SPEC, rows())
    shares = np.arange(2.0 * encoding.size).reshape(2, encoding.size)
    summed = encoding.by_feature(shares)
    assert summed.shape == (2, 5)
    assert summed[0].tolist() == [1.0, 14.0, 6.0, 0.0, 0.0]


def test_only_numbers_have_a_direction() -> None:
    encoding = Encoding.of(SPEC, rows())
    found = encoding.directions((1, 0, -1, 1, 0))
    assert found.tolist() == [0, 1, 0, 0, 0, 0, -1]


def test_of_nothing_nothing_is_made() -> None:
    encoding = Encoding.of(SPEC, np.full((20, 5), np.nan, np.float32))
    assert encoding.size == 0
    assert encoding.encode(rows()).shape == (1_000, 0)
    assert encoding.by_feature(np.empty((3, 0))).tolist() == [[0.0] * 5] * 3


def test_its_document_gives_back_every_bit() -> None:
    encoding, odd = Encoding.of(SPEC, rows()), rows(seed=4)
    again = Encoding.from_json(json.loads(json.dumps(encoding.to_json(), allow_nan=False)))
    np.testing.assert_array_equal(again.encode(odd), encoding.encode(odd))
