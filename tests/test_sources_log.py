"""A PostgreSQL CRM followed by its log: on a second database of a real server."""

import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.exc import ProgrammingError

from tests.sources import CONTACTS, LOGGED, PASSWORD, Crm, new_crm, problem
from warehouse.database import Database
from warehouse.embedded import Urls
from warehouse.sources import decoding, health, registry, slots, sync
from warehouse.sources.connecting import connect
from warehouse.sources.owner import missing
from warehouse.sources.removal import release
from warehouse.sources.writing import Writer


@pytest.fixture
def new_source(server: Urls, new_database: Callable[[str], str]) -> Callable[[], str]:
    """The superuser's URL of another database, empty."""
    url = make_url(server.superuser)
    return lambda: url.set(database=new_database("template0")).render_as_string(hide_password=False)


@pytest.fixture
def crm(database: Database, new_source: Callable[[], str]) -> Iterator[Crm]:
    """The tenant acme, whose CRM is prepared and not yet read."""
    yield from prepared(database, "acme", new_source())


@pytest.fixture
def other(database: Database, new_source: Callable[[], str]) -> Iterator[Crm]:
    """The tenant brio with a CRM of the same name."""
    yield from prepared(database, "brio", new_source())


def prepared(database: Database, tenant_id: str, owner_url: str) -> Iterator[Crm]:
    found = new_crm(database, tenant_id, owner_url)
    found.add(LOGGED)
    found.prepare()
    yield found
    found.drop_slots()


def test_the_first_load_and_what_follows(crm: Crm) -> None:
    crm.write(
        "INSERT INTO contacts (id, country) VALUES (1, 'de'), (2, 'fr')",
        "INSERT INTO \"Calls\" (contact, number, kind, note) VALUES (1, 1, 'call', 'hello')",
    )
    assert crm.sweep().load_wanted == "it has not been read yet"
    assert crm.load().written == 3
    assert crm.leads() == {"1": "de", "2": "fr"}
    assert crm.calls() == {("1", "call", "hello")}

    crm.write(
        "INSERT INTO contacts (id, country) VALUES (3, 'es')",
        "UPDATE contacts SET country = 'it' WHERE id = 2",
        "DELETE FROM contacts WHERE id = 1",
        "UPDATE contacts SET id = 4 WHERE id = 3",
        "UPDATE \"Calls\" SET number = 2, note = 'moved'",
    )
    written = crm.sweep().written
    assert (written.written, written.deleted) == (3, 2)
    assert crm.leads() == {"2": "it", "4": "es"}
    assert crm.calls() == {("1", "call", "moved")}
    assert crm.sweep().written.changes == 0


def test_what_is_loaded_is_known_since_its_beginning_and_what_follows_since_it_came(
    crm: Crm,
) -> None:
    """Otherwise a model could learn nothing from the years before the CRM was connected."""
    crm.write("INSERT INTO contacts (id, country) VALUES (1, 'de')")
    crm.load()
    assert crm.here("SELECT count(*) FROM crm.leads WHERE known_at = created_at") == [(1,)]
    crm.write(
        "UPDATE contacts SET country = 'fr'", "INSERT INTO contacts (id, country) VALUES (2, 'it')"
    )
    crm.sweep(after=timedelta(hours=1))
    assert crm.here("SELECT DISTINCT known_at FROM crm.leads") == [(crm.now,)]
    history = "SELECT attributes ->> 'country' FROM crm.attribute_history WHERE lead_id = '1'"
    assert crm.here(f"{history} ORDER BY known_at") == [("de",), ("fr",)]


def test_a_truncated_table_is_read_whole(crm: Crm) -> None:
    crm.write("INSERT INTO contacts (id) SELECT generate_series(1, 3)")
    crm.load()
    crm.write("TRUNCATE contacts", "INSERT INTO contacts (id, country) VALUES (2, 'fr')")
    assert crm.sweep().load_wanted == "table contacts: it was truncated"
    assert crm.load().deleted == 2
    assert crm.leads() == {"2": "fr"}
    assert crm.sweep() == sync.Reading(), "and followed again from there"


def test_a_transaction_that_changes_very_much_is_read_whole(
    crm: Crm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding, "_MOST_KEYS", 100)
    monkeypatch.setattr(decoding, "_CHANGES", 50)
    crm.load()
    crm.write("INSERT INTO contacts (id) SELECT generate_series(1, 101)")
    assert crm.sweep().load_wanted == "table contacts: more than 100 of its rows changed at once"
    assert crm.load().written == 101
    crm.write("DELETE FROM contacts WHERE id = 1")
    assert crm.sweep().written.deleted == 1


