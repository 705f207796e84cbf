"""What is sealed opens in its place, with its tenant's key, and never again once that is gone."""

import base64
import itertools
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from orchestration import erasure, runs, up
from orchestration.installation import Installation
from tests.commands import Galena, refused
from warehouse import master_key, tenant_keys, tenants
from warehouse.database import Database
from warehouse.embedded import Urls
from warehouse.errors import TenantNotFoundError
from warehouse.master_key import MasterKeyError
from warehouse.sealing import SealedError
from warehouse.settings import Settings
from warehouse.tenant_keys import KeyRing, TenantKeys

ACME, BRIO = "acme", "brio"
COLUMN, ROW = "ml.llm_answers.sealed", b"row"
FIRST, SECOND = (base64.b64encode(bytes([number]) * 32).decode() for number in (1, 2))


@pytest.fixture
def both(database: Database) -> Database:
    for tenant_id in (ACME, BRIO):
        tenants.add(database, tenant_id)
    return database


def process(database: Database, key: str = FIRST, old: str = "") -> TenantKeys:
    """The keys as a process that has just started knows them."""
    environment = {"GALENA_MASTER_KEY": key, "GALENA_MASTER_KEY_OLD": old}
    return TenantKeys(database, lambda: master_key.read(environment))


def _opened(ring: KeyRing, sealed: bytes) -> bytes:
    return ring.unseal(sealed, COLUMN, ROW)


def test_what_one_process_seals_another_opens(both: Database) -> None:
    sealed = process(both).ring(ACME).seal(b"said", COLUMN, ROW)
    assert _opened(process(both).ring(ACME), sealed) == b"said"
    assert b"said" not in sealed
    again = process(both).ring(ACME).seal(b"said", COLUMN, ROW)
    assert again != sealed, "a nonce of its own"


@pytest.mark.parametrize(
    ("tenant_id", "column", "row"),
    [(BRIO, COLUMN, ROW), (ACME, "ml.other.sealed", ROW), (ACME, COLUMN, b"another row")],
)
def test_a_value_that_was_moved_does_not_open(
    both: Database, tenant_id: str, column: str, row: bytes
) -> None:
    keys = process(both)
    sealed = keys.ring(ACME).seal(b"said", COLUMN, ROW)
    with pytest.raises(SealedError, match="does not open"):
        keys.ring(tenant_id).unseal(sealed, column, row)


def test_a_value_that_was_changed_anywhere_does_not_open(both: Database) -> None:
    ring = process(both).ring(ACME)
    sealed = ring.seal(b"said", COLUMN, ROW)
    for place in range(len(sealed)):
        changed = bytearray(sealed)
        changed[place] ^= 1
        with pytest.raises(SealedError, match="does not open"):
            _opened(ring, bytes(changed))
    for length in range(len(sealed)):
        with pytest.raises(SealedError, match="does not open"):
            _opened(ring, sealed[:length])


def test_digests_differ_between_tenants(both: Database) -> None:
    mine, theirs = (process(both).ring(one).digests("key") for one in (ACME, BRIO))
    assert mine == process(both).ring(ACME).digests("key")
    assert mine != theirs


def test_the_first_key_is_one_whoever_comes_first(both: Database) -> None:
    """Another process is about to make it."""
    environment = {"GALENA_MASTER_KEY": FIRST}
    elsewhere, found = process(both), list[int]()
    waiting = threading.Thread(target=lambda: found.append(elsewhere.ring(ACME).key_id))
    with both.tenant(ACME) as connection:
        made = tenant_keys.first(connection, ACME, partial(master_key.read, environment))
        waiting.start()
        waiting.join(0.5)
        assert waiting.is_alive()
    waiting.join(60)
    assert found == list(made)


