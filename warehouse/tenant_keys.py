"""The tenants' data keys: made when first needed, wrapped by the master key, kept in versions,
renewed, destroyed."""

import hmac
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from sqlalchemy import Connection, Select, delete, func, select, text
from sqlalchemy.dialects.postgresql import insert

from warehouse import audit
from warehouse.database import Database
from warehouse.master_key import MasterKey, MasterKeys
from warehouse.schema import llm_answers, tenant_keys
from warehouse.sealing import KEY_BYTES, Place, key_id_of, seal, unopened, unseal

# 2^32 values, the most that one key may seal, within that time are 136 a second.
LIFETIME = timedelta(days=365)
# How long a process remembers unwrapped keys: what a rotation or a removal elsewhere takes to
# reach it at most.
_SECONDS = 60.0


class _Version:
    """One data key, as the two keys made of it (RFC 5869): to seal with, to make digests with."""

    def __init__(self, key_id: int, data_key: bytes) -> None:
        self.key_id = key_id
        self.cipher = AESGCM(_derived(data_key, b"galena: seal"))
        self.index_key = _derived(data_key, b"galena: digest")


class KeyRing:
    """A tenant's keys, unwrapped. The newest seals, all open. Its repr shows none."""

    def __init__(self, tenant_id: str, newest_first: Mapping[int, bytes]) -> None:
        self.tenant_id = tenant_id
        self._versions = {key_id: _Version(key_id, key) for key_id, key in newest_first.items()}
        self._newest = next(iter(self._versions.values()))

    @property
    def key_id(self) -> int:
        """The version that seals."""
        return self._newest.key_id

    def seal(self, plain: bytes, column: str, row: bytes) -> bytes:
        """The value as it may be stored in this column and row, and nowhere else."""
        place = Place(self.tenant_id, column, row)
        return seal(self._newest.cipher, self._newest.key_id, plain, place)

    def unseal(self, sealed: bytes, column: str, row: bytes) -> bytes:
        """What was sealed. Raises SealedError: it was changed or moved, or its key is gone."""
        place = Place(self.tenant_id, column, row)
        key_id = key_id_of(sealed, place)
        if key_id not in self._versions:
            raise unopened(place, f"the tenant has no key {key_id} (any more)")
        return unseal(self._versions[key_id].cipher, sealed, place)

    def digests(self, value: str) -> list[bytes]:
        """HMAC-SHA256 of the value by each version's key, that of the newest first: what to find it
        by in a table from which nobody can guess it."""
        return [
            hmac.digest(version.index_key, value.encode(), "sha256")
            for version in self._versions.values()
        ]


class TenantKeys:
    """The keys of all tenants, as one process uses them.

    master: reads the master key, such as `partial(master_key.read, os.environ)`; asked whenever
        keys are unwrapped, so that a renewed file is noticed.
    """

    def __init__(self, database: Database, master: Callable[[], MasterKeys]) -> None:
        self._database = database
        self._master = master
        self._rings: dict[str, tuple[float, KeyRing]] = {}
        self._forgotten = 0
        self._lock = threading.Lock()

    def ring(self, tenant_id: str) -> KeyRing:
        """The tenant's keys; the first is made here. In a transaction of its own, unless they were
        asked for within the last minute.

        Raises MasterKeyError, TenantNotFoundError, SealedError: a wrapped key was changed.
        """
        with self._lock:
            known, forgotten = self._rings.get(tenant_id), self._forgotten
        if known and known[0] > time.monotonic():
            return known[1]
        with self._database.tenant(tenant_id) as connection:
            keys = _unwrapped(connection, tenant_id, self._master())
            keys = keys or first(connection, tenant_id, self._master)
        ring = KeyRing(tenant_id, keys)
        now = time.monotonic()
        with self._lock:
            # What is past its time is not only not used but not kept.
            self._rings = {name: kept for name, kept in self._rings.items() if kept[0] > now}
            # What was forgotten while it was read may have been read before it changed.
            if forgotten == self._forgotten:
                self._rings[tenant_id] = (now + _SECONDS, ring)
        return ring

    def forget(self, tenant_id: str) -> None:
        """Read the tenant's keys anew when they are next asked for."""
        with self._lock:
            self._rings.pop(tenant_id, None)
            self._forgotten += 1

    def rotate(self, tenant_id: str, *, actor: str) -> int:
        """Seal with a new version from now on, in other processes within a minute; older versions
        open what they sealed. Returns the new version's id."""
        with self._database.tenant(tenant_id) as connection:
            connection.execute(_ALONE, {"tenant_id": tenant_id})
            key_id = _add(connection, tenant_id, self._master())
            audit.note(connection, tenant_id, "keys.rotate", {"key_id": key_id}, actor=actor)
        self.forget(tenant_id)
        return key_id

    def retire(self, tenant_id: str, *, actor: str) -> int:
        """Destroy all versions but the newest, with what they sealed that was not sealed anew;
        return how many."""
        with self._database.tenant(tenant_id) as connection:
            newest = next(iter(_unwrapped(connection, tenant_id, self._master())), None)
            gone = connection.execute(
                delete(tenant_keys).where(
                    tenant_keys.c.tenant_id == tenant_id, tenant_keys.c.key_id != newest
                )
            ).rowcount
            if gone:
                audit.note(connection, tenant_id, "keys.retire", {"versions": gone}, actor=actor)
        self.forget(tenant_id)
        return gone

    def rewrap(self, tenant_id: str, *, actor: str) -> int:
        """Wrap the tenant's keys by the current master key where they are not; return how many.

        Raises MasterKeyError: one is wrapped by neither the current nor the old one.
        """
        with self._database.tenant(tenant_id) as connection:
            connection.execute(_ALONE, {"tenant_id": tenant_id})
            master = self._master()
            rows = connection.execute(
                _of(tenant_id).where(tenant_keys.c.master_id != master.current.key_id)
            ).all()
            for key_id, wrapped, master_id in rows:
                data_key = _unwrap(tenant_id, key_id, wrapped, master.of(master_id))
                connection.execute(
                    tenant_keys.update()
                    .where(tenant_keys.c.tenant_id == tenant_id, tenant_keys.c.key_id == key_id)
                    .values(_wrapped(tenant_id, key_id, data_key, master))
                )
            if rows:
                details = {"versions": len(rows), "master_id": master.current.key_id}
                audit.note(connection, tenant_id, "keys.rewrap", details, actor=actor)
        return len(rows)


