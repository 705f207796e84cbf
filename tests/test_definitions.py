"""What Dagster loads: valid, light, and free of work at import."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import yaml

from orchestration.definitions import build_defs

HEAVY = (
    "anthropic chromadb dagster_mlflow fairlearn google.genai great_expectations langchain"
    " langchain_core lightgbm matplotlib mlflow numpy openai optuna pandas polars sklearn wordllama"
)


def test_loading_the_definitions_imports_nothing_heavy() -> None:
    code = (
        "import sys; from orchestration.definitions import defs; defs.get_repository_def();"
        f" print(sorted(set('{HEAVY}'.split()) & set(sys.modules)))"
    )
    variables = ("GALENA_DATABASE_URL", "GALENA_MLFLOW_DATABASE_URL", "GALENA_MLFLOW_ARTIFACTS")
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **dict.fromkeys(variables, "unused")},
    )
    assert done.stdout.strip() == "[]"


def test_one_partition_per_tenant_for_every_asset_of_tenants() -> None:
    defs = build_defs(resources={"warehouse": object(), "mlflow": object()})
    assets = defs.resolve_asset_graph()
    names = {key.to_user_string() for key in assets.get_all_asset_keys()}
    assert names == {
        "batch_predictions",
        "crm_source",
        "crm_records",
        "customer_churn",
        "customer_segments",
        "deal_value",
        "lead_features",
        "lead_model",
        "lead_scores",
        "pooled_lead_model",
        "serving",
    }
    for key in assets.get_all_asset_keys():
        partitions = assets.get(key).partitions_def
        shared = key.to_user_string() == "pooled_lead_model"
        assert getattr(partitions, "name", None) == (None if shared else "tenants")


def test_rescoring_is_in_no_pool_and_what_trains_is() -> None:
    """A pool lets two runs work at a time: a rescoring would wait for trainings."""
    defs = build_defs(resources={"warehouse": object(), "mlflow": object()})
    graph = defs.resolve_asset_graph()
    pooled = {key.to_user_string() for key in graph.get_all_asset_keys() if graph.get(key).pools}
    trained = {"lead_features", "lead_model", "lead_scores", "pooled_lead_model"}
    trained |= {"customer_churn", "customer_segments", "deal_value"}
    assert pooled == trained | {"batch_predictions", "crm_source"}
    assert {node.definition.pool for node in _nodes(defs, "rescore_changed_leads")} == {None}
    assert {node.definition.pool for node in _nodes(defs, "rescore_all_leads")} == {"batch"}
    project = Path(__file__).resolve().parent.parent
    limits = yaml.safe_load((project / "dagster.yaml").read_text())["concurrency"]
    assert limits["runs"]["max_concurrent_runs"] > 2 * limits["pools"]["default_limit"]


def test_a_tenants_first_run_reads_no_other_tenant() -> None:
    """The pooled model is made of all who agreed, once a night."""
    defs = build_defs(resources={"warehouse": object(), "mlflow": object()})
    made = {node.name for node in _nodes(defs, "score_tenant")}
    assert "lead_model" in made
    assert "pooled_lead_model" not in made
    assert not made & {"customer_churn", "customer_segments", "deal_value"}


def test_every_sensor_has_a_thread_of_its_own() -> None:
    """A slow one must not hold up the one that starts rescorings."""
    defs = build_defs(resources={"warehouse": object(), "mlflow": object()})
    project = Path(__file__).resolve().parent.parent
    threads = yaml.safe_load((project / "dagster.yaml").read_text())["sensors"]["num_workers"]
    sensors = list(defs.sensors or ())
    assert 0 < len(sensors) <= threads


def _nodes(defs: dg.Definitions, job: str) -> list[Any]:
    return list(defs.resolve_job_def(job).nodes)


def test_dagster_finds_its_files_and_sends_nothing_home() -> None:
    project = Path(__file__).resolve().parent.parent
    instance = yaml.safe_load((project / "dagster.yaml").read_text())
    workspace = yaml.safe_load((project / "workspace.yaml").read_text())
    assert instance["telemetry"] == {"enabled": False}
    assert workspace["load_from"][0]["grpc_server"]["socket"] == {"env": "GALENA_CODE_SERVER"}
