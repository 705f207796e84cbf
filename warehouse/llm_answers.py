"""Answers of language models that may serve again, sealed with their tenant's key."""

import base64
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal

import orjson
from sqlalchemy import Connection, Row, text
from sqlalchemy.exc import IntegrityError

from ai.calls import Answer, Usage
from ai.stores import Kept, Similar
from warehouse.database import Database
from warehouse.sealing import SealedError
from warehouse.tenant_keys import KeyRing, TenantKeys

_COLUMN = "ml.llm_answers.sealed"
_RESEALED_AT_A_TIME = 500

_log = logging.getLogger(__name__)


class StoredAnswers:
    """ai.stores.Answers in ml.llm_answers.

    The table holds neither questions nor answers nor anything to guess them by: rows are found by
    digests that take the tenant's key to make, and all else is in one sealed value.
    """

    def __init__(self, database: Database, keys: TenantKeys) -> None:
        self._database = database
        self._keys = keys

    def find_or_claim(
        self, tenant_id: str, key: str, *, claim: str, now: datetime, claim_until: datetime
    ) -> Kept | Literal["claimed", "taken"]:
        ring = self._keys.ring(tenant_id)
        digests = ring.digests(key)
        by = {"tenant_id": tenant_id, "digests": digests, "digest": digests[0]}
        asked = {**by, "claim": claim, "now": now, "until": claim_until}
        with self._database.tenant(tenant_id) as connection:
            while True:
                row = connection.execute(_FIND_OR_CLAIM, asked).one_or_none()
                if row is None:
                    return "taken"
                if row.sealed is None:
                    return "claimed"
                content = _opened(ring, row)
                if content is not None:
                    return Kept(content.answer, row.expires_at)
                connection.execute(_DELETE, {"tenant_id": tenant_id, "digest": row.digest})

    def similar(self, tenant_id: str, group: str, *, now: datetime) -> Sequence[Similar]:
        ring = self._keys.ring(tenant_id)
        asked = {"tenant_id": tenant_id, "groups": ring.digests(group), "now": now}
        with self._database.tenant(tenant_id) as connection:
            rows = connection.execute(_SIMILAR, asked).all()
        opened = (_opened(ring, row) for row in rows)
        return [Similar(one.text, one.vector, one.answer) for one in opened if one]

    def store(
        self,
        tenant_id: str,
        key: str,
        answer: Answer,
        *,
        now: datetime,
        expires_at: datetime,
        group: str = "",
        text: str = "",
        vector: bytes = b"",
    ) -> None:
        content = _Content(key, group, text, vector, answer)
        times = {"now": now, "expires_at": expires_at}
        try:
            self._store(tenant_id, content, times)
        except IntegrityError:
            # The version that this process remembers was destroyed meanwhile.
            self._keys.forget(tenant_id)
            self._store(tenant_id, content, times)

    def _store(self, tenant_id: str, content: "_Content", times: dict[str, datetime]) -> None:
        columns = content.columns(self._keys.ring(tenant_id))
        with self._database.tenant(tenant_id) as connection:
            connection.execute(_STORE, {"tenant_id": tenant_id, **columns, **times})

    def release(self, tenant_id: str, key: str, claim: str) -> None:
        digests = self._keys.ring(tenant_id).digests(key)
        mine = {"tenant_id": tenant_id, "digests": digests, "claim": claim}
        with self._database.tenant(tenant_id) as connection:
            connection.execute(_RELEASE, mine)

    def reseal(self, tenant_id: str) -> int:
        """Seal with the newest version of the tenant's key what older ones sealed; return how many
        answers. What does not open is deleted."""
        self._keys.forget(tenant_id)
        ring = self._keys.ring(tenant_id)
        resealed = 0
        while True:
            with self._database.tenant(tenant_id) as connection:
                rows = connection.execute(
                    _OF_OLDER, {"tenant_id": tenant_id, "key_id": ring.key_id}
                ).all()
                resealed += sum(_reseal(connection, tenant_id, ring, row) for row in rows)
            if len(rows) < _RESEALED_AT_A_TIME:
                return resealed


