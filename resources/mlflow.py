"""MLflow: the record of trainings that people compare, one experiment and model per tenant.

What serves is decided in the warehouse; nothing that scores reads from here. mlflow and
dagster_mlflow are imported inside functions, for loading the definitions must not pay for them.
"""

import functools
import os
import shutil
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import dagster as dg

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment

# Not DO_NOT_TRACK: mlflow obeys that one only as the word "true", and its convention is 1.
_ENVIRONMENT = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_LOGGING_LEVEL": "WARNING"}

# dagster-mlflow drives mlflow's fluent API, whose tracking URI and experiment belong to the
# process: of 60 runs started in three threads, 5 to 23 went to another tenant's experiment.
_FLUENT_API = threading.Lock()


UI_PORT = 5000


@dataclass(frozen=True)
class MlflowRun:
    """Where one training stands in MLflow. model_version counts from 1 per registered model."""

    experiment_id: str
    run_id: str
    model_version: int


class MlflowTracking(dg.ConfigurableResource[None]):
    """Writes and erases what MLflow knows of a tenant.

    tracking_uri: SQLAlchemy URL of a PostgreSQL database that MLflow has to itself; its tables
        are made at the first use, by one process while others wait.
    artifact_root: folder of the files; each tenant has a folder of its name there.
    """

    tracking_uri: str
    artifact_root: str

    def log_training(
        self,
        tenant_id: str,
        *,
        dagster_run: dg.DagsterRun,
        run_name: str,
        parameters: Mapping[str, str | float],
        metrics: Mapping[str, float],
        artifacts: Mapping[str, bytes],
        tags: Mapping[str, str],
    ) -> MlflowRun:
        """Record one training as an MLflow run and register its files as the next model version.

        dagster_run: the run that trains; its id becomes the tag dagster_run_id. One Dagster run
            has one MLflow run per tenant: a step's retry continues the run of the first attempt,
            and may then change metrics and tags, but no parameter.
        artifacts: file name -> content.

        The MLflow run ends FINISHED, or FAILED when anything in here raises.
        """
        with (
            self._alone(tenant_id) as client,
            tempfile.TemporaryDirectory() as folder,
            _dagster_mlflow(
                self.tracking_uri, self._experiment(client, tenant_id), dagster_run
            ) as tracking,
        ):
            tracking.set_tags({**tags, "mlflow.runName": run_name})
            tracking.log_params(dict(parameters))
            tracking.log_metrics(dict(metrics))
            for name, content in artifacts.items():
                (Path(folder) / name).write_bytes(content)
            tracking.log_artifacts(folder)
            run = tracking.active_run().info
            version = _register(client, _model_name(tenant_id), run.artifact_uri, run.run_id)
            return MlflowRun(run.experiment_id, run.run_id, version)

    def set_aliases(self, tenant_id: str, runs: Mapping[str, str | None]) -> None:
        """Let each alias name the model version that this run registered, and no other version;
        none where the run is None.

        Raises ValueError when a run registered none.
        """
        with self._alone(tenant_id) as client:
            name = _model_name(tenant_id)
            for alias, run_id in runs.items():
                if run_id is None:
                    if client.search_registered_models(f"name = '{name}'"):
                        client.delete_registered_model_alias(name, alias)
                    continue
                versions = client.search_model_versions(f"name = '{name}' and run_id = '{run_id}'")
                if not versions:
                    raise ValueError(
                        f"MLflow run {run_id!r} registered no version of {name!r}:"
                        " pass the run_id that log_training returned for this tenant."
                    )
                newest = max(versions, key=lambda version: int(version.version))
                client.set_registered_model_alias(name, alias, newest.version)

    def erase(self, tenant_id: str) -> None:
        """Delete every run, model version and file of the tenant, beyond MLflow's own undelete.

        Does nothing for a tenant that MLflow does not know; may be repeated after a failure.
        """
        with self._alone(tenant_id) as client:
            experiment = client.get_experiment_by_name(_experiment_name(tenant_id))
            # Files first, for the experiment knows where they were written; and where they are
            # now, in case the whole folder has been moved since.
            _delete_files(self._folder(tenant_id))
            if experiment is not None:
                _delete_files(_path(experiment.artifact_location))
            name = _model_name(tenant_id)
            if client.search_registered_models(f"name = '{name}'"):
                client.delete_registered_model(name)
            if experiment is not None:
                _delete_experiment(client, experiment)

    @contextmanager
    def _alone(self, tenant_id: str) -> Iterator["MlflowClient"]:
        """MLflow's client while no other process or thread works on this tenant's records."""
        from warehouse.database import SLUG
        from warehouse.errors import TenantNotFoundError

        if not SLUG.fullmatch(tenant_id):
            raise TenantNotFoundError(tenant_id)
        _create_tables(self.tracking_uri)
        with _database_lock(self.tracking_uri, f"galena mlflow tenant {tenant_id}"):
            yield _client(self.tracking_uri)

    def _experiment(self, client: "MlflowClient", tenant_id: str) -> str:
        """The name of the tenant's experiment, which exists from then on."""
        name = _experiment_name(tenant_id)
        if client.get_experiment_by_name(name) is None:
            # A URI, since mlflow would unquote a % in a path and write elsewhere.
            client.create_experiment(name, self._folder(tenant_id).as_uri())
        return name

    def _folder(self, tenant_id: str) -> Path:
        return Path(self.artifact_root).resolve() / tenant_id


