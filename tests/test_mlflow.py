"""What MLflow records of a tenant's trainings, on a real PostgreSQL, and that it can forget."""

import contextlib
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import dagster as dg
import psutil
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run, ViewType
from sqlalchemy import create_engine, inspect, text

from resources.mlflow import MlflowRun, MlflowTracking, ui_command, ui_environment
from warehouse.errors import TenantNotFoundError

FILES = {"model.json": b'{"base": -1.5}', "calibration.png": b"\x89PNG\r\n\x1a\n"}


@pytest.fixture
def tracking(mlflow_url: str, tmp_path: Path) -> MlflowTracking:
    # The folder's name is one that must be quoted in a URI.
    return MlflowTracking(tracking_uri=mlflow_url, artifact_root=str(tmp_path / "files 50%20 #1"))


@pytest.fixture
def client(mlflow_url: str) -> MlflowClient:
    return MlflowClient(tracking_uri=mlflow_url, registry_uri=mlflow_url)


def train(
    tracking: MlflowTracking,
    tenant_id: str,
    *,
    dagster_run: dg.DagsterRun | None = None,
    artifacts: Mapping[str, bytes] = FILES,
) -> MlflowRun:
    return tracking.log_training(
        tenant_id,
        dagster_run=dagster_run or dg.DagsterRun(job_name="training"),
        run_name=f"lead model of {tenant_id}",
        parameters={"learning_rate": 0.05, "trees": 600, "objective": "binary"},
        metrics={"auc": 0.75, "log_loss": 0.375},
        artifacts=artifacts,
        tags={"tenant": tenant_id},
    )


def runs(client: MlflowClient, tenant_id: str) -> list[Run]:
    experiment = client.get_experiment_by_name(f"galena/{tenant_id}")
    assert experiment is not None
    return list(client.search_runs([experiment.experiment_id]))


@pytest.mark.parametrize("job", ["training", "__ASSET_JOB"])
def test_an_asset_that_trains_leaves_a_finished_run(
    job: str, tracking: MlflowTracking, client: MlflowClient
) -> None:
    """In its own job, and in the implicit one of the UI's Materialize button and of backfills."""
    tenants = dg.DynamicPartitionsDefinition(name="tenants")

    @dg.asset(partitions_def=tenants)
    def lead_model(context: dg.AssetExecutionContext, mlflow: MlflowTracking) -> None:
        train(mlflow, context.partition_key, dagster_run=context.run)

    definitions = dg.Definitions(
        assets=[lead_model],
        jobs=[dg.define_asset_job("training", [lead_model], executor_def=dg.in_process_executor)],
        resources={"mlflow": tracking},
    )
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("tenants", ["acme"])
        result = definitions.resolve_job_def(job).execute_in_process(
            partition_key="acme", instance=instance
        )

    (run,) = runs(client, "acme")
    assert run.info.status == "FINISHED"
    assert run.data.tags["dagster_run_id"] == result.run_id


def test_a_training_reads_back_as_it_was_logged(
    tracking: MlflowTracking, client: MlflowClient
) -> None:
    logged = train(tracking, "acme")

    (run,) = runs(client, "acme")
    assert (run.info.experiment_id, run.info.run_id) == (logged.experiment_id, logged.run_id)
    assert run.info.run_name == "lead model of acme"
    assert run.data.params == {"learning_rate": "0.05", "trees": "600", "objective": "binary"}
    assert run.data.metrics == {"auc": 0.75, "log_loss": 0.375}
    assert run.data.tags["tenant"] == "acme"
    downloaded = Path(client.download_artifacts(logged.run_id, ""))
    assert {path.name: path.read_bytes() for path in downloaded.iterdir()} == FILES
    assert downloaded.is_relative_to(Path(tracking.artifact_root) / "acme")


