"""A curve keeps order and signs, and its reasons add up to what is served."""

import json

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.algorithm import Floats, Matrix
from ml.blend import Blend, read
from ml.curve import Curve, along
from ml.encoding import Encoding
from ml.linear import Linear
from ml.spec import Column, FeatureSpec

SPEC = FeatureSpec((Column("a", "numeric"), Column("b", "numeric")), ())
MATRIX: Matrix = np.random.default_rng(0).normal(0, 2, (300, 3)).astype(np.float32)


def linear() -> Linear:
    encoding = Encoding.of(SPEC, MATRIX)
    return Linear(encoding, -0.4, np.array([1.5, -0.7, 0.3]))


def bent(predictor: Linear | Blend) -> Curve:
    return Curve(predictor, np.array([-2.0, -1.0, 1.5]), np.array([-5.0, -1.5, -1.2]))


steps = st.lists(st.tuples(st.floats(0.01, 5), st.floats(0.001, 5)), min_size=1, max_size=15)


@settings(deadline=None)
@given(steps, st.floats(-5, 5), st.floats(-5, 5))
def test_pieces_rise_and_go_through_their_points(
    pieces: list[tuple[float, float]], left: float, low: float
) -> None:
    run, rise = np.array(pieces).T
    before, after = np.cumsum(np.append(left, run)), np.cumsum(np.append(low, rise))
    np.testing.assert_allclose(along(before, before, after), after, atol=1e-9)
    grid = np.linspace(before[0] - 3, before[-1] + 3, 101)
    moved: Floats = along(grid, before, after)
    assert (np.diff(moved) > 0).all()
    slopes = np.diff(moved)[[0, -1]] / np.diff(grid)[[0, -1]]
    np.testing.assert_allclose(slopes, (rise / run)[[0, -1]], rtol=1e-6)


def test_reasons_add_up_and_keep_their_signs_and_order() -> None:
    for predictor in (linear(), Blend.mean((linear(), linear().scaled(2.0, 1.0)))):
        served = bent(predictor)
        raw, shares = served.raw(MATRIX), served.contributions(MATRIX)
        np.testing.assert_allclose(served.base + shares.sum(axis=1), raw, rtol=0, atol=1e-9)
        before = predictor.contributions(MATRIX)
        assert (np.sign(shares) == np.sign(before)).all()
        assert (np.argsort(np.abs(shares)) == np.argsort(np.abs(before))).all()
        np.testing.assert_array_equal(np.argsort(raw), np.argsort(predictor.raw(MATRIX)))


def test_a_row_at_the_base_has_the_base() -> None:
    served = bent(Linear(linear().encoding, -0.4, np.zeros(3)))
    assert served.contributions(MATRIX).any() == np.False_
    np.testing.assert_allclose(served.raw(MATRIX), served.base)


def test_scaled_is_a_straight_line_of_what_is_served() -> None:
    served = bent(linear())
    scaled = served.scaled(0.5, -1.0)
    np.testing.assert_allclose(scaled.raw(MATRIX), 0.5 * served.raw(MATRIX) - 1, atol=1e-9)
    expected = 0.5 * served.contributions(MATRIX)
    np.testing.assert_allclose(scaled.contributions(MATRIX), expected, atol=1e-9)


def test_its_document_gives_back_every_bit() -> None:
    served = bent(Blend.mean((linear(), linear().scaled(2.0, 1.0))))
    again = read(json.loads(json.dumps(served.to_json(), allow_nan=False)))
    assert again.base == served.base
    np.testing.assert_array_equal(again.raw(MATRIX), served.raw(MATRIX))
    np.testing.assert_array_equal(again.contributions(MATRIX), served.contributions(MATRIX))