def test_a_rotated_key_opens_and_seals_no_more(
    both: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, elsewhere = process(both), process(both)
    before = mine.ring(ACME).seal(b"before", COLUMN, ROW)
    old = elsewhere.ring(ACME).digests("key")
    key_id = mine.rotate(ACME, actor="ann")
    after = mine.ring(ACME).seal(b"after", COLUMN, ROW)
    assert mine.ring(ACME).key_id == key_id
    assert _opened(mine.ring(ACME), before) == b"before"
    assert mine.ring(ACME).digests("key")[1:] == old, "what is stored is still found"
    with pytest.raises(SealedError, match=f"no key {key_id}"):
        _opened(elsewhere.ring(ACME), after)
    # A minute later.
    later = time.monotonic() + 61
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert _opened(elsewhere.ring(ACME), after) == b"after"
    assert mine.retire(ACME, actor="ann") == 1
    with pytest.raises(SealedError, match="no key"):
        _opened(process(both).ring(ACME), before)
    assert _opened(process(both).ring(ACME), after) == b"after"


def test_with_its_keys_what_a_tenant_had_sealed_is_gone(both: Database, urls: Urls) -> None:
    keys = process(both)
    sealed = {one: keys.ring(one).seal(b"said", COLUMN, ROW) for one in (ACME, BRIO)}
    tenants.erase(both, ACME, urls.owner)
    with pytest.raises(TenantNotFoundError):
        process(both).ring(ACME)
    tenants.add(both, ACME)
    for one in (process(both), keys):
        one.forget(ACME)
        with pytest.raises(SealedError, match="no key"):
            _opened(one.ring(ACME), sealed[ACME])
    assert _opened(process(both).ring(BRIO), sealed[BRIO]) == b"said"


def test_keys_go_first_when_a_tenant_is_removed(
    both: Database,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    own_environment: None,  # noqa: ARG001
) -> None:
    """Before what can fail: what a removal did not reach yet does not open any more."""
    sealed = process(both).ring(ACME).seal(b"said", COLUMN, ROW)
    settings = Settings.from_environment(
        {"GALENA_HOME": str(tmp_path), "GALENA_DATABASE_URL": both.url}
    )
    monkeypatch.setattr(runs, "instance", _stop)
    with pytest.raises(KeyboardInterrupt):
        erasure.erase(Installation(settings, both), ACME)
    tenants.set_status(both, ACME, "active")
    with pytest.raises(SealedError, match="no key"):
        _opened(process(both).ring(ACME), sealed)


def test_a_wrapped_key_that_was_moved_does_not_open(both: Database, urls: Urls) -> None:
    for one in (ACME, BRIO):
        process(both).ring(one)
    owner = create_engine(urls.superuser)
    with owner.begin() as connection:
        connection.execute(
            text(
                "UPDATE ml.tenant_keys SET (key_id, wrapped) = (SELECT key_id, wrapped"
                " FROM ml.tenant_keys WHERE tenant_id = 'brio') WHERE tenant_id = 'acme'"
            )
        )
    owner.dispose()
    with pytest.raises(SealedError, match=r"ml.tenant_keys.wrapped of tenant 'acme' does not open"):
        process(both).ring(ACME)


def test_the_master_key_is_renewed_under_what_is_sealed(both: Database) -> None:
    sealed = {one: process(both).ring(one).seal(b"said", COLUMN, ROW) for one in (ACME, BRIO)}
    process(both).rotate(ACME, actor="ann")
    renewing = process(both, SECOND, old=FIRST)
    assert _opened(renewing.ring(BRIO), sealed[BRIO]) == b"said", "meanwhile both serve"
    assert [renewing.rewrap(one, actor="ann") for one in (ACME, BRIO, BRIO)] == [2, 1, 0]
    for one, value in sealed.items():
        assert _opened(process(both, SECOND).ring(one), value) == b"said"
        with pytest.raises(MasterKeyError, match="wrapped by the master key"):
            process(both, FIRST).ring(one)


def test_a_wrong_master_key_is_one_clear_error(both: Database) -> None:
    process(both).ring(ACME)
    with pytest.raises(MasterKeyError) as raised:
        process(both, SECOND).ring(ACME)
    assert "GALENA_MASTER_KEY_OLD" in str(raised.value)
    _shows_no_key(str(raised.value))


def test_keys_are_in_no_repr(both: Database) -> None:
    keys = process(both)
    found = master_key.read({"GALENA_MASTER_KEY": FIRST})
    for shown in (keys, keys.ring(ACME), found, found.current):
        _shows_no_key(repr(shown))
    with both.tenant(ACME) as connection:
        (version,) = tenant_keys.versions(connection, ACME)
    assert version.master_id == found.current.key_id
    _shows_no_key(repr(version))


def _shows_no_key(shown: str) -> None:
    for key in (FIRST, SECOND):
        assert key not in shown
        assert base64.b64decode(key).hex() not in shown
        assert repr(base64.b64decode(key))[2:-1] not in shown


def test_who_renewed_a_key_is_in_the_audit_log(both: Database) -> None:
    keys = process(both, SECOND, old=FIRST)
    process(both).ring(ACME)
    keys.rewrap(ACME, actor="ann")
    keys.rotate(ACME, actor="ann")
    keys.retire(ACME, actor="ann")
    with both.tenant(ACME) as connection:
        rows = connection.execute(
            text(
                "SELECT actor, action FROM ml.audit_log WHERE tenant_id = 'acme' ORDER BY entry_id"
            )
        )
        assert [tuple(row) for row in rows] == [
            ("ann", "keys.rewrap"),
            ("ann", "keys.rotate"),
            ("ann", "keys.retire"),
        ]


def test_on_a_laptop_a_key_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    environment = {"GALENA_HOME": str(tmp_path / "home")}
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: master_key.read(environment).current.key_id, range(8)))
    assert len(set(made)) == 1
    (path,) = (tmp_path / "home").iterdir()
    assert (path.name, path.stat().st_mode & 0o777) == ("master.key", 0o600)
    # A process that `galena up` starts is told of the embedded server as if it were another's.
    child = environment | {"GALENA_DATABASE_URL": "postgresql://somebody@somewhere/galena"}
    assert master_key.read(child).current.key_id == made[0]


