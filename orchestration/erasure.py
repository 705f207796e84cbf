"""A tenant's end: everything of it erased, in PostgreSQL, MLflow and Dagster's storage."""

import os
import shutil
from pathlib import Path

from dagster import DagsterInstance, RunsFilter
from sqlalchemy import Connection, create_engine, text

from orchestration import runs
from orchestration.installation import Installation
from resources.mlflow import MlflowTracking
from warehouse import tenants


def erase(found: Installation, tenant_id: str) -> dict[str, int]:
    """Erase the tenant; return what was deleted, by place. Safe to repeat after a failure.

    The tenant's row goes last, so that whoever was interrupted can name the tenant again.
    """
    tenants.set_status(found.database, tenant_id, "removing")
    os.environ.update(found.environment())
    with runs.instance() as instance:
        erased = {"Dagster runs": _erase_runs(instance, tenant_id)}
        instance.delete_dynamic_partition("tenants", tenant_id)
    erased["other rows in Dagster's storage"] = _erase_traces(found.settings.dagster_url, tenant_id)
    MlflowTracking(
        tracking_uri=found.settings.mlflow_url,
        artifact_root=found.environment()["GALENA_MLFLOW_ARTIFACTS"],
    ).erase(tenant_id)
    return erased | tenants.erase(found.database, tenant_id, found.settings.owner_url)


def _erase_runs(instance: DagsterInstance, tenant_id: str) -> int:
    """End and delete the tenant's runs with their events and logs."""
    found = instance.get_runs(RunsFilter(tags={"dagster/partition": tenant_id}))
    for run in found:
        if not run.is_finished:
            instance.run_coordinator.cancel_run(run.run_id)
        instance.delete_run(run.run_id)
        shutil.rmtree(_logs(instance, run.run_id), ignore_errors=True)
    return len(found)


def _logs(instance: DagsterInstance, run_id: str) -> Path:
    return Path(instance.storage_directory()) / run_id


# What Dagster keeps beside runs and names a partition in: summaries per asset, the ticks of
# sensors, and the sensors' own state. A name stands there in quotes, as JSON.
_TRACES = (
    "DELETE FROM event_logs WHERE partition = :name OR event LIKE :quoted",
    "DELETE FROM asset_event_tags WHERE value = :name",
    "DELETE FROM job_ticks WHERE tick_body LIKE :quoted",
    "DELETE FROM dynamic_partitions WHERE partition = :name",
    "UPDATE asset_keys SET last_materialization = NULL WHERE last_materialization LIKE :quoted",
    "UPDATE asset_keys SET cached_status_data = NULL WHERE cached_status_data LIKE :quoted",
)


def _erase_traces(dagster_url: str, tenant_id: str) -> int:
    engine = create_engine(dagster_url)
    try:
        with engine.begin() as connection:
            return sum(_run(connection, statement, tenant_id) for statement in _TRACES)
    finally:
        engine.dispose()


def _run(connection: Connection, statement: str, tenant_id: str) -> int:
    parameters = {"name": tenant_id, "quoted": f'%"{tenant_id}"%'}
    used = {name: value for name, value in parameters.items() if f":{name}" in statement}
    return connection.execute(text(statement), used).rowcount
