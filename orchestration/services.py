"""Child processes that `galena up` starts: their readiness, and an end that leaves none behind."""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from warehouse.errors import GalenaError

_PR_SET_PDEATHSIG = 1


@dataclass
class Service:
    """A child process with a session of its own, so that Ctrl-C reaches it through us alone."""

    name: str
    process: "subprocess.Popen[bytes]"
    log: Path

    def await_ready(self, ready: Callable[[], bool], seconds: float = 90) -> None:
        """Return once it is ready; raise with the last line it logged when it ends before."""
        deadline = time.monotonic() + seconds
        while not ready():
            if self.process.poll() is not None:
                raise GalenaError(f"{self.name} ended: {_last_line(self.log)} (see {self.log}).")
            if time.monotonic() > deadline:
                raise GalenaError(
                    f"{self.name} is not ready after {seconds:.0f} s: see {self.log}."
                )
            time.sleep(0.1)

    def stop(self, seconds: float = 10) -> None:
        """Ask it to end, wait, then kill whatever is left of its process group."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(seconds)
            except subprocess.TimeoutExpired:
                self.process.kill()
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()


def start(
    name: str, command: Sequence[str], log: Path, environment: Mapping[str, str], folder: Path
) -> Service:
    """Start a Python module of this environment as a service that logs to the file."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment},
            cwd=folder,
            start_new_session=True,
            preexec_fn=_end_with_parent if sys.platform == "linux" else None,
        )
    return Service(name, process, log)


def free_port(wanted: int) -> int:
    """The wanted port on loopback, or the next one that is free."""
    for port in range(wanted, wanted + 100):
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


def _end_with_parent() -> None:
    # A killed `galena up` cannot stop anyone; the kernel does it then.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1].strip() if lines else "it logged nothing"
