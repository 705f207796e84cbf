"""After `tenant remove` nothing of the tenant is left: PostgreSQL, MLflow, Dagster, files."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from dagster._core.storage.partition_status_cache import get_and_update_asset_status_cache_value
from sqlalchemy import Connection, create_engine, text

from assets.partitions import tenant_partitions
from examples.simulator.crm import simulate
from examples.simulator.profiles import FJORD
from orchestration import erasure, runs
from orchestration.definitions import build_defs
from orchestration.installation import Installation
from resources.mlflow import MlflowTracking
from resources.warehouse import Warehouse
from warehouse import crm, tenants
from warehouse.database import Database
from warehouse.embedded import Urls
from warehouse.errors import TenantNotFoundError
from warehouse.settings import Settings

# Names that no library's own rows contain; the second begins with the first.
GONE, STAYS = "quokka-marker", "quokka-marker-two"


@pytest.fixture
def found(
    urls: Urls,
    dagster_url: str,
    mlflow_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Installation]:
    """An installation whose Dagster instance is the project's own, on PostgreSQL."""
    settings = Settings.from_environment(
        {
            "GALENA_HOME": str(tmp_path),
            "GALENA_DATABASE_URL": urls.app,
            "GALENA_OWNER_DATABASE_URL": urls.owner,
            "GALENA_DAGSTER_DATABASE_URL": dagster_url,
            "GALENA_MLFLOW_DATABASE_URL": mlflow_url,
        }
    )
    database = Database(urls.app)
    installation = Installation(settings, database)
    for name, value in installation.environment().items():
        monkeypatch.setenv(name, value)
    yield installation
    database.close()


def test_a_removed_tenant_leaves_no_trace(found: Installation, urls: Urls) -> None:
    for tenant_id in (GONE, STAYS):
        _score(found, tenant_id)
    places = (urls.superuser, found.settings.dagster_url, found.settings.mlflow_url)
    files = found.settings.home
    for place in places:
        assert rows_with(place, GONE), "there is something to erase"
        assert rows_with(place, STAYS)
    assert files_with(files, GONE)
    stays = [rows_with(place, STAYS) for place in places]
    assert len(list(files.glob("dagster/*/compute_logs"))) == 2

    erased = erasure.erase(found, GONE)

    assert erased.deleted["Dagster runs"] == 1
    assert len(list(files.glob("dagster/*/compute_logs"))) == 1
    assert erased.deleted["crm.leads"] > 0
    assert erased.to_do == []
    for place, kept in zip(places, stays, strict=True):
        assert rows_with(place, GONE, but=STAYS) == {}
        assert rows_with(place, STAYS) == kept
    assert files_with(files, GONE, but=STAYS) == []
    assert files_with(files, STAYS)
    assert [tenant.tenant_id for tenant in tenants.find_all(found.database)] == [STAYS]


def test_removing_an_unknown_tenant_is_one_clear_error(found: Installation) -> None:
    with pytest.raises(TenantNotFoundError, match="galena tenant list"):
        erasure.erase(found, "nobody")


def _score(found: Installation, tenant_id: str) -> None:
    """Add the tenant, let the sensor tick as the daemon does, and run what it asks for."""
    simulated = simulate(replace(FJORD, name=tenant_id), 3, datetime.now(UTC))
    tenants.add(found.database, tenant_id)
    with found.database.tenant(tenant_id) as connection:
        for table in ("leads", "customers", "deals", "interactions"):
            crm.upsert(connection, tenant_id, table, getattr(simulated, table))
    defs = build_defs(
        resources={
            "warehouse": Warehouse(database_url=found.settings.database_url),
            "mlflow": MlflowTracking(
                tracking_uri=found.settings.mlflow_url,
                artifact_root=found.environment()["GALENA_MLFLOW_ARTIFACTS"],
            ),
        }
    )
    with runs.instance() as instance:
        instance.add_dynamic_partitions("tenants", [tenant_id])
        job = defs.resolve_job_def("score_tenant")
        result = job.execute_in_process(instance=instance, partition_key=tenant_id)
        assert result.success
        # What the UI's pages of an asset leave behind: a summary of its partitions.
        for key in instance.all_asset_keys():
            get_and_update_asset_status_cache_value(
                instance, key, tenant_partitions, dynamic_partitions_loader=instance
            )


def rows_with(url: str, word: str, but: str = "\0") -> dict[str, int]:
    """How many rows of each table of the database have the word in any column, and not `but`."""
    engine = create_engine(url)
    try:
        with engine.connect() as connection:
            tables = connection.scalars(
                text(
                    "SELECT format('%I.%I', table_schema, table_name)"
                    " FROM information_schema.tables"
                    " WHERE table_schema NOT IN ('pg_catalog', 'information_schema')"
                    " AND table_type = 'BASE TABLE'"
                )
            ).all()
            counted = {table: _count(connection, table, word, but) for table in tables}
    finally:
        engine.dispose()
    return {table: rows for table, rows in counted.items() if rows}


def _count(connection: Connection, table: str, word: str, but: str) -> int:
    rows = connection.scalars(text(f"SELECT t::text FROM {table} t")).all()
    return sum(word in row.replace(but, "") for row in rows)


def files_with(folder: Path, word: str, but: str = "\0") -> list[str]:
    paths = [path for path in folder.rglob("*") if "postgres" not in path.parts]
    return [
        str(path)
        for path in paths
        if word in str(path).replace(but, "")
        or (path.is_file() and word.encode() in path.read_bytes().replace(but.encode(), b""))
    ]
