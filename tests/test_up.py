"""`galena up` for real: started, used, interrupted, killed. One installation, in this order."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from sqlalchemy import make_url

from orchestration.services import listens
from tests.test_erasure import files_with, rows_with
from warehouse.embedded import EmbeddedPostgres

GALENA = [str(Path(sys.executable).with_name("galena"))]
PATIENCE_SECONDS = 180
GONE = "wombat-marker"


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """A folder with a short path: a socket's path must be short."""
    folder = Path(tempfile.mkdtemp(prefix="galena-up-", dir="/tmp"))
    yield folder
    for process in _alive(folder):
        process.kill()
    EmbeddedPostgres(folder).stop()
    shutil.rmtree(folder)


@pytest.fixture
def up(home: Path) -> Iterator[Callable[..., "Up"]]:
    """Start `galena up`; what is still running after the test is killed."""
    started: list[Up] = []

    def start(*arguments: str) -> Up:
        started.append(Up(home, *arguments))
        return started[-1]

    yield start
    for each in started:
        each.process.kill()
        each.process.wait()


class Up:
    """A running `galena up`."""

    def __init__(self, home: Path, *arguments: str) -> None:
        self._output = home / "up.out"
        with self._output.open("wb") as output:
            self.process = subprocess.Popen(
                [*GALENA, "up", *arguments],
                stdout=output,
                stderr=subprocess.STDOUT,
                env=_environment(home),
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        return self._output.read_text()

    def await_output(self, words: str) -> None:
        _await(lambda: words in self.output or self.process.poll() is not None)
        assert words in self.output, self.output

    def end(self, signal_number: int = signal.SIGINT) -> int:
        self.process.send_signal(signal_number)
        return self.process.wait(PATIENCE_SECONDS)


def test_ctrl_c_while_it_starts_leaves_nothing(home: Path, up: Callable[..., Up]) -> None:
    running = up()
    _await(lambda: (home / "postgres" / "data.new").exists() or "PostgreSQL" in running.output)
    assert running.end() == 130
    assert running.output.strip().endswith("Interrupted.")
    assert _alive(home) == []


def test_up_scores_a_tenant_and_ctrl_c_stops_all(home: Path, up: Callable[..., Up]) -> None:
    _import_leads(home, "acme")
    running = up()
    running.await_output("Ctrl-C stops everything.")
    assert "acme: scored" in running.output
    assert re.search(r"lead-\d\d", running.output)
    (port,) = re.findall(r"http://127\.0\.0\.1:(\d+)/asset-groups", running.output)
    assert _location_names(int(port)) == ["galena"]

    second = _galena(home, "up")
    assert second.returncode == 1
    assert f"already up in {home} (process {running.process.pid})" in second.stderr

    assert running.end() == 0
    words = re.findall(r"^(.+) stopped$", running.output, re.MULTILINE)
    parts = ["Dagster daemon", "Dagster webserver", "Dagster code server", "PostgreSQL"]
    assert words == parts
    assert _alive(home) == []
    assert not listens(int(port))


def test_a_tenant_removed_while_up_leaves_no_trace(home: Path, up: Callable[..., Up]) -> None:
    running = up()
    running.await_output("Starting from what is there")
    running.await_output("Ctrl-C stops everything.")
    _import_leads(home, GONE)
    _await(lambda: "lead-" in _galena(home, "scores", GONE).stdout)
    assert any(_traces(home, GONE).values()), "there is something to erase"

    removed = _galena(home, "tenant", "remove", GONE, "--yes")
    assert removed.returncode == 0, removed.stderr
    assert _traces(home, GONE) == {}
    ticks = _last_tick(home)
    _await(lambda: _last_tick(home) >= ticks + 3)
    assert _traces(home, GONE) == {}
    assert "acme" in _galena(home, "tenant", "list").stdout
    assert running.end(signal.SIGTERM) == 0
    assert _alive(home) == []


def test_after_kill_nothing_lives_on_and_the_next_start_recovers(
    home: Path, up: Callable[..., Up]
) -> None:
    _import_leads(home, "brio")
    running = up()
    _await(lambda: (home / "logs" / "dagster-daemon.log").exists() and len(_services(home)) >= 3)
    running.end(signal.SIGKILL)
    _await(lambda: _services(home) == [])

    again = _galena(home, "up", "--once")
    assert again.returncode == 0, again.stderr
    assert "brio: top leads" in again.stdout
    assert again.stdout.endswith("Stopped.\n")
    assert _alive(home) == []


def test_a_service_that_dies_is_started_again(home: Path, up: Callable[..., Up]) -> None:
    running = up()
    running.await_output("Ctrl-C stops everything.")
    for part, word in (("Dagster daemon", "dagster._daemon"), ("Dagster code server", "grpc")):
        (process,) = _parts(running, word)
        process.kill()
        running.await_output(f"{part} ended by itself, and was started again.")
        assert _parts(running, word) != [process]
    assert running.end() == 0
    assert _alive(home) == []


def _parts(running: Up, word: str) -> list[psutil.Process]:
    children = psutil.Process(running.process.pid).children()
    return [child for child in children if word in child.cmdline()]


def _import_leads(home: Path, tenant_id: str) -> None:
    """Forty leads, of which the even ones have an outcome."""
    rows = [
        f"lead-{number:02},2026-01-{1 + number % 28:02},{'' if number % 2 else '2026-03-01'},x"
        for number in range(40)
    ]
    table = home / "leads.csv"
    table.write_text("\n".join(["lead_id,created_at,converted_at,industry", *rows]))
    for arguments in (("migrate",), ("tenant", "add", tenant_id)):
        done = _galena(home, *arguments)
        assert done.returncode == 0, done.stderr
    done = _galena(home, "import", "--tenant", tenant_id, str(table))
    assert done.returncode == 0, done.stderr
    table.unlink()


def _galena(home: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*GALENA, *arguments],
        capture_output=True,
        text=True,
        env=_environment(home),
        timeout=PATIENCE_SECONDS,
    )


