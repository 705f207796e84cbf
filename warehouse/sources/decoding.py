"""PostgreSQL's log, read through SQL functions: which keys of which tables changed.

https://www.postgresql.org/docs/current/logicaldecoding-explanation.html
"""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection, text

from warehouse.sources.connecting import SourceError
from warehouse.sources.mapping import SourceTable
from warehouse.sources.pgoutput import Begin, Change, Commit, Decoder, Row, Truncation
from warehouse.sources.slots import Name, Slot, SlotTable, end_of_log, lsn_text

# Read per step: changes, which ends with the transaction that reaches it, and bytes of the log.
_CHANGES = 10_000
_LOG_BYTES = 64 * 2**20
# Keys remembered per table and step. Beyond, the table is read whole: bounds memory.
_MOST_KEYS = 100_000
_FETCHED = 1_000
_VISIBLE_SECONDS = 5

Key = tuple[str, ...]


@dataclass
class Step:
    """What one reading of the log found.

    upto: the log has been read up to there. finished: there was no more of it.
    keys: per table the keys that were written or deleted. whole: tables to be read whole, and why.
    xids: the transactions, without their epoch.
    """

    upto: int
    finished: bool
    keys: dict[Name, dict[Key, None]] = field(default_factory=dict)
    whole: dict[Name, str] = field(default_factory=dict)
    xids: set[int] = field(default_factory=set)


def read_log(
    connection: Connection, slot_name: str, tables: Sequence[SlotTable], slot: Slot
) -> Step:
    """Read on in the log without moving the slot: done again, it says the same again.

    A transaction comes whole, however large; what is kept of it here are its keys.
    """
    wanted = {table.name: table for table in tables}
    end, most = end_of_log(connection), slot.confirmed + _LOG_BYTES
    step = Step(min(end, most), finished=end <= most)
    decoder, messages = Decoder(), 0
    statement = text(
        "SELECT data FROM pg_logical_slot_peek_binary_changes(:slot, CAST(:upto AS pg_lsn),"
        f" {_CHANGES}, 'proto_version', '1', 'publication_names', :publication)"
    ).execution_options(yield_per=_FETCHED)
    parameters = {"slot": slot_name, "upto": lsn_text(step.upto), "publication": slot_name}
    committed = slot.confirmed
    with connection.begin():
        for (message,) in connection.execute(statement, parameters):
            messages += 1
            match decoder.decode(bytes(message)):
                case Begin(xid=xid):
                    step.xids.add(xid)
                case Change(relation=relation) as change:
                    if table := wanted.get((relation.schema, relation.name)):
                        _note(step, table, change)
                case Truncation(relations=relations):
                    named = {(relation.schema, relation.name) for relation in relations}
                    step.whole |= dict.fromkeys(named & wanted.keys(), "it was truncated")
                case Commit(end_lsn=end_lsn):
                    committed = end_lsn
    if messages >= _CHANGES:
        step.upto, step.finished = committed, False
    return step


def await_visible(connection: Connection, xids: Iterable[int]) -> bool:
    """Whether other sessions see what these transactions did, waiting a little for it.

    The log has a transaction as soon as its commit is on disk. Rows read before others see it (with
    synchronous replication that is when a standby has it, too) would be those of before.
    """
    deadline = time.monotonic() + _VISIBLE_SECONDS
    while not _all_visible(connection, xids):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _all_visible(connection: Connection, xids: Iterable[int]) -> bool:
    with connection.begin():
        snapshot = connection.scalar(text("SELECT pg_current_snapshot()::text")) or "0:0:"
    _, newest, running = snapshot.split(":")
    hidden = {int(xid) for xid in running.split(",") if xid}
    for xid in xids:
        # With the newest one's epoch, or the one before.
        full = (int(newest) & ~0xFFFFFFFF) | xid
        if full > int(newest):
            full -= 1 << 32
        if full == int(newest) or full in hidden:
            return False
    return True


def _note(step: Step, table: SlotTable, change: Change) -> None:
    if table.name in step.whole:
        return
    keys = step.keys.setdefault(table.name, {})
    for row in (change.old, change.new):
        if row is not None:
            keys[_key(table.source, row, change)] = None
    if len(keys) > _MOST_KEYS:
        step.whole[table.name] = f"more than {_MOST_KEYS:,} of its rows changed at once"
        del step.keys[table.name]


def _key(source: SourceTable, row: Row, change: Change) -> Key:
    parts = []
    for column in source.key:
        value = row.get(column)
        # A large key that an update left as it was is not in the new row.
        if value is None and change.old is not None:
            value = change.old.get(column)
        if value is None or column not in change.relation.identity:
            raise SourceError(
                f"Table {source.name}, key: {column!r} is no part of the table's replica identity,"
                " so that its log does not say which row was deleted: name the primary key as key,"
                f" or have the owner run ALTER TABLE {source.name} REPLICA IDENTITY FULL, and then"
                " reload the source."
            )
        parts.append(value)
    return tuple(parts)
