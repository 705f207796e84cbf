"""A tenant's end: everything of it erased, in PostgreSQL, MLflow and Dagster's storage."""

import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dagster import DagsterInstance, RunsFilter
from sqlalchemy import Connection, create_engine, text

from orchestration import runs, streams
from orchestration.installation import Installation
from resources.mlflow import MlflowTracking
from warehouse import tenant_keys, tenants
from warehouse.sources import removal

# How long to wait for a process that is being ended, or for one that is about to end.
_PATIENCE_SECONDS = 60


@dataclass(frozen=True)
class Erased:
    """What a removal did. deleted: how much, by place. to_do: what is left to the owners of the
    tenant's CRM databases, which could not be reached, in words and SQL."""

    deleted: dict[str, int]
    to_do: list[str]


def erase(found: Installation, tenant_id: str) -> Erased:
    """Erase the tenant. Safe to repeat after a failure, and beside a running `galena up`.

    The tenant's row goes last, so that whoever was interrupted can name the tenant again.
    """
    tenants.set_status(found.database, tenant_id, "removing")
    # From here on no transaction binds to the tenant, and the last that did has ended: a rescoring
    # names it to Dagster in one. Its keys go first: no copy of what they sealed opens any more,
    # even if what follows fails.
    with found.database.erasing(tenant_id) as connection:
        destroyed = tenant_keys.destroy(connection, tenant_id)
    os.environ.update(found.environment())
    with runs.instance() as instance:
        instance.delete_dynamic_partition("tenants", tenant_id)
        # A tick that began before may still ask for a run, or write the tenant's name down.
        before = _ticks_under_way(found.settings.dagster_url)
        _await(lambda: not before & _ticks_under_way(found.settings.dagster_url))
        run_ids = _erase_runs(instance, tenant_id)
    logs = Path(found.environment()["GALENA_DAGSTER_FILES"])
    _erase_folders(logs, run_ids)
    erased = {"keys": destroyed, "Dagster runs": len(run_ids)}
    erased["other rows in Dagster's storage"] = _erase_traces(found.settings.dagster_url, tenant_id)
    erased["lines of logs"] = _erase_lines(found.settings.home / "logs", tenant_id)
    MlflowTracking(
        tracking_uri=found.settings.mlflow_url,
        artifact_root=found.environment()["GALENA_MLFLOW_ARTIFACTS"],
    ).erase(tenant_id)
    streams.Notes(found.settings.home).forget(tenant_id)
    to_do = removal.release_tenant(found.database, tenant_id)
    rows = tenants.erase(found.database, tenant_id, found.settings.owner_url)
    # Again, for a run's process writes its last words after Dagster has noted its end.
    _erase_folders(logs, run_ids)
    _erase_traces(found.settings.dagster_url, tenant_id)
    return Erased(erased | rows, to_do)


def _erase_runs(instance: DagsterInstance, tenant_id: str) -> list[str]:
    """End and delete the tenant's runs with their events; return their ids."""
    found = instance.get_runs(RunsFilter(tags={"dagster/partition": tenant_id}))
    for run in found:
        if not run.is_finished:
            _end(instance, run.run_id)
        instance.delete_run(run.run_id)
    return [run.run_id for run in found]


def _erase_folders(logs: Path, run_ids: Sequence[str]) -> None:
    """Delete what the runs' processes wrote, which stands there by run (dagster.yaml)."""
    for run_id in run_ids:
        shutil.rmtree(logs / run_id, ignore_errors=True)


def _end(instance: DagsterInstance, run_id: str) -> None:
    """Return when the run has ended: a process that lives on would write its events anew."""
    instance.run_coordinator.cancel_run(run_id)

    def ended() -> bool:
        run = instance.get_run_by_id(run_id)
        return run is None or run.is_finished

    _await(ended)


def _await(condition: Callable[[], bool]) -> None:
    """Return when it holds, or when nobody is left to make it so."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.2)


# What Dagster keeps beside runs and names a partition in: events without a run, summaries per
# asset, which it makes anew, ticks of sensors with their errors, backfills.
_TRACES = (
    "DELETE FROM event_logs WHERE partition = :name",
    "DELETE FROM asset_event_tags WHERE value = :name",
    "DELETE FROM asset_check_executions WHERE partition = :name OR evaluation_event ~ :named",
    "DELETE FROM job_ticks WHERE tick_body ~ :named",
    "DELETE FROM dynamic_partitions WHERE partition = :name",
    "DELETE FROM bulk_actions WHERE body ~ :named",
    "UPDATE asset_keys SET last_materialization = NULL WHERE last_materialization ~ :named",
    "UPDATE asset_keys SET cached_status_data = NULL WHERE cached_status_data ~ :named",
)


def _erase_traces(dagster_url: str, tenant_id: str) -> int:
    with _dagster_storage(dagster_url) as connection:
        return sum(_run(connection, statement, tenant_id) for statement in _TRACES)


def _ticks_under_way(dagster_url: str) -> set[int]:
    # One that is older was left by a daemon that was killed.
    with _dagster_storage(dagster_url) as connection:
        ticks = connection.scalars(
            text(
                "SELECT id FROM job_ticks WHERE status = 'STARTED'"
                " AND timestamp > (now() AT TIME ZONE 'UTC') - interval '5 minutes'"
            )
        )
        return set(ticks)


@contextmanager
def _dagster_storage(dagster_url: str) -> Iterator[Connection]:
    engine = create_engine(dagster_url)
    try:
        with engine.begin() as connection:
            yield connection
    finally:
        engine.dispose()


def _run(connection: Connection, statement: str, tenant_id: str) -> int:
    # Whole words: JSON within JSON puts \\" around a name, an error '.
    named = f"(^|[^a-z0-9-]){tenant_id}($|[^a-z0-9-])"
    parameters = {"name": tenant_id, "named": named}
    used = {name: value for name, value in parameters.items() if f":{name}" in statement}
    return connection.execute(text(statement), used).rowcount


def _erase_lines(logs: Path, tenant_id: str) -> int:
    """Take the lines that name the tenant out of the services' logs, in place: the services have
    them open."""
    name = re.compile(rf"(?<![a-z0-9-]){re.escape(tenant_id)}(?![a-z0-9-])".encode())
    erased = 0
    for log in logs.glob("*.log"):
        with log.open("r+b") as file:
            lines = file.readlines()
            kept = [line for line in lines if not name.search(line)]
            if len(kept) < len(lines):
                file.seek(0)
                file.writelines(kept)
                file.truncate()
                erased += len(lines) - len(kept)
    return erased
