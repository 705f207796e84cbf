"""A source's end: its slot, which would keep the log for good, is dropped there."""

import time

from sqlalchemy import Connection

from warehouse.database import Database
from warehouse.sources import registry, slots
from warehouse.sources.connecting import DatabaseSaysError, SourceError, connect
from warehouse.sources.registry import CrmSource

_SECONDS = 20
# A sweep that is under way has the slot for a moment.
_ATTEMPTS = 10


def release_tenant(database: Database, tenant_id: str) -> list[str]:
    """Drop the slots at the sources of a tenant whose status is removing.

    Returns, for those that could not be dropped, what each source's owner has to run. To be called
    before the tenant's rows are deleted.
    """
    with database.erasing(tenant_id) as here:
        found = registry.find_all(here, tenant_id)
    return [left for source in found if (left := release(source)) is not None]


def release(source: CrmSource) -> str | None:
    """Drop the source's slot; when it cannot be dropped, what its owner has to run, and why."""
    if source.mapping.polled:
        return None
    try:
        with connect(source.url_variable, _SECONDS) as there:
            _drop(source, there)
    except SourceError as error:
        return (
            f"SELECT pg_drop_replication_slot('{source.slot_name}');"
            f" -- at source {source.source_id}: {error}"
        )
    return None


def _drop(source: CrmSource, there: Connection) -> None:
    for attempt in range(_ATTEMPTS):
        try:
            slots.drop(there, source.slot_name)
            return
        except DatabaseSaysError as error:
            if error.code != slots.OBJECT_IN_USE or attempt == _ATTEMPTS - 1:
                raise
        time.sleep(0.5)
