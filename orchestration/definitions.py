"""What Dagster loads: `defs` in production; `build_defs` with other resources in tests."""

from collections.abc import Mapping

from dagster import Definitions, EnvVar, in_process_executor

from assets.crm_checks import loads_are_sound, records_are_sound
from assets.crm_records import crm_records
from assets.crm_source import crm_source
from assets.lead_features import lead_features
from assets.lead_model import lead_model
from assets.lead_scores import changes_are_rescored_in_time, lead_scores
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
from sensors.tenants import score_tenant, tenants
from sensors.training_requests import training_requests


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
        ],
        asset_checks=[changes_are_rescored_in_time, loads_are_sound, records_are_sound],
        jobs=[
            score_tenant,
            train_tenant,
            retrain_due_tenants,
            refresh_pooled_model,
            load_crm_source,
            rescore_changed_leads,
            rescore_all_leads,
            retention,
        ],
        sensors=[tenants, training_requests, crm_sources, crm_changes],
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