def test_each_training_registers_the_next_version_with_its_run(
    tracking: MlflowTracking, client: MlflowClient
) -> None:
    trained = [train(tracking, "acme"), train(tracking, "acme")]

    assert [run.model_version for run in trained] == [1, 2]
    second = client.get_model_version("galena.acme.lead_score", "2")
    assert second.run_id == trained[1].run_id
    assert second.source == client.get_run(trained[1].run_id).info.artifact_uri


def test_an_alias_moves_to_the_version_of_another_run(
    tracking: MlflowTracking, client: MlflowClient
) -> None:
    first, second = train(tracking, "acme"), train(tracking, "acme")
    for run in (first, second, first):
        tracking.set_aliases("acme", {"champion": run.run_id})
        version = client.get_model_version_by_alias("galena.acme.lead_score", "champion")
        assert version.run_id == run.run_id

    another = train(tracking, "bolt")
    with pytest.raises(ValueError, match=f"{another.run_id}.*galena.acme.lead_score"):
        tracking.set_aliases("acme", {"champion": another.run_id})


def test_a_training_that_cannot_be_logged_ends_failed_and_the_next_one_is_whole(
    tracking: MlflowTracking, client: MlflowClient
) -> None:
    with pytest.raises(FileNotFoundError):
        train(tracking, "acme", artifacts={"no/such/folder.json": b""})
    (failed,) = runs(client, "acme")
    assert failed.info.status == "FAILED"
    assert client.search_registered_models() == []

    logged = train(tracking, "bolt")
    (run,) = runs(client, "bolt")
    assert (run.info.run_id, run.info.status) == (logged.run_id, "FINISHED")


