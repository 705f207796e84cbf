"""CRM databases that are polled: PostgreSQL without its log, and MariaDB."""

import grp
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, make_url

from tests.sources import CONTACTS, LOGGED, POLLED, Crm, new_crm, problem
from warehouse import tenants
from warehouse.database import Database
from warehouse.embedded import Urls
from warehouse.sources import polling, sync
from warehouse.sources.connecting import connect
from warehouse.sources.owner import missing, setup_sql

pytest.importorskip("pymysql")

OLD = datetime(2026, 11, 1, tzinfo=UTC)
MARIADB_SCHEMA = (
    "DROP TABLE IF EXISTS contacts",
    "DROP TABLE IF EXISTS `Calls`",
    "CREATE TABLE contacts (id int PRIMARY KEY, created datetime DEFAULT '2026-11-01',"
    " won datetime, country text, employees decimal(12, 2), internal blob,"
    " changed datetime(6) DEFAULT now(6) ON UPDATE now(6))",
    "CREATE TABLE `Calls` (contact int, number int, kind text, at datetime DEFAULT '2026-11-02',"
    " note text, changed datetime(6) DEFAULT now(6) ON UPDATE now(6),"
    " PRIMARY KEY (contact, number))",
)


@pytest.fixture(scope="module")
def mariadb() -> Iterator[str]:
    """The URL of a MariaDB server's owner, on a socket in a temporary folder."""
    # Debian puts the server where an ordinary user's PATH does not look.
    path = f"{os.environ['PATH']}:/usr/sbin"
    server, installer = (
        shutil.which(name, path=path) for name in ("mariadbd", "mariadb-install-db")
    )
    if server is None or installer is None:
        pytest.skip("no MariaDB here (Debian's package mariadb-server)")
    # Not below pytest's folder, which only this user may enter, and short: a socket lies there.
    folder = Path(tempfile.mkdtemp())
    how = ["--no-defaults", f"--datadir={folder}/data", f"--user={_unprivileged(folder)}"]
    subprocess.run(
        [installer, *how, "--auth-root-authentication-method=normal", "--skip-test-db"],
        check=True,
        capture_output=True,
    )
    options = [f"--socket={folder}/s", "--skip-networking", f"--pid-file={folder}/pid"]
    process = subprocess.Popen(
        [server, *how, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    url = f"mysql+pymysql://root@localhost/crm?unix_socket={folder}/s"
    try:
        _await(make_url(url).set(database=""))
        yield url
    finally:
        process.terminate()
        process.wait(60)
        shutil.rmtree(folder)


def _unprivileged(folder: Path) -> str:
    """The user to run as: this one, or, of root, one who owns the folder then."""
    user = pwd.getpwuid(os.geteuid())
    if user.pw_uid == 0:
        user = pwd.getpwnam("nobody")
        os.chown(folder, user.pw_uid, grp.getgrgid(user.pw_gid).gr_gid)
    return user.pw_name


def _await(url: Any) -> None:
    deadline = time.monotonic() + 60
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    while True:
        try:
            with engine.connect() as connection:
                connection.exec_driver_sql("CREATE DATABASE crm")
            return
        except Exception:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


@pytest.fixture(params=["postgresql", "mariadb"])
def crm(
    request: pytest.FixtureRequest,
    database: Database,
    server: Urls,
    new_database: Callable[[str], str],
) -> Crm:
    """The tenant acme, whose CRM is polled."""
    if request.param == "postgresql":
        url = make_url(server.superuser).set(database=new_database("template0"))
        found = new_crm(database, "acme", url.render_as_string(hide_password=False))
    else:
        found = Crm(database, "acme", request.getfixturevalue("mariadb"))
        tenants.add(database, "acme")
        found.write(*MARIADB_SCHEMA)
    found.add(POLLED)
    os.environ[found.variable] = found.owner_url
    return found


def contact(number: int, country: str, changed: datetime) -> str:
    return (
        "INSERT INTO contacts (id, country, changed) VALUES"
        f" ({number}, '{country}', '{changed:%Y-%m-%d %H:%M:%S.%f}')"
    )


def test_the_first_load_and_what_follows(crm: Crm) -> None:
    crm.write(contact(1, "de", OLD), contact(2, "fr", OLD))
    call = "INSERT INTO \"Calls\" (contact, number, kind, note) VALUES (1, 1, 'call', 'hello')"
    crm.write(call.replace('"', "`") if "mysql" in crm.owner_url else call)
    assert crm.sweep().load_wanted == "it has not been read yet"
    assert crm.load().written == 3
    assert crm.leads() == {"1": "de", "2": "fr"}
    assert crm.calls() == {("1", "call", "hello")}
    crm.write(
        contact(3, "es", OLD + timedelta(minutes=1)),
        "UPDATE contacts SET country = 'it', changed = now() WHERE id = 2",
    )
    swept = crm.sweep().written
    assert (swept.written, swept.deleted, swept.rejected) == (2, 0, 0)
    assert crm.leads() == {"1": "de", "2": "it", "3": "es"}
    assert crm.sweep().written.changes == 0, "what is read again is left alone"


def test_a_late_commit_within_the_overlap_is_found_and_one_beyond_it_by_reconciling(
    crm: Crm,
) -> None:
    crm.write(contact(1, "first", OLD))
    crm.load()
    crm.write(contact(2, "newest", OLD + timedelta(hours=1)))
    crm.sweep()
    with crm.owner() as late:
        late.exec_driver_sql("BEGIN")
        late.exec_driver_sql(contact(3, "late", OLD + timedelta(minutes=56)))
        late.exec_driver_sql(contact(4, "too late", OLD + timedelta(minutes=54)))
        crm.sweep()
        assert set(crm.leads()) == {"1", "2"}
        late.exec_driver_sql("COMMIT")
    crm.sweep()
    assert set(crm.leads()) == {"1", "2", "3"}
    crm.write("DELETE FROM contacts WHERE id = 1")
    crm.sweep(after=timedelta(hours=23))
    assert set(crm.leads()) == {"1", "2", "3"}, "polling sees no deletion"
    assert crm.sweep(after=timedelta(hours=1)).load_wanted == "it is time to reconcile it"
    crm.load()
    assert set(crm.leads()) == {"2", "3", "4"}
    assert crm.sweep().load_wanted is None


def test_a_quiet_table_is_not_read_again_and_again(crm: Crm) -> None:
    crm.write(contact(1, "de", OLD))
    crm.load()
    assert crm.sweep().written.read == 1
    assert crm.sweep(after=timedelta(minutes=7)).written.read == 1, "once more, after the overlap"
    assert crm.sweep().written.read == 0
    crm.write(contact(2, "fr", OLD - timedelta(minutes=1)), contact(3, "it", OLD + timedelta(1)))
    crm.sweep()
    assert set(crm.leads()) == {"1", "3"}, (
        "2 bears a time before the newest, later than the overlap"
    )


def test_many_rows_of_one_moment_are_read_block_by_block(
    crm: Crm, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("tables", "polling"):
        monkeypatch.setattr(f"warehouse.sources.{module}.BLOCK", 4)
    crm.write(contact(0, "de", OLD))
    crm.load()
    crm.write(*(contact(number, "fr", OLD) for number in range(1, 12)))
    reading = crm.sweep()
    assert reading.written.read == 12
    assert len(crm.leads()) == 12


def test_a_sweep_without_time_goes_on_where_it_ended(
    crm: Crm, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("tables", "polling"):
        monkeypatch.setattr(f"warehouse.sources.{module}.BLOCK", 4)
    crm.load()
    crm.write(*(contact(number, "fr", OLD) for number in range(10)))
    for read in (4, 8, 10):
        sync.sweep(crm.database, "acme", "crm", crm.now, out_of_time=lambda: True)
        assert len(crm.leads()) == read


def test_a_mapping_that_changes_during_a_sweep_is_waited_for(crm: Crm) -> None:
    crm.load()
    crm.write(contact(1, "de", OLD))
    before = crm.source()
    crm.add({"tables": {"contacts": {**CONTACTS, "updated_at": "changed"}}})
    with connect(crm.variable, 20) as there:
        reading, more = sync._poll(crm.database, there, before, crm.now)
    assert (reading.load_wanted, more) == ("it was added anew", False)
    assert crm.leads() == {}


def test_nothing_can_be_written(crm: Crm) -> None:
    with connect(crm.variable, 20) as there:
        why = problem(lambda: there.exec_driver_sql("DELETE FROM contacts"))
    assert "read-only" in why or "READ ONLY" in why


def test_check_and_the_printed_sql(crm: Crm) -> None:
    with connect(crm.variable, 20) as there:
        assert missing(there, crm.source()) == []
    printed = setup_sql(crm.source())
    assert "GRANT SELECT ON contacts" in printed
    assert "(changed);" in printed
    crm.add({"tables": {"contacts": {**CONTACTS, "updated_at": "modified"}}})
    with connect(crm.variable, 20) as there:
        (lacking,) = missing(there, crm.source())
    assert "no column 'modified', named by updated_at" in lacking
    assert crm.sweep().load_wanted
    assert "no column 'modified'" in problem(crm.load)
    crm.add({"tables": {"contacts": {**CONTACTS, "updated_at": "id"}}})
    crm.write("INSERT INTO contacts (id) VALUES (1)")
    assert "'id' has values of type int; expected a date with time" in problem(crm.load)


def test_mariadb_has_no_log_to_follow(database: Database, mariadb: str) -> None:
    tenants.add(database, "acme")
    crm = Crm(database, "acme", mariadb)
    crm.write(*MARIADB_SCHEMA)
    os.environ[crm.variable] = mariadb
    crm.add(LOGGED)
    assert "name updated_at in every table" in problem(crm.load)
    with connect(crm.variable, 20) as there:
        (lacking,) = missing(there, crm.source())
    assert "name updated_at in every table" in lacking


def test_a_watermark_is_stored_as_it_is() -> None:
    mark = polling.Watermark(
        newest=datetime(2026, 1, 1),
        seen_at=OLD,
        settled=True,
        began=OLD,
        position=(datetime(2026, 1, 1, tzinfo=UTC), 7, "x", OLD.date()),
        reached=OLD,
    )
    assert polling.from_json(polling.to_json(mark)) == mark
