"""A model whose stored inputs say what was known of a lead when it was scored."""

from datetime import UTC, datetime

import numpy as np
from sqlalchemy import Connection

from ml.model import ConfidenceTable, Evidence, Model
from ml.spec import Column, FeatureSpec
from ml.tables import Tables
from warehouse import models

SPEC = FeatureSpec(columns=(Column("visits", "numeric"),), interaction_kinds=("call",), dropped=())
# Positions in a score's inputs: the attribute, and the calls of the last 30 days.
VISITS, CALLS = 0, 3
# Every lead has an even chance.
MODEL = Model(
    SPEC,
    Tables.constant(len(SPEC.features), 0.0),
    ConfidenceTable(np.zeros(0), np.zeros(1), np.ones(1), np.ones(1, np.int64)),
    Evidence("base_rate", 0, 0),
    datetime.now(UTC),
    30,
)


def register(connection: Connection, tenant_id: str, feature_set: int = 0) -> int:
    """Store it, and let it not serve yet; its version. feature_set: 0 for one not trained."""
    return models.register(
        connection, tenant_id, MODEL, feature_set=feature_set, metrics={}, run_id="run"
    )


def serve(connection: Connection, tenant_id: str, feature_set: int = 0) -> None:
    """Let it serve the tenant."""
    version = register(connection, tenant_id, feature_set)
    models.promote(connection, tenant_id, version, "champion", actor="test", why="counts")
