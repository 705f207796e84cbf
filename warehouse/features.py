"""Feature sets: the labelled rows a model was trained on, with their spec."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import polars as pl
from sqlalchemy import Connection, Integer, func, select

from warehouse import bulk
from warehouse.database import BulkReader, literal
from warehouse.schema import feature_sets, models, training_jobs, training_rows

# Begins the run_id of a feature set that was made of a file: it says nothing of the CRM's records.
FILE = "file "


@dataclass(frozen=True)
class FeatureSet:
    """A tenant's training data as of a time.

    spec: the feature spec as JSON. sha256: of the spec and of every row, so that a model can name
    the data that it was trained on.
    """

    feature_set: int
    as_of: datetime
    horizon_days: int
    spec: Mapping[str, Any]
    rows: int
    converted: int
    sha256: str
    run_id: str

    def snapshot(self) -> dict[str, Any]:
        """What a model names as the data that it learnt from."""
        return {
            "feature_set": self.feature_set,
            "rows": self.rows,
            "sha256": self.sha256,
            "as_of": self.as_of.isoformat(),
        }


def save(
    connection: Connection,
    tenant_id: str,
    rows: pl.DataFrame,
    *,
    spec: Mapping[str, Any],
    as_of: datetime,
    horizon_days: int,
    run_id: str,
) -> FeatureSet:
    """Store labelled rows (lead_id, snapshot_at, label, label_known_at, features list[f32]).

    run_id: of the Dagster run, or "file " and its name. Feature sets that no model was trained on
    and no open job is to train on, other than this one, are deleted.
    """
    mine = feature_sets.c.tenant_id == tenant_id
    newest = connection.scalar(select(func.max(feature_sets.c.feature_set)).where(mine)) or 0
    saved = FeatureSet(
        feature_set=newest + 1,
        as_of=as_of,
        horizon_days=horizon_days,
        spec=spec,
        rows=rows.height,
        converted=int(rows["label"].sum()),
        sha256=_digest(spec, rows),
        run_id=run_id,
    )
    connection.execute(feature_sets.insert().values(tenant_id=tenant_id, **saved.__dict__))
    numbered = rows.with_columns(feature_set=pl.lit(saved.feature_set, pl.Int32))
    bulk.insert(connection, tenant_id, training_rows, numbered)
    _delete_unused(connection, tenant_id, keep=saved.feature_set)
    return saved


def newest(connection: Connection, tenant_id: str) -> FeatureSet | None:
    """The feature set of the CRM's records that was saved last, without its rows."""
    return find(connection, tenant_id, None)


def find(connection: Connection, tenant_id: str, number: int | None) -> FeatureSet | None:
    """The feature set of this number, or the newest of the CRM's records, without its rows."""
    columns = [c for c in feature_sets.c if c.name not in ("tenant_id", "created_at")]
    wanted = (
        ~feature_sets.c.run_id.startswith(FILE)
        if number is None
        else feature_sets.c.feature_set == number
    )
    row = connection.execute(
        select(*columns)
        .where(feature_sets.c.tenant_id == tenant_id, wanted)
        .order_by(feature_sets.c.feature_set.desc())
        .limit(1)
    ).one_or_none()
    return None if row is None else FeatureSet(**row._mapping)


def rows(reader: BulkReader, tenant_id: str, feature_set: int) -> pl.DataFrame:
    """The labelled rows in time order: lead_id, snapshot_at, label, label_known_at, features."""
    return reader.frame(
        "SELECT lead_id, snapshot_at, label, label_known_at, features FROM ml.training_rows"
        f" WHERE tenant_id = {literal(tenant_id)} AND feature_set = {literal(feature_set)}"
        " ORDER BY snapshot_at, lead_id"
    )


def _delete_unused(connection: Connection, tenant_id: str, keep: int) -> None:
    used = select(models.c.feature_set).where(models.c.tenant_id == tenant_id)
    wanted = func.coalesce(
        training_jobs.c.training_data["feature_set"].astext,
        training_jobs.c.request["feature_set"].astext,
    ).cast(Integer)
    asked = select(wanted).where(
        training_jobs.c.tenant_id == tenant_id,
        wanted.is_not(None),
        training_jobs.c.status.in_(("queued", "running")),
    )
    for table in (training_rows, feature_sets):
        connection.execute(
            table.delete().where(
                table.c.tenant_id == tenant_id,
                table.c.feature_set != keep,
                table.c.feature_set.not_in(used),
                table.c.feature_set.not_in(asked),
            )
        )


def _digest(spec: Mapping[str, Any], rows: pl.DataFrame) -> str:
    digest = hashlib.sha256(json.dumps(spec, sort_keys=True).encode())
    features = rows["features"].explode().to_numpy()
    digest.update(features.tobytes())
    keys = rows.select("lead_id", "snapshot_at", "label").write_csv(include_header=False)
    digest.update(keys.encode())
    return digest.hexdigest()
