"""Fixtures: a real PostgreSQL server per test process, databases copied from a migrated one."""

import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, make_url, text

from tests.commands import Galena, invoke
from warehouse import tenants
from warehouse.database import Database
from warehouse.embedded import EmbeddedPostgres, Urls
from warehouse.migrate import migrate

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Urls]:
    """The embedded server of this process; its database `template` is migrated and has no rows."""
    embedded = EmbeddedPostgres(tmp_path_factory.mktemp("galena"))
    embedded.start()
    try:
        template = _create_database(embedded.urls, "template", "template0")
        migrate(_in_database(embedded.urls.owner, template))
        yield embedded.urls
    finally:
        embedded.stop()


@pytest.fixture(scope="session")
def new_database(server: Urls) -> Callable[[str], str]:
    """Create a database from a template ("template", or "template0" for an empty one); its name."""
    return lambda template: _create_database(server, f"test_{next(_numbers)}", template)


@pytest.fixture
def urls(server: Urls, new_database: Callable[[str], str]) -> Urls:
    """The URLs of a fresh migrated database; those of dagster and mlflow have fixtures."""
    return in_database(server, new_database("template"))


@pytest.fixture
def database(urls: Urls) -> Iterator[Database]:
    """A fresh migrated database without tenants, as the application sees it."""
    found = Database(urls.app)
    yield found
    found.close()


@pytest.fixture
def owner_url(urls: Urls) -> str:
    return urls.owner


@pytest.fixture
def mlflow_url(server: Urls, new_database: Callable[[str], str]) -> str:
    """An empty database for MLflow."""
    return _in_database(server.mlflow, new_database("template0"))


@pytest.fixture
def dagster_url(server: Urls, new_database: Callable[[str], str]) -> str:
    """An empty database for Dagster."""
    return _in_database(server.dagster, new_database("template0"))


@pytest.fixture
def own_environment() -> Iterator[None]:
    """No installation's variables before, and none left behind: a command sets those of Dagster."""
    before = dict(os.environ)
    for name in [name for name in before if name.startswith("GALENA")]:
        del os.environ[name]
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def galena(
    urls: Urls,
    dagster_url: str,
    database: Database,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    own_environment: None,  # noqa: ARG001
) -> Galena:
    """Run the command on a database with the tenant acme."""
    for name, value in (
        ("GALENA_HOME", str(tmp_path / "home")),
        ("GALENA_DATABASE_URL", urls.app),
        ("GALENA_DAGSTER_DATABASE_URL", dagster_url),
    ):
        monkeypatch.setenv(name, value)
    tenants.add(database, "acme")
    return invoke


def in_database(server: Urls, name: str) -> Urls:
    """The same logins in another database."""
    return Urls(**{login: _in_database(url, name) for login, url in vars(server).items()})


def _create_database(server: Urls, name: str, template: str) -> str:
    engine = create_engine(server.superuser, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for statement in (
            f"CREATE DATABASE {name} TEMPLATE {template} OWNER galena_owner",
            f"REVOKE ALL ON DATABASE {name} FROM PUBLIC",
            f"GRANT CONNECT, TEMPORARY ON DATABASE {name} TO galena_app",
            *(
                [f"GRANT CONNECT ON DATABASE {name} TO galena_reader"]
                if template == "template"
                else []
            ),
        ):
            connection.execute(text(statement))
    engine.dispose()
    return name


def _in_database(url: str, name: str) -> str:
    return make_url(url).set(database=name).render_as_string(hide_password=False)
