"""The way most people build it: a sensor that asks for a run for each tenant that changed.

Its job materializes the product's own lead_scores, so that what differs is how runs are started.
The sensor looks every second, as the product's does; two runs work at a time, for the asset is in
the pool `batch` (dagster.yaml); each is one process, which is the cheapest executor.
"""

from dagster import (
    AssetSelection,
    DefaultSensorStatus,
    Definitions,
    EnvVar,
    RunRequest,
    SensorEvaluationContext,
    SensorResult,
    define_asset_job,
    in_process_executor,
    sensor,
)

from assets.lead_scores import lead_scores
from resources.warehouse import Warehouse

score_changed_tenant = define_asset_job("score_changed_tenant", AssetSelection.assets(lead_scores))


@sensor(
    job=score_changed_tenant,
    minimum_interval_seconds=1,
    default_status=DefaultSensorStatus.RUNNING,
)
def changed_tenants(context: SensorEvaluationContext, warehouse: Warehouse) -> SensorResult:  # noqa: ARG001
    """A run for each tenant with changes; once for the same ones, which its key sees to."""
    from warehouse import queue

    return SensorResult(
        run_requests=[
            RunRequest(
                run_key=f"{waiting.tenant_id} {waiting.oldest_at.isoformat()}",
                partition_key=waiting.tenant_id,
            )
            for waiting in queue.waiting(warehouse.database)
        ]
    )


defs = Definitions(
    assets=[lead_scores],
    jobs=[score_changed_tenant],
    sensors=[changed_tenants],
    resources={"warehouse": Warehouse(database_url=EnvVar("GALENA_DATABASE_URL"))},
    executor=in_process_executor,
)
