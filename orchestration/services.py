"""Child processes that `galena up` starts: their readiness, and an end that leaves none behind."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path

from warehouse.errors import GalenaError

# A pipe tells when its writer, `galena up`, is gone in whatever way, kill -9 included. A shell in
# the service's own process group waits for that: it reaches what the service started, too.
_GUARDED = """\
exec 3<&0 </dev/null
{ trap '' TERM; read -r _ <&3; kill -TERM 0; sleep 5; kill -KILL 0; } &
exec 3<&-
exec "$@"
"""


@dataclass(frozen=True, eq=False)
class Part:
    """One of the processes that make up a running Galena.

    ready: whether it is. ended: called when it and all that it started have ended by themselves.
    """

    name: str
    command: Sequence[str]
    ready: Callable[[], bool]
    environment: Mapping[str, str]
    ended: Callable[[], None] = lambda: None


@dataclass
class Service:
    """A child process with a session of its own, so that Ctrl-C reaches it through us alone.

    lifeline: the descriptor whose closing ends the process and all that it started.
    """

    name: str
    process: "subprocess.Popen[bytes]"
    log: Path
    lifeline: int

    def check(self) -> None:
        """Raise with the last line it logged when it has ended by itself."""
        if self.process.poll() is not None:
            raise GalenaError(
                f"{self.name} ended by itself: {_last_line(self.log)} (see {self.log})."
            )

    def await_ready(self, ready: Callable[[], bool], seconds: float = 180) -> None:
        """Return once it is ready."""
        deadline = time.monotonic() + seconds
        while not ready():
            self.check()
            if time.monotonic() > deadline:
                raise GalenaError(
                    f"{self.name} is not ready after {seconds:.0f} s: see {self.log}."
                )
            time.sleep(0.1)

    def stop(self, seconds: float = 10) -> None:
        """Ask it to end, wait, then kill whatever is left of its process group."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(seconds)
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        os.close(self.lifeline)


# More than this within the time is no accident: starting it once more would not help.
_MOST_RESTARTS = 5
_WITHIN_SECONDS = 600


class Supervisor:
    """Keeps parts running: one that ends by itself is started again.

    logs: the folder of their logs. folder: where they run. tell: called with a line about what a
    person may want to know. held: a context in which no Ctrl-C arrives.
    """

    def __init__(
        self,
        logs: Path,
        folder: Path,
        tell: Callable[[str], None],
        held: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._logs, self._folder, self._tell, self._held = logs, folder, tell, held
        self._running: dict[Part, Service] = {}
        self._restarts: list[float] = []

    def start(self, parts: Sequence[Part]) -> None:
        """Start the parts, and return when all are ready."""
        for part in parts:
            self._start(part)
        for part in parts:
            self._running[part].await_ready(part.ready)

    def check(self) -> None:
        """Start again what has ended by itself. Raises GalenaError when that happens too often."""
        for part, service in self._running.items():
            if service.process.poll() is not None:
                self._start_again(part, service)

    def stop(self) -> None:
        """Stop the parts, the last one first, with a word for each."""
        while self._running:
            part, service = self._running.popitem()
            service.stop()
            self._tell(f"[dim]{part.name} stopped[/dim]")

    def _start(self, part: Part) -> None:
        log = self._logs / f"{part.name.lower().replace(' ', '-')}.log"
        with self._held():
            self._running[part] = start(
                part.name, part.command, log, part.environment, self._folder
            )

    def _start_again(self, part: Part, service: Service) -> None:
        now = time.monotonic()
        self._restarts = [at for at in self._restarts if at > now - _WITHIN_SECONDS]
        if len(self._restarts) >= _MOST_RESTARTS:
            service.check()
        self._restarts.append(now)
        service.stop()
        part.ended()
        self._start(part)
        self._tell(f"[yellow]{part.name} ended by itself, and was started again.[/yellow]")


def start(
    name: str, command: Sequence[str], log: Path, environment: Mapping[str, str], folder: Path
) -> Service:
    """Start a command as a service that logs to the file."""
    log.parent.mkdir(parents=True, exist_ok=True)
    reader, lifeline = os.pipe()
    try:
        with log.open("ab") as output:
            process = subprocess.Popen(
                ["/bin/sh", "-c", _GUARDED, "galena", *command],
                stdin=reader,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **environment},
                cwd=folder,
                start_new_session=True,
            )
    except BaseException:
        os.close(lifeline)
        raise
    finally:
        os.close(reader)
    return Service(name, process, log, lifeline)


def free_port(wanted: int) -> int:
    """The wanted port on loopback, or the next one that is free."""
    for port in range(wanted, min(wanted + 100, 65_536)):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise GalenaError(f"No port from {wanted} to {wanted + 99} is free: name one with --port.")


def listens(address: int | Path) -> bool:
    """Whether something accepts connections on this port of the loopback, or on this socket."""
    unix = isinstance(address, Path)
    with socket.socket(socket.AF_UNIX if unix else socket.AF_INET) as probe:
        probe.settimeout(1)
        return probe.connect_ex(str(address) if unix else ("127.0.0.1", address)) == 0


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1].strip() if lines else "it logged nothing"
