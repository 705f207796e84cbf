"""Kinds of models: each is read from its own document, and no other passes for it."""

import json
import pickle
from datetime import UTC, datetime

import numpy as np
import pytest

from ml.deal_value import DealValue
from ml.kinds import KINDS, AnyModel, predict
from ml.model import ConfidenceTable, Evidence, Model, dumps
from ml.segments import Mixture, Number, Segments
from ml.spec import Column, FeatureSpec, Subject
from ml.tables import Tables

WHEN = datetime(2026, 1, 1, tzinfo=UTC)
EVIDENCE = Evidence("own_model", 100, 40)


def spec(subject: Subject) -> FeatureSpec:
    return FeatureSpec((Column("x", "numeric"),), (), subject=subject)


def classification(subject: Subject) -> Model:
    table = ConfidenceTable(np.empty(0), np.array([0.2]), np.array([0.4]), np.array([100]))
    return Model(spec(subject), Tables.constant(2, -1.0), table, EVIDENCE, WHEN, 30)


MODELS: dict[str, AnyModel] = {
    "lead_model": classification("lead"),
    "customer_churn": classification("customer"),
    "deal_value": DealValue(spec("deal"), Tables.constant(2, 5.0), 1.1, -0.5, 0.6, EVIDENCE, WHEN),
    "customer_segments": Segments(
        spec("customer"),
        (Number("x", (0,), "plain", 0.0, 0.0, 1.0),),
        (),
        Mixture(np.array([0.7, 0.3]), np.array([[-1.0], [1.0]]), np.array([[[0.5]], [[0.5]]]), ()),
        ("low x", "high x"),
        EVIDENCE,
        WHEN,
    ),
}
MATRIX = np.array([[-1.0, 3.0], [1.0, np.nan]], np.float32)


def test_every_kind_has_its_model_type_and_subject() -> None:
    assert {name: (kind.model_type, kind.subject) for name, kind in KINDS.items()} == {
        "lead_model": ("classification", "lead"),
        "customer_churn": ("classification", "customer"),
        "deal_value": ("regression", "deal"),
        "customer_segments": ("clustering", "customer"),
    }


@pytest.mark.parametrize("name", KINDS)
def test_a_document_read_back_says_the_same(name: str) -> None:
    again = KINDS[name].read(dumps(MODELS[name]))
    assert again.to_json() == MODELS[name].to_json()
    assert predict(again, MATRIX).equals(predict(MODELS[name], MATRIX))


def test_predictions_have_the_columns_of_their_kind() -> None:
    columns = {name: predict(model, MATRIX).columns for name, model in MODELS.items()}
    classified = ["probability", "score", "confidence", "contributions"]
    assert columns == {
        "lead_model": classified,
        "customer_churn": classified,
        "deal_value": ["value", "low", "high", "contributions"],
        "customer_segments": [
            "segment", "segment_name", "share", "probability", "contributions",
        ],
    }  # fmt: skip
    for model in MODELS.values():
        assert predict(model, MATRIX[:0]).height == 0
    segments = predict(MODELS["customer_segments"], MATRIX)
    assert segments["segment"].to_list() == [1, 2]
    assert segments["segment_name"].to_list() == ["low x", "high x"]
    assert segments["share"].to_list() == pytest.approx([0.7, 0.3])


@pytest.mark.parametrize("wanted", KINDS)
@pytest.mark.parametrize("given", KINDS)
def test_no_kind_reads_the_document_of_another(wanted: str, given: str) -> None:
    if wanted == given:
        return
    with pytest.raises(ValueError, match=r"model document: (format is|it is of a)"):
        KINDS[wanted].read(dumps(MODELS[given]))


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'"text"',
        b"\xff\xfe",
        pickle.dumps({"format": 2}),
        b'{"format": 99}',
        b'{"format": {"a": 1}}',
    ],
)
def test_what_is_no_document_is_one_clear_error(name: str, data: bytes) -> None:
    with pytest.raises(ValueError, match="model document: "):
        KINDS[name].read(data)


@pytest.mark.parametrize("name", KINDS)
def test_a_document_with_a_field_missing_or_of_another_type_is_refused(name: str) -> None:
    document = json.loads(dumps(MODELS[name]))
    for field in document.keys() - {"format"}:
        without = {key: value for key, value in document.items() if key != field}
        with pytest.raises(ValueError, match=f"model document: .*{field}"):
            KINDS[name].read(json.dumps(without).encode())
        if field == "horizon_days":
            continue
        with pytest.raises(ValueError, match="model document: "):
            KINDS[name].read(json.dumps({**document, field: "unheard of"}).encode())


def test_a_lead_model_of_a_release_that_knew_no_other_subject_is_read() -> None:
    document = json.loads(dumps(MODELS["lead_model"]))
    del document["spec"]["subject"]
    assert KINDS["lead_model"].read(json.dumps(document).encode()).spec == spec("lead")
