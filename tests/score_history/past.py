"""Two tenants with a past: leads that two models scored at four times."""

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
from sqlalchemy import Connection, text

from ml.model import ConfidenceTable, Evidence, Model
from ml.movement import Scored
from ml.scoring import score
from ml.spec import Column, FeatureSpec
from ml.tables import Tables
from tests.test_scoring import MODEL as FIRST
from tests.test_tables import train
from warehouse import crm, models, scores, tenants
from warehouse.database import Database

MINE, THEIRS = "mine", "theirs"
MICROSECOND = timedelta(microseconds=1)
LIFETIME = timedelta(days=2)
OCTOBER_5, OCTOBER_20, NOVEMBER_3, NOVEMBER_10 = TIMES = (
    datetime(2026, 10, 5, 10, tzinfo=UTC),
    datetime(2026, 10, 20, 10, tzinfo=UTC),
    datetime(2026, 11, 3, 10, 30, 0, 250_000, tzinfo=UTC),
    datetime(2026, 11, 10, 10, tzinfo=UTC),
)
# Model version 1 of each tenant serves in October, version 2 in November.
VERSIONS = dict(zip(TIMES, (1, 1, 2, 2), strict=True))
# "young" comes in November, "gone" was scored once and is in the CRM no more.
SCORED = {
    OCTOBER_5: ["a", "b", "gone"],
    OCTOBER_20: ["a", "b"],
    NOVEMBER_3: ["a", "b", "young"],
    NOVEMBER_10: ["a", "b"],
}


def second() -> Model:
    """Another training: a column is new, one is gone, jobs have other codes, the base moved."""
    columns = (
        Column("budget", "numeric"),
        Column("job", "categorical", ("retired", "nurse", "(other)")),
        Column("newsletter", "boolean"),
    )
    spec = FeatureSpec(columns, ("call", "email", "visit"))
    matrix = inputs(spec, 2000, seed=1)
    filled = np.nan_to_num(matrix)
    signal = filled[:, 0] + (filled[:, 1] == 0) * 2 - filled[:, 2] + filled[:, 4]
    booster = train(matrix, signal > np.quantile(signal, 0.7), categorical=(1,), rounds=40)
    confidence = ConfidenceTable(
        np.array([0.0]), np.array([0.1, 0.3]), np.array([0.2, 0.8]), np.array([900, 100])
    )
    evidence = Evidence("own_model", 2000, 600)
    tables = Tables.compile(booster.dump_model()).scaled(1.1, 0.4)
    return Model(spec, tables, confidence, evidence, OCTOBER_20, 30)


def inputs(spec: FeatureSpec, rows: int, seed: int) -> Any:
    random = np.random.default_rng(seed)
    matrix = random.poisson(2.0, (rows, len(spec.features))).astype(np.float32)
    for factor in spec.factors:
        if factor.categories:
            matrix[:, factor.shown] = random.integers(0, len(factor.categories), rows)
    matrix[random.random(matrix.shape) < 0.1] = np.nan
    return matrix


MODELS = {1: FIRST, 2: second()}


def fill(database: Database) -> None:
    """Both tenants have leads, models and scores of the same names, times and versions."""
    for seed, tenant_id in enumerate((MINE, THEIRS)):
        tenants.add(database, tenant_id)
        with database.tenant(tenant_id) as connection:
            _import_leads(connection, tenant_id)
            for version, model in MODELS.items():
                assert version == models.register(
                    connection, tenant_id, model, feature_set=1, metrics={}, run_id="training"
                )
            for number, (at, lead_ids) in enumerate(SCORED.items()):
                _score(connection, tenant_id, at, lead_ids, seed=10 * seed + number)


def _import_leads(connection: Connection, tenant_id: str) -> None:
    times = pl.Datetime("us", "UTC")
    frame = pl.DataFrame(
        {
            "lead_id": ["a", "b", "young", "waiting", "converted", "closed"],
            "created_at": [OCTOBER_5 - timedelta(days=9)] * 6,
            "converted_at": [None] * 4 + [OCTOBER_5 - timedelta(days=1), None],
            "closed_at": [None] * 5 + [OCTOBER_5 - timedelta(days=1)],
            "attributes": ["{}"] * 6,
        },
        schema_overrides={"created_at": times, "converted_at": times, "closed_at": times},
    )
    crm.upsert(connection, tenant_id, "leads", frame)


def _score(
    connection: Connection, tenant_id: str, at: datetime, lead_ids: list[str], seed: int
) -> None:
    model = MODELS[VERSIONS[at]]
    matrix = inputs(model.spec, len(lead_ids), seed)
    made = score(model, matrix)
    frame = pl.DataFrame(
        {
            "lead_id": lead_ids,
            "score": made.score,
            "probability": made.probability,
            "confidence": made.confidence,
            "contributions": pl.Series(made.contributions).arr.to_list(),
            "inputs": pl.Series(matrix).arr.to_list(),
        }
    )
    connection.execute(text("SELECT ml.ensure_history_partition(:at)"), {"at": at})
    scores.begin_anew(connection, tenant_id)
    stamp = scores.Stamp(VERSIONS[at], at, at + LIFETIME, at, f"run-{at:%m-%d}")
    scores.write(connection, tenant_id, frame, stamp)
    scores.rank(connection, tenant_id, at, sorted(made.probability.tolist()))


def served_row(connection: Connection, lead_id: str, at: datetime) -> Any:
    """The row of the view, of whatever tenant the connection is bound to."""
    return connection.execute(
        text(
            "SELECT * FROM serving.lead_score_history_v1"
            " WHERE lead_id = :lead_id AND calculated_at = :at"
        ),
        {"lead_id": lead_id, "at": at},
    ).one()


def stored_row(connection: Connection, lead_id: str, at: datetime) -> Scored:
    """The same score as it is stored, with the model that made it."""
    row = connection.execute(
        text(
            "SELECT contributions, inputs FROM ml.lead_score_history"
            " WHERE lead_id = :lead_id AND calculated_at = :at"
        ),
        {"lead_id": lead_id, "at": at},
    ).one()
    model = MODELS[VERSIONS[at]]
    return Scored(model, np.array(row[0], np.float32), np.array(row[1], np.float32))


def tamper(database: Database, statement: str, **values: Any) -> None:
    """Change rows of MINE behind the application's back."""
    with database.tenant(MINE) as connection:
        assert connection.execute(text(statement), values).rowcount > 0
