"""Settings: where this installation keeps its files and which databases it connects to."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

import psycopg
from psycopg.conninfo import conninfo_to_dict

from warehouse.embedded import EmbeddedPostgres
from warehouse.errors import GalenaError

APP = "GALENA_DATABASE_URL"
OWNER = "GALENA_OWNER_DATABASE_URL"
DAGSTER = "GALENA_DAGSTER_DATABASE_URL"
MLFLOW = "GALENA_MLFLOW_DATABASE_URL"

LIBPQ_URL = re.compile(r"(postgresql://[^/?]*/)([^?]+)(.*)", re.DOTALL)


class SettingsError(GalenaError):
    """A setting cannot be used: one sentence that names it and says what was expected."""


@dataclass(frozen=True)
class Settings:
    """What every process of an installation has to know.

    home: the folder for the installation's files, absolute.
    external: the databases are on a server that this process need not start.
    database_url: the application's login; owner_url: the login that migrates; mlflow_url: MLflow's
        database. All are libpq URLs, postgresql://user:password@host:port/database.
    dagster_url: Dagster's database as postgresql+psycopg2://..., which dagster-postgres needs.
    """

    home: Path
    external: bool
    database_url: str = field(repr=False)
    owner_url: str = field(repr=False)
    dagster_url: str = field(repr=False)
    mlflow_url: str = field(repr=False)

    @staticmethod
    def from_environment(environment: Mapping[str, str]) -> "Settings":
        """Read the settings from variables such as os.environ.

        GALENA_HOME: default .galena in the current folder.
        GALENA_DATABASE_URL: the application's login on a server of your own; without it the
            embedded server's URLs are given, whose passwords are made in home when first asked
            for; the server itself is not started.
        GALENA_OWNER_DATABASE_URL: default GALENA_DATABASE_URL.
        GALENA_DAGSTER_DATABASE_URL, GALENA_MLFLOW_DATABASE_URL: default the owner's URL with
            databases named dagster and mlflow.

        Raises SettingsError: a URL is none, or another URL is set without GALENA_DATABASE_URL.
        """
        home = home_of(environment)
        given = {
            name: _checked(name, environment[name])
            for name in (APP, OWNER, DAGSTER, MLFLOW)
            if environment.get(name)
        }
        if not given:
            urls = EmbeddedPostgres(home).urls
            return Settings(home, False, urls.app, urls.owner, _psycopg2(urls.dagster), urls.mlflow)
        if APP not in given:
            raise SettingsError(
                f"{next(iter(given))} is set and {APP} is not: set {APP} to use a server of your "
                "own, or neither to use the embedded one."
            )
        owner = given.get(OWNER, given[APP])
        dagster = given.get(DAGSTER, LIBPQ_URL.sub(r"\1dagster\3", owner))
        mlflow = given.get(MLFLOW, LIBPQ_URL.sub(r"\1mlflow\3", owner))
        return Settings(home, True, given[APP], owner, _psycopg2(dagster), mlflow)

    def environment(self) -> dict[str, str]:
        """The variables that hand these settings to a child process, passwords included."""
        return {
            "GALENA_HOME": str(self.home),
            APP: self.database_url,
            OWNER: self.owner_url,
            DAGSTER: self.dagster_url,
            MLFLOW: self.mlflow_url,
        }


def home_of(environment: Mapping[str, str]) -> Path:
    """The folder for the installation's files, absolute."""
    return Path(environment.get("GALENA_HOME") or ".galena").resolve()


def _checked(name: str, url: str) -> str:
    """The URL as libpq takes it, for dagster-postgres' form is accepted too."""
    url = url.replace("postgresql+psycopg2://", "postgresql://", 1)
    match = LIBPQ_URL.fullmatch(url)
    try:
        if match and conninfo_to_dict(url).get("dbname") == unquote(match[2]):
            return url
    except (psycopg.ProgrammingError, UnicodeDecodeError):
        pass
    # What came is not shown, for it may hold a password.
    raise SettingsError(
        f"{name} is not a usable URL: expected postgresql://user:password@host:5432/database, "
        "special characters in the password percent-encoded (@ as %40, / as %2F)."
    )


def _psycopg2(url: str) -> str:
    return url.replace("postgresql://", "postgresql+psycopg2://", 1)
