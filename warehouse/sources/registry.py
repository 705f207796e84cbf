"""The sources there are: what is known of each, and how far it has been read."""

import json
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

from sqlalchemy import Connection, select, text

from warehouse.database import SLUG, Database
from warehouse.errors import GalenaError
from warehouse.schema import sources
from warehouse.sources.mapping import SourceMapping, parse_source_mapping

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True)
class CrmSource:
    """A tenant's CRM database.

    url_variable: the environment variable with its URL. slot_name: of slot and publication there.
    load_wanted: why all of it is to be read anew. loaded_at: when all was last read; read_at: when
    it was last read at all. confirmed_lsn: up to where its log has been read. watermarks: per
    table, how far polling is. lag_bytes: how much of the log waits. failures: attempts that failed
    since the last that did not; retry_at: not before; error: why.
    """

    tenant_id: str
    source_id: str
    url_variable: str
    document: dict[str, Any]
    slot_name: str
    added_at: datetime
    load_wanted: str | None
    loaded_at: datetime | None
    read_at: datetime | None
    confirmed_lsn: str | None
    watermarks: dict[str, Any]
    lag_bytes: int | None
    failures: int
    retry_at: datetime | None
    error: str | None

    @cached_property
    def mapping(self) -> SourceMapping:
        return parse_source_mapping(self.document, f"the mapping of source {self.source_id}")

    def load_reason(self, now: datetime) -> str | None:
        """Why all of it is to be read; None when it is not."""
        if self.loaded_at is None:
            return "it has not been read yet"
        if self.load_wanted is not None:
            return self.load_wanted
        if self.mapping.polled and now - self.loaded_at >= self.mapping.reconcile_every:
            return "it is time to reconcile it"
        return None

    def waits(self, now: datetime) -> bool:
        """Whether it failed and its next attempt is not due."""
        return self.retry_at is not None and now < self.retry_at


def add(
    connection: Connection,
    tenant_id: str,
    source_id: str,
    url_variable: str,
    mapping: SourceMapping,
) -> bool:
    """Add a source, or give one another variable or mapping; False when it was there.

    Either way it is read whole next.
    """
    if not SLUG.fullmatch(source_id):
        raise GalenaError(
            f"A source's id has 2 to 63 of a-z, 0-9 and '-' and starts with a letter or digit;"
            f" {source_id!r} does not: choose another."
        )
    if not _VARIABLE.fullmatch(url_variable):
        # Not shown: it may be the URL itself.
        raise GalenaError(
            "--url-variable is no name of an environment variable; expected one such as"
            " ACME_CRM_URL, which holds the URL where Galena runs."
        )
    # A load that is under way would take the old mapping's for the new one's.
    lock(connection, tenant_id, source_id, wait=True)
    # By chance, so that two installations that read the same database do not share a slot.
    slot_name = f"galena_{source_id.replace('-', '_')[:40]}_{secrets.token_hex(4)}"
    added: bool = connection.scalar(
        text(
            "INSERT INTO crm.sources (tenant_id, source_id, url_variable, mapping, slot_name)"
            " VALUES (:tenant_id, :source_id, :url_variable, CAST(:mapping AS jsonb), :slot_name)"
            " ON CONFLICT (tenant_id, source_id) DO UPDATE SET mapping = EXCLUDED.mapping,"
            "  url_variable = EXCLUDED.url_variable, load_wanted = 'it was added anew',"
            "  watermarks = '{}', retry_at = NULL"
            " RETURNING added_at = now()"
        ),
        {
            "tenant_id": tenant_id,
            "source_id": source_id,
            "url_variable": url_variable,
            "mapping": json.dumps(mapping.document),
            "slot_name": slot_name,
        },
    )
    return added


def want_load(connection: Connection, tenant_id: str, source_id: str) -> None:
    """Have the source read whole next, whatever failed before; waits for who reads it."""
    lock(connection, tenant_id, source_id, wait=True)
    find(connection, tenant_id, source_id)
    update(connection, tenant_id, source_id, load_wanted="somebody asked for it", retry_at=None)


def find_all(connection: Connection, tenant_id: str) -> list[CrmSource]:
    """The tenant's sources, by id."""
    rows = connection.execute(
        select(sources).where(sources.c.tenant_id == tenant_id).order_by(sources.c.source_id)
    )
    return [CrmSource(*row) for row in rows]


def find(connection: Connection, tenant_id: str, source_id: str) -> CrmSource:
    """The source. Raises GalenaError when there is none by this name."""
    row = connection.execute(
        select(sources).where(sources.c.tenant_id == tenant_id, sources.c.source_id == source_id)
    ).one_or_none()
    if row is None:
        raise GalenaError(
            f"Tenant {tenant_id!r} has no source {source_id!r}; `galena source list` shows those"
            " there are."
        )
    return CrmSource(*row)


def every(database: Database) -> list[tuple[str, str]]:
    """Of every tenant: tenant_id and source_id."""
    with database.operator() as connection:
        rows = connection.execute(
            text("SELECT tenant_id, source_id FROM crm.sources ORDER BY tenant_id, source_id")
        )
        return [(tenant_id, source_id) for tenant_id, source_id in rows]


def update(connection: Connection, tenant_id: str, source_id: str, **values: Any) -> None:
    """Set columns of the source's row."""
    connection.execute(
        sources.update()
        .where(sources.c.tenant_id == tenant_id, sources.c.source_id == source_id)
        .values(**values)
    )


def remove(connection: Connection, tenant_id: str, source_id: str) -> None:
    """Forget the source and which rows came from it; the records stay."""
    for table in ("crm.source_keys", "crm.sources"):
        connection.execute(
            text(f"DELETE FROM {table} WHERE tenant_id = :tenant_id AND source_id = :source_id"),
            {"tenant_id": tenant_id, "source_id": source_id},
        )


def lock(connection: Connection, tenant_id: str, source_id: str, *, wait: bool) -> bool:
    """Keep others from reading this source until the transaction ends; False: one does already."""
    function = "pg_advisory_xact_lock" if wait else "pg_try_advisory_xact_lock"
    held = connection.scalar(
        text(f"SELECT {function}(hashtextextended(:name, 4722003))"),
        {"name": f"crm.sources {tenant_id} {source_id}"},
    )
    return held is not False


def mark_loaded(connection: Connection, source: CrmSource, now: datetime, **values: Any) -> None:
    """The source has been read whole as of now."""
    update(
        connection,
        source.tenant_id,
        source.source_id,
        loaded_at=now,
        load_wanted=None,
        **values,
    )


def tables_no_longer_mapped(
    connection: Connection, source: CrmSource, names: Sequence[str]
) -> list[str]:
    """Tables of which there are rows here, and that the mapping does not have any more."""
    return list(
        connection.scalars(
            text(
                "SELECT DISTINCT source_table FROM crm.source_keys WHERE tenant_id = :tenant_id"
                " AND source_id = :source_id AND source_table <> ALL(:names)"
            ),
            {
                "tenant_id": source.tenant_id,
                "source_id": source.source_id,
                "names": list(names),
            },
        )
    )
