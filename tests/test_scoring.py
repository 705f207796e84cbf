"""Scores add up from what is stored, and a model's bytes give back the same scores."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from ml.algorithm import Predictor
from ml.blend import Blend
from ml.calibration import Calibration, straight
from ml.encoding import Encoding
from ml.linear import Linear
from ml.model import ConfidenceTable, Evidence, Model, dumps, loads
from ml.scoring import Scores, score
from ml.spec import Column, FeatureSpec
from ml.tables import BLOCK_ROWS, Tables
from tests.test_tables import FORMER, train

SPEC = FeatureSpec(
    (
        Column("job", "categorical", ("clerk", "nurse", "retired", "(other)")),
        Column("age", "numeric"),
        Column("newsletter", "boolean"),
    ),
    ("call", "email"),
)
WIDTH = len(SPEC.features)
CONFIDENCE = ConfidenceTable(
    edges=np.array([-1.0, 0.5]),
    low=np.array([0.05, 0.2, 0.6]),
    high=np.array([0.07, 0.5, 0.7]),
    outcomes=np.array([900, 40, 160]),
)


def leads(rows: int, seed: int = 0) -> NDArray[np.float32]:
    random = np.random.default_rng(seed)
    matrix = np.empty((rows, WIDTH), dtype=np.float32)
    matrix[:] = random.poisson(2.0, matrix.shape) + random.choice([0.0, 0.25], matrix.shape)
    matrix[:, 0] = random.integers(0, 4, rows)
    matrix[random.random(matrix.shape) < 0.1] = np.nan
    return matrix


def trained() -> tuple[Any, Model]:
    """A booster whose features within one factor matter, too, and the model made of it."""
    matrix = leads(3000)
    filled = np.nan_to_num(matrix)
    signal = (filled[:, 0] == 2) * filled[:, 1] - filled[:, 3:7].sum(axis=1) + filled[:, 8]
    booster = train(matrix, signal > np.median(signal), categorical=(0,), rounds=60)
    tables = Tables.compile(booster.dump_model()).scaled(0.9, -0.3)
    evidence = Evidence("own_model", 3000, 1500)
    return booster, Model(SPEC, tables, CONFIDENCE, evidence, datetime(2026, 3, 1, tzinfo=UTC), 30)


BOOSTER, MODEL = trained()


def log_odds(scores: Scores, model: Model) -> NDArray[np.float64]:
    """What a reader gets who adds up the stored contributions, from first to last."""
    total = np.full(len(scores.probability), model.base)
    for weight in scores.contributions.T:
        total += weight.astype(np.float64)
    return total


@settings(deadline=None)
@given(arrays(np.float32, st.tuples(st.integers(1, 30), st.just(WIDTH))))
def test_base_and_stored_contributions_add_up_to_the_probability(
    matrix: NDArray[np.float32],
) -> None:
    scores = score(MODEL, matrix)
    served = np.log(scores.probability) - np.log1p(-scores.probability)
    np.testing.assert_allclose(log_odds(scores, MODEL), served, rtol=0, atol=1e-12)


def test_probability_is_lightgbms_own_after_calibration() -> None:
    matrix = leads(2000, seed=1)
    raw = 0.9 * BOOSTER.predict(matrix, raw_score=True, num_threads=1) - 0.3
    expected = 1 / (1 + np.exp(-raw))
    np.testing.assert_allclose(score(MODEL, matrix).probability, expected, atol=1e-6)


def test_a_factor_has_the_sum_of_its_features() -> None:
    matrix = leads(500, seed=2)
    by_feature = MODEL.predictor.contributions(matrix)
    by_factor = score(MODEL, matrix).contributions
    assert by_factor.shape == (500, len(SPEC.factors))
    for position, factor in enumerate(SPEC.factors):
        expected = by_feature[:, list(factor.features)].sum(axis=1)
        np.testing.assert_allclose(by_factor[:, position], expected, atol=1e-6)
    calls = [factor.name for factor in SPEC.factors].index("interactions: call")
    assert np.abs(by_factor[:, calls]).mean() > 0.5


def test_a_lead_scores_the_same_alone_as_in_bulk() -> None:
    matrix = leads(BLOCK_ROWS + 3, seed=3)
    bulk = score(MODEL, matrix)
    for row in (0, 1, 100, BLOCK_ROWS - 1, BLOCK_ROWS, BLOCK_ROWS + 2):
        alone = score(MODEL, matrix[row : row + 1])
        assert alone.probability[0] == bulk.probability[row]
        assert alone.confidence[0] == bulk.confidence[row]
        np.testing.assert_array_equal(alone.contributions[0], bulk.contributions[row])


def test_score_is_the_probability_in_whole_percent() -> None:
    scores = score(MODEL, leads(2000, seed=4))
    assert scores.score.dtype == np.int16
    assert np.abs(scores.score - 100 * scores.probability).max() <= 0.5
    assert len(np.unique(scores.score)) > 50


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("base", "expected"), [(-900.0, 0), (0.0, 50), (900.0, 100)])
def test_a_base_rate_gives_every_lead_its_probability(base: float, expected: int) -> None:
    tables = Tables.constant(WIDTH, base)
    model = replace(MODEL, predictor=tables, evidence=Evidence("base_rate", 12, 3))
    scores = score(loads(dumps(model)), leads(5))
    assert scores.score.tolist() == [expected] * 5
    assert (scores.contributions == 0).all()


def test_no_leads_have_no_scores() -> None:
    scores = score(MODEL, leads(0))
    assert scores.probability.shape == scores.score.shape == scores.confidence.shape == (0,)
    assert scores.contributions.shape == (0, len(SPEC.factors))


def test_confidence_is_one_less_the_width_of_the_interval() -> None:
    found = CONFIDENCE.lookup(np.array([-3.0, -1.0, -0.9, 0.5, 0.6]))
    np.testing.assert_allclose(found, [0.98, 0.98, 0.7, 0.7, 0.9], atol=1e-6)
    assert found.dtype == np.float32


def test_confidence_of_a_lead_is_that_of_its_own_score() -> None:
    scores = score(MODEL, leads(1000, seed=5))
    expected = CONFIDENCE.lookup(log_odds(scores, MODEL))
    np.testing.assert_array_equal(scores.confidence, expected)
    assert len(np.unique(expected)) == 3


def test_a_confidence_table_has_an_interval_for_every_bin() -> None:
    with pytest.raises(ValueError, match="2 edges make 3 bins"):
        replace(CONFIDENCE, low=np.array([0.1, 0.2]))


def test_the_bytes_of_a_model_give_back_its_scores() -> None:
    matrix = leads(1000, seed=6)
    again = loads(dumps(MODEL))
    for name, expected in vars(score(MODEL, matrix)).items():
        np.testing.assert_array_equal(getattr(score(again, matrix), name), expected)
    assert (again.spec, again.evidence) == (MODEL.spec, MODEL.evidence)
    assert (again.trained_at, again.horizon_days) == (MODEL.trained_at, 30)


def linear() -> Linear:
    encoding = Encoding.of(SPEC, leads(500, seed=7))
    random = np.random.default_rng(1)
    return Linear(encoding, -0.5, random.normal(size=encoding.size))


TABLES = Tables.compile(BOOSTER.dump_model())
BLEND = Blend.mean((TABLES, linear()))
CALIBRATIONS = (
    straight("as it is"),
    straight("newest rate", 1.0, 0.7),
    straight("line", 0.6, -0.2),
    Calibration("curve", np.array([-2.0, -0.5, 0.3, 2.0]), np.array([-3.0, -2.9, 1.0, 1.1])),
)


@pytest.mark.parametrize("calibration", CALIBRATIONS, ids=lambda found: found.kind)
@pytest.mark.parametrize("predictor", [TABLES, linear(), BLEND], ids=["tables", "linear", "blend"])
def test_reasons_add_up_and_are_stored_to_the_bit_whatever_serves(
    predictor: Predictor, calibration: Calibration
) -> None:
    matrix = leads(400, seed=8)
    model = replace(MODEL, predictor=calibration.applied(predictor))
    expected = calibration.of(predictor.raw(matrix))
    by_feature = model.predictor.contributions(matrix)
    np.testing.assert_allclose(model.base + by_feature.sum(axis=1), expected, rtol=0, atol=1e-9)
    scores = score(model, matrix)
    served = np.log(scores.probability) - np.log1p(-scores.probability)
    np.testing.assert_allclose(log_odds(scores, model), served, rtol=0, atol=1e-9)
    np.testing.assert_allclose(served, expected, rtol=0, atol=1e-5)
    again = loads(dumps(model))
    assert dumps(again) == dumps(model)
    for name, values in vars(scores).items():
        np.testing.assert_array_equal(getattr(score(again, matrix), name), values)


def test_a_model_of_an_earlier_release_scores_as_it_did() -> None:
    """Its document, format 1, holds tables without a kind where the predictor is now."""
    file = Path(__file__).with_name("documents").joinpath(FORMER)
    tables = json.loads(file.read_text())["predictor"]
    spec = FeatureSpec(SPEC.columns[:2], ())
    now = replace(MODEL, spec=spec, predictor=Tables.from_former_json(tables))
    fields = json.loads(dumps(now))
    del fields["predictor"], tables["kind"]
    earlier = loads(json.dumps({**fields, "format": 1, "tables": tables}).encode())
    matrix = leads(500, seed=9)[:, :3]
    for name, expected in vars(score(now, matrix)).items():
        np.testing.assert_array_equal(getattr(score(earlier, matrix), name), expected)
    assert dumps(earlier) == dumps(now)


def test_the_same_model_has_the_same_bytes() -> None:
    berlin = MODEL.trained_at.astimezone(timezone(timedelta(hours=1)))
    assert dumps(trained()[1]) == dumps(loads(dumps(MODEL))) == dumps(MODEL)
    assert dumps(replace(MODEL, trained_at=berlin)) == dumps(MODEL)
    assert dumps(MODEL) != dumps(replace(MODEL, horizon_days=60))


def document(**changes: Any) -> bytes:
    fields = json.loads(dumps(MODEL)) | changes
    return json.dumps({name: value for name, value in fields.items() if value is not None}).encode()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\x80\x04", "not JSON in UTF-8"),
        (b"[1]", "a JSON list, expected an object"),
        (b"{}", "format is None, this release reads 1 and 2"),
        (document(format=7), "format is 7, this release reads 1 and 2"),
        (document(predictor=None), "the field 'predictor' is missing"),
        (document(format=1), "the field 'tables' is missing"),
        (document(predictor={"kind": "oracle"}), "predictor kind 'oracle', this release reads"),
        (document(evidence={"stage": "own_model"}), "missing .* required"),
        (document(trained_at="soon"), "Invalid isoformat string: 'soon'"),
        (document(trained_at="2026-03-01T00:00:00"), "without a time zone"),
        (
            document(predictor=Tables.constant(3, 0.0).to_json()),
            f"3 features, the spec makes {WIDTH}",
        ),
    ],
)
def test_bytes_that_are_no_model_are_refused_in_one_sentence(data: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message) as refused:
        loads(data)
    assert str(refused.value).startswith("model document: ")
    assert "\n" not in str(refused.value)
