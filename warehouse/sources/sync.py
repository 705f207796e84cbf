"""Reading a source: whole, or what changed; what is found is written here in one transaction.

A source may be read by two at once; whoever comes second leaves it alone (a sweep) or waits (a
load).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from warehouse.database import Database
from warehouse.loads.expectations import prepare
from warehouse.loads.publishing import publishing
from warehouse.loads.sources import check_source
from warehouse.sources import decoding, health, polling, registry, slots
from warehouse.sources.connecting import SourceError, connect
from warehouse.sources.registry import CrmSource
from warehouse.sources.tables import BLOCK, key_text, reader
from warehouse.sources.whole import write_whole
from warehouse.sources.writing import Writer, Written

# How long one statement may take at the source.
_SWEEP_SECONDS = 20
_LOAD_SECONDS = 900


@dataclass(frozen=True)
class Reading:
    """What a sweep of a source came to.

    load_wanted: why it must be read whole, which a sweep does not do. failed: it could not be read.
    """

    written: Written = field(default_factory=Written)
    load_wanted: str | None = None
    failed: bool = False


def sweep(
    database: Database,
    tenant_id: str,
    source_id: str,
    now: datetime,
    out_of_time: Callable[[], bool] = lambda: False,
) -> Reading:
    """Read what changed since the last time, step by step until there is no more, or no time.

    What goes wrong with the source is recorded with it, for a later attempt, and not raised.
    """
    with database.tenant(tenant_id) as here:
        source = registry.find(here, tenant_id, source_id)
    if source.waits(now):
        return Reading(failed=True)
    try:
        if reason := source.load_reason(now):
            return Reading(load_wanted=reason)
        with connect(source.url_variable, _SWEEP_SECONDS) as there:
            step = _poll if source.mapping.polled else _follow
            reading, more = step(database, there, source, now)
            while more and not out_of_time():
                with database.tenant(tenant_id) as here:
                    source = registry.find(here, tenant_id, source_id)
                further, more = step(database, there, source, now)
                reading = Reading(reading.written + further.written, further.load_wanted)
            if reading.load_wanted is None:
                health.well(database, there, source, now)
            return reading
    except Exception as error:
        health.failed(database, source, error, now)
        return Reading(failed=True)


def load(database: Database, tenant_id: str, source_id: str, now: datetime) -> Written:
    """Read the source whole: write what differs, delete what is gone.

    The first time, rows count as known since their beginning, as in a first import; later, from now
    on, where the mapping does not say. Raises GalenaError when the source cannot be read, and
    LoadBlockedError when what it says would spoil scores: then nothing is changed.
    """
    with database.tenant(tenant_id) as here:
        source = registry.find(here, tenant_id, source_id)
    try:
        with connect(source.url_variable, _LOAD_SECONDS) as there:
            written = _load(database, there, source, now)
            health.well(database, there, source, now)
            return written
    except Exception as error:
        raise health.failed(database, source, error, now) from None


def _follow(
    database: Database, there: Connection, source: CrmSource, now: datetime
) -> tuple[Reading, bool]:
    """One step through the log of a PostgreSQL source; whether there is more."""
    tenant_id, source_id = source.tenant_id, source.source_id
    with database.tenant(tenant_id) as here:
        if not registry.lock(here, tenant_id, source_id, wait=False):
            return Reading(), False
        # As it is now that nobody else reads or changes it.
        source = registry.find(here, tenant_id, source_id)
        if reason := source.load_reason(now):
            return Reading(load_wanted=reason), False
        slot, tables = health.usable_slot(there, source)
        if reason := health.lost_track(there, source, slot):
            registry.update(here, tenant_id, source_id, load_wanted=reason)
            return Reading(load_wanted=reason), False
        confirmed = slots.lsn(source.confirmed_lsn or "0/0")
        if slot.confirmed < confirmed:
            # Written here, and then there was an end before the slot was told.
            slots.advance(there, source.slot_name, confirmed)
        step = decoding.read_log(there, source.slot_name, tables, slot)
        if step.whole:
            (_, name), why = next(iter(step.whole.items()))
            reason = f"table {name}: {why}"
            registry.update(here, tenant_id, source_id, load_wanted=reason)
            return Reading(load_wanted=reason), False
        if not decoding.await_visible(there, step.xids):
            return Reading(), False
        writer = Writer(here, tenant_id, source_id, now, arrived=now, recheck=False)
        written = Written()
        for table in tables:
            keys = list(step.keys.get(table.name, ()))
            for start in range(0, len(keys), BLOCK):
                written += _write_keys(writer, there, table, keys[start : start + BLOCK])
        upto = max(step.upto, confirmed)
        registry.update(here, tenant_id, source_id, confirmed_lsn=slots.lsn_text(upto))
    slots.advance(there, source.slot_name, upto)
    return Reading(written), not step.finished


def _write_keys(
    writer: Writer, there: Connection, table: slots.SlotTable, keys: list[decoding.Key]
) -> Written:
    """Write the rows with these keys as they are now; those that are not there were deleted."""
    found = reader(there, table.source)
    rows = found.of_keys(there, keys, table.types)
    gone = {key_text(key) for key in keys} - {row.key for row in rows}
    return writer.write(found, rows) + writer.forget(table.source.name, gone)


def _poll(
    database: Database, there: Connection, source: CrmSource, now: datetime
) -> tuple[Reading, bool]:
    """One block of each table that is polled; whether there is more."""
    tenant_id, source_id = source.tenant_id, source.source_id
    with database.tenant(tenant_id) as here:
        if not registry.lock(here, tenant_id, source_id, wait=False):
            return Reading(), False
        source = registry.find(here, tenant_id, source_id)
        if reason := source.load_reason(now):
            return Reading(load_wanted=reason), False
        writer = Writer(here, tenant_id, source_id, now, arrived=now, recheck=False)
        written, marks = Written(), {}
        for table in source.mapping.tables:
            found = reader(there, table)
            mark = polling.from_json(source.watermarks[table.name])
            rows, mark = polling.next_block(there, found, mark, source.mapping.overlap, now)
            written += writer.write(found, rows)
            marks[table.name] = mark
        watermarks = {name: polling.to_json(mark) for name, mark in marks.items()}
        registry.update(here, tenant_id, source_id, watermarks=watermarks)
    return Reading(written), any(mark.position is not None for mark in marks.values())


def _load(database: Database, there: Connection, source: CrmSource, now: datetime) -> Written:
    tenant_id, source_id = source.tenant_id, source.source_id
    prepare()
    with publishing(database, tenant_id) as here:
        registry.lock(here, tenant_id, source_id, wait=True)
        source = registry.find(here, tenant_id, source_id)
        # Up to where it was read before: what changes from here on is read again afterwards.
        if source.mapping.polled:
            marks = {
                table.name: polling.to_json(polling.start(there, reader(there, table), now))
                for table in source.mapping.tables
            }
            upto = None
            progress: dict[str, Any] = {"watermarks": marks, "confirmed_lsn": None}
        else:
            slot, tables = health.usable_slot(there, source)
            step = decoding.read_log(there, source.slot_name, tables, slot)
            if not decoding.await_visible(there, step.xids):
                raise SourceError(
                    "The source's newest transactions are not visible yet, as when a synchronous"
                    " standby of it is down: mend that; it is tried again by itself."
                )
            upto = step.upto
            progress = {"confirmed_lsn": slots.lsn_text(upto), "watermarks": {}}
        arrived = None if source.loaded_at is None else now
        writer = Writer(here, tenant_id, source_id, now, arrived, recheck=True)
        written = Written()
        for table in source.mapping.tables:
            written += write_whole(writer, there, reader(there, table))
        mapped = [table.name for table in source.mapping.tables]
        for name in registry.tables_no_longer_mapped(here, source, mapped):
            written += writer.forget_all(name)
        registry.mark_loaded(here, source, now, **progress)
        check_source(here, tenant_id, source_id, _loads(source), now)
    if upto is not None:
        slots.advance(there, source.slot_name, upto)
    return written


def _loads(source: CrmSource) -> list[tuple[str, str, frozenset[str]]]:
    """The tables as the data checks take them."""
    return [
        (
            table.name,
            table.mapping.table,
            frozenset((*table.mapping.ignore, *table.mapping.columns().values())),
        )
        for table in source.mapping.tables
    ]
