"""What a code server of the tests loads: the sensors and the job of trainings as they are, and in
place of the model's asset trainings that are quick, slow, deaf to signals, or broken."""

import ctypes
import time

import dagster as dg

from assets.partitions import tenant_partitions
from assets.training import train_tenant
from resources.warehouse import Warehouse
from sensors.tenants import score_tenant, tenants
from sensors.training_requests import training_requests
from tests import counting_model
from warehouse import models
from warehouse.training_jobs import RUN_TAG
from warehouse.training_recording import Recording, recorded

SLOW_S = 120.0
QUICK, SLOW, DEAF, BROKEN = (
    "boosted_tables",
    "deep_boosting",
    "neural_network",
    "random_forest",
)


@dg.asset(partitions_def=tenant_partitions)
def lead_features() -> None:
    """Nothing: the trainings here learn nothing."""


@dg.asset(partitions_def=tenant_partitions, deps=[lead_features], pool="batch")
def lead_model(context: dg.AssetExecutionContext, warehouse: Warehouse) -> None:
    """Train in the way that the algorithm that was asked for stands for here."""
    tenant_id, run = context.partition_key, context.run
    job_id = run.tags.get(RUN_TAG)
    with recorded(warehouse.database, tenant_id, run_id=run.run_id, job_id=job_id) as job:
        kind = (*job.request.algorithms, QUICK)[0]
        job.progress(kind, 0.1, {"log_loss": 0.5})
        if kind == BROKEN:
            raise RuntimeError("the columns are gone")
        if kind == DEAF:
            # Holds the interpreter, as no library should: no signal is handled meanwhile.
            ctypes.PyDLL(None).sleep(int(SLOW_S))
        if kind == SLOW:
            _work(job)
        with warehouse.database.tenant(tenant_id) as connection:
            version = models.register(
                connection,
                tenant_id,
                counting_model.MODEL,
                feature_set=0,
                metrics={},
                run_id=run.run_id,
            )
            job.registers(
                connection,
                version,
                algorithm=QUICK,
                hyperparameters={"leaves": 8},
                metrics={"log_loss": 0.4},
            )


def _work(job: Recording) -> None:
    began = time.monotonic()
    while (spent := time.monotonic() - began) < SLOW_S:
        job.progress(SLOW, 0.1 + 0.8 * spent / SLOW_S, {"log_loss": 0.5 - spent / 1e3})
        time.sleep(0.01)


@dg.asset(partitions_def=tenant_partitions, deps=[lead_model])
def lead_scores() -> None:
    """Nothing."""


@dg.asset(partitions_def=tenant_partitions)
def crm_source() -> None:
    """Nothing."""


@dg.asset(partitions_def=tenant_partitions, group_name="customers")
def customer_churn() -> None:
    """Nothing."""


@dg.asset(partitions_def=tenant_partitions, group_name="customers")
def deal_value() -> None:
    """Nothing."""


@dg.asset(partitions_def=tenant_partitions, group_name="customers")
def customer_segments() -> None:
    """Nothing."""


@dg.asset
def pooled_lead_model() -> None:
    """Nothing."""


defs = dg.Definitions(
    assets=[
        crm_source,
        pooled_lead_model,
        lead_features,
        lead_model,
        lead_scores,
        customer_churn,
        deal_value,
        customer_segments,
    ],
    jobs=[train_tenant, score_tenant],
    sensors=[tenants, training_requests],
    resources={"warehouse": Warehouse(database_url=dg.EnvVar("GALENA_DATABASE_URL"))},
    executor=dg.in_process_executor,
)
