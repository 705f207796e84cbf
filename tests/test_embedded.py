"""The embedded server: one for all processes, private, durable, and gone when it is stopped."""

import os
import signal
import stat
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import psutil
import psycopg
import pytest
import sqlalchemy
from adbc_driver_postgresql import dbapi
from psycopg.conninfo import conninfo_to_dict

from warehouse.embedded import EmbeddedPostgres, EmbeddedPostgresError

START = """
import sys
from pathlib import Path
from warehouse.embedded import EmbeddedPostgres
print(EmbeddedPostgres(Path(sys.argv[1])).start(), flush=True)
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def stopped_at_end(home: Path) -> Iterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(home)
    yield server
    server.stop()


@pytest.fixture
def server(stopped_at_end: EmbeddedPostgres) -> EmbeddedPostgres:
    """The module's server, running; a test may stop or kill it."""
    stopped_at_end.start()
    return stopped_at_end


@pytest.fixture
def make_server(tmp_path: Path) -> Iterator[Callable[[Path], EmbeddedPostgres]]:
    """Makes servers in homes of the test's own and stops them when it ends."""
    made = []

    def make(home: Path = tmp_path) -> EmbeddedPostgres:
        made.append(EmbeddedPostgres(home))
        return made[-1]

    yield make
    for server in made:
        server.stop()


def processes(home: Path) -> list[psutil.Process]:
    """The processes of the home's server: they all work in its data folder."""
    data = str(home / "postgres/data")
    return [p for p in psutil.process_iter(["cwd", "ppid"]) if p.info["cwd"] == data]


def postmaster(home: Path) -> int:
    return int((home / "postgres/data/postmaster.pid").read_text().split()[0])


def socket_folder(server: EmbeddedPostgres) -> Path:
    return Path(str(conninfo_to_dict(server.urls.app)["host"]))


def execute(url: str, statement: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else []


def test_processes_that_start_at_once_share_one_server(
    tmp_path: Path, make_server: Callable[[], EmbeddedPostgres]
) -> None:
    server = make_server()
    starting = [
        subprocess.Popen([sys.executable, "-c", START, str(tmp_path)], stdout=subprocess.PIPE)
        for _ in range(3)
    ]
    # That their output ends shows that the server holds none of the starter's pipes.
    told = sorted(process.communicate(timeout=120)[0] for process in starting)
    assert told == [b"False\n", b"False\n", b"True\n"]
    assert execute(server.urls.owner, "SELECT 1") == [(1,)]
    found = processes(tmp_path)
    ids = {process.pid for process in found}
    assert [p.pid for p in found if p.info["ppid"] not in ids] == [postmaster(tmp_path)]


def test_stop_ends_every_process_and_may_be_repeated(server: EmbeddedPostgres, home: Path) -> None:
    assert server.running()
    assert processes(home)
    server.stop()
    assert not server.running()
    assert not processes(home)
    server.stop()
    assert server.start()
    assert not server.start()


def test_stop_before_any_start_touches_nothing(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path / "home")
    server.stop()
    assert not server.running()
    assert not (tmp_path / "home").exists()


def test_committed_rows_outlive_a_kill_while_a_backend_works_on(
    server: EmbeddedPostgres, home: Path
) -> None:
    execute(server.urls.owner, "CREATE TABLE kept AS SELECT 42 AS answer")
    work = "SELECT count(*) FROM generate_series(1, 20000000)"
    with ThreadPoolExecutor(1) as pool:
        orphan = pool.submit(execute, server.urls.owner, work)
        active = f"SELECT pid FROM pg_stat_activity WHERE query = '{work}'"
        while not (rows := execute(server.urls.superuser, active)):
            assert not orphan.done()
        os.kill(postmaster(home), signal.SIGKILL)
        assert server.start()
        # The backend does not notice the death of its parent until its query is done.
        assert rows[0][0] not in {process.pid for process in processes(home)}
    assert execute(server.urls.owner, "SELECT answer FROM kept") == [(42,)]
    execute(server.urls.owner, "DROP TABLE kept")


def test_a_process_that_has_a_killed_servers_id_does_not_prevent_the_start(
    server: EmbeddedPostgres, home: Path
) -> None:
    os.kill(postmaster(home), signal.SIGKILL)
    psutil.wait_procs(processes(home), timeout=60)
    other = subprocess.Popen(["sleep", "600"])
    for path in (home / "postgres/data/postmaster.pid", *socket_folder(server).glob("*.lock")):
        rest = path.read_text().partition("\n")[2]
        path.write_text(f"{other.pid}\n{rest}")
    try:
        server.stop()
        assert server.start()
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_a_killed_client_does_not_hold_up_the_stop(server: EmbeddedPostgres, home: Path) -> None:
    client = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import psycopg, sys, time; connection = psycopg.connect(sys.argv[1]);"
            "connection.execute('SELECT 1'); print('in a transaction', flush=True);"
            "time.sleep(600)",
            server.urls.app,
        ],
        stdout=subprocess.PIPE,
    )
    assert client.stdout is not None
    assert client.stdout.readline() == b"in a transaction\n"
    client.kill()
    client.communicate()
    server.stop()
    assert not processes(home)


