"""What Dagster loads: valid, light, and free of work at import."""

import os
import subprocess
import sys
from pathlib import Path

import yaml

from orchestration.definitions import build_defs

HEAVY = (
    "chromadb dagster_mlflow great_expectations langchain lightgbm matplotlib mlflow pandas sklearn"
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


def test_one_partition_per_tenant_for_every_asset() -> None:
    defs = build_defs(resources={"warehouse": object(), "mlflow": object()})
    assets = defs.resolve_asset_graph()
    names = {key.to_user_string() for key in assets.get_all_asset_keys()}
    assert names == {"crm_records", "lead_features", "lead_model", "lead_scores", "serving"}
    for key in assets.get_all_asset_keys():
        partitions = assets.get(key).partitions_def
        assert getattr(partitions, "name", None) == "tenants"


def test_dagster_finds_its_files_and_sends_nothing_home() -> None:
    project = Path(__file__).resolve().parent.parent
    instance = yaml.safe_load((project / "dagster.yaml").read_text())
    workspace = yaml.safe_load((project / "workspace.yaml").read_text())
    assert instance["telemetry"] == {"enabled": False}
    module = workspace["load_from"][0]["python_module"]["module_name"]
    assert module == build_defs.__module__
