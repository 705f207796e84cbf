"""Live changes of the sample tenants while `galena up --samples` stays: fed, and seen rescored."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import polars as pl
from rich.console import Console
from sqlalchemy import Connection
from sqlalchemy.exc import InterfaceError, OperationalError

from orchestration.rescored import Rescored
from orchestration.samples import Sample
from orchestration.streams import ANEW, Notes, Stream
from warehouse import crm, tenants
from warehouse.database import Database
from warehouse.errors import GalenaError, TenantNotFoundError
from warehouse.standing import standing

if TYPE_CHECKING:
    from examples.simulator import Change

# Between attempts while PostgreSQL is away.
_PAUSE_S = 1.0


class Feed:
    """Writes what happens in the sample tenants' CRMs, and shows the leads' new scores.

    All of it in step(), which is to be called a few times a second: there is no thread to stop.
    """

    def __init__(
        self, console: Console, database: Database, notes: Notes, samples: Sequence[Sample]
    ) -> None:
        self._console, self._database = console, database
        self._notes, self._samples = notes, samples
        self._rescored = Rescored(console, database)
        self._streams: list[Stream] | None = None
        self._away_since: float | None = None

    def step(self) -> None:
        """Write the events that are due, and tell of the scores that came since.

        A database that is gone is told in one line, and tried again at a later step.
        """
        if self._away_since is not None and time.monotonic() < self._away_since + _PAUSE_S:
            return
        try:
            self._step()
        except (OperationalError, InterfaceError):
            if self._away_since is None:
                self._tell("PostgreSQL is away: the live changes wait for it.")
            self._away_since = time.monotonic()
        else:
            if self._away_since is not None:
                self._tell("PostgreSQL is back: the live changes go on.")
            self._away_since = None

    def _step(self) -> None:
        if self._streams is None:
            self._streams = self._begun()
        for stream in [*self._streams]:
            if not self._feed(stream):
                self._streams.remove(stream)
        self._rescored.step()

    def _begun(self) -> list[Stream]:
        """The streams of the tenants that have one; the others are named with the reason."""
        present = {tenant.tenant_id: tenant for tenant in tenants.find_all(self._database)}
        streams = []
        for sample in self._samples:
            tenant, note = present.get(sample.tenant_id), self._notes.read(sample.tenant_id)
            if tenant is None:
                self._notes.forget(sample.tenant_id)
                continue
            if note is None or note.created_at != tenant.created_at:
                self._tell(
                    f"{tenant.tenant_id}: no live changes, for its records are not of this version"
                    f" of Galena: {ANEW.format(tenant.tenant_id)}"
                )
                continue
            try:
                streams.append(Stream(sample, note, self._notes))
            except GalenaError as error:
                self._tell(str(error))
        if streams:
            rates = ", ".join(f"{stream.tenant_id} {stream.per_second:.2g}" for stream in streams)
            self._tell(f"Live changes begin, so many a second: {rates}.")
            self._tell(
                "Tenant, lead, score before -> after, what moved it most, seconds from COMMIT to"
                " the score:"
            )
        return streams

    def _feed(self, stream: Stream) -> bool:
        """Write the stream's next event, if it is due and its tenant active, in one transaction, as
        a CRM would; False when there is nothing more to write, ever."""
        changes = stream.due(datetime.now(UTC))
        if stream.ended:
            self._tell(f"{stream.tenant_id}: its live changes have come to their end.")
            return False
        if changes is None:
            return True
        try:
            with self._database.tenant(stream.tenant_id) as connection:
                tenant = tenants.find(connection)
                if tenant.created_at != stream.created_at:
                    raise TenantNotFoundError(stream.tenant_id)
                if tenant.status != "active":
                    return True
                before = standing(connection, stream.tenant_id, _leads(changes))
                for change in changes:
                    _write(connection, stream.tenant_id, change)
        except TenantNotFoundError:
            self._notes.forget(stream.tenant_id)
            return False
        self._rescored.await_scores(stream.tenant_id, before, _fate(changes))
        stream.sent()
        return True

    def _tell(self, line: str) -> None:
        self._console.print(line, style="dim", markup=False, highlight=False, soft_wrap=True)


def _write(connection: Connection, tenant_id: str, change: "Change") -> None:
    schema = {name: _type(name) for name in change.row}
    frame = pl.DataFrame([change.row], schema=schema)
    crm.upsert(connection, tenant_id, change.table, frame)


def _type(column: str) -> pl.DataType:
    if column.endswith("_at"):
        return pl.Datetime("us", "UTC")
    return {"amount": pl.Float64(), "won": pl.Boolean()}.get(column, pl.String())


def _leads(changes: "Sequence[Change]") -> list[str]:
    """Whose score the changes are about."""
    return [c.row["lead_id"] for c in changes if c.table in ("leads", "interactions")]


def _fate(changes: "Sequence[Change]") -> str | None:
    """How the event ended its lead; None when that stays open."""
    for change in changes:
        if change.row.get("converted_at"):
            return "converted"
        if change.table == "leads" and change.row.get("closed_at"):
            return "lost"
    return None
