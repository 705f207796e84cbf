"""The labelled feature rows that a tenant's model learns from."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from dagster import AssetExecutionContext, MaterializeResult, MetadataValue, asset

from assets.crm_records import crm_records
from assets.partitions import tenant_partitions
from resources.warehouse import Warehouse

if TYPE_CHECKING:
    import polars as pl

    from ml.spec import FeatureSpec
    from warehouse.database import BulkReader

# The newest rows teach most; 200,000 of them train within a minute on one core.
MOST_ROWS = 200_000
_ROWS_FOR_TYPES = 50_000
# Rows built at a time: bounds memory.
_BLOCK = 100_000


@asset(
    partitions_def=tenant_partitions,
    group_name="leads",
    deps=[crm_records],
    kinds={"polars"},
    pool="batch",
)
def lead_features(context: AssetExecutionContext, warehouse: Warehouse) -> MaterializeResult[None]:
    """Each past lead at up to four moments of its open time: what was known then, and whether it
    converted within the tenant's horizon of it."""
    return build_features(warehouse, context.partition_key, context.run.run_id)


def build_features(warehouse: Warehouse, tenant_id: str, run_id: str) -> MaterializeResult[None]:
    """Build and store the tenant's feature set as of now."""
    from warehouse import features as feature_sets
    from warehouse import tenants

    as_of = datetime.now(UTC)
    with warehouse.database.tenant(tenant_id) as connection:
        horizon_days = tenants.find(connection).horizon_days
    with warehouse.database.reader(tenant_id) as reader:
        spec, rows = labelled_rows(reader, tenant_id, as_of, horizon_days)
    with warehouse.database.tenant(tenant_id) as connection:
        saved = feature_sets.save(
            connection,
            tenant_id,
            rows,
            spec=spec.to_json(),
            as_of=as_of,
            horizon_days=horizon_days,
            run_id=run_id,
        )
    return MaterializeResult(
        metadata={
            "dagster/row_count": saved.rows,
            "feature set": saved.feature_set,
            "features": len(spec.features),
            "converted": saved.converted,
            "conversion rate": saved.converted / saved.rows if saved.rows else 0.0,
            "attributes": _column_table(spec),
            "sha256": saved.sha256,
        }
    )


def labelled_rows(
    reader: "BulkReader", tenant_id: str, as_of: datetime, horizon_days: int
) -> "tuple[FeatureSpec, pl.DataFrame]":
    """The tenant's feature spec, and its rows: lead_id, snapshot_at, label, label_known_at,
    features.

    What the CRM says ends with the newest outcome it has recorded: that a lead has not converted
    since then is not known. (An export from 2010 read in 2026 would otherwise teach that nobody
    converted for 16 years.)
    """
    import numpy as np
    import polars as pl

    from ml import features, labels
    from warehouse import crm

    leads = crm.leads(reader, tenant_id)
    newest_outcome = leads.select(pl.max_horizontal("converted_at", "closed_at").max()).item()
    snapshots = labels.snapshots(
        leads.filter(pl.lit(newest_outcome is not None)),
        as_of=min(as_of, newest_outcome or as_of),
        horizon_days=horizon_days,
    ).top_k(MOST_ROWS, by="snapshot_at")
    known = crm.attributes_as_of(reader, tenant_id, snapshots).rename({"snapshot_at": "as_of"})
    interactions = crm.interactions(reader, tenant_id)
    kinds = interactions["kind"].value_counts(sort=True)["kind"].to_list()
    spec = features.infer(known.tail(_ROWS_FOR_TYPES).select("attributes"), kinds)
    blocks = [
        features.build(
            spec, block, interactions.join(block.select("lead_id"), on="lead_id", how="semi")
        )
        for block in known.iter_slices(_BLOCK)
    ]
    matrix = np.concatenate([np.empty((0, len(spec.features)), np.float32), *blocks])
    rows = known.select(
        "lead_id",
        pl.col("as_of").alias("snapshot_at"),
        "label",
        "label_known_at",
        pl.Series("features", matrix).arr.to_list(),
    )
    return spec, rows


def _column_table(spec: "FeatureSpec") -> MetadataValue:
    """What became of each attribute."""
    used = [f"| {column.name} | {column.kind} |" for column in spec.columns]
    unused = [f"| {column.name} | not used: {column.reason} |" for column in spec.dropped]
    return MetadataValue.md("\n".join(["| attribute | read as |", "|---|---|", *used, *unused]))
