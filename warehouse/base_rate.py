"""What serves a tenant that waits for its first training: the rate at which its leads convert."""

from datetime import datetime

import polars as pl
from sqlalchemy import Connection

from ml import training
from ml.labels import snapshots
from warehouse import crm, models, tenants


def promote_base_rate(
    connection: Connection, tenant_id: str, now: datetime, run_id: str
) -> tuple[int, str]:
    """Make it the first version, and let it serve unless another does by then; the version and
    digest of what serves."""
    horizon_days = tenants.find(connection).horizon_days
    leads = crm.newest_leads(connection, tenant_id, 20_000)
    newest = leads.select(pl.max_horizontal("converted_at", "closed_at").max()).item()
    labelled = snapshots(leads, as_of=min(newest or now, now), horizon_days=horizon_days)
    trained = training.base_rate(
        labelled["label"].to_numpy(),
        labelled["snapshot_at"].dt.replace_time_zone(None).to_numpy(),
        trained_at=now,
        horizon_days=horizon_days,
    )
    version = models.register(
        connection,
        tenant_id,
        trained.model,
        feature_set=0,
        metrics=trained.report.to_json(),
        run_id=run_id,
    )
    # A training may have registered and promoted its version while this waited for its turn.
    serving = models.champion_version(connection, tenant_id)
    if serving is None:
        models.promote(
            connection, tenant_id, version, "champion", actor=f"run {run_id}", why="no model yet"
        )
        serving = models.champion_version(connection, tenant_id)
        assert serving is not None
    return serving
