"""A model whose stored inputs say what was known of a lead when it was scored."""

from datetime import UTC, datetime

import numpy as np
from sqlalchemy import Connection

from ml.model import ConfidenceTable, Evidence, Model, dumps
from ml.spec import Column, FeatureSpec
from ml.tables import Tables
from warehouse import models

SPEC = FeatureSpec(columns=(Column("visits", "numeric"),), interaction_kinds=("call",), dropped=())
# Positions in a score's inputs: the attribute, and the calls of the last 30 days.
VISITS, CALLS = 0, 3


def serve(connection: Connection, tenant_id: str, feature_set: int = 0) -> None:
    """Let it serve the tenant: every lead has an even chance, and its inputs are kept.

    feature_set: 0 for a model that was not trained.
    """
    known = ConfidenceTable(np.zeros(0), np.zeros(1), np.ones(1), np.ones(1, np.int64))
    when = datetime.now(UTC)
    model = Model(
        SPEC,
        Tables.constant(len(SPEC.features), 0.0),
        known,
        Evidence("base_rate", 0, 0),
        when,
        30,
    )
    version = models.register(
        connection,
        tenant_id,
        artifact=dumps(model),
        factors=[
            {"factor": f.name, "template": f.template, "shown": f.shown, "categories": []}
            for f in SPEC.factors
        ],
        feature_set=feature_set,
        stage="base_rate",
        outcomes=0,
        base=0.0,
        horizon_days=30,
        metrics={},
        run_id="run",
        trained_at=when,
    )
    models.promote(connection, tenant_id, version, "champion", actor="test", why="counts")
