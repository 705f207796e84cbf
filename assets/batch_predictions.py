"""What a tenant's models say of batches of records, as they were asked for."""

from typing import TYPE_CHECKING

from dagster import (
    AssetExecutionContext,
    AssetSelection,
    MaterializeResult,
    MetadataValue,
    asset,
    define_asset_job,
)

from assets.lead_model import lead_model
from assets.partitions import tenant_partitions
from resources.warehouse import Warehouse

if TYPE_CHECKING:
    from warehouse.prediction_jobs import PredictionJob


@asset(
    partitions_def=tenant_partitions,
    group_name="predictions",
    deps=[lead_model],
    kinds={"postgres"},
    pool="batch",
)
def batch_predictions(
    context: AssetExecutionContext, warehouse: Warehouse
) -> MaterializeResult[None]:
    """The predictions of the job that the run was started for, or else of all the tenant's open
    jobs, item by item, with the reason where there is none. A run that follows one that was killed
    goes on where that was."""
    from warehouse import predicting, prediction_jobs

    tenant_id, database, run = context.partition_key, warehouse.database, context.run
    asked = run.tags.get(prediction_jobs.RUN_TAG)
    mine = [job.job_id for job in prediction_jobs.open_jobs(database) if job.tenant_id == tenant_id]
    ended: list[PredictionJob] = []
    for job_id in [asked] if asked else mine:
        try:
            ended.append(predicting.run(database, tenant_id, job_id, run_id=run.run_id))
        except prediction_jobs.TakenOverError as error:
            context.log.info(str(error))
    return MaterializeResult(
        metadata={
            "dagster/row_count": sum(job.completed_items for job in ended),
            "items that failed": sum(job.failed_items for job in ended),
            "jobs": MetadataValue.json([_described(job) for job in ended]),
        }
    )


def _described(job: "PredictionJob") -> dict[str, str | int]:
    return {
        "job": job.job_id,
        "status": job.status,
        "model version": job.model_id,
        "predicted": job.completed_items,
        "failed": job.failed_items,
        "items": job.total_items,
        **({"error": job.error} if job.error else {}),
    }


predict_batch = define_asset_job(
    "predict_batch",
    selection=AssetSelection.assets(batch_predictions),
    description="A batch of predictions that was asked for, or what is left of one.",
)
