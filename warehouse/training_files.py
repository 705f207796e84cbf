"""Files of labelled leads that a model learns from without their becoming the tenant's records."""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
from sqlalchemy import Connection, delete

from warehouse import crm, features, schema, training_jobs
from warehouse.errors import GalenaError
from warehouse.imports.checking import check
from warehouse.imports.mapping import LeadsMapping, Mapping
from warehouse.imports.proposing import propose_mapping
from warehouse.imports.reading import read_table

if TYPE_CHECKING:
    from ml.spec import FeatureSpec

# As for the CRM's records: the newest teach most, and a block bounds memory.
_MOST_ROWS = 200_000
_ROWS_FOR_TYPES = 50_000
_BLOCK = 100_000


@dataclass(frozen=True)
class LabelledFile:
    """What a file teaches.

    name: the file's. read: its rows; leads: those that can be used. rejected: kind, reason and row
    of the others. as_of: its newest outcome. rows: labelled snapshots, as features.save takes them.
    """

    name: str
    read: int
    leads: int
    rejected: pl.DataFrame
    as_of: datetime
    horizon_days: int
    spec: "FeatureSpec"
    rows: pl.DataFrame

    @property
    def reasons(self) -> dict[str, int]:
        """The number of rows that cannot be used per kind of reason, most first."""
        return dict(Counter(self.rejected["kind"]).most_common())


def read(
    path: Path, mapping: Mapping | None = None, *, now: datetime, horizon_days: int
) -> LabelledFile:
    """Read a CSV or Parquet file of leads with their outcomes, checked row by row as an import is.

    mapping: what the columns are; None takes the one proposed for the file. now: what lies more
    than a day after it is rejected. horizon_days: within which a conversion counts.
    Raises GalenaError where there is nothing to learn, and as reading and mapping do.
    """
    source = read_table(path)
    if source.rows.is_empty() and source.malformed.is_empty():
        raise GalenaError(f"{source.name} has a header and no rows: it needs leads to learn from.")
    if mapping is None:
        mapping = propose_mapping(source.rows, "leads").mapping(source.name)
    if not isinstance(mapping, LeadsMapping):
        raise GalenaError(f"The mapping is for {mapping.table}; a training learns from leads.")
    checked = check(source, mapping, now)
    leads = checked.records
    if leads.is_empty():
        raise GalenaError(
            f"{source.name}: none of its {checked.rejected.height:,} rows can be used; the first:"
            f" {checked.rejected['reason'][0]}."
        )
    as_of = leads.select(pl.max_horizontal("converted_at", "closed_at").max()).item()
    if as_of is None:
        raise GalenaError(
            f"{source.name}: none of its {leads.height:,} leads has an outcome; expected a column"
            " that says when leads converted, or how and when they ended (`galena import --propose`"
            " shows what its columns are taken for)."
        )
    spec, rows = _labelled(leads, min(now, as_of), horizon_days)
    if rows.is_empty():
        raise GalenaError(
            f"{source.name}: no lead was created {horizon_days} days or more before the newest"
            f" outcome, {as_of:%Y-%m-%d}; expected outcomes of leads that are older."
        )
    return LabelledFile(
        name=source.name,
        read=len(source.rows) + len(source.malformed),
        leads=leads.height,
        rejected=checked.rejected,
        as_of=min(now, as_of),
        horizon_days=horizon_days,
        spec=spec,
        rows=rows,
    )


def queue(
    connection: Connection,
    tenant_id: str,
    file: LabelledFile,
    request: training_jobs.Request,
    *,
    requested_by: str,
) -> str:
    """Queue a training on the file's leads, whose model does not serve by itself; return its id.

    Rows that cannot be used are set aside in crm.rejected_rows, in place of those of a training
    file of the same name before.
    """
    origin = f"{file.name} (training)"
    rejections = schema.rejected_rows
    connection.execute(
        delete(rejections).where(rejections.c.tenant_id == tenant_id, rejections.c.source == origin)
    )
    crm.reject(connection, tenant_id, origin, file.rejected)
    saved = features.save(
        connection,
        tenant_id,
        file.rows,
        spec=file.spec.to_json(),
        as_of=file.as_of,
        horizon_days=file.horizon_days,
        run_id=f"file {file.name}",
    )
    return training_jobs.create(
        connection,
        tenant_id,
        training_jobs.Request(
            **{**vars(request), "feature_set": saved.feature_set, "promote": False}
        ),
        requested_by=requested_by,
        training_data={
            "file": file.name,
            "feature_set": saved.feature_set,
            "rows": saved.rows,
            "sha256": saved.sha256,
        },
    )


def _labelled(
    leads: pl.DataFrame, as_of: datetime, horizon_days: int
) -> "tuple[FeatureSpec, pl.DataFrame]":
    """The spec and the rows; a lead's attributes count from when they were known on."""
    import numpy as np

    from ml import features as building
    from ml import labels

    moments = labels.snapshots(leads, as_of=as_of, horizon_days=horizon_days)
    known = (
        moments.top_k(_MOST_ROWS, by="snapshot_at")
        .sort("snapshot_at", "lead_id")
        .join(
            leads.select("lead_id", "attributes", "known_at"), on="lead_id", maintain_order="left"
        )
        .with_columns(
            attributes=pl.when(pl.col("known_at") < pl.col("snapshot_at"))
            .then("attributes")
            .otherwise(pl.lit("{}"))
        )
        .rename({"snapshot_at": "as_of"})
    )
    spec = building.infer(known.tail(_ROWS_FOR_TYPES).select("attributes"), [])
    blocks = [building.build(spec, block, _NO_INTERACTIONS) for block in known.iter_slices(_BLOCK)]
    matrix = np.concatenate([np.empty((0, len(spec.features)), np.float32), *blocks])
    return spec, known.select(
        "lead_id",
        pl.col("as_of").alias("snapshot_at"),
        "label",
        "label_known_at",
        pl.Series("features", matrix).arr.to_list(),
    )


_TIME = pl.Datetime("us", "UTC")
_NO_INTERACTIONS = pl.DataFrame(
    schema={"lead_id": pl.String, "kind": pl.String, "occurred_at": _TIME, "known_at": _TIME}
)