def ui_command(port: int) -> list[str]:
    """The command that shows MLflow's pages on 127.0.0.1:port until SIGINT or SIGTERM.

    It finds the database by ui_environment: arguments can be read by every user of the machine.
    """
    address = ["--host", "127.0.0.1", "--port", str(port)]
    return [sys.executable, "-m", "mlflow", "server", *address, "--workers", "1"]


def ui_environment(tracking_uri: str) -> dict[str, str]:
    """The variables that ui_command needs beside the caller's own."""
    return {
        **_ENVIRONMENT,
        "MLFLOW_BACKEND_STORE_URI": tracking_uri,
        # Its job runners are eight more processes and 600 MB, for jobs that nobody submits.
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }


def _experiment_name(tenant_id: str) -> str:
    return f"galena/{tenant_id}"


def _model_name(tenant_id: str) -> str:
    return f"galena.{tenant_id}.lead_score"


def _client(tracking_uri: str) -> "MlflowClient":
    os.environ.update(_ENVIRONMENT)
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=tracking_uri, registry_uri=tracking_uri)


@functools.cache
def _create_tables(tracking_uri: str) -> None:
    """MLflow migrates an empty database at its first call, and fails when two do so at once."""
    with _database_lock(tracking_uri, "galena mlflow tables"):
        _client(tracking_uri).search_experiments(max_results=1)


@contextmanager
def _database_lock(url: str, name: str) -> Iterator[None]:
    """Hold a lock of this name in the database; it goes with the connection, also at a crash."""
    from sqlalchemy import NullPool, create_engine, text

    engine = create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        take = text("SELECT pg_advisory_lock(hashtextextended(:name, 0))")
        connection.execute(take, {"name": name})
        yield


@contextmanager
def _dagster_mlflow(
    tracking_uri: str, experiment: str, dagster_run: dg.DagsterRun
) -> Iterator[Any]:
    """dagster-mlflow's resource with its MLflow run active, which ends FINISHED or FAILED here.

    Not by its end_mlflow_on_run_finished hook: a hook must be imported to define the job, and
    an asset materialized outside that job has none, so that its run would stay RUNNING.
    """
    with _FLUENT_API, warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)
        import mlflow
        from dagster_mlflow import mlflow_tracking

        config = {"mlflow_tracking_uri": tracking_uri, "experiment_name": experiment}
        try:
            with dg.build_resources(
                {"mlflow": mlflow_tracking},
                resource_config={"mlflow": {"config": config}},
                dagster_run=dagster_run,
                log_manager=dg.DagsterLogManager.create(loggers=[]),
            ) as resources:
                yield resources.mlflow
        except BaseException:
            mlflow.end_run("FAILED")
            raise
        mlflow.end_run("FINISHED")


def _register(client: "MlflowClient", name: str, source: str, run_id: str) -> int:
    if not client.search_registered_models(f"name = '{name}'"):
        client.create_registered_model(name)
    return int(client.create_model_version(name, source, run_id).version)


def _path(file_uri: str) -> Path:
    return Path(unquote(urlsplit(file_uri).path))


def _delete_files(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)


def _delete_experiment(client: "MlflowClient", experiment: "Experiment") -> None:
    """Delete its rows by the store's own methods, as `mlflow gc` does: the client only hides them.

    The command itself would also delete what other tenants have in MLflow's trash.
    """
    from mlflow.entities import LifecycleStage, ViewType

    store: Any = client._tracking_client.store
    experiment_id = experiment.experiment_id
    while runs := client.search_runs([experiment_id], run_view_type=ViewType.ALL):
        for run in runs:
            store._hard_delete_run(run.info.run_id)
    if experiment.lifecycle_stage == LifecycleStage.ACTIVE:
        client.delete_experiment(experiment_id)
    store._hard_delete_experiment(experiment_id)
