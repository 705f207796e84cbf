"""What a code server of the tests loads: batches of predictions and webhooks as they are, and a
model's asset that does nothing."""

import dagster as dg

from assets.batch_predictions import batch_predictions, predict_batch
from assets.partitions import tenant_partitions
from resources.warehouse import Warehouse
from sensors.prediction_requests import prediction_requests
from sensors.webhook_deliveries import webhook_deliveries


@dg.asset(partitions_def=tenant_partitions)
def lead_model() -> None:
    """Nothing."""


defs = dg.Definitions(
    assets=[batch_predictions, lead_model],
    jobs=[predict_batch],
    sensors=[prediction_requests, webhook_deliveries],
    resources={"warehouse": Warehouse(database_url=dg.EnvVar("GALENA_DATABASE_URL"))},
    executor=dg.in_process_executor,
)
