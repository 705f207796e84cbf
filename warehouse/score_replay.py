"""Replay: whether stored scores come out the same again from their inputs and their model."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any

import numpy as np
from sqlalchemy import Connection, Row, text

from ml import scoring
from ml.model import Model
from warehouse.errors import GalenaError
from warehouse.score_history import COLUMNS, document, stored

# Rows replayed at a time: some 40 MB as Python's numbers at 50 of them a row.
_BLOCK = 20_000


@dataclass(frozen=True)
class Replayed:
    """A stored score that was calculated again.

    differences: what did not come out to the bit, or why nothing did; empty for the same score.
    """

    lead_id: str
    calculated_at: datetime
    model_version: int
    differences: tuple[str, ...]


def replay(connection: Connection, tenant_id: str, lead_id: str, at: datetime) -> Replayed:
    """Calculate the score that the lead had at a time again, from its inputs and its model.

    Raises GalenaError when there is no score or its model's document is gone or another.
    """
    row = stored(connection, tenant_id, lead_id, at)
    model = document(connection, tenant_id, row.model_version)
    return _replayed(model, [row])[0]


def replay_newest(
    connection: Connection, tenant_id: str, most: int | None = None
) -> Iterator[list[Replayed]]:
    """Calculate the tenant's newest scores again, the newest first, block by block.

    most: how many; None for all. Scores whose model's document is gone or another say so in
    their differences, and the rest is replayed.
    """
    rows = connection.execute(
        text(
            f"SELECT {COLUMNS} FROM ml.lead_score_history WHERE tenant_id = :tenant_id"
            " ORDER BY calculated_at DESC, lead_id LIMIT :most"
        ),
        {"tenant_id": tenant_id, "most": most},
        execution_options={"yield_per": _BLOCK},
    )
    for block in rows.partitions(_BLOCK):
        yield _replayed_block(connection, tenant_id, block)


def _replayed_block(
    connection: Connection, tenant_id: str, block: Sequence[Row[Any]]
) -> list[Replayed]:
    """The verdicts in the block's order; each model is loaded once, also where two of them serve
    leads in turn."""
    done: dict[int, Replayed] = {}
    by_version = sorted(enumerate(block), key=lambda numbered: int(numbered[1].model_version))
    for version, group in groupby(by_version, key=lambda numbered: int(numbered[1].model_version)):
        numbers, rows = zip(*group, strict=True)
        try:
            found = _replayed(document(connection, tenant_id, version), rows)
        except GalenaError as error:
            found = [_verdict(row, (str(error),)) for row in rows]
        done.update(zip(numbers, found, strict=True))
    return [done[number] for number in range(len(block))]


def _replayed(model: Model, rows: Sequence[Row[Any]]) -> list[Replayed]:
    """The verdicts on scores of this model, in their order."""
    width = len(model.spec.features)
    fitting = [row.inputs for row in rows if len(row.inputs) == width]
    matrix = np.array(fitting, dtype=np.float32).reshape(-1, width)
    scores, position, done = scoring.score(model, matrix), 0, []
    for row in rows:
        if len(row.inputs) != width:
            found = [f"inputs: {len(row.inputs)} stored, the model takes {width}"]
        else:
            found = _differences(model, row, scores, position)
            position += 1
        done.append(_verdict(row, tuple(found)))
    return done


def _differences(model: Model, row: Row[Any], scores: scoring.Scores, position: int) -> list[str]:
    again = {
        "probability": float(scores.probability[position]),
        "score": int(scores.score[position]),
        "confidence": float(scores.confidence[position]),
    }
    found = [
        f"{name}: {row._mapping[name]} stored, {value} comes out"
        for name, value in again.items()
        if row._mapping[name] != value
    ]
    stored, expected = np.array(row.contributions, np.float32), scores.contributions[position]
    if len(stored) != len(expected):
        return [*found, f"contributions: {len(stored)} stored, {len(expected)} come out"]
    # By their bits: as numbers, 0 equals -0 and NaN differs from itself.
    others = np.flatnonzero(stored.view(np.int32) != expected.view(np.int32)).tolist()
    return found + [
        f"contribution of {model.spec.factors[factor].name!r}: {stored[factor]} stored,"
        f" {expected[factor]} comes out"
        for factor in others
    ]


def _verdict(row: Row[Any], differences: tuple[str, ...]) -> Replayed:
    return Replayed(row.lead_id, row.calculated_at, row.model_version, differences)