PRODUCTION = {"GALENA_PRODUCTION": "1"}
EXTERNAL = {"GALENA_DATABASE_URL": "postgresql://somebody@somewhere/galena"}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (PRODUCTION, "GALENA_PRODUCTION is 1: make one with `openssl rand -base64 32`"),
        (EXTERNAL, "GALENA_DATABASE_URL names a server of your own: make one with `openssl"),
        ({"GALENA_MASTER_KEY": "bm9uZQ=="}, "GALENA_MASTER_KEY holds no master key: expected 32"),
        ({"GALENA_MASTER_KEY": FIRST + "AAAA"}, "GALENA_MASTER_KEY holds no master key"),
        ({"GALENA_MASTER_KEY": "żółw"}, "GALENA_MASTER_KEY holds no master key"),
        ({"GALENA_MASTER_KEY_FILE": "nowhere"}, r"nowhere, which cannot be read \(No such file"),
        ({"GALENA_MASTER_KEY_FILE": os.devnull}, "GALENA_MASTER_KEY_FILE holds no master key"),
        ({"GALENA_MASTER_KEY": FIRST, "GALENA_MASTER_KEY_FILE": "x"}, "keep one of them"),
        ({"GALENA_MASTER_KEY": FIRST, "GALENA_MASTER_KEY_OLD": "x"}, "_OLD holds no master key"),
    ],
)
def test_a_missing_or_wrong_master_key_is_one_clear_error(
    tmp_path: Path, given: dict[str, str], words: str
) -> None:
    with pytest.raises(MasterKeyError, match=words) as raised:
        master_key.read({"GALENA_HOME": str(tmp_path)} | given)
    _shows_no_key(str(raised.value))
    assert "bm9uZQ==" not in str(raised.value)
    assert list(tmp_path.iterdir()) == []


def test_in_production_the_key_beside_the_data_does_not_serve(tmp_path: Path) -> None:
    environment = {"GALENA_HOME": str(tmp_path)}
    master_key.read(environment)
    with pytest.raises(MasterKeyError, match="GALENA_PRODUCTION is 1"):
        master_key.read(environment | PRODUCTION)


