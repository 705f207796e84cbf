"""The document that serves: features, predictor, what its confidence rests on; JSON, no pickle."""

import gc
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Literal, Protocol

import numpy as np
import orjson
from numpy.typing import NDArray

from ml.algorithm import Floats, Predictor
from ml.blend import read
from ml.spec import FeatureSpec

FORMAT = 2
# Of releases whose predictors were all tables.
_TABLES_ONLY = 1

Stage = Literal["own_model", "prior_model", "pooled_model", "base_rate"]


@dataclass(frozen=True)
class Evidence:
    """What a model rests on.

    stage: "own_model" where the tenant's own outcomes trained it and later ones judged it,
        "prior_model" where they were few and it was learnt cautiously, "pooled_model" where other
        tenants' activity taught it, "base_rate" where every lead gets the same probability.
    outcomes: labelled snapshots it was made from. converted: how many of them converted.
    """

    stage: Stage
    outcomes: int
    converted: int


class Document(Protocol):
    """A model of any kind, as the registry stores it.

    base: what it says before anything is known of a row. horizon_days: within which what it says
    is to happen, 0 where it says how things are. trained_at: aware; nothing known later went into
    it.
    """

    @property
    def spec(self) -> FeatureSpec: ...
    @property
    def evidence(self) -> Evidence: ...
    @property
    def base(self) -> float: ...
    @property
    def horizon_days(self) -> int: ...
    @property
    def trained_at(self) -> datetime: ...
    def to_json(self) -> dict[str, Any]: ...


@dataclass(frozen=True, eq=False)
class ConfidenceTable:
    """How well the probability is known, by log-odds of the score.

    edges: log-odds that part the bins, ascending, shape (bins - 1,); a score equal to an edge
        belongs to the bin below it.
    low, high: the interval of the conversion rate that each bin's outcomes leave, 0 to 1.
    outcomes: labelled snapshots each bin's interval rests on.
    """

    edges: Floats
    low: Floats
    high: Floats
    outcomes: NDArray[np.int64]

    def __post_init__(self) -> None:
        bins = len(self.edges) + 1
        if not len(self.low) == len(self.high) == len(self.outcomes) == bins:
            raise ValueError(
                f"low, high and outcomes have {len(self.low)}, {len(self.high)} and "
                f"{len(self.outcomes)} entries, {len(self.edges)} edges make {bins} bins"
            )

    def lookup(self, log_odds: Floats) -> NDArray[np.float32]:
        """Confidence of each score, 0 to 1: one less the width of its bin's interval."""
        confidence = (1.0 - (self.high - self.low)).astype(np.float32)
        found: NDArray[np.float32] = confidence[np.searchsorted(self.edges, log_odds)]
        return found

    def to_json(self) -> dict[str, Any]:
        return {name: values.tolist() for name, values in vars(self).items()}

    @staticmethod
    def from_json(document: Mapping[str, Any]) -> "ConfidenceTable":
        return ConfidenceTable(
            np.array(document["edges"], dtype=np.float64),
            np.array(document["low"], dtype=np.float64),
            np.array(document["high"], dtype=np.float64),
            np.array(document["outcomes"], dtype=np.int64),
        )


@dataclass(frozen=True, eq=False)
class Model:
    """All that scoring needs; its version is what the registry calls these bytes.

    spec: how to build the matrix it takes.
    predictor: base and contributions in calibrated log-odds of converting within the horizon.
    trained_at: the time as of which it was trained; nothing known later went into it.
    """

    spec: FeatureSpec
    predictor: Predictor
    confidence: ConfidenceTable
    evidence: Evidence
    trained_at: datetime
    horizon_days: int

    def __post_init__(self) -> None:
        if self.predictor.features != len(self.spec.features):
            raise ValueError(
                f"the predictor takes {self.predictor.features} features, the spec makes "
                f"{len(self.spec.features)}: train with the matrix built from this spec"
            )
        if self.trained_at.tzinfo is None:
            raise ValueError(
                f"trained_at is {self.trained_at.isoformat()} without a time zone: give it in UTC"
            )

    @property
    def base(self) -> float:
        """Log-odds before anything is known of a lead."""
        return self.predictor.base

    def to_json(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "spec": self.spec.to_json(),
            "predictor": self.predictor.to_json(),
            "confidence": self.confidence.to_json(),
            "evidence": asdict(self.evidence),
            "trained_at": self.trained_at.astimezone(UTC).isoformat(),
            "horizon_days": self.horizon_days,
        }

    @staticmethod
    def from_json(document: Mapping[str, Any]) -> "Model":
        """The model that to_json wrote; raises ValueError for any other document."""
        if document.get("format") not in (FORMAT, _TABLES_ONLY):
            raise ValueError(
                f"model document: format is {document.get('format')!r}, this release reads "
                f"{_TABLES_ONLY} and {FORMAT}: train the model again, or use the release that "
                "wrote it"
            )
        named = "predictor" if document["format"] == FORMAT else "tables"
        try:
            return Model(
                FeatureSpec.from_json(document["spec"]),
                read(document[named]),
                ConfidenceTable.from_json(document["confidence"]),
                Evidence(**document["evidence"]),
                datetime.fromisoformat(document["trained_at"]),
                document["horizon_days"],
            )
        except KeyError as error:
            raise ValueError(f"model document: the field {error} is missing") from error
        except (TypeError, ValueError, IndexError, AttributeError) as error:
            raise ValueError(f"model document: {error}") from error


def dumps(model: Document) -> bytes:
    """The model's bytes: the same model always gives the same ones."""
    document = model.to_json()
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode()


def loads(data: bytes) -> Model:
    """The model of its bytes; raises ValueError for bytes that dumps did not make."""
    return Model.from_json(parsed(data))


def parsed(data: bytes) -> dict[str, Any]:
    """The document of its bytes; raises ValueError for what is no JSON object.

    A rescoring run parses every changed tenant's model: by orjson, for the json module takes five
    times as long, and without the collector, which would look through the document's lists again
    and again for cycles that JSON cannot have: 26 ms of 500 kB with it, 6 without.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        document = orjson.loads(data)
    except ValueError as error:
        raise ValueError(f"model document: not JSON in UTF-8 ({error})") from error
    finally:
        if collecting:
            gc.enable()
    if not isinstance(document, dict):
        raise ValueError(f"model document: a JSON {type(document).__name__}, expected an object")
    return document
