"""The live changes of a sample tenant, which go on where an earlier session left them."""

import json
import os
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from warehouse.errors import GalenaError

if TYPE_CHECKING:
    from examples.simulator import Change
    from orchestration.samples import Sample

# A stream that is later than this goes on from now, instead of sending all at once what it missed.
_LATE = timedelta(seconds=5)


@dataclass(frozen=True)
class Note:
    """How far a tenant's stream has come.

    created_at: when the tenant was, as of which its records were made.
    sent: number of changes committed. digest: of what they said, whatever their times were.
    sessions: number of changes before it and time of each moment from which the stream went on.
    """

    created_at: datetime
    sent: int = 0
    digest: int = 0
    sessions: tuple[tuple[int, datetime], ...] = ()


class Notes:
    """The notes of all sample tenants: the file live.json in the folder `home`."""

    def __init__(self, home: Path) -> None:
        self._file = home / "live.json"

    def begin(self, tenant_id: str, created_at: datetime) -> None:
        """Note that the tenant's records are about to be written as of its creation."""
        self.write(tenant_id, Note(created_at))

    def read(self, tenant_id: str) -> Note | None:
        """None for a tenant whose records were not made here."""
        found = self._all().get(tenant_id)
        if found is None:
            return None
        return Note(
            datetime.fromisoformat(found["created_at"]),
            found["sent"],
            found["digest"],
            tuple((sent, datetime.fromisoformat(at)) for sent, at in found["sessions"]),
        )

    def write(self, tenant_id: str, note: Note) -> None:
        """Durable when it returns, as the commit is: a note that came back older than the records
        would send what they have long overtaken."""
        self._write({**self._all(), tenant_id: asdict(note)})

    def forget(self, tenant_id: str) -> None:
        """Keep nothing of a tenant that is gone."""
        notes = self._all()
        if notes.pop(tenant_id, None):
            self._write(notes)

    def _write(self, notes: dict[str, dict[str, Any]]) -> None:
        text = json.dumps(notes, default=datetime.isoformat)
        new = self._file.with_suffix(".new")
        with new.open("w") as written:
            written.write(text)
            written.flush()
            os.fsync(written.fileno())
        new.replace(self._file)

    def _all(self) -> dict[str, dict[str, Any]]:
        if not self._file.exists():
            return {}
        try:
            found: dict[str, dict[str, Any]] = json.loads(self._file.read_text())
        except ValueError as error:
            raise GalenaError(
                f"{self._file} should be JSON and is not ({error}): delete it; sample tenants that"
                " are to have live changes have to be made anew then."
            ) from None
        return found


class Stream:
    """One tenant's live changes, event by event, at its rate.

    ended: whether there are no more.
    """

    def __init__(self, sample: "Sample", note: Note, notes: Notes) -> None:
        """Raises GalenaError when what was sent so far would not come out the same again."""
        self.tenant_id = sample.tenant_id
        self.created_at = note.created_at
        self.per_second = sample.per_second
        self.ended = False
        self._note, self._notes = note, notes
        self._events = self._continued(sample)
        self._event: list[Change] | None = None
        self._resumed = False

    def due(self, now: datetime) -> "list[Change] | None":
        """The changes of the next event, when its time has come; the same until they are sent()."""
        if self._event is None:
            if not self._resumed or now > self._time_of(self._note.sent) + _LATE:
                self._go_on_from(now)
            if now < self._time_of(self._note.sent):
                return None
            self._event = next(self._events, None)
            self.ended = self._event is None
        return self._event

    def sent(self) -> None:
        """Note that the event that was due is committed."""
        assert self._event is not None
        changes, self._event = self._event, None
        note = self._note
        self._keep(
            replace(note, sent=note.sent + len(changes), digest=_digest(changes, note.digest))
        )

    def _go_on_from(self, now: datetime) -> None:
        before = tuple(session for session in self._note.sessions if session[0] < self._note.sent)
        self._keep(replace(self._note, sessions=(*before, (self._note.sent, now))))
        self._resumed = True

    def _keep(self, note: Note) -> None:
        self._notes.write(self.tenant_id, note)
        self._note = note

    def _time_of(self, sent: int) -> datetime:
        """The time of the change with that many before it: in its session, at the stream's rate."""
        first, began = next(s for s in reversed(self._note.sessions) if s[0] <= sent)
        return began + timedelta(seconds=(sent - first) / self.per_second)

    def _continued(self, sample: "Sample") -> Iterator[list["Change"]]:
        """The events that were not sent yet."""
        events = sample.events(self.created_at, self._time_of)
        sent = digest = 0
        while sent < self._note.sent:
            changes = next(events, [])
            if not changes:
                break
            sent, digest = sent + len(changes), _digest(changes, digest)
        if (sent, digest) != (self._note.sent, self._note.digest):
            raise GalenaError(
                f"{self.tenant_id}: no live changes, for this version of Galena would tell another"
                f" story than the one begun: {ANEW.format(self.tenant_id)}"
            )
        return events


ANEW = "`galena tenant remove {0}` and the next start make it anew."


def _digest(changes: list["Change"], digest: int) -> int:
    """Of what changes say: everything in them but times, and dates within their texts."""
    for change in changes:
        said = {
            name: value if isinstance(value, str | bool) else value is None
            for name, value in change.row.items()
            if name != "attributes"
        }
        digest = zlib.crc32(json.dumps([change.table, said]).encode(), digest)
    return digest
