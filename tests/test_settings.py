"""Settings: what the environment may say, and how it is handed on to child processes."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.conninfo import conninfo_to_dict

from warehouse.settings import Settings, SettingsError

APP = "postgresql://app:s3cret%40@db.example:5433/galena?sslmode=require"
OWNER = "postgresql://owner:0wner@db.example:5433/galena"


def test_without_urls_the_embedded_servers_are_given(tmp_path: Path) -> None:
    settings = Settings.from_environment({"GALENA_HOME": str(tmp_path)})
    assert not settings.external
    app, owner = (conninfo_to_dict(u) for u in (settings.database_url, settings.owner_url))
    assert (app["user"], app["dbname"]) == ("galena_app", "galena")
    assert (owner["user"], owner["dbname"]) == ("galena_owner", "galena")
    assert app["password"] != owner["password"]
    assert settings.dagster_url.startswith("postgresql+psycopg2://galena_owner:")
    assert "/mlflow?" in settings.mlflow_url
    assert Settings.from_environment({"GALENA_HOME": str(tmp_path)}) == settings


def test_home_defaults_to_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert Settings.from_environment({"GALENA_DATABASE_URL": APP}).home == tmp_path / ".galena"
    named = Settings.from_environment({"GALENA_DATABASE_URL": APP, "GALENA_HOME": "there"})
    assert named.home == tmp_path / "there"


def test_one_url_is_enough_for_a_server_of_ones_own(tmp_path: Path) -> None:
    settings = Settings.from_environment({"GALENA_HOME": str(tmp_path), "GALENA_DATABASE_URL": APP})
    assert settings.external
    assert settings.database_url == settings.owner_url == APP
    assert settings.mlflow_url == APP.replace("/galena", "/mlflow")
    assert settings.dagster_url == APP.replace("/galena", "/dagster").replace(
        "postgresql", "postgresql+psycopg2"
    )
    assert not list(tmp_path.iterdir())


def test_dagster_and_mlflow_follow_the_owner() -> None:
    settings = Settings.from_environment(
        {"GALENA_DATABASE_URL": APP, "GALENA_OWNER_DATABASE_URL": OWNER}
    )
    assert settings.database_url == APP
    assert settings.owner_url == OWNER
    assert settings.mlflow_url == "postgresql://owner:0wner@db.example:5433/mlflow"


@pytest.mark.parametrize("embedded", [True, False])
def test_a_child_process_reads_the_same_settings(tmp_path: Path, embedded: bool) -> None:
    given = {} if embedded else {"GALENA_DATABASE_URL": APP, "GALENA_OWNER_DATABASE_URL": OWNER}
    settings = Settings.from_environment({"GALENA_HOME": str(tmp_path), **given})
    child = Settings.from_environment(settings.environment())
    assert child.environment() == settings.environment()
    assert child.external
    assert child.dagster_url == settings.dagster_url


def test_repr_shows_no_password() -> None:
    settings = Settings.from_environment(
        {"GALENA_DATABASE_URL": APP, "GALENA_OWNER_DATABASE_URL": OWNER}
    )
    assert "s3cret" not in repr(settings)
    assert "0wner" not in repr(settings)


@pytest.mark.parametrize(
    "url",
    [
        "mysql://app:hunter2@db/galena",
        "postgres://app:hunter2@db/galena",
        "host=db password=hunter2 dbname=galena",
        "postgresql://app:hunter2@db",
        "postgresql://app:hunter2@db/",
        "postgresql://app:hunter2%zz@db/galena",
        "postgresql://app:hunter2%ff@db/galena",
        "postgresql://app:hunter2@[db/galena",
        "postgresql://app:hunter2@db/galena?unknown=1",
        "postgresql://app:hunter2@db/galena?dbname=other",
        "hunter2",
    ],
)
@pytest.mark.parametrize(
    "name",
    [
        "GALENA_DATABASE_URL",
        "GALENA_OWNER_DATABASE_URL",
        "GALENA_DAGSTER_DATABASE_URL",
        "GALENA_MLFLOW_DATABASE_URL",
    ],
)
def test_an_unusable_url_is_named_and_not_shown(name: str, url: str) -> None:
    with pytest.raises(SettingsError, match=f"^{name} .* postgresql://user") as error:
        Settings.from_environment({"GALENA_DATABASE_URL": APP, name: url})
    assert "hunter2" not in str(error.value)


@given(
    st.text("a1/:@?=&#%[], \n\\é", max_size=20), st.text("a/:@#%[], \n\\é", min_size=1, max_size=9)
)
def test_free_text_is_refused_or_means_the_same_server(place: str, database: str) -> None:
    url = f"postgresql://{place}/{database}"
    try:
        settings = Settings.from_environment({"GALENA_DATABASE_URL": url})
    except SettingsError:
        return
    assert settings.database_url == url
    assert conninfo_to_dict(settings.mlflow_url) == conninfo_to_dict(url) | {"dbname": "mlflow"}


def test_another_url_alone_is_no_server() -> None:
    with pytest.raises(SettingsError, match="GALENA_OWNER_DATABASE_URL is set and"):
        Settings.from_environment({"GALENA_OWNER_DATABASE_URL": OWNER})


def test_a_url_without_a_host_keeps_its_socket() -> None:
    url = f"postgresql:///galena?host={os.path.sep}run&user=app"
    settings = Settings.from_environment({"GALENA_DATABASE_URL": url})
    assert settings.mlflow_url == "postgresql:///mlflow?host=/run&user=app"