@dataclass(frozen=True)
class _Content:
    """What is sealed. key, group: what the row is found by, for its digests change with the key."""

    key: str
    group: str
    text: str
    vector: bytes
    answer: Answer

    def columns(self, ring: KeyRing) -> dict[str, Any]:
        """The columns of ml.llm_answers that hold it."""
        digest = ring.digests(self.key)[0]
        plain = orjson.dumps(
            {
                "key": self.key,
                "group": self.group,
                "text": self.text,
                "vector": base64.b64encode(self.vector).decode(),
                "answer": asdict(self.answer),
            }
        )
        return {
            "digest": digest,
            "group_digest": ring.digests(self.group)[0] if self.group else None,
            "key_id": ring.key_id,
            "sealed": ring.seal(plain, _COLUMN, digest),
        }


def _opened(ring: KeyRing, row: Row[Any]) -> _Content | None:
    """What the row holds; None, with a line in the log, when it was changed or moved."""
    try:
        content = orjson.loads(ring.unseal(row.sealed, _COLUMN, row.digest))
    except SealedError as error:
        _log.warning("A stored answer is not used: %s", error)
        return None
    answer = content["answer"]
    return _Content(
        content["key"],
        content["group"],
        content["text"],
        base64.b64decode(content["vector"]),
        Answer(**{**answer, "usage": Usage(**answer["usage"])}),
    )


def _reseal(connection: Connection, tenant_id: str, ring: KeyRing, row: Row[Any]) -> int:
    """Put the row sealed anew in its place: 1, or 0 when it does not open, or what it answers was
    stored anew meanwhile."""
    connection.execute(_DELETE, {"tenant_id": tenant_id, "digest": row.digest})
    content = _opened(ring, row)
    if content is None:
        return 0
    columns = content.columns(ring)
    times = {"now": row.stored_at, "expires_at": row.expires_at}
    stored = connection.execute(_STORE_IF_NONE, {"tenant_id": tenant_id, **columns, **times})
    return stored.rowcount


# An answer that has not expired, or else a claim; no row when somebody else's claim stands.
_FIND_OR_CLAIM = text(
    "WITH found AS ("
    " SELECT digest, sealed, expires_at FROM ml.llm_answers WHERE tenant_id = :tenant_id"
    " AND digest = ANY(:digests) AND sealed IS NOT NULL AND expires_at > :now"
    " ORDER BY stored_at DESC LIMIT 1"
    "), claimed AS ("
    " INSERT INTO ml.llm_answers AS a (tenant_id, digest, claim, stored_at, expires_at)"
    " SELECT :tenant_id, :digest, :claim, :now, :until WHERE NOT EXISTS (SELECT FROM found)"
    " ON CONFLICT (tenant_id, digest) DO UPDATE SET group_digest = NULL, key_id = NULL,"
    " sealed = NULL, claim = EXCLUDED.claim, stored_at = EXCLUDED.stored_at,"
    " expires_at = EXCLUDED.expires_at"
    " WHERE a.expires_at <= :now RETURNING digest, sealed, expires_at"
    ") SELECT digest, sealed, expires_at FROM found"
    " UNION ALL SELECT digest, sealed, expires_at FROM claimed"
)
_SIMILAR = text(
    "SELECT digest, sealed FROM ml.llm_answers WHERE tenant_id = :tenant_id"
    " AND group_digest = ANY(:groups) AND expires_at > :now ORDER BY stored_at DESC LIMIT 200"
)
_INSERT = (
    "INSERT INTO ml.llm_answers"
    " (tenant_id, digest, group_digest, key_id, sealed, stored_at, expires_at)"
    " VALUES (:tenant_id, :digest, :group_digest, :key_id, :sealed, :now, :expires_at)"
    " ON CONFLICT (tenant_id, digest)"
)
_STORE = text(
    f"{_INSERT} DO UPDATE SET group_digest = EXCLUDED.group_digest, key_id = EXCLUDED.key_id,"
    " sealed = EXCLUDED.sealed, claim = NULL, stored_at = EXCLUDED.stored_at,"
    " expires_at = EXCLUDED.expires_at"
)
_STORE_IF_NONE = text(f"{_INSERT} DO NOTHING")
_DELETE = text("DELETE FROM ml.llm_answers WHERE tenant_id = :tenant_id AND digest = :digest")
_RELEASE = text(
    "DELETE FROM ml.llm_answers"
    " WHERE tenant_id = :tenant_id AND digest = ANY(:digests) AND claim = :claim"
)
_OF_OLDER = text(
    "SELECT digest, sealed, stored_at, expires_at FROM ml.llm_answers"
    " WHERE tenant_id = :tenant_id AND key_id <> :key_id"
    f" LIMIT {_RESEALED_AT_A_TIME} FOR UPDATE"
)
