"""What the models of customers and deals that serve say, written for all of a tenant's."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

import polars as pl
from sqlalchemy import Connection

from ml import features
from ml.kinds import KINDS, AnyModel, Name, predict
from warehouse import customer_predictions, customers, models
from warehouse.customer_predictions import Said, Stamp
from warehouse.customers import Rows
from warehouse.database import Database

# Rows built, predicted and written at a time: bounds what is held beside the records themselves.
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

    Where another version was deployed while records were read, all begins again with that one; of
    two at once, the second waits for the first. Raises GalenaError where its document is not the
    one that was registered, or cannot be read.
    """
    while True:
        version, said = _said_by_champion(database, tenant_id, name, now)
        with database.tenant(tenant_id) as connection:
            customer_predictions.lock(connection, tenant_id, name)
            if _champion(connection, tenant_id, name) != version:
                continue
            stamp = Stamp(version or 0, now, run_id)
            rows = customer_predictions.replace(connection, tenant_id, name, said, stamp)
        return None if version is None else Summary(version, rows)


def _said_by_champion(
    database: Database, tenant_id: str, name: Name, now: datetime
) -> tuple[int | None, Iterator[Said]]:
    """The version that serves, and what it says, block by block; of none, nothing."""
    with database.tenant(tenant_id) as connection:
        version = _champion(connection, tenant_id, name)
        if version is None:
            return None, iter(())
        model = models.load(connection, tenant_id, version)
    with database.reader(tenant_id) as reader:
        found = (
            customers.open_deals(reader, tenant_id)
            if KINDS[name].subject == "deal"
            else customers.present(reader, tenant_id, now)
        )
    return version, _said(model, found)


def _said(model: AnyModel, found: Rows) -> Iterator[Said]:
    for block in found.rows.iter_slices(_BLOCK):
        mine = found.interactions.join(block.select("lead_id"), on="lead_id", how="semi")
        matrix = features.build(model.spec, block, mine)
        inputs = pl.Series("inputs", matrix).arr.to_list()
        yield Said(block["lead_id"], predict(model, matrix), inputs)


def _champion(connection: Connection, tenant_id: str, name: Name) -> int | None:
    found = models.champion_version(connection, tenant_id, name)
    return None if found is None else found[0]