def _environment(home: Path) -> dict[str, str]:
    others = {name: value for name, value in os.environ.items() if not name.startswith("GALENA")}
    return {**others, "GALENA_HOME": str(home), "COLUMNS": "200"}


def _alive(home: Path) -> list[psutil.Process]:
    """The processes of the installation: all inherit its GALENA_HOME."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("GALENA_HOME") == str(home):
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return [process for process in found if process.status() != psutil.STATUS_ZOMBIE]


def _services(home: Path) -> list[psutil.Process]:
    """Those of Dagster, code servers and runs included."""
    return [process for process in _alive(home) if "postgres" not in process.name()]


def _await(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def _location_names(port: int) -> list[str]:
    query = {"query": "{ workspaceOrError { ... on Workspace { locationEntries { name } } } }"}
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/graphql",
        json.dumps(query).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as response:
        entries = json.load(response)["data"]["workspaceOrError"]["locationEntries"]
    return [entry["name"] for entry in entries]


def _superuser(home: Path, database: str) -> str:
    url = make_url(EmbeddedPostgres(home).urls.superuser)
    return url.set(database=database).render_as_string(hide_password=False)


def _traces(home: Path, word: str) -> dict[str, object]:
    """Where the word stands, in all databases and files."""
    places: dict[str, object] = {
        name: rows_with(_superuser(home, name), word) for name in ("galena", "dagster", "mlflow")
    }
    return {
        place: found
        for place, found in {**places, "files": files_with(home, word)}.items()
        if found
    }


def _last_tick(home: Path) -> int:
    from sqlalchemy import create_engine, text

    engine = create_engine(_superuser(home, "dagster"))
    try:
        with engine.connect() as connection:
            return int(connection.scalar(text("SELECT max(id) FROM job_ticks")) or 0)
    finally:
        engine.dispose()