def test_a_key_from_a_file_serves_as_one_from_the_environment(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text(FIRST + "\n")
    for given in ({"GALENA_MASTER_KEY_FILE": str(path)}, {"GALENA_MASTER_KEY": FIRST}):
        found = master_key.read(PRODUCTION | given)
        assert found.current.key_id == master_key.read({"GALENA_MASTER_KEY": FIRST}).current.key_id


@pytest.mark.parametrize("given", [PRODUCTION, {}], ids=["production", "server of one's own"])
def test_galena_up_does_not_start_without_a_key(
    galena: Galena, monkeypatch: pytest.MonkeyPatch, given: dict[str, str]
) -> None:
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(up, "migrate", _stop)
    refused(galena("up"), "There is no master key")


@pytest.mark.parametrize("steps", [0, 1, 2])
def test_a_renewal_that_was_interrupted_is_finished(
    both: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    """steps: how much of it was done: nothing, the former key kept, the new one in its place."""
    environment = {"GALENA_HOME": str(tmp_path)}

    def read() -> master_key.MasterKeys:
        return master_key.read(environment)

    sealed = TenantKeys(both, read).ring(ACME).seal(b"said", COLUMN, ROW)
    before = read().current.key_id
    if steps:
        interrupted: Callable[..., None] = _stop if steps == 1 else _write_and_stop
        with monkeypatch.context() as patch:
            patch.setattr(master_key, "_write_new", interrupted)
            with pytest.raises(KeyboardInterrupt):
                master_key.renew(environment)
        assert _opened(TenantKeys(both, read).ring(ACME), sealed) == b"said"
    renewed = master_key.renew(environment)
    assert renewed.current.key_id != before
    TenantKeys(both, read).rewrap(ACME, actor="ann")
    master_key.forget_old(environment)
    assert [path.name for path in tmp_path.iterdir()] == ["master.key"]
    assert _opened(TenantKeys(both, read).ring(ACME), sealed) == b"said"


@pytest.mark.parametrize("read_last", [1, 2], ids=["before its turn", "in its turn"])
@pytest.mark.parametrize("make", [TenantKeys.ring, partial(TenantKeys.rotate, actor="ann")])
def test_a_key_that_is_made_during_a_renewal_outlives_the_former_master_key(
    both: Database, tmp_path: Path, make: Callable[[TenantKeys, str], object], read_last: int
) -> None:
    """read_last: at which reading of the former master key the process that makes it is held up."""
    environment = {"GALENA_HOME": str(tmp_path)}
    read = partial(master_key.read, environment)
    held, go_on, readings = threading.Event(), threading.Event(), itertools.count(1)

    def read_slowly() -> master_key.MasterKeys:
        found = read()
        if next(readings) == read_last:
            held.set()
            go_on.wait(60)
        return found

    with ThreadPoolExecutor(2) as pool:
        making = pool.submit(make, TenantKeys(both, read_slowly), ACME)
        held.wait(2)
        master_key.renew(environment)
        rewrapping = pool.submit(TenantKeys(both, read).rewrap, ACME, actor="ann")
        wait([rewrapping], timeout=0.5)
        go_on.set()
        making.result(60)
        rewrapping.result(60)
    master_key.forget_old(environment)
    assert TenantKeys(both, read).ring(ACME)


def test_the_master_key_is_renewed_until_nothing_is_wrapped_by_the_former(
    both: Database, galena: Galena, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that has the former one alone adds a key when its tenant has been passed."""
    for tenant_id in (ACME, BRIO):
        process(both).ring(tenant_id)
    rewrap, passed = TenantKeys.rewrap, list[str]()

    def rewrap_and_add(keys: TenantKeys, tenant_id: str, *, actor: str) -> int:
        if passed == [ACME]:
            process(both).rotate(ACME, actor="ann")
        passed.append(tenant_id)
        return rewrap(keys, tenant_id, actor=actor)

    monkeypatch.setattr(TenantKeys, "rewrap", rewrap_and_add)
    monkeypatch.setenv("GALENA_MASTER_KEY", SECOND)
    monkeypatch.setenv("GALENA_MASTER_KEY_OLD", FIRST)
    assert "3 keys of 2 tenants" in galena("keys", "rotate-master").stdout
    assert process(both, SECOND).ring(ACME)


def test_what_is_forgotten_while_it_is_read_is_read_anew(both: Database) -> None:
    readings = []

    def read() -> master_key.MasterKeys:
        readings.append(1)
        if len(readings) == 1:
            keys.forget(ACME)
        return master_key.read({"GALENA_MASTER_KEY": FIRST})

    process(both).ring(ACME)
    keys = TenantKeys(both, read)
    for times in (1, 2, 2):
        keys.ring(ACME)
        assert len(readings) == times


_write_new = master_key._write_new


def _stop(*_arguments: object, **_named: object) -> None:
    raise KeyboardInterrupt


def _write_and_stop(path: Path, *, replace: bool) -> None:
    _write_new(path, replace=replace)
    raise KeyboardInterrupt