def test_many_small_transactions_are_followed_step_by_step(
    crm: Crm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding, "_CHANGES", 10)
    crm.load()
    crm.write(*(f"INSERT INTO contacts (id) VALUES ({number})" for number in range(30)))
    assert crm.sweep().written.written == 30
    assert len(crm.leads()) == 30


def test_a_table_larger_than_a_block_is_loaded_whole(
    crm: Crm, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("tables", "writing", "sync"):
        monkeypatch.setattr(f"warehouse.sources.{module}.BLOCK", 7)
    crm.write(
        "INSERT INTO contacts (id) SELECT generate_series(-10, 10)",
        "INSERT INTO \"Calls\" SELECT mod(n, 4), n, 'call' FROM generate_series(1, 30) n",
    )
    assert crm.load().written == 21 + 30
    crm.write("DELETE FROM contacts WHERE id < 0", 'DELETE FROM "Calls" WHERE number < 20')
    assert crm.load().deleted == 10 + 19
    assert crm.load().changes == 0


def test_a_transaction_that_commits_after_a_sweep_is_not_lost(crm: Crm) -> None:
    crm.load()
    with crm.owner() as late:
        late.exec_driver_sql("BEGIN")
        late.exec_driver_sql("INSERT INTO contacts (id, country) VALUES (1, 'late')")
        crm.write("INSERT INTO contacts (id, country) VALUES (2, 'early')")
        crm.sweep()
        assert crm.leads() == {"2": "early"}
        late.exec_driver_sql("COMMIT")
    crm.sweep()
    assert crm.leads() == {"1": "late", "2": "early"}


def test_a_commit_that_others_do_not_see_yet_is_waited_for(
    crm: Crm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With synchronous replication the log has a commit before any session sees its rows: rows read
    then would be those of before, and the change lost."""
    monkeypatch.setattr(decoding, "_VISIBLE_SECONDS", 0.2)
    crm.load()
    with synchronous(crm) as commit:
        waiting = threading.Thread(
            target=commit, args=("INSERT INTO contacts (id, country) VALUES (1, 'de')",)
        )
        waiting.start()
        with connect(crm.variable, 20) as there:
            slot = slots.find_slot(there, crm.source().slot_name)
            assert slot
            tables = slots.slot_tables(there, crm.source().mapping)
            while not decoding.read_log(there, crm.source().slot_name, tables, slot).keys:
                pass
        assert crm.sweep() == sync.Reading(), "decoded, and not visible"
        assert crm.leads() == {}
    waiting.join()
    crm.sweep()
    assert crm.leads() == {"1": "de"}


@contextmanager
def synchronous(crm: Crm) -> Iterator[Callable[[str], None]]:
    """Run a statement that waits, committed, for a standby that is not there; until the end."""

    def commit(statement: str) -> None:
        with crm.owner() as connection:
            connection.exec_driver_sql("SET synchronous_commit = on")
            connection.exec_driver_sql(statement)

    reset = "SELECT pg_reload_conf()"
    crm.write("ALTER SYSTEM SET synchronous_commit = local", reset)
    crm.write("ALTER SYSTEM SET synchronous_standby_names = 'nobody'", reset)
    try:
        yield commit
    finally:
        crm.write("ALTER SYSTEM RESET synchronous_standby_names", reset)
        crm.write("ALTER SYSTEM RESET synchronous_commit", reset)


def test_a_crash_before_the_slot_is_told_loses_and_doubles_nothing(
    crm: Crm, monkeypatch: pytest.MonkeyPatch
) -> None:
    crm.load()
    crm.write("INSERT INTO contacts (id, country) VALUES (1, 'de')")
    with monkeypatch.context() as patched:
        patched.setattr(slots, "advance", _crash)
        crm.sweep()
    assert crm.leads() == {"1": "de"}
    before = crm.here("SELECT * FROM crm.attribute_history")
    crm.write("INSERT INTO contacts (id, country) VALUES (2, 'fr')")
    assert crm.sweep(after=timedelta(minutes=1)).written.written == 1
    assert crm.leads() == {"1": "de", "2": "fr"}
    history = "SELECT * FROM crm.attribute_history WHERE lead_id = '1'"
    assert crm.here(history) == before


def test_a_crash_before_the_commit_here_loses_nothing(
    crm: Crm, monkeypatch: pytest.MonkeyPatch
) -> None:
    crm.load()
    crm.write("INSERT INTO contacts (id, country) VALUES (1, 'de')")
    with monkeypatch.context() as patched:
        patched.setattr(Writer, "forget", _crash)
        assert crm.sweep().failed
    assert crm.leads() == {}
    crm.sweep(after=timedelta(minutes=1))
    assert crm.leads() == {"1": "de"}


def _crash(*_: object) -> Any:
    raise RuntimeError("crash")


def test_a_large_value_that_did_not_change_is_kept(crm: Crm) -> None:
    """The log has no such value (TOAST): the row is read from the table."""
    large = "x" * 100_000
    crm.write(f"INSERT INTO contacts (id, country, employees) VALUES (1, '{large}', 1)")
    crm.load()
    crm.write("UPDATE contacts SET employees = 2")
    assert crm.sweep().written.written == 1
    assert crm.leads() == {"1": large}


def test_bad_rows_are_set_aside_and_come_in_once_they_are_mended(crm: Crm) -> None:
    crm.write(
        "INSERT INTO contacts (id, created, won) VALUES (1, '2026-11-01', NULL),"
        " (2, '1750-01-01', NULL), (3, '2026-11-01', '2026-10-01')"
    )
    loaded = crm.load()
    assert (loaded.written, loaded.rejected) == (1, 2)
    rejected = (
        "SELECT source, reason, \"row\" ->> 'key', \"row\" -> 'cells' ->> 'id'"
        " FROM crm.rejected_rows ORDER BY 3"
    )
    (first, second) = crm.here(rejected)
    assert first[0] == "crm/contacts"
    assert first[1].startswith("created_at: 1750-01-01")
    assert first[2:] == ("2", "2")
    assert second[1].startswith("converted_at: 2026-10-01")

    crm.write(
        "UPDATE contacts SET created = '2026-11-01' WHERE id = 2",
        "INSERT INTO contacts (id, created) VALUES (4, '1750-01-01')",
    )
    swept = crm.sweep().written
    assert (swept.written, swept.rejected) == (1, 1)
    assert set(crm.leads()) == {"1", "2"}
    assert [row[2] for row in crm.here(rejected)] == ["3", "4"]
    crm.write("DELETE FROM contacts WHERE id IN (3, 4)")
    crm.sweep()
    assert crm.here(rejected) == []


def test_a_row_that_turns_bad_leaves_its_record_as_it_was(crm: Crm) -> None:
    crm.write("INSERT INTO contacts (id, country) VALUES (1, 'de')")
    crm.load()
    crm.write("UPDATE contacts SET created = '1750-01-01', country = 'fr'")
    assert crm.sweep().written.rejected == 1
    assert crm.leads() == {"1": "de"}
    crm.write("DELETE FROM contacts")
    crm.sweep()
    assert crm.leads() == {}


def test_a_row_that_was_bad_only_for_its_time_comes_in_with_the_next_load(crm: Crm) -> None:
    ahead = crm.now + timedelta(days=2)
    crm.write(f"INSERT INTO contacts (id, created) VALUES (1, '{ahead.isoformat()}')")
    assert crm.load().rejected == 1
    crm.now = ahead
    assert crm.load().written == 1
    assert crm.here("SELECT count(*) FROM crm.rejected_rows") == [(0,)]


def test_the_printed_role_cannot_write_and_nothing_is_written(crm: Crm) -> None:
    crm.write("INSERT INTO contacts (id) VALUES (1)")
    before = crm.there("SELECT xmin, c.* FROM contacts c")
    crm.load()
    crm.write('DELETE FROM "Calls"')
    crm.sweep()
    assert crm.there("SELECT xmin, c.* FROM contacts c") == before
    url = make_url(crm.owner_url).set(
        username=f"reader_{crm.source().slot_name}", password=PASSWORD
    )
    engine = create_engine(url)
    for statement in (
        "DELETE FROM contacts",
        "INSERT INTO contacts (id) VALUES (9)",
        "CREATE TABLE t ()",
    ):
        with (
            pytest.raises(ProgrammingError, match="permission denied"),
            engine.begin() as connection,
        ):
            connection.execute(text(statement))
    engine.dispose()
    crm.write(f"GRANT INSERT ON contacts TO reader_{crm.source().slot_name}")
    with connect(crm.variable, 20) as there:
        why = problem(lambda: there.execute(text("INSERT INTO contacts (id) VALUES (9)")))
    assert "read-only transaction" in why, "not even a login that may"


def test_a_source_that_is_being_read_is_left_alone(crm: Crm) -> None:
    crm.load()
    crm.write("INSERT INTO contacts (id) VALUES (1)")
    with crm.database.tenant("acme") as connection:
        assert registry.lock(connection, "acme", "crm", wait=False)
        assert crm.sweep() == sync.Reading()
        assert crm.leads() == {}
    assert crm.sweep().written.written == 1


def test_two_tenants_with_sources_of_the_same_name_do_not_mix(crm: Crm, other: Crm) -> None:
    crm.write("INSERT INTO contacts (id, country) VALUES (1, 'de')")
    other.write("INSERT INTO contacts (id, country) VALUES (1, 'fr'), (2, 'it')")
    assert (crm.load().written, other.load().written) == (1, 2)
    crm.write("DELETE FROM contacts")
    crm.sweep()
    other.sweep()
    assert (crm.leads(), other.leads()) == ({}, {"1": "fr", "2": "it"})


def test_imported_records_are_never_deleted(crm: Crm) -> None:
    imported = "INSERT INTO crm.leads (tenant_id, lead_id, created_at) VALUES ('acme', '9', now())"
    with crm.database.tenant("acme") as connection:
        connection.execute(text(imported))
    crm.write("INSERT INTO contacts (id) VALUES (1)")
    crm.load()
    crm.write("TRUNCATE contacts")
    crm.load()
    assert set(crm.leads()) == {"9"}


def test_a_record_of_two_sources_stays_until_it_is_gone_from_both(
    crm: Crm, database: Database, new_source: Callable[[], str]
) -> None:
    second = new_crm(database, "acme", new_source())
    second.source_id = "second"
    second.add(LOGGED)
    second.prepare()
    for source in (crm, second):
        source.write("INSERT INTO contacts (id) VALUES (1), (2)")
        source.load()
    crm.write("DELETE FROM contacts")
    second.write("DELETE FROM contacts WHERE id = 1")
    crm.sweep()
    assert set(crm.leads()) == {"1", "2"}
    second.sweep()
    assert set(crm.leads()) == {"2"}
    second.drop_slots()


def test_a_row_with_another_key_is_the_same_record_if_its_id_says_so(crm: Crm) -> None:
    crm.add({"tables": {"contacts": {**CONTACTS, "id": "country"}}})
    crm.write("INSERT INTO contacts (id, country) VALUES (1, 'X-1'), (2, 'X-2')")
    crm.load()
    crm.write("UPDATE contacts SET id = 9 WHERE id = 1", "UPDATE contacts SET country = 'Y'")
    crm.write("UPDATE contacts SET country = 'X-1' WHERE id = 9")
    crm.sweep()
    assert set(crm.leads()) == {"X-1", "Y"}


def test_another_mapping_changes_the_records(crm: Crm) -> None:
    crm.write(
        "INSERT INTO contacts (id, country) VALUES (1, 'de')",
        "INSERT INTO \"Calls\" (contact, number, kind) VALUES (1, 1, 'call')",
    )
    crm.load()
    crm.add({"tables": {"contacts": {**CONTACTS, "ignore": ["internal", "country"]}}})
    assert crm.sweep().load_wanted == "it was added anew"
    crm.load()
    assert crm.leads() == {"1": None}
    assert crm.calls() == set(), "a table that is no longer mapped"


def test_a_lost_slot_says_the_way_out_and_recovers_by_itself(crm: Crm) -> None:
    crm.write("INSERT INTO contacts (id, country) VALUES (1, 'de')")
    crm.load()
    crm.drop_slots()
    crm.write("UPDATE contacts SET country = 'unseen'", "INSERT INTO contacts (id) VALUES (2)")
    assert crm.sweep().failed
    (alert,) = crm.alerts()
    assert (alert.kind, alert.subject) == (health.FAILING, "crm")
    anew = f"SELECT pg_create_logical_replication_slot('{crm.source().slot_name}', 'pgoutput')"
    assert anew in alert.message
    crm.write(anew)
    swept = crm.sweep(after=timedelta(minutes=1))
    assert swept.load_wanted == "its slot was made anew, or read by somebody else"
    crm.load()
    assert crm.leads() == {"1": "unseen", "2": None}
    assert crm.alerts() == []


def test_a_slot_whose_log_was_dropped(crm: Crm) -> None:
    crm.load()
    crm.write("ALTER SYSTEM SET max_slot_wal_keep_size = '1MB'", "SELECT pg_reload_conf()")
    try:
        for _ in range(3):
            crm.write("SELECT pg_logical_emit_message(false, 'x', repeat('x', 1000000))")
            crm.write("SELECT pg_switch_wal()")
        crm.write("CHECKPOINT")
        assert crm.sweep().failed
    finally:
        crm.write("ALTER SYSTEM RESET max_slot_wal_keep_size", "SELECT pg_reload_conf()")
    (alert,) = crm.alerts()
    assert "max_slot_wal_keep_size" in alert.message
    assert "pg_drop_replication_slot" in alert.message


def test_lag_is_watched(crm: Crm, monkeypatch: pytest.MonkeyPatch) -> None:
    crm.load()
    assert crm.alerts() == []
    monkeypatch.setattr(health, "MOST_LAG_BYTES", -1)
    crm.sweep()
    (alert,) = crm.alerts()
    assert (alert.kind, alert.subject) == (health.LAGGING, "crm")
    assert "wait to be read" in alert.message
    assert crm.source().lag_bytes is not None
    monkeypatch.setattr(health, "MOST_LAG_BYTES", 2**30)
    crm.sweep()
    assert crm.alerts() == []


def test_the_slot_moves_on_while_nothing_of_ours_changes(crm: Crm) -> None:
    """The log is the whole server's: a quiet CRM beside a busy database must not keep it."""
    crm.load()
    confirmed = (
        "SELECT confirmed_flush_lsn FROM pg_replication_slots"
        f" WHERE slot_name = '{crm.source().slot_name}'"
    )
    before = crm.there(confirmed)
    crm.write("CREATE TABLE elsewhere AS SELECT generate_series(1, 1000)")
    crm.sweep()
    assert crm.there(f"SELECT ({confirmed}) > '{before[0][0]}'") == [(True,)]
    assert crm.there(confirmed) == [(crm.source().confirmed_lsn,)]


def test_a_source_that_is_down_is_told_of_and_recovers(
    crm: Crm, monkeypatch: pytest.MonkeyPatch
) -> None:
    crm.load()
    url = make_url(crm.owner_url).set(username="nobody", password=PASSWORD)
    with monkeypatch.context() as patched:
        patched.setenv(crm.variable, url.render_as_string(hide_password=False))
        assert crm.sweep().failed
        assert crm.alerts() == [], "it may pass"
        assert crm.sweep().failed, "not tried before its time"
        assert crm.source().failures == 1
        for _ in range(2):
            crm.sweep(after=timedelta(minutes=1))
    (alert,) = crm.alerts()
    assert alert.kind == health.FAILING
    assert "nobody" in alert.message
    crm.write("INSERT INTO contacts (id) VALUES (1)")
    assert crm.sweep(after=timedelta(minutes=10)).written.written == 1
    assert crm.alerts() == []


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://u:{PASSWORD}@[/no",
        "postgresql://u:s3cr%3At%2Fp%40ss@127.0.0.1:1/x",
        "nodriver://u:s3cr%3At%2Fp%40ss@host/x",
        "postgresql:///x?host=/nowhere&user=u&password=s3cr%3At%2Fp%40ss",
        "postgresql://u:s3cr%3At%2Fp%40ss@127.0.0.1:1/x?nonsense=s3cr%3At%2Fp%40ss",
    ],
)
def test_no_error_shows_the_url_or_its_password(
    crm: Crm, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(crm.variable, url)
    why = problem(crm.load)
    shown = [why, crm.source().error or "", *(alert.message for alert in crm.alerts())]
    for word in (url, PASSWORD, "s3cr%3At%2Fp%40ss", "s3cr"):
        assert not [line for line in shown if word in line], shown
    assert crm.source().failures == 1


def test_no_error_from_a_statement_shows_the_password(crm: Crm) -> None:
    with connect(crm.variable, 20) as there:
        why = problem(lambda: there.execute(text(f"SELECT CAST('{PASSWORD}' AS int)")))
    assert why.endswith('invalid input syntax for type integer: "***".')


def test_removal_drops_the_slot_or_says_how(crm: Crm, other: Crm) -> None:
    slots_left = "SELECT slot_name FROM pg_replication_slots WHERE database = current_database()"
    assert release(crm.source()) is None
    assert crm.there(slots_left) == []
    assert release(crm.source()) is None, "and once more"
    url = make_url(other.owner_url).set(username="nobody")
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv(other.variable, url.render_as_string(hide_password=False))
        left = release(other.source())
    assert left
    assert left.startswith(f"SELECT pg_drop_replication_slot('{other.source().slot_name}');")
    assert PASSWORD not in left


def test_check_names_what_is_missing(crm: Crm) -> None:
    def lacking() -> str:
        with connect(crm.variable, 20) as there:
            return "; ".join(missing(there, crm.source()))

    assert lacking() == ""
    slot = crm.source().slot_name
    crm.write(
        f'ALTER PUBLICATION {slot} DROP TABLE "Calls"',
        "ALTER TABLE contacts DROP CONSTRAINT contacts_pkey",
        f"ALTER ROLE reader_{slot} NOREPLICATION",
        f"REVOKE SELECT ON contacts FROM reader_{slot}",
    )
    crm.drop_slots()
    found = lacking()
    for word in (
        "lacks the table Calls",
        "replica identity",
        "REPLICATION",
        "slot",
        "permission denied",
    ):
        assert word in found
    crm.write(f"DROP PUBLICATION {slot}")
    assert "there is no publication" in lacking()


def test_a_table_that_leaves_the_publication_is_no_silent_loss(crm: Crm) -> None:
    crm.load()
    crm.write(f'ALTER PUBLICATION {crm.source().slot_name} DROP TABLE "Calls"')
    assert crm.sweep().failed
    (alert,) = crm.alerts()
    assert "lacks the table Calls" in alert.message


STATEMENTS = st.sampled_from(
    [
        "INSERT INTO contacts (id, country) VALUES ({a}, '{b}') ON CONFLICT DO NOTHING",
        "UPDATE contacts SET country = '{b}' WHERE id = {a}",
        "UPDATE contacts SET id = {b} WHERE id = {a}",
        "UPDATE contacts SET created = '1750-01-01' WHERE id = {a}",
        "UPDATE contacts SET created = '2026-11-01' WHERE id = {a}",
        "DELETE FROM contacts WHERE id = {a}",
        "INSERT INTO contacts (id, country) SELECT 100 + n, '{a}' FROM generate_series(1, 20) n"
        " ON CONFLICT DO NOTHING",
        "DELETE FROM contacts WHERE id > 100 + {a}",
    ]
)
STEPS = st.lists(
    st.tuples(
        STATEMENTS,
        st.integers(1, 6),
        st.integers(1, 6),
        st.sampled_from(["", "COMMIT", "COMMIT", "ROLLBACK", "SWEEP"]),
    ),
    max_size=25,
)


@given(first=STEPS, second=STEPS)
@settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_any_transactions_leave_here_what_is_there(crm: Crm, first: Any, second: Any) -> None:
    """Two sessions whose transactions overlap; readings at any time between."""
    crm.write("DELETE FROM contacts", "INSERT INTO contacts (id) SELECT generate_series(1, 4)")
    if crm.source().loaded_at is None:
        crm.load()
    crm.sweep()
    with crm.owner() as one, crm.owner() as two:
        one.exec_driver_sql("SET lock_timeout = '20ms'")
        two.exec_driver_sql("SET lock_timeout = '20ms'")
        turns = zip(
            itertools.cycle([one, two]),
            itertools.chain(*zip(first, second, strict=False)),
            strict=False,
        )
        for session, (statement, a, b, then) in turns:
            _try(session, statement.format(a=a, b=b))
            if then == "SWEEP":
                crm.sweep()
            elif then:
                _try(session, then)
        for session in (one, two):
            _try(session, "COMMIT")
    reading = crm.sweep()
    assert (reading.failed, reading.load_wanted, crm.source().error) == (False, None, None)
    good = crm.there("SELECT id::text, country FROM contacts WHERE created > '1900-01-01'")
    bad = {str(row[0]) for row in crm.there("SELECT id FROM contacts WHERE created < '1900-01-01'")}
    leads = crm.leads()
    assert {key: value for key, value in leads.items() if key not in bad} == dict(good)
    assert leads.keys() - dict(good).keys() <= bad
    aside = {row[0] for row in crm.here("SELECT \"row\" ->> 'key' FROM crm.rejected_rows")}
    assert aside == bad


def _try(session: Any, statement: str) -> None:
    """As a client does that begins a transaction if need be, and ends one that failed."""
    driver = session.connection.driver_connection
    if driver.info.transaction_status.name == "IDLE" and statement not in ("COMMIT", "ROLLBACK"):
        driver.execute("BEGIN")
    try:
        driver.execute(statement)
    except Exception:
        driver.execute("ROLLBACK")
