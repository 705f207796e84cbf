"""What Dagster loads: `defs` in production; `build_defs` with other resources in tests."""

from collections.abc import Mapping

from dagster import Definitions, EnvVar, in_process_executor

from assets.batch_predictions import batch_predictions, predict_batch
from assets.crm_checks import loads_are_sound, records_are_sound
from assets.crm_records import crm_records
from assets.crm_source import crm_source
from assets.customer_models import customer_churn, customer_segments, deal_value
from assets.customer_refresh import refresh_customer_models
from assets.lead_features import lead_features
from assets.lead_model import lead_model
from assets.lead_scores import changes_are_rescored_in_time, lead_scores
from assets.model_watch import watch_models
from assets.nightly import rescore_all_leads, retention
from assets.pooled_lead_model import pooled_lead_model, refresh_pooled_model
from assets.rescoring import rescore_changed_leads
from assets.serving import serving
from assets.training import retrain_due_tenants, train_tenant
from orchestration.schedules import SCHEDULES
from resources.mlflow import MlflowTracking
from resources.warehouse import Warehouse
from sensors.crm_changes import crm_changes
from sensors.crm_sources import crm_sources, load_crm_source
from sensors.model_watch import model_watch
from sensors.prediction_requests import prediction_requests
from sensors.tenants import score_tenant, tenants
from sensors.training_requests import training_requests
from sensors.webhook_deliveries import webhook_deliveries


def build_defs(*, resources: Mapping[str, object]) -> Definitions:
    """All assets, jobs and sensors on the given resources: `warehouse` and `mlflow`.

    Everything of a run happens in its one process: a process per step would pay the imports
    again for each.
    """
    return Definitions(
        assets=[
            crm_source,
            crm_records,
            lead_features,
            lead_model,
            pooled_lead_model,
            lead_scores,
            serving,
            customer_churn,
            deal_value,
            customer_segments,
            batch_predictions,
        ],
        asset_checks=[changes_are_rescored_in_time, loads_are_sound, records_are_sound],
        jobs=[
            score_tenant,
            train_tenant,
            predict_batch,
            retrain_due_tenants,
            refresh_pooled_model,
            refresh_customer_models,
            load_crm_source,
            rescore_changed_leads,
            rescore_all_leads,
            retention,
            watch_models,
        ],
        sensors=[
            tenants,
            training_requests,
            crm_sources,
            crm_changes,
            model_watch,
            prediction_requests,
            webhook_deliveries,
        ],
        schedules=SCHEDULES,
        resources=resources,
        executor=in_process_executor,
    )


defs = build_defs(
    resources={
        "warehouse": Warehouse(database_url=EnvVar("GALENA_DATABASE_URL")),
        "mlflow": MlflowTracking(
            tracking_uri=EnvVar("GALENA_MLFLOW_DATABASE_URL"),
            artifact_root=EnvVar("GALENA_MLFLOW_ARTIFACTS"),
        ),
    }
)
