"""PostgreSQL's logical replication messages (pgoutput, protocol version 1) as the keys they change.

https://www.postgresql.org/docs/current/protocol-logicalrep-message-formats.html
"""

import struct
from dataclasses import dataclass

from warehouse.errors import GalenaError

_COUNT = struct.Struct(">H")
_LENGTH = struct.Struct(">I")
# Flags, commit LSN, end LSN, time.
_COMMIT = struct.Struct(">BQQq")
# Commit LSN, time, transaction.
_BEGIN = struct.Struct(">QqI")


@dataclass(frozen=True)
class Relation:
    """A table as the log describes it. identity: the columns whose old values it always has."""

    schema: str
    name: str
    columns: tuple[str, ...]
    identity: frozenset[str]


# A row as the log has it: the text of each column by name; None for NULL. Large values that did not
# change (TOAST) are not in the log, and not here.
Row = dict[str, str | None]


@dataclass(frozen=True)
class Change:
    """A row that was inserted or updated (new), deleted or moved to another key (old), or both."""

    relation: Relation
    old: Row | None
    new: Row | None


@dataclass(frozen=True)
class Truncation:
    """Tables that were emptied."""

    relations: tuple[Relation, ...]


@dataclass(frozen=True)
class Begin:
    """A transaction; xid: its number without the epoch."""

    xid: int


@dataclass(frozen=True)
class Commit:
    """The end of a transaction. end_lsn: up to there the log has been read."""

    end_lsn: int


Message = Begin | Change | Truncation | Commit


class Decoder:
    """Reads the messages of one decoding in order; it remembers the tables they describe."""

    def __init__(self) -> None:
        self._relations: dict[int, Relation] = {}

    def decode(self, message: bytes) -> Message | None:
        """What one message says; None when it changes no row.

        Raises GalenaError for a message that protocol version 1 does not have.
        """
        body = _Body(message)
        match body.take(1):
            case b"I":
                relation = self._relation(body)
                return Change(relation, None, self._tuple(body, relation, b"N"))
            case b"U":
                return self._update(body)
            case b"D":
                relation = self._relation(body)
                return Change(relation, self._tuple(body, relation, b"KO"), None)
            case b"T":
                return self._truncation(body)
            case b"C":
                return Commit(body.unpack(_COMMIT)[2])
            case b"R":
                self._remember(body)
            case b"B":
                return Begin(body.unpack(_BEGIN)[2])
            case b"O" | b"Y" | b"M":
                pass  # Origin, type, message: they change no row.
            case kind:
                raise GalenaError(
                    f"The source's log has a message of kind {kind!r}, which pgoutput's protocol"
                    " version 1 does not have: the source must be PostgreSQL 14 or newer."
                )
        return None

    def _relation(self, body: "_Body") -> Relation:
        return self._relations[body.unpack(_LENGTH)[0]]

    def _remember(self, body: "_Body") -> None:
        (oid,) = body.unpack(_LENGTH)
        # pg_catalog stands there as an empty string.
        schema, name = body.text() or "pg_catalog", body.text()
        body.take(1)  # Its replica identity; each column says whether it belongs to it.
        (count,) = body.unpack(_COUNT)
        columns, identity = [], set()
        for _ in range(count):
            (flags,) = body.take(1)
            column = body.text()
            body.take(8)  # Type and its modifier.
            columns.append(column)
            if flags & 1:
                identity.add(column)
        self._relations[oid] = Relation(schema, name, tuple(columns), frozenset(identity))

    def _update(self, body: "_Body") -> Change:
        relation = self._relation(body)
        old = self._tuple(body, relation, b"KO") if body.peek() in b"KO" else None
        return Change(relation, old, self._tuple(body, relation, b"N"))

    def _truncation(self, body: "_Body") -> Truncation:
        (count,) = body.unpack(_LENGTH)
        body.take(1)  # CASCADE, RESTART IDENTITY.
        return Truncation(tuple(self._relation(body) for _ in range(count)))

    def _tuple(self, body: "_Body", relation: Relation, kinds: bytes) -> Row:
        kind = body.take(1)
        if kind not in kinds:
            raise GalenaError(f"The source's log is damaged: a row of kind {kind!r}.")
        (count,) = body.unpack(_COUNT)
        row: Row = {}
        for column in relation.columns[:count]:
            match body.take(1):
                case b"n":
                    row[column] = None
                case b"t":
                    (length,) = body.unpack(_LENGTH)
                    row[column] = body.take(length).decode()
                case b"u":
                    pass
                case other:
                    raise GalenaError(f"The source's log is damaged: a value of kind {other!r}.")
        if kind == b"K":
            # The columns beside the key stand there as NULL.
            return {name: value for name, value in row.items() if name in relation.identity}
        return row


class _Body:
    """A message's bytes, taken from the front."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def peek(self) -> bytes:
        return self._data[self._at : self._at + 1]

    def take(self, length: int) -> bytes:
        taken = self._data[self._at : self._at + length]
        if len(taken) < length:
            raise GalenaError("The source's log is damaged: a message ends within a value.")
        self._at += length
        return taken

    def unpack(self, form: struct.Struct) -> tuple[int, ...]:
        return form.unpack(self.take(form.size))

    def text(self) -> str:
        end = self._data.index(0, self._at)
        text = self._data[self._at : end].decode()
        self._at = end + 1
        return text
