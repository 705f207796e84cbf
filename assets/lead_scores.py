"""The scores of a tenant's open leads, with their reasons."""

from typing import TYPE_CHECKING

from dagster import (
    AssetCheckResult,
    AssetCheckSeverity,
    AssetExecutionContext,
    MaterializeResult,
    MetadataValue,
    asset,
    asset_check,
)

from assets.lead_model import lead_model
from assets.partitions import tenant_partitions
from resources.warehouse import Warehouse

if TYPE_CHECKING:
    from warehouse.scoring import Summary


@asset(
    partitions_def=tenant_partitions,
    group_name="leads",
    deps=[lead_model],
    kinds={"postgres"},
    pool="batch",
)
def lead_scores(context: AssetExecutionContext, warehouse: Warehouse) -> MaterializeResult[None]:
    """Score 0 to 100, probability, percentile, confidence and reasons of every open lead; each
    score ever served stays in the history. Leads that change are rescored as they change, by the
    job rescore_changed_leads; all of them every night, by rescore_all_leads."""
    from warehouse import models
    from warehouse.scoring import Champions, score_open_leads

    tenant_id, database = context.partition_key, warehouse.database
    summary = score_open_leads(database, tenant_id, Champions(), context.run.run_id)
    with database.tenant(tenant_id) as connection:
        trained_by = models.trained_by(connection, tenant_id, summary.model_version)
    return MaterializeResult(
        metadata={
            **described(summary),
            "model trained by": MetadataValue.dagster_run(trained_by),
        }
    )


def described(summary: "Summary") -> dict[str, float]:
    """A scoring of all of a tenant's leads as the metadata of its materialization."""
    return {
        "dagster/row_count": summary.leads,
        "model version": summary.model_version,
        "mean probability": summary.mean_probability,
        "highest score": summary.highest_score,
        "mean confidence": summary.mean_confidence,
    }


# A change is to be visible as a new score within this time.
LIMIT_S = 30.0


@asset_check(asset=lead_scores)
def changes_are_rescored_in_time(warehouse: Warehouse) -> AssetCheckResult:
    """Whether no change waits for longer than 30 s, and 95 % of the last hour's changes were scores
    within 30 s; over all tenants, bulk loads left out."""
    return timeliness(warehouse)


def timeliness(warehouse: Warehouse) -> AssetCheckResult:
    """The check's result now."""
    from warehouse import rescorings

    health = rescorings.health(warehouse.database)
    slow = health.p95_s is not None and health.p95_s > LIMIT_S
    seconds = {"p50 of the last hour (s)": health.p50_s, "p95 of the last hour (s)": health.p95_s}
    return AssetCheckResult(
        passed=health.oldest_s <= LIMIT_S and not slow,
        severity=AssetCheckSeverity.WARN,
        metadata={
            "changes in the queue": health.queued,
            "tenants that wait": health.tenants,
            "age of the oldest change (s)": health.oldest_s,
            "leads rescored in the last hour": health.leads,
            **{name: value for name, value in seconds.items() if value is not None},
        },
    )
