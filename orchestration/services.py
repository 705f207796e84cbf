"""Child processes that `galena up` starts: their readiness, and an end that leaves none behind."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
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


def listens(port: int) -> bool:
    """Whether something accepts connections on this port of the loopback."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1].strip() if lines else "it logged nothing"