@dataclass(frozen=True)
class KeyVersion:
    """A version of a tenant's key. master_id: of the master key that wraps it. values: how many
    stored answers it seals. due_at: when the tenant's key is to be rotated."""

    key_id: int
    made_at: datetime
    master_id: str
    values: int

    @property
    def due_at(self) -> datetime:
        return self.made_at + LIFETIME


def first(
    connection: Connection, tenant_id: str, master: Callable[[], MasterKeys]
) -> dict[int, bytes]:
    """Make the tenant's first key, unless another process does so just now; the keys by id. Others
    wait until the transaction ends."""
    connection.execute(_ALONE, {"tenant_id": tenant_id})
    current = master()
    if not _unwrapped(connection, tenant_id, current):
        _add(connection, tenant_id, current)
    return _unwrapped(connection, tenant_id, current)


def versions(connection: Connection, tenant_id: str) -> list[KeyVersion]:
    """The versions of the tenant's key, the newest first."""
    sealed = (
        select(func.count())
        .where(
            llm_answers.c.tenant_id == tenant_keys.c.tenant_id,
            llm_answers.c.key_id == tenant_keys.c.key_id,
        )
        .scalar_subquery()
    )
    rows = connection.execute(
        select(tenant_keys.c.key_id, tenant_keys.c.made_at, tenant_keys.c.master_id, sealed)
        .where(tenant_keys.c.tenant_id == tenant_id)
        .order_by(*_NEWEST_FIRST)
    )
    return [KeyVersion(*row) for row in rows]


def destroy(connection: Connection, tenant_id: str) -> int:
    """Delete the tenant's keys: nothing that they sealed opens any more, wherever a copy of it is.
    Returns how many versions there were."""
    return connection.execute(
        delete(tenant_keys).where(tenant_keys.c.tenant_id == tenant_id)
    ).rowcount


_NEWEST_FIRST = (tenant_keys.c.made_at.desc(), tenant_keys.c.key_id)
# For whoever wraps keys, and reads the master key after it: one that was read before a renewal
# wraps nothing after `rewrap` has passed, when the former one is about to be deleted.
_ALONE = text("SELECT pg_advisory_xact_lock(hashtext('galena keys'), hashtext(:tenant_id))")


def _of(tenant_id: str) -> Select[Any]:
    columns = (tenant_keys.c.key_id, tenant_keys.c.wrapped, tenant_keys.c.master_id)
    found = select(*columns).where(tenant_keys.c.tenant_id == tenant_id)
    return found.order_by(*_NEWEST_FIRST)


def _unwrapped(connection: Connection, tenant_id: str, master: MasterKeys) -> dict[int, bytes]:
    """The tenant's data keys by their ids, the newest first."""
    return {
        key_id: _unwrap(tenant_id, key_id, wrapped, master.of(master_id))
        for key_id, wrapped, master_id in connection.execute(_of(tenant_id))
    }


def _add(connection: Connection, tenant_id: str, master: MasterKeys) -> int:
    key_id = secrets.randbelow(2**31)
    data_key = secrets.token_bytes(KEY_BYTES)
    wrapped = _wrapped(tenant_id, key_id, data_key, master)
    connection.execute(insert(tenant_keys).values(tenant_id=tenant_id, key_id=key_id, **wrapped))
    return key_id


def _wrapped(tenant_id: str, key_id: int, data_key: bytes, master: MasterKeys) -> dict[str, Any]:
    """The key as it is stored: columns of ml.tenant_keys."""
    place = _place(tenant_id, key_id)
    return {
        "wrapped": seal(master.current.cipher, key_id, data_key, place),
        "master_id": master.current.key_id,
    }


def _unwrap(tenant_id: str, key_id: int, wrapped: bytes, master: MasterKey) -> bytes:
    return unseal(master.cipher, wrapped, _place(tenant_id, key_id))


def _place(tenant_id: str, key_id: int) -> Place:
    return Place(tenant_id, "ml.tenant_keys.wrapped", str(key_id).encode())


def _derived(data_key: bytes, purpose: bytes) -> bytes:
    return HKDFExpand(hashes.SHA256(), KEY_BYTES, purpose).derive(data_key)
