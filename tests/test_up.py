"""`galena up` for real: started, used, interrupted, killed. One installation, in this order."""

import json
import re
import signal
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from sqlalchemy import create_engine, text

from orchestration.services import listens
from tests.installations import PATIENCE_SECONDS, await_true
from tests.running import GALENA, Up, alive, environment, superuser, temporary_home
from tests.test_erasure import files_with, rows_with

GONE = "wombat-marker"


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    with temporary_home() as folder:
        yield folder


@pytest.fixture
def up(home: Path) -> Iterator[Callable[..., Up]]:
    """Start `galena up`; what is still running after the test is killed."""
    started: list[Up] = []

    def start(*arguments: str) -> Up:
        started.append(Up(home, *arguments))
        return started[-1]

    yield start
    for each in started:
        each.kill()


def test_ctrl_c_while_it_starts_leaves_nothing(home: Path, up: Callable[..., Up]) -> None:
    running = up()
    await_true(
        "it prepares PostgreSQL",
        lambda: (home / "postgres" / "data.new").exists() or "PostgreSQL" in running.output,
    )
    assert running.end() == 130
    assert running.output.strip().endswith("Interrupted.")
    assert alive(home) == []


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
    assert alive(home) == []
    assert not listens(int(port))


def test_a_tenant_removed_while_up_leaves_no_trace(home: Path, up: Callable[..., Up]) -> None:
    running = up()
    running.await_output("Starting from what is there")
    running.await_output("Ctrl-C stops everything.")
    _import_leads(home, GONE)
    await_true("scores", lambda: "lead-" in _galena(home, "scores", GONE).stdout)
    assert any(_traces(home, GONE).values()), "there is something to erase"

    removed = _galena(home, "tenant", "remove", GONE, "--yes")
    assert removed.returncode == 0, removed.stderr
    assert _traces(home, GONE) == {}
    ticks = _last_tick(home)
    await_true("three more ticks", lambda: _last_tick(home) >= ticks + 3)
    assert _traces(home, GONE) == {}
    assert "acme" in _galena(home, "tenant", "list").stdout
    assert running.end(signal.SIGTERM) == 0
    assert alive(home) == []


def test_after_kill_nothing_lives_on_and_the_next_start_recovers(
    home: Path, up: Callable[..., Up]
) -> None:
    _import_leads(home, "brio")
    running = up()
    await_true(
        "it has begun to start its services",
        lambda: (home / "logs" / "dagster-daemon.log").exists() and len(_services(home)) >= 3,
    )
    running.end(signal.SIGKILL)
    await_true("they end with it", lambda: _services(home) == [])

    again = _galena(home, "up", "--once")
    assert again.returncode == 0, again.stderr
    assert "brio: top leads" in again.stdout
    assert again.stdout.endswith("Stopped.\n")
    assert alive(home) == []


def test_a_service_that_dies_is_started_again(home: Path, up: Callable[..., Up]) -> None:
    running = up()
    running.await_output("Ctrl-C stops everything.")
    for part, word in (("Dagster daemon", "dagster._daemon"), ("Dagster code server", "grpc")):
        process = running.part(word)
        process.kill()
        running.await_output(f"{part} ended by itself, and was started again.")
        assert running.part(word) != process
    assert running.end() == 0
    assert alive(home) == []


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
        env=environment(home),
        timeout=PATIENCE_SECONDS,
    )


def _services(home: Path) -> list[psutil.Process]:
    """Those of Dagster, code servers and runs included."""
    return [process for process in alive(home) if "postgres" not in process.name()]


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


def _traces(home: Path, word: str) -> dict[str, object]:
    """Where the word stands, in all databases and files."""
    places: dict[str, object] = {
        name: rows_with(superuser(home, name), word) for name in ("galena", "dagster", "mlflow")
    }
    return {
        place: found
        for place, found in {**places, "files": files_with(home, word)}.items()
        if found
    }


def _last_tick(home: Path) -> int:
    engine = create_engine(superuser(home, "dagster"))
    try:
        with engine.connect() as connection:
            return int(connection.scalar(text("SELECT max(id) FROM job_ticks")) or 0)
    finally:
        engine.dispose()
