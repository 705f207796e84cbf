"""`galena up`: everything of an installation started on one machine, watched, and stopped."""

import fcntl
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from orchestration import report, runs, samples, services
from orchestration.installation import PROJECT, Installation, check_libgomp, installation
from orchestration.interruption import Interruption
from warehouse import tenants
from warehouse.embedded import EmbeddedPostgres
from warehouse.errors import GalenaError
from warehouse.migrate import migrate

if TYPE_CHECKING:
    from dagster import DagsterInstance


def up(console: Console, *, port: int, with_samples: bool, once: bool, mlflow_ui: bool) -> None:
    """Start what is not running, wait for first scores, show them, and stay until Ctrl-C.

    once: stop everything after showing the scores. Raises GalenaError: something did not start or
    ended by itself, or, with once, a tenant's first run failed. Raises KeyboardInterrupt: Ctrl-C
    before all was up.
    """
    check_libgomp()
    with Interruption().handled() as interruption, ExitStack() as stack, interruption.allowed():
        found = stack.enter_context(_postgres(console))
        stack.enter_context(_only_one(found.settings.home))
        with _step(console, "Schema at the newest revision"):
            migrate(found.settings.owner_url)
        if with_samples:
            _create_samples(console, found)
        os.environ.update(found.environment())
        with _step(console, "Dagster's storage ready"):
            instance = stack.enter_context(runs.instance())
            runs.fail_orphans(instance)
        stack.callback(runs.fail_orphans, instance)
        dagster = _free_port(console, "Dagster", port)
        parts = [_webserver(dagster), _DAEMON]
        pages = {"Dagster": f"http://127.0.0.1:{dagster}/asset-groups"}
        if mlflow_ui:
            from resources.mlflow import UI_PORT

            mlflow = _free_port(console, "MLflow", UI_PORT)
            parts.append(_mlflow(mlflow, found.settings.mlflow_url))
            pages["MLflow"] = f"http://127.0.0.1:{mlflow}"
        started = _start(console, stack, interruption, found, parts)
        _show_first_scores(console, found, instance, started, dagster, strict=once)
        report.urls(console, pages, found.settings.home)
        if not once:
            console.print("Ctrl-C stops everything.")
            _watch(started)
    console.print("Stopped.")


@dataclass(frozen=True)
class _Part:
    """One of the processes that make up a running Galena."""

    name: str
    command: Sequence[str]
    ready: Callable[[], bool]
    environment: Mapping[str, str]


_WORKSPACE = ("-w", str(PROJECT / "workspace.yaml"))

# Below warnings it logs the names of tenants that come and go.
_DAEMON = _Part(
    "Dagster daemon",
    [sys.executable, "-m", "dagster._daemon", "run", *_WORKSPACE, "--log-level", "warning"],
    lambda: True,
    {},
)


def _webserver(port: int) -> _Part:
    address = ("-h", "127.0.0.1", "-p", str(port))
    command = [sys.executable, "-m", "dagster_webserver", *_WORKSPACE, *address]
    return _Part("Dagster webserver", command, lambda: services.listens(port), {})


def _mlflow(port: int, tracking_uri: str) -> _Part:
    from resources import mlflow

    environment = mlflow.ui_environment(tracking_uri)
    return _Part("MLflow", mlflow.ui_command(port), lambda: services.listens(port), environment)


def _start(
    console: Console,
    stack: ExitStack,
    interruption: Interruption,
    found: Installation,
    parts: Sequence[_Part],
) -> list[services.Service]:
    """All parts at once; `stack` stops them in the opposite order, each with a word."""
    started = []
    with _step(console, f"{', '.join(part.name for part in parts)} started"):
        for part in parts:
            log = found.settings.home / "logs" / f"{part.name.lower().replace(' ', '-')}.log"
            environment = {**found.environment(), **part.environment}
            with interruption.held():
                service = services.start(part.name, part.command, log, environment, PROJECT)
                stack.callback(_stop, console, service)
            started.append(service)
        for part, service in zip(parts, started, strict=True):
            service.await_ready(part.ready)
    return started


def _free_port(console: Console, name: str, wanted: int) -> int:
    port = services.free_port(wanted)
    if port != wanted:
        console.print(f"Port {wanted} is in use: {name} takes {port}.")
    return port


def _create_samples(console: Console, found: Installation) -> None:
    for sample in samples.missing(found.database):
        with _step(console, f"Sample tenant {sample.tenant_id}: {sample.description}"):
            sample.create(found.database)


def _show_first_scores(
    console: Console,
    found: Installation,
    instance: "DagsterInstance",
    started: Sequence[services.Service],
    port: int,
    *,
    strict: bool,
) -> None:
    """Wait for the tenants that have no scores yet, and show everyone's; strict: raise at the first
    failed run, instead of saying where to see it."""
    waiting = [
        tenant.tenant_id
        for tenant in tenants.find_all(found.database)
        if tenant.status == "active" and tenants.awaits_first_run(found.database, tenant.tenant_id)
    ]
    if not waiting:
        console.print("Starting from what is there: no active tenant waits for its first scores.")
    failed = runs.follow_first_runs(console, instance, waiting, lambda: _check(started))
    report.top_leads(console, found.database)
    for run in failed:
        what = f"The first run of tenant {run.tenant_id} failed: {run.reason}"
        if strict:
            raise GalenaError(f"{what} Start again without --once to see run {run.run_id[:8]}.")
        page = f"http://127.0.0.1:{port}/runs/{run.run_id}"
        console.print(f"{what} See {page}", style="red", markup=False, soft_wrap=True)


def _watch(started: Sequence[services.Service]) -> None:
    """Until Ctrl-C; a service that ends by itself ends everything."""
    try:
        while True:
            time.sleep(1)
            _check(started)
    except KeyboardInterrupt:
        return


def _check(started: Sequence[services.Service]) -> None:
    for service in started:
        service.check()


def _stop(console: Console, service: services.Service) -> None:
    service.stop()
    console.print(f"[dim]{service.name} stopped[/dim]")


@contextmanager
def _postgres(console: Console) -> Iterator[Installation]:
    """The installation with its server, and a word on what became of the server.

    After kill -9 of `galena up` the server stays, for other commands may be using it; the next
    command attaches to it, and the last to leave stops it.
    """
    with ExitStack() as stack:
        with _step(console, "PostgreSQL started"):
            found = stack.enter_context(installation())
        try:
            yield found
        finally:
            stack.close()
            if not found.settings.external:
                left = EmbeddedPostgres(found.settings.home).running()
                word = "stays, another command uses it" if left else "stopped"
                console.print(f"[dim]PostgreSQL {word}[/dim]")


@contextmanager
def _step(console: Console, done: str) -> Iterator[None]:
    """Show a spinner while at it, then what was done and its seconds."""
    began = time.monotonic()
    with console.status(done.replace(" started", ": starting")):
        yield
    console.print(f"[green]✓[/green] {done} [dim]({time.monotonic() - began:.1f} s)[/dim]")


@contextmanager
def _only_one(home: Path) -> Iterator[None]:
    home.mkdir(parents=True, exist_ok=True)
    with (home / "up.lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise GalenaError(
                f"Galena is already up in {home} (process {lock.read().strip()}):"
                " stop it with Ctrl-C there, or name another folder with GALENA_HOME."
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield
