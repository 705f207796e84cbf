"""What the models of customers and deals that serve say, written for all of a tenant's."""

from dataclasses import dataclass
from datetime import datetime

import numpy as np
import polars as pl

from ml import features
from ml.kinds import KINDS, Name, predict
from warehouse import customer_predictions, customers, models
from warehouse.customer_predictions import Stamp
from warehouse.database import Database
from warehouse.errors import GalenaError

# Rows built at a time: bounds memory.
_BLOCK = 50_000


@dataclass(frozen=True)
class Summary:
    model_version: int
    rows: int


def predict_all(
    database: Database, tenant_id: str, name: Name, run_id: str, *, now: datetime
) -> Summary | None:
    """Write what the tenant's champion of this name says of all present customers, or open deals;
    None where there is none, and then nothing is written and what was written goes.

    Raises GalenaError where its document is not the one that was registered, or cannot be read.
    """
    with database.tenant(tenant_id) as connection:
        champion = models.champion_version(connection, tenant_id, name)
        if champion is None:
            stamp, nothing = Stamp(0, now, run_id), pl.DataFrame()
            customer_predictions.replace(
                connection, tenant_id, name, [], nothing, pl.Series(), stamp
            )
            return None
        document = models.artifact(connection, tenant_id, champion[0])
    try:
        model = KINDS[name].read(document)
    except ValueError as error:
        raise GalenaError(
            f"Model version {champion[0]} of tenant {tenant_id!r}: {error}"
        ) from error
    with database.reader(tenant_id) as reader:
        found = (
            customers.open_deals(reader, tenant_id)
            if KINDS[name].subject == "deal"
            else customers.present(reader, tenant_id, now)
        )
    blocks = [
        features.build(
            model.spec,
            block,
            found.interactions.join(block.select("lead_id"), on="lead_id", how="semi"),
        )
        for block in found.rows.iter_slices(_BLOCK)
    ]
    matrix = np.concatenate([np.empty((0, len(model.spec.features)), np.float32), *blocks])
    with database.tenant(tenant_id) as connection:
        rows = customer_predictions.replace(
            connection,
            tenant_id,
            name,
            found.rows["lead_id"].to_list(),
            predict(model, matrix),
            pl.Series("inputs", matrix).arr.to_list(),
            Stamp(champion[0], now, run_id),
        )
    return Summary(champion[0], rows)
