"""What the models of customers and deals that serve say, and what tenants lack for such models."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

import polars as pl
from sqlalchemy import Connection, func, text
from sqlalchemy.dialects.postgresql import insert

from warehouse import bulk
from warehouse.schema import customer_predictions, model_lacks

_ONE_AT_A_TIME = text(
    "SELECT pg_advisory_xact_lock("
    "hashtext('ml.customer_predictions ' || :name), hashtext(:tenant_id))"
)


@dataclass(frozen=True)
class Stamp:
    """model_version: that says it. calculated_at: what became known later is not in it."""

    model_version: int
    calculated_at: datetime
    run_id: str


@dataclass(frozen=True, eq=False)
class Said:
    """What a model says of some subjects, a row of each: subject_ids (text), outputs (as of
    ml.kinds.predict) and inputs (list[f32], the features)."""

    subject_ids: pl.Series
    outputs: pl.DataFrame
    inputs: pl.Series


def lock(connection: Connection, tenant_id: str, name: str) -> None:
    """Until the transaction ends, no other replaces the predictions of the tenant's model of this
    name."""
    key = {"tenant_id": tenant_id, "name": name}
    connection.execute(_ONE_AT_A_TIME, key)


def replace(
    connection: Connection, tenant_id: str, name: str, blocks: Iterable[Said], stamp: Stamp
) -> int:
    """Let these be the predictions of the tenant's model of this name, in place of all others; the
    number of rows. Each block is written before the next is asked for."""
    mine = (customer_predictions.c.tenant_id == tenant_id) & (customer_predictions.c.name == name)
    connection.execute(customer_predictions.delete().where(mine))
    return sum(_insert(connection, tenant_id, name, said, stamp) for said in blocks)


def _insert(connection: Connection, tenant_id: str, name: str, said: Said, stamp: Stamp) -> int:
    output = said.outputs.drop("contributions")
    frame = pl.DataFrame(
        {
            "subject_id": said.subject_ids,
            "output": [json.dumps(row, ensure_ascii=False) for row in output.to_dicts()],
            "contributions": said.outputs["contributions"],
            "inputs": said.inputs,
        }
    ).with_columns(
        name=pl.lit(name),
        model_version=pl.lit(stamp.model_version, pl.Int32),
        calculated_at=pl.lit(stamp.calculated_at, pl.Datetime("us", "UTC")),
        run_id=pl.lit(stamp.run_id),
    )
    return bulk.insert(connection, tenant_id, customer_predictions, frame)


def note_lacking(connection: Connection, tenant_id: str, name: str, lacking: str | None) -> None:
    """Note what the tenant lacks for a model of this name; None: nothing."""
    mine = (model_lacks.c.tenant_id == tenant_id) & (model_lacks.c.name == name)
    if lacking is None:
        connection.execute(model_lacks.delete().where(mine))
        return
    statement = insert(model_lacks).values(tenant_id=tenant_id, name=name, lacking=lacking)
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=["tenant_id", "name"], set_={"lacking": lacking, "noted_at": func.now()}
        )
    )


def lacking(connection: Connection, tenant_id: str) -> dict[str, str]:
    """What the tenant lacks, in words, by the name of the model that it lacks it for."""
    rows = connection.execute(
        model_lacks.select()
        .where(model_lacks.c.tenant_id == tenant_id)
        .order_by(model_lacks.c.name)
    )
    return {row.name: row.lacking for row in rows}


def trained_before(connection: Connection, tenant_id: str, name: str, at: datetime) -> bool:
    """Whether no training of the tenant's model of this name began at or after this time and was
    completed or is under way; one for which data were lacking counts, too."""
    newest = connection.scalar(
        text(
            "SELECT max(coalesce(started_at, created_at)) FROM ml.training_jobs"
            " WHERE tenant_id = :tenant_id AND model_name = :name"
            " AND status IN ('queued', 'running', 'completed')"
        ),
        {"tenant_id": tenant_id, "name": name},
    )
    return newest is None or newest < at
