"""The kinds of models that a tenant may have: how each is read, and what it says of a matrix."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, TypeAlias

import polars as pl

from ml import scoring
from ml.algorithm import Matrix
from ml.deal_value import FORMAT as DEAL_VALUE
from ml.deal_value import DealValue
from ml.model import Model, loads, parsed
from ml.segments import FORMAT as SEGMENTS
from ml.segments import Segments
from ml.spec import Subject

Name: TypeAlias = Literal["lead_model", "customer_churn", "deal_value", "customer_segments"]
ModelType: TypeAlias = Literal["classification", "regression", "clustering"]
AnyModel: TypeAlias = Model | DealValue | Segments


@dataclass(frozen=True)
class Kind:
    """What models of one name have in common.

    framework: what fits them; all are served by NumPy from a JSON document.
    subject: what one row of a matrix is of. read: the model of its document's bytes; raises
        ValueError for bytes that are not a document of this kind.
    """

    name: Name
    model_type: ModelType
    framework: str
    subject: Subject
    read: Callable[[bytes], AnyModel]


def predict(fitted: AnyModel, matrix: Matrix) -> pl.DataFrame:
    """What the model says of each row of a float32 (n, features of its spec) matrix, in its order.

    Columns of a classification: probability (f64), score (i16, percent), confidence (f32); of a
    regression: value, low, high (f64); of a clustering: segment (i32, from 1), segment_name, share
    (f32, of the customers it learnt from) and probability (f32, of belonging to it).
    All: contributions (list[f32]), with one element for each factor of the model's spec, which add
    up with its base to the log-odds or the logarithm of the amount; of a clustering it is empty.
    """
    match fitted:
        case Model():
            return _classified(fitted, matrix)
        case DealValue():
            return _valued(fitted, matrix)
        case Segments():
            return _grouped(fitted, matrix)


def _classified(fitted: Model, matrix: Matrix) -> pl.DataFrame:
    found = scoring.score(fitted, matrix)
    return pl.DataFrame(
        {
            "probability": found.probability,
            "score": found.score,
            "confidence": found.confidence,
            "contributions": _lists(found.contributions),
        }
    )


def _valued(fitted: DealValue, matrix: Matrix) -> pl.DataFrame:
    found = fitted.values(matrix)
    return pl.DataFrame(
        {
            "value": found.value,
            "low": found.low,
            "high": found.high,
            "contributions": _lists(found.contributions),
        }
    )


def _grouped(fitted: Segments, matrix: Matrix) -> pl.DataFrame:
    found = fitted.assign(matrix)
    at = found.segment - 1
    return pl.DataFrame(
        {
            "segment": found.segment,
            "segment_name": pl.Series(fitted.names, dtype=pl.String).gather(at),
            "share": pl.Series(fitted.mixture.weights[at], dtype=pl.Float32),
            "probability": pl.Series(found.probability, dtype=pl.Float32),
            "contributions": pl.Series([[]] * len(matrix), dtype=pl.List(pl.Float32)),
        }
    )


def _lists(contributions: Matrix) -> pl.Series:
    width = contributions.shape[1]
    return pl.Series(contributions, dtype=pl.Array(pl.Float32, width)).arr.to_list()


def _read_of(subject: Subject) -> Callable[[bytes], Model]:
    def read(data: bytes) -> Model:
        found = loads(data)
        if found.spec.subject != subject:
            raise ValueError(
                f"model document: it is of a {found.spec.subject}, expected one of a {subject}"
            )
        return found

    return read


def _read(expected: str, of_json: Callable[[Mapping[str, Any]], AnyModel], data: bytes) -> AnyModel:
    document = parsed(data)
    found = document.get("format")
    if found != expected:
        raise ValueError(
            f"model document: format is {str(found)[:40]!r}, expected {expected!r}: train the model"
            " again, or use the release that wrote it"
        )
    try:
        return of_json(document)
    except KeyError as error:
        raise ValueError(f"model document: the field {error} is missing") from error
    except (TypeError, ValueError, IndexError, AttributeError) as error:
        raise ValueError(f"model document: {error}") from error


def _read_deal_value(data: bytes) -> AnyModel:
    return _read(DEAL_VALUE, DealValue.from_json, data)


def _read_segments(data: bytes) -> AnyModel:
    return _read(SEGMENTS, Segments.from_json, data)


KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        kind.name: kind
        for kind in (
            Kind("lead_model", "classification", "lightgbm", "lead", _read_of("lead")),
            Kind("customer_churn", "classification", "lightgbm", "customer", _read_of("customer")),
            Kind("deal_value", "regression", "lightgbm", "deal", _read_deal_value),
            Kind("customer_segments", "clustering", "scikit-learn", "customer", _read_segments),
        )
    }
)
