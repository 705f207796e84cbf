"""`galena up`: everything of an installation started on one machine, watched, and stopped."""

import fcntl
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from orchestration import live, report, runs, samples, services
from orchestration.installation import PROJECT, Installation, check_libgomp, installation
from orchestration.interruption import Interruption
from orchestration.streams import Notes
from warehouse import master_key, tenants
from warehouse.embedded import EmbeddedPostgres, make_private
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
        # Made here, or missed here, and not in the middle of a night's run.
        master_key.read(os.environ)
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
        parts = [_webserver(dagster), _daemon()]
        pages = {"Dagster": f"http://127.0.0.1:{dagster}/asset-groups"}
        if mlflow_ui:
            from resources.mlflow import UI_PORT

            mlflow = _free_port(console, "MLflow", UI_PORT)
            parts.append(_mlflow(mlflow, found.settings.mlflow_url))
            pages["MLflow"] = f"http://127.0.0.1:{mlflow}"
        started = services.Supervisor(
            found.settings.home / "logs",
            PROJECT,
            console.print,
            interruption.held,
        )
        stack.callback(started.stop)
        _start(console, started, [_code_server(found, instance), *parts])
        check = partial(_check, console, found, started)
        _show_first_scores(console, found, instance, check, dagster, strict=once)
        report.urls(console, pages, found.settings.home)
        if not once:
            console.print("Ctrl-C stops everything.")
            _watch(check, _feed(console, found) if with_samples else None)
    console.print("Stopped.")


_WORKSPACE = ("-w", str(PROJECT / "workspace.yaml"))


def _code_server(found: Installation, instance: "DagsterInstance") -> services.Part:
    """Loads the definitions, evaluates the sensors and starts the runs, for the other two.

    One that each of them would start for itself is not started again when it is killed. Its runs
    end with it, which Dagster does not notice.
    """
    socket = Path(found.environment()["GALENA_CODE_SERVER"])
    socket.parent.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    make_private(socket.parent)
    command = [
        *(sys.executable, "-m", "dagster", "api", "grpc", "--socket", str(socket)),
        *("--module-name", "orchestration.definitions", "--location-name", "galena"),
        *("--use-python-environment-entry-point", "--log-level", "warning"),
    ]
    return services.Part(
        "Dagster code server",
        command,
        ready=lambda: services.listens(socket),
        environment={},
        ended=lambda: runs.fail_orphans(instance),
    )


def _daemon() -> services.Part:
    # Below warnings it logs the names of tenants that come and go.
    command = [
        sys.executable,
        "-m",
        "dagster._daemon",
        "run",
        *_WORKSPACE,
        "--log-level",
        "warning",
    ]
    return services.Part("Dagster daemon", command, lambda: True, {})


def _webserver(port: int) -> services.Part:
    address = ("-h", "127.0.0.1", "-p", str(port))
    command = [sys.executable, "-m", "dagster_webserver", *_WORKSPACE, *address]
    return services.Part("Dagster webserver", command, lambda: services.listens(port), {})


def _mlflow(port: int, tracking_uri: str) -> services.Part:
    from resources import mlflow

    environment = mlflow.ui_environment(tracking_uri)
    return services.Part(
        "MLflow", mlflow.ui_command(port), lambda: services.listens(port), environment
    )


def _start(console: Console, started: services.Supervisor, parts: Sequence[services.Part]) -> None:
    """The code server first, for the others ask it what there is; those at once."""
    code_server, *others = parts
    with _step(console, f"{', '.join(part.name for part in parts)} started"):
        started.start([code_server])
        started.start(others)


def _free_port(console: Console, name: str, wanted: int) -> int:
    port = services.free_port(wanted)
    if port != wanted:
        console.print(f"Port {wanted} is in use: {name} takes {port}.")
    return port


def _create_samples(console: Console, found: Installation) -> None:
    for sample in samples.missing(found.database):
        with _step(console, f"Sample tenant {sample.tenant_id}: {sample.description}"):
            sample.create(found.database, Notes(found.settings.home))


def _show_first_scores(
    console: Console,
    found: Installation,
    instance: "DagsterInstance",
    check: Callable[[], None],
    port: int,
    *,
    strict: bool,
) -> None:
    """Wait for the tenants that have no scores yet, and show everyone's; strict: raise at the first
    failed run, instead of saying where to see it."""
    waiting = tenants.awaiting_first_run(found.database)
    if not waiting:
        console.print("Starting from what is there: no active tenant waits for its first scores.")
    failed = runs.follow_first_runs(console, instance, waiting, check)
    report.top_leads(console, found.database)
    for run in failed:
        what = f"The first run of tenant {run.tenant_id} failed: {run.reason}"
        if strict:
            raise GalenaError(f"{what} Start again without --once to see run {run.run_id[:8]}.")
        page = f"http://127.0.0.1:{port}/runs/{run.run_id}"
        console.print(f"{what} See {page}", style="red", markup=False, soft_wrap=True)


def _feed(console: Console, found: Installation) -> live.Feed:
    notes = Notes(found.settings.home)
    return live.Feed(console, found.database, notes, list(samples.all_samples()))


def _watch(check: Callable[[], None], feed: live.Feed | None) -> None:
    """Until Ctrl-C, or until something ends by itself too often; meanwhile, feed live changes."""
    try:
        while True:
            for _ in range(5):
                time.sleep(0.2)
                if feed is not None:
                    feed.step()
            check()
    except KeyboardInterrupt:
        return


def _check(console: Console, found: Installation, started: services.Supervisor) -> None:
    """Start again what has ended by itself."""
    if not found.settings.external and EmbeddedPostgres(found.settings.home).start():
        console.print("[yellow]PostgreSQL ended by itself, and was started again.[/yellow]")
    started.check()


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