def test_the_terminals_interrupt_does_not_reach_the_server(
    server: EmbeddedPostgres, home: Path
) -> None:
    server.stop()
    starter = subprocess.Popen(
        [sys.executable, "-c", START + "import time; time.sleep(600)", str(home)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    assert starter.stdout is not None
    assert starter.stdout.readline() == b"True\n"
    os.killpg(starter.pid, signal.SIGINT)
    starter.communicate()
    assert not server.start()
    assert execute(server.urls.app, "SELECT 1") == [(1,)]


@pytest.mark.usefixtures("server")
def test_everything_is_closed_to_other_users(home: Path) -> None:
    found = {
        path: path.lstat()
        for path in (home / "postgres", *(home / "postgres").rglob("*"))
        if path.exists()  # the running server removes temporary files
    }
    assert home / "postgres/secrets.json" in found
    assert home / "postgres/socket/.s.PGSQL.5432" in found
    assert not {path for path, status in found.items() if stat.S_IMODE(status.st_mode) & 0o077}
    assert {status.st_uid for status in found.values()} == {os.geteuid()}
    assert not {
        line
        for line in (home / "postgres/data/pg_hba.conf").read_text().splitlines()
        if line.endswith("trust")
    }


@pytest.mark.parametrize("login", ["postgres", "galena_owner", "galena_app"])
@pytest.mark.parametrize("password", ["", ":wrong"])
def test_no_login_without_its_password(
    server: EmbeddedPostgres, login: str, password: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPASSFILE", os.devnull)
    url = f"postgresql://{login}{password}@/galena?host={socket_folder(server)}&port=5432"
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(url)


def test_urls_serve_every_driver(server: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPORT", "1")
    urls = server.urls
    for url, database in [
        (urls.app, "galena"),
        (urls.owner, "galena"),
        (urls.dagster, "dagster"),
        (urls.mlflow, "mlflow"),
        (urls.superuser, "postgres"),
    ]:
        assert execute(url, "SELECT current_database()") == [(database,)]
    with closing(dbapi.connect(urls.app)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT current_database()")
        assert cursor.fetchone() == ("galena",)
    for scheme in ("postgresql", "postgresql+psycopg2"):
        engine = sqlalchemy.create_engine(urls.dagster.replace("postgresql", scheme, 1))
        with engine.connect() as alchemy:
            assert alchemy.scalar(sqlalchemy.text("SELECT current_database()")) == "dagster"
        engine.dispose()


def test_the_servers_settings(server: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch) -> None:
    server.stop()
    monkeypatch.setenv("PGDATESTYLE", "SQL, DMY")
    server.start()
    monkeypatch.delenv("PGDATESTYLE")
    wanted = {
        "listen_addresses": "",
        "wal_level": "logical",
        "fsync": "on",
        "synchronous_commit": "on",
        "full_page_writes": "on",
        "data_checksums": "on",
        "password_encryption": "scram-sha-256",
        "restart_after_crash": "on",
        "TimeZone": "UTC",
        "DateStyle": "ISO, MDY",
        "server_encoding": "UTF8",
        "jit": "off",
    }
    rows = execute(server.urls.superuser, "SELECT name, setting FROM pg_settings")
    assert {str(name): setting for name, setting in rows if name in wanted} == wanted
    locales = "SELECT DISTINCT datlocprovider::text, datlocale FROM pg_database"
    assert execute(server.urls.superuser, locales) == [("b", "C.UTF-8")]


def test_the_application_owns_nothing(server: EmbeddedPostgres) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        execute(server.urls.app, "CREATE TABLE public.mine (i int)")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        execute(server.urls.app, "CREATE SCHEMA mine")
    execute(server.urls.app, "CREATE TEMPORARY TABLE staging (i int)")
    for database in ("dagster", "mlflow", "postgres", "template1"):
        with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
            psycopg.connect(server.urls.app, dbname=database)
    owned = "SELECT 1 FROM pg_shdepend WHERE refobjid = 'galena_app'::regrole AND deptype = 'o'"
    assert execute(server.urls.superuser, owned) == []
    attributes = "SELECT rolsuper, rolbypassrls, rolcreaterole, rolinherit FROM pg_roles"
    mine = execute(server.urls.app, f"{attributes} WHERE rolname = current_user")
    assert mine == [(False, False, False, False)]


def test_the_owner_makes_roles_and_is_bound_by_policies(server: EmbeddedPostgres) -> None:
    for statement in (
        "CREATE ROLE galena_tried NOLOGIN",
        "GRANT CONNECT ON DATABASE galena TO galena_tried",
        "REVOKE CONNECT ON DATABASE galena FROM galena_tried",
        "GRANT galena_tried TO galena_app",
        "DROP ROLE galena_tried",
    ):
        execute(server.urls.owner, statement)
    attributes = "SELECT rolsuper, rolbypassrls FROM pg_roles WHERE rolname = current_user"
    assert execute(server.urls.owner, attributes) == [(False, False)]


@pytest.mark.parametrize("name", ["d" * 120, 'Anna\'s, "home"'])
def test_a_home_whose_path_no_socket_can_have(
    tmp_path: Path, name: str, make_server: Callable[[Path], EmbeddedPostgres]
) -> None:
    server = make_server(tmp_path / name)
    folder = socket_folder(server)
    try:
        assert tmp_path not in folder.parents
        assert stat.S_IMODE(folder.lstat().st_mode) == 0o700
        server.start()
        assert execute(server.urls.app, "SELECT 1") == [(1,)]
    finally:
        server.stop()
        folder.rmdir()


@pytest.mark.parametrize("planted", ["symlink", "open to all"])
def test_a_planted_socket_folder_is_refused(tmp_path: Path, planted: str) -> None:
    server = EmbeddedPostgres(tmp_path / ("d" * 120))
    folder = socket_folder(server)
    folder.rmdir()
    if planted == "symlink":
        (tmp_path / "elsewhere").mkdir(mode=0o700)
        folder.symlink_to(tmp_path / "elsewhere")
    else:
        folder.mkdir()
        folder.chmod(0o777)
    try:
        with pytest.raises(EmbeddedPostgresError, match="nobody else can enter"):
            server.start()
    finally:
        folder.unlink() if folder.is_symlink() else folder.rmdir()


def test_a_failed_start_tells_the_servers_reason(server: EmbeddedPostgres, home: Path) -> None:
    server.stop()
    settings = home / "postgres/data/postgresql.auto.conf"
    before = settings.read_text()
    settings.write_text("work_mem = 'plenty'\n")
    try:
        with pytest.raises(EmbeddedPostgresError, match=r"postgresql\.auto\.conf.*postgres/log"):
            server.start()
    finally:
        settings.write_text(before)
    assert not server.running()
    assert server.start()


def test_an_interrupted_first_start_is_begun_anew(
    tmp_path: Path, make_server: Callable[[], EmbeddedPostgres]
) -> None:
    server = make_server()
    starter = subprocess.Popen([sys.executable, "-c", START, str(tmp_path)])
    while not (tmp_path / "postgres/data.new/base").exists():
        assert starter.poll() is None
        time.sleep(0.005)
    starter.kill()
    starter.wait()
    assert not (tmp_path / "postgres/data").exists()
    assert server.start()
    assert execute(server.urls.app, "SELECT 1") == [(1,)]


def test_data_of_another_major_version_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "postgres").mkdir(mode=0o700)
    (tmp_path / "postgres/data").mkdir()
    (tmp_path / "postgres/data/PG_VERSION").write_text("17\n")
    with pytest.raises(EmbeddedPostgresError, match=r"made by PostgreSQL 17 .* GALENA_HOME"):
        EmbeddedPostgres(tmp_path).start()
    assert [path.name for path in (tmp_path / "postgres/data").iterdir()] == ["PG_VERSION"]


def test_lost_passwords_are_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "postgres").mkdir(mode=0o700)
    (tmp_path / "postgres/data").mkdir()
    with pytest.raises(EmbeddedPostgresError, match=r"secrets\.json is missing"):
        _ = EmbeddedPostgres(tmp_path).urls


def test_a_home_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EmbeddedPostgresError, match="GALENA_HOME"):
        EmbeddedPostgres(tmp_path / "file/home").start()


def test_urls_keep_passwords_out_of_repr(server: EmbeddedPostgres) -> None:
    password = str(conninfo_to_dict(server.urls.app)["password"])
    assert len(password) >= 32
    assert password not in repr(server.urls)


def test_passwords_do_not_reach_the_log(server: EmbeddedPostgres, home: Path) -> None:
    with pytest.raises(psycopg.errors.DuplicateObject):
        execute(server.urls.owner, "CREATE ROLE galena_app PASSWORD 'a customer''s secret'")
    server.stop()
    log = "".join(path.read_text() for path in (home / "postgres/log").iterdir())
    assert 'role "galena_app" already exists' in log
    assert "secret" not in log


@pytest.mark.skipif(os.geteuid() != 0, reason="the other tests run as an ordinary user already")
def test_an_ordinary_user_runs_a_server() -> None:
    nobody = 65534
    if not _may_be_read_by_others(Path(sys.prefix)):
        pytest.skip(f"{sys.prefix} lies in a folder that other users cannot enter")
    # Not in tmp_path, which is closed to other users.
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        home = Path(folder)
        os.chown(home, nobody, nobody)
        # A fork and not a new interpreter, whose files that user may not be allowed to read.
        child = os.fork()
        if child == 0:
            os._exit(_serve_as(nobody, home))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert (home / "postgres/data").stat().st_uid == nobody
        # Root would not find the user's files its own, and says so.
        with pytest.raises(EmbeddedPostgresError, match="run as that user"):
            EmbeddedPostgres(home).start()


def _may_be_read_by_others(path: Path) -> bool:
    return all(folder.stat().st_mode & 0o005 == 0o005 for folder in (path, *path.parents))


def _serve_as(user: int, home: Path) -> int:
    try:
        os.setgroups([])
        os.setgid(user)
        os.setuid(user)
        server = EmbeddedPostgres(home)
        assert server.start()
        try:
            assert execute(server.urls.app, "SELECT 1") == [(1,)]
        finally:
            server.stop()
        assert not processes(home)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def test_root_without_user_namespaces_is_told_the_ways_out(tmp_path: Path) -> None:
    refuse = 'echo 0 > /proc/sys/user/max_user_namespaces && exec "$@"'
    nested = ["unshare", "--user", "--map-root-user", "sh", "-c", refuse, "sh"]
    try:
        subprocess.run([*nested, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("user namespaces cannot be made, or not be limited, on this machine")
    told = subprocess.run(
        [*nested, sys.executable, "-c", START, str(tmp_path)], capture_output=True, text=True
    )
    assert "run Galena as an ordinary user, or set GALENA_DATABASE_URL" in told.stderr
    assert not (tmp_path / "postgres/data").exists()
