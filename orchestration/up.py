"""`galena up`: everything of an installation started on one machine, watched, and stopped."""

import fcntl
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from rich.console import Console

from orchestration import report, runs, samples, services
from orchestration.installation import PROJECT, Installation, check_libgomp, installation
from warehouse import tenants
from warehouse.errors import GalenaError
from warehouse.migrate import migrate

if TYPE_CHECKING:
    from dagster import DagsterInstance


def up(console: Console, *, port: int, with_samples: bool, once: bool, mlflow_ui: bool) -> None:
    """Start what is not running, wait for first scores, show them, and stay until Ctrl-C.

    once: stop everything after showing the scores. Raises GalenaError: something did not start,
    or a tenant's first run failed.
    """
    check_libgomp()
    with _interruptible(), ExitStack() as stack:
        with _step(console, "PostgreSQL started"):
            found = stack.enter_context(installation())
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
        port = services.free_port(port)
        started = _start_services(console, stack, found, port, mlflow_ui)
        _await_first_scores(console, found, instance, port)
        report.top_leads(console, found.database)
        report.urls(console, found.settings, port, started)
        if not once:
            console.print("Ctrl-C stops everything.")
            _watch(started)
    console.print("Stopped.")


def _create_samples(console: Console, found: Installation) -> None:
    for tenant_id, describe, create in samples.missing(found.database):
        with _step(console, f"Sample tenant {tenant_id}: {describe}"):
            create()


def _start_services(
    console: Console, stack: ExitStack, found: Installation, port: int, mlflow_ui: bool
) -> dict[str, services.Service]:
    """Webserver and daemon, which `stack` stops in the opposite order, each with a word."""
    logs = found.settings.home / "logs"
    workspace = str(PROJECT / "workspace.yaml")
    environment = found.environment()
    started: dict[str, services.Service] = {}

    def run(name: str, command: list[str], ready: Callable[[], bool]) -> None:
        with _step(console, f"{name} started"):
            log = logs / f"{name.lower().replace(' ', '-')}.log"
            service = services.start(name, command, log, environment, PROJECT)
            stack.callback(_stop, console, service)
            started[name] = service
            service.await_ready(ready)

    webserver = ["dagster_webserver", "-w", workspace, "-h", "127.0.0.1", "-p", str(port)]
    run("Dagster webserver", webserver, lambda: services.listens(port))
    daemon = ["dagster._daemon", "run", "-w", workspace]
    run("Dagster daemon", daemon, lambda: True)
    if mlflow_ui:
        from resources.mlflow import ui_command

        mlflow_port = services.free_port(5000)
        run("MLflow", ui_command(mlflow_port), lambda: services.listens(mlflow_port))
    return started


def _await_first_scores(
    console: Console, found: Installation, instance: "DagsterInstance", port: int
) -> None:
    waiting = [
        tenant.tenant_id
        for tenant in tenants.find_all(found.database)
        if tenant.status == "active" and tenants.awaits_first_run(found.database, tenant.tenant_id)
    ]
    if not waiting:
        console.print("Starting from what is there: every tenant with records has its scores.")
        return
    failed = runs.follow_first_runs(console, instance, waiting)
    if failed:
        first = failed[0]
        raise GalenaError(
            f"The first run of tenant {first.tenant_id} failed: {first.reason} Start again without"
            f" --once and see http://127.0.0.1:{port}/runs/{first.run_id}."
        )


def _watch(started: dict[str, services.Service]) -> None:
    """Until Ctrl-C; a service that ends by itself ends everything."""
    try:
        while True:
            time.sleep(1)
            for service in started.values():
                if service.process.poll() is not None:
                    raise GalenaError(f"{service.name} ended by itself: see {service.log}.")
    except KeyboardInterrupt:
        return


def _stop(console: Console, service: services.Service) -> None:
    service.stop()
    console.print(f"[dim]{service.name} stopped[/dim]")


@contextmanager
def _step(console: Console, done: str) -> Iterator[None]:
    """Show a spinner while at it, then what was done and its seconds."""
    began = time.monotonic()
    with console.status(done.replace(" started", ": starting")):
        yield
    console.print(f"[green]✓[/green] {done} [dim]({time.monotonic() - began:.1f} s)[/dim]")


@contextmanager
def _only_one(home: Path) -> Iterator[None]:
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


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let a termination request end things as Ctrl-C does."""

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
