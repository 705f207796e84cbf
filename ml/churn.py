"""What the churn of customers is learnt from: customers at past moments, and whether they left.

A customer stands where a lead does in ml.labels and ml.history, and leaving where converting does,
so that what trains, judges, calibrates and explains leads' models does the same for churn.
"""

from dataclasses import replace
from datetime import datetime, timedelta

import polars as pl

from ml import features, labels
from ml.history import History
from ml.spec import FeatureSpec

# Of one customer at most, over all its time, which may be years. On a simulated tenant 12 ranked
# as 4 did (AUC 0.723 and 0.724), at twice the time.
PER_CUSTOMER = 8
# The newest rows teach most.
MOST_ROWS = 100_000
_ROWS_FOR_TYPES = 50_000
# The first of a lead's moments (ml.labels).
_FIRST = timedelta(minutes=1)


def history(
    customers: pl.DataFrame,
    versions: pl.DataFrame,
    interactions: pl.DataFrame,
    *,
    as_of: datetime,
    horizon_days: int,
) -> History:
    """Labelled snapshots of customers, whose label is that the customer left within the horizon.

    customers: customer_id, created_at, churned_at. versions: customer_id, known_at, attributes
        (JSON text), what was known of them from known_at on. interactions: customer_id, kind,
        occurred_at, known_at.

    What the CRM says of churn begins with the first customer that it saw leave and ends with the
    last: there are no snapshots before the one, for customers who left then are not in it, and no
    horizon ends after the other. Nobody who left: no snapshots.
    """
    left = customers.filter(pl.col("churned_at") <= as_of)["churned_at"]
    begin, end = left.min(), left.max()
    times = customers.select(
        pl.col("customer_id").alias("lead_id"),
        pl.max_horizontal("created_at", pl.lit(begin)).alias("created_at"),
        pl.col("churned_at").alias("converted_at"),
        pl.lit(None, pl.Datetime("us", "UTC")).alias("closed_at"),
        pl.col("created_at").alias("won_at"),
    ).filter(pl.lit(len(left) > 0))
    snapshots = labels.snapshots(
        times,
        as_of=end if isinstance(end, datetime) else as_of,
        horizon_days=horizon_days,
        per_lead=PER_CUSTOMER,
    )
    if isinstance(begin, datetime):
        # Else all customers of that time would have a snapshot at the same moment.
        snapshots = snapshots.filter(pl.col("snapshot_at") != begin + _FIRST)
    newest = snapshots.top_k(MOST_ROWS, by="snapshot_at")
    known = (
        newest.join(times.select("lead_id", "won_at"), on="lead_id")
        .select(
            "lead_id",
            pl.col("won_at").alias("created_at"),
            pl.col("snapshot_at").alias("as_of"),
            "label",
            "label_known_at",
        )
        .pipe(labels.known_before, versions.rename({"customer_id": "lead_id"}))
    )
    acts = interactions.rename({"customer_id": "lead_id"})
    spec = spec_of(known.tail(_ROWS_FOR_TYPES), acts)
    rows = known.select(
        "lead_id",
        pl.col("as_of").alias("snapshot_at"),
        "label",
        "label_known_at",
        pl.Series("features", features.build(spec, known, acts)).arr.to_list(),
    )
    return History.of(spec, rows)


def spec_of(rows: pl.DataFrame, interactions: pl.DataFrame) -> FeatureSpec:
    """The features of customers. rows: with attributes (JSON text). interactions: with kind."""
    kinds = interactions["kind"].value_counts(sort=True)["kind"].to_list()
    return replace(features.infer(rows.select("attributes"), kinds), subject="customer")