def test_a_run_that_fails_at_its_start_is_not_continued_by_another_tenant(
    mlflow_url: str, tracking: MlflowTracking, client: MlflowClient
) -> None:
    engine = create_engine(mlflow_url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        refuse = "ALTER TABLE tags ADD CONSTRAINT refused CHECK (key <> 'dagster_run_id')"
        connection.execute(text(refuse))
        with pytest.raises(dg.DagsterResourceFunctionError):
            train(tracking, "acme")
        connection.execute(text("ALTER TABLE tags DROP CONSTRAINT refused"))
    engine.dispose()
    train(tracking, "bolt")

    assert [run.info.status for run in runs(client, "acme")] == ["FAILED"]
    assert [run.info.status for run in runs(client, "bolt")] == ["FINISHED"]


def test_a_retry_in_the_same_dagster_run_continues_the_failed_run(
    tracking: MlflowTracking, client: MlflowClient
) -> None:
    dagster_run = dg.DagsterRun(job_name="training")
    with pytest.raises(FileNotFoundError):
        train(tracking, "acme", dagster_run=dagster_run, artifacts={"no/such.json": b""})
    train(tracking, "acme", dagster_run=dagster_run)

    (run,) = runs(client, "acme")
    assert run.info.status == "FINISHED"


def test_trainings_at_the_same_time_keep_tenants_apart_and_number_their_versions(
    tracking: MlflowTracking, client: MlflowClient
) -> None:
    tenants = ["acme", "acme", "bolt", "bolt", "coil", "coil"] * 4
    with ThreadPoolExecutor(max_workers=6) as pool:
        logged = list(pool.map(lambda tenant_id: (tenant_id, train(tracking, tenant_id)), tenants))

    for tenant in ("acme", "bolt", "coil"):
        found = [(run.info.status, run.data.tags["tenant"]) for run in runs(client, tenant)]
        assert found == [("FINISHED", tenant)] * 8
        versions = [run.model_version for tenant_id, run in logged if tenant_id == tenant]
        assert sorted(versions) == [1, 2, 3, 4, 5, 6, 7, 8]


def test_what_is_no_slug_of_a_tenant_never_becomes_a_path(tracking: MlflowTracking) -> None:
    for call in (lambda: train(tracking, "../acme"), lambda: tracking.erase("../acme")):
        with pytest.raises(TenantNotFoundError):
            call()
    assert not Path(tracking.artifact_root).exists()


def places(mlflow_url: str, folder: Path, pattern: str) -> set[str]:
    """The tables and files in which, or in whose names, the regular expression is found."""
    files = [str(path.relative_to(folder)) for path in folder.rglob("*")]
    found = {name for name in files if re.search(pattern, name)}
    engine = create_engine(mlflow_url)
    with engine.connect() as connection:
        for table in inspect(connection).get_table_names():
            rows = text(f"SELECT EXISTS (SELECT FROM {table} t WHERE to_jsonb(t)::text ~ :pattern)")
            if connection.scalar(rows, {"pattern": pattern}):
                found.add(table)
    engine.dispose()
    return found


def test_an_erased_tenant_is_nowhere_and_its_neighbour_is_whole(
    mlflow_url: str, tracking: MlflowTracking, client: MlflowClient
) -> None:
    folder = Path(tracking.artifact_root)
    trained = [train(tracking, "acme") for _ in range(3)]
    tracking.set_aliases("acme", {"champion": trained[0].run_id})
    client.set_experiment_tag(trained[0].experiment_id, "note", "acme's own")
    client.set_registered_model_tag("galena.acme.lead_score", "note", "acme's own")
    client.set_model_version_tag("galena.acme.lead_score", "2", "note", "acme's own")
    client.delete_model_version("galena.acme.lead_score", "3")
    client.delete_run(trained[1].run_id)
    neighbour = train(tracking, "acme-two")
    client.delete_run(train(tracking, "acme-two").run_id)

    # acme by its name, which is not part of acme-two's, and by the ids of its runs.
    acme = "|".join(["acme(?!-two)", *(run.run_id for run in trained)])
    before = places(mlflow_url, folder, "acme-two")
    held = places(mlflow_url, folder, acme)
    assert {"experiments", "experiment_tags", "runs", "tags", "params", "metrics"} <= held
    assert {"registered_models", "registered_model_aliases", "model_versions"} <= held
    assert "acme" in held

    tracking.erase("acme")

    assert places(mlflow_url, folder, acme) == set()
    assert places(mlflow_url, folder, "acme-two") == before
    everything = client.search_runs([neighbour.experiment_id], run_view_type=ViewType.ALL)
    assert len(everything) == 2


def test_erasing_works_on_a_trashed_experiment_and_on_nothing(
    mlflow_url: str, tracking: MlflowTracking, client: MlflowClient
) -> None:
    tracking.erase("acme")
    client.delete_experiment(train(tracking, "acme").experiment_id)
    tracking.erase("acme")
    tracking.erase("acme")
    assert places(mlflow_url, Path(tracking.artifact_root), "acme") == set()
    assert train(tracking, "acme").model_version == 1


def test_erasing_waits_for_a_training_that_is_being_logged(
    mlflow_url: str, tracking: MlflowTracking, client: MlflowClient
) -> None:
    engine = create_engine(mlflow_url)
    waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = :kind")
    with ThreadPoolExecutor(max_workers=2) as pool, engine.connect() as blocker:
        # The training halts where it registers its model, with its run and files written.
        blocker.execute(text("LOCK TABLE registered_models IN SHARE MODE"))
        training = pool.submit(train, tracking, "acme")
        while not training.done() and not blocker.scalar(waiting, {"kind": "relation"}):
            time.sleep(0.01)
        erasure = pool.submit(tracking.erase, "acme")
        while not erasure.done() and not blocker.scalar(waiting, {"kind": "advisory"}):
            time.sleep(0.01)
        blocker.rollback()
        training.result()
        erasure.result()
    engine.dispose()
    assert client.get_experiment_by_name("galena/acme") is None
    assert places(mlflow_url, Path(tracking.artifact_root), "acme") == set()


# In a process of its own: what it imports, prints and connects to is seen from the outside.
TRAIN_ALONE = """
import sys
connections = []
sys.addaudithook(lambda event, args: connections.append((event, args))
                 if event in ("socket.connect", "socket.getaddrinfo") else None)
import dagster as dg
from resources.mlflow import MlflowTracking
print("mlflow imported:", "mlflow" in sys.modules, flush=True)
if sys.argv[4] == "wait":
    import mlflow
    print("ready", flush=True)
    sys.stdin.readline()
tracking = MlflowTracking(tracking_uri=sys.argv[1], artifact_root=sys.argv[2])
for tenant in sys.argv[3].split():
    tracking.log_training(
        tenant, dagster_run=dg.DagsterRun(job_name="training"), run_name="first", parameters={},
        metrics={"auc": 0.75}, artifacts={"model.json": b"{}"}, tags={})
import mlflow.telemetry
print("connections:", connections, "telemetry:", mlflow.telemetry.get_telemetry_client())
"""


@contextlib.contextmanager
def training_alone(
    tracking: MlflowTracking, *tenants: str, mode: str = "go"
) -> Iterator["subprocess.Popen[str]"]:
    # pytest's and a CI server's own variables would switch telemetry off by themselves.
    environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    command = [sys.executable, "-c", TRAIN_ALONE]
    arguments = [tracking.tracking_uri, tracking.artifact_root, " ".join(tenants), mode]
    with subprocess.Popen(
        command + arguments,
        env=environment,
        cwd=Path(__file__).parents[1],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        yield process


def test_a_training_imports_late_prints_nothing_and_calls_nobody(
    tracking: MlflowTracking,
) -> None:
    with training_alone(tracking, "acme") as process:
        output, errors = process.communicate()
    assert output == "mlflow imported: False\nconnections: [] telemetry: None\n"
    assert errors == ""


def test_processes_that_use_an_empty_database_at_once_all_succeed(
    tracking: MlflowTracking,
) -> None:
    tenants = [f"tenant-{number}" for number in range(8)]
    with contextlib.ExitStack() as stack:
        processes = [
            stack.enter_context(training_alone(tracking, *tenants, mode="wait")) for _ in range(2)
        ]
        for process in processes:
            assert process.stdout is not None
            while process.stdout.readline() != "ready\n":
                assert process.poll() is None
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        outcomes = [(process.communicate()[1], process.returncode) for process in processes]

    assert [errors for errors, code in outcomes if code != 0] == []
    client = MlflowClient(tracking_uri=tracking.tracking_uri)
    for tenant_id in tenants:
        assert [run.info.status for run in runs(client, tenant_id)] == ["FINISHED"] * 2


def test_the_pages_show_a_run_keep_the_password_to_themselves_and_stop_whole(
    mlflow_url: str, tracking: MlflowTracking, tmp_path: Path
) -> None:
    logged = train(tracking, "acme")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with (tmp_path / "log").open("w") as log:
        server = psutil.Popen(
            ui_command(port),
            env=os.environ | ui_environment(mlflow_url),
            cwd=tmp_path,
            stdout=log,
            stderr=log,
        )
    try:
        query = f"get-artifact?path=model.json&run_uuid={logged.run_id}"
        assert _get(f"http://127.0.0.1:{port}/{query}", server) == FILES["model.json"]
        processes = [server, *server.children(recursive=True)]
        assert len(processes) == 2  # the command and its worker, no job runners
        arguments = " ".join(part for process in processes for part in process.cmdline())
        assert "127.0.0.1" in arguments
        assert "postgresql" not in arguments
    finally:
        server.terminate()
    _, alive = psutil.wait_procs(processes, timeout=30)
    assert alive == []


def _get(url: str, server: psutil.Popen) -> bytes:
    """The answer, once the server gives one."""
    while server.is_running() and server.status() != psutil.STATUS_ZOMBIE:
        with contextlib.suppress(OSError), urllib.request.urlopen(url) as response:
            return bytes(response.read())
        time.sleep(0.1)
    raise AssertionError("the server stopped before it answered")
