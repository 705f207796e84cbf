"""How a source is: its slot, its lag, what failed, and the alerts about it."""

import traceback
from datetime import datetime, timedelta

from sqlalchemy import Connection

from warehouse import alerts
from warehouse.database import Database
from warehouse.errors import GalenaError
from warehouse.sources import registry, slots
from warehouse.sources.connecting import DatabaseSaysError, SourceError
from warehouse.sources.registry import CrmSource

FAILING, LAGGING = "source_failing", "source_lagging"
# Of the source's log, unread: what its owner will notice on the disk.
MOST_LAG_BYTES = 2**30
# Attempts that fail by what the source's database says, which may pass, before somebody is told.
# They come 10, 20, 40 s after another: about a minute.
_TOLERATED = 3
_FIRST_WAIT = timedelta(seconds=5)
_LONGEST_WAIT = timedelta(minutes=10)


def usable_slot(there: Connection, source: CrmSource) -> tuple[slots.Slot, list[slots.SlotTable]]:
    """The source's slot and tables. Raises SourceError, with the way out, if changes would go
    unseen."""
    if there.dialect.name != "postgresql":
        raise SourceError(
            f"Source {source.source_id} is {there.dialect.name} and no PostgreSQL, so that it must"
            " be polled: name updated_at in every table of its mapping."
        )
    slot = slots.find_slot(there, source.slot_name)
    anew = f"SELECT pg_create_logical_replication_slot('{source.slot_name}', 'pgoutput')"
    if slot is None:
        raise SourceError(
            f"Source {source.source_id} has no replication slot {source.slot_name}: its owner runs"
            f" {anew}; then everything is read anew by itself."
        )
    if slot.wal_status == "lost":
        raise SourceError(
            f"Source {source.source_id} dropped the log that its slot had yet to be read from"
            " (max_slot_wal_keep_size): its owner runs"
            f" SELECT pg_drop_replication_slot('{source.slot_name}'); {anew}; then everything is"
            " read anew by itself."
        )
    tables = slots.slot_tables(there, source.mapping)
    if missing := slots.unpublished(there, source.slot_name, tables):
        raise SourceError(
            f"Source {source.source_id}: {missing[0]}: `galena source sql` prints what its owner"
            " runs."
        )
    return slot, tables


def lost_track(there: Connection, source: CrmSource, slot: slots.Slot) -> str | None:
    """Why the log cannot be followed from where it was read to; None when it can."""
    confirmed = slots.lsn(source.confirmed_lsn or "0/0")
    if slot.confirmed > confirmed:
        return "its slot was made anew, or read by somebody else"
    if slots.end_of_log(there) < confirmed:
        return "its log went back, as after a restore"
    return None


def well(database: Database, there: Connection, source: CrmSource, now: datetime) -> None:
    """Record that the source has been read as of now, and how far its slot lags."""
    slot = None
    if not source.mapping.polled:
        slot = slots.find_slot(there, source.slot_name)
    with database.tenant(source.tenant_id) as here:
        registry.update(
            here,
            source.tenant_id,
            source.source_id,
            read_at=now,
            lag_bytes=slot and slot.lag_bytes,
            failures=0,
            retry_at=None,
            error=None,
        )
        alerts.resolve(here, source.tenant_id, FAILING, [source.source_id])
        if slot and (slot.lag_bytes > MOST_LAG_BYTES or slot.wal_status == "unreserved"):
            alerts.raise_alert(
                here,
                source.tenant_id,
                LAGGING,
                source.source_id,
                f"{slot.lag_bytes / 2**20:,.0f} MiB of the source's log wait to be read"
                f" (wal_status {slot.wal_status}): the source keeps them until they are, or until"
                " max_slot_wal_keep_size; see whether changes come faster than they are read.",
            )
        else:
            alerts.resolve(here, source.tenant_id, LAGGING, [source.source_id])


def failed(database: Database, source: CrmSource, error: Exception, now: datetime) -> GalenaError:
    """Record what went wrong and when to try again; tell a person of it, at once if it does not
    pass by itself. Returns it as an error without a cause, for that may name secrets or rows."""
    told = error if isinstance(error, GalenaError) else SourceError(_defect(error))
    message = str(told)
    with database.tenant(source.tenant_id) as here:
        failures = registry.find(here, source.tenant_id, source.source_id).failures + 1
        wait = min(_LONGEST_WAIT, _FIRST_WAIT * 2 ** min(failures, 10))
        registry.update(
            here,
            source.tenant_id,
            source.source_id,
            failures=failures,
            retry_at=now + wait,
            error=message,
        )
        if failures >= _TOLERATED or not isinstance(error, DatabaseSaysError):
            alerts.raise_alert(here, source.tenant_id, FAILING, source.source_id, message)
    return told


def _defect(error: Exception) -> str:
    """Where it happened; its text may hold rows."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{last.filename.rpartition('/')[2]}, line {last.lineno}"
    return f"The source could not be read ({type(error).__name__} in {place}): a defect of Galena."
