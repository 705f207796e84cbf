"""A daemon and a code server of an installation, on what a module of the tests defines."""

import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from orchestration import runs, services
from orchestration.installation import PROJECT, Installation
from tests.conftest import in_database
from warehouse import tenants
from warehouse.database import Database
from warehouse.embedded import Urls
from warehouse.settings import Settings


@contextmanager
def at_work(
    server: Urls, new_database: Callable[[str], str], module: str, tenant_ids: Sequence[str]
) -> Iterator[Database]:
    """The database of an installation with these tenants; this process's variables name it."""
    home = Path(tempfile.mkdtemp(prefix="galena-jobs-", dir="/tmp"))
    urls = in_database(server, new_database("template"))
    dagster = in_database(server, new_database("template0")).dagster
    settings = Settings.from_environment(
        {
            "GALENA_HOME": str(home),
            "GALENA_DATABASE_URL": urls.app,
            "GALENA_DAGSTER_DATABASE_URL": dagster,
            "GALENA_MLFLOW_DATABASE_URL": dagster,
        }
    )
    found = Database(urls.app)
    for tenant_id in tenant_ids:
        tenants.add(found, tenant_id)
    environment = {
        **Installation(settings, found).environment(),
        "GALENA_CODE_SERVER": str(home / "code"),
        "PYTHONPATH": str(PROJECT),
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        started = _services(home, environment, module)
        yield found
        for service in reversed(started):
            service.stop(2)
    found.close()
    shutil.rmtree(home)


def _services(home: Path, environment: dict[str, str], module: str) -> list[services.Service]:
    with runs.instance():
        pass
    socket = home / "code"
    code_server = (
        *(sys.executable, "-m", "dagster", "api", "grpc", "--socket", str(socket)),
        *("--module-name", module, "--location-name", "galena"),
        *("--log-level", "warning"),
    )
    daemon = (
        *(sys.executable, "-m", "dagster._daemon", "run", "-w", str(PROJECT / "workspace.yaml")),
        *("--log-level", "warning"),
    )
    first = services.start("code", code_server, home / "code.log", environment, PROJECT)
    first.await_ready(lambda: services.listens(socket))
    return [first, services.start("daemon", daemon, home / "daemon.log", environment, PROJECT)]
