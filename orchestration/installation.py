"""The installation that a command works on: its settings, and its server held while in use."""

import ctypes
import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from warehouse import master_key
from warehouse.database import Database
from warehouse.embedded import EmbeddedPostgres, socket_folder
from warehouse.errors import GalenaError
from warehouse.migrate import current_revision, newest_revision
from warehouse.settings import Settings
from warehouse.tenant_keys import TenantKeys

# dagster.yaml and workspace.yaml stand there.
PROJECT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Installation:
    """Settings and the connections made from them."""

    settings: Settings
    database: Database

    def environment(self) -> dict[str, str]:
        """The variables with which Dagster's processes find everything."""
        home = self.settings.home
        return {
            **self.settings.environment(),
            "GALENA_DAGSTER_FILES": str(home / "dagster"),
            "GALENA_MLFLOW_ARTIFACTS": str(home / "mlflow"),
            "GALENA_CODE_SERVER": str(socket_folder(home.resolve() / "dagster") / "code"),
            "DAGSTER_HOME": str(PROJECT),
            "MLFLOW_DISABLE_TELEMETRY": "true",
        }

    @property
    def keys(self) -> TenantKeys:
        """The tenants' keys, by the master key that this process's environment names."""
        return TenantKeys(self.database, partial(master_key.read, os.environ))

    def is_up(self) -> bool:
        """Whether a `galena up` of this installation holds its lock; of a server of one's own it
        may run elsewhere, which nobody here can tell."""
        if self.settings.external:
            return True
        with (self.settings.home / "up.lock").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False


@contextmanager
def installation(environment: Mapping[str, str] = os.environ) -> Iterator[Installation]:
    """The installation with its server running.

    The embedded server is started when it is not running, shared with every other process that
    uses it, and stopped by the last one to leave.
    """
    settings = Settings.from_environment(environment)
    # Models and logs are there: nobody else's business.
    settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    if settings.external:
        yield from _connected(settings)
        return
    server = EmbeddedPostgres(settings.home)
    with (settings.home / "users.lock").open("w") as users:
        fcntl.flock(users, fcntl.LOCK_SH)
        try:
            server.start()
            yield from _connected(settings)
        finally:
            if _last(users.fileno()):
                server.stop()


@contextmanager
def migrated_installation() -> Iterator[Installation]:
    """The installation, or one clear error when its database has another schema than this code."""
    with installation() as found:
        revision = current_revision(found.settings.database_url)
        if revision != newest_revision():
            raise GalenaError(
                f"The database is at revision {revision or 'none'} and this Galena needs"
                f" {newest_revision()}: run `galena migrate`."
            )
        yield found


def check_libgomp() -> None:
    """LightGBM links the system's OpenMP runtime; without it the import is a page of loader's
    errors."""
    try:
        ctypes.CDLL("libgomp.so.1")
    except OSError:
        if os.uname().sysname == "Linux":
            raise GalenaError(
                "LightGBM needs the system's library libgomp: install the package libgomp1"
                " (Debian, Ubuntu) or libgomp (Fedora, openSUSE) and start again."
            ) from None


def _connected(settings: Settings) -> Iterator[Installation]:
    database = Database(settings.database_url)
    try:
        database.refuse_superuser()
        yield Installation(settings, database)
    finally:
        database.close()


def _last(users: int) -> bool:
    """Whether nobody else holds the shared lock. The kernel drops it with a killed holder."""
    try:
        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
