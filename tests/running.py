"""A whole `galena up` in a folder of its own, as its user sees it: output, processes, databases."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from sqlalchemy import make_url

from tests.installations import PATIENCE_SECONDS, await_true
from warehouse.embedded import EmbeddedPostgres

GALENA = [str(Path(sys.executable).with_name("galena"))]


@contextmanager
def temporary_home() -> Iterator[Path]:
    """A folder with a short path: a socket's path must be short. What is still running in it after
    the body is killed."""
    folder = Path(tempfile.mkdtemp(prefix="galena-up-", dir="/tmp"))
    try:
        yield folder
    finally:
        for process in alive(folder):
            process.kill()
        EmbeddedPostgres(folder).stop()
        shutil.rmtree(folder)
        _output(folder).unlink(missing_ok=True)


class Up:
    """A running `galena up` of the folder, and the processes that it started."""

    def __init__(self, home: Path, *arguments: str) -> None:
        self._output = _output(home)
        with self._output.open("wb") as output:
            self.process = subprocess.Popen(
                [*GALENA, "up", *arguments],
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment(home),
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        return self._output.read_text()

    def await_output(self, words: str) -> None:
        await_true(words, lambda: words in self.output or self.process.poll() is not None)
        assert words in self.output, self.output

    def part(self, *words: str) -> psutil.Process:
        """The process whose command has these words."""
        (found,) = (
            process
            for process in psutil.Process(self.process.pid).children()
            if set(words) <= set(process.cmdline())
        )
        return found

    def run(self) -> psutil.Process:
        """The process of the run that is under way, which the code server started."""
        (found,) = (
            process
            for process in self.part("api", "grpc").children(recursive=True)
            if any("spawn_main" in word for word in process.cmdline())
        )
        return found

    def end(self, signal_number: int = signal.SIGINT) -> int:
        self.process.send_signal(signal_number)
        return self.process.wait(PATIENCE_SECONDS)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


def _output(home: Path) -> Path:
    """Beside the folder, in which a tenant that was removed must not be named."""
    return home.with_suffix(".out")


def environment(home: Path) -> dict[str, str]:
    others = {name: value for name, value in os.environ.items() if not name.startswith("GALENA")}
    return {**others, "GALENA_HOME": str(home), "COLUMNS": "200"}


def alive(home: Path) -> list[psutil.Process]:
    """The processes of the installation: all inherit its GALENA_HOME."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("GALENA_HOME") == str(home):
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return [process for process in found if process.status() != psutil.STATUS_ZOMBIE]


def superuser(home: Path, database: str) -> str:
    """The URL of the login that no policy binds."""
    url = make_url(EmbeddedPostgres(home).urls.superuser)
    return url.set(database=database).render_as_string(hide_password=False)
