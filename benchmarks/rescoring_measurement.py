"""From COMMIT to score: writers as a CRM's, a reader that looks, and the CPU time it took."""

import threading
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import psutil
import psycopg
from dagster import DagsterInstance, DagsterRunStatus, RunsFilter

from benchmarks.rescoring_installation import await_true

_POLL_S = 0.2
_IDLE_S = 15.0
_ENDED = (DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED)
_UNFINISHED = [status for status in DagsterRunStatus if status not in _ENDED]
# What a run's process still does after its last event.
_AFTERMATH_S = 3.0


@dataclass(frozen=True)
class Change:
    """One transaction of a writer: an interaction each for some leads of a tenant.

    at: seconds after the case begins; a writer that is late does not wait.
    """

    at: float
    tenant_id: str
    lead_ids: Sequence[str]


@dataclass(frozen=True)
class Measured:
    """Seconds from the COMMIT's return to a reader's seeing the score, over all leads changed.

    cpu_s: of the processes, until the runs have ended, less what they take when idle, for each lead
    changed; None where something else was at work.
    """

    leads: int
    p50_s: float
    p95_s: float
    max_s: float
    cpu_s: float | None


@dataclass(frozen=True)
class _Written:
    """changed: before the statement; a score calculated later includes the change, for each lead
    changes once in a case. committed: when COMMIT had returned. Both by the one clock there is."""

    changed: float
    committed: float


_Lead = tuple[str, str]


class Observer:
    """A reader of all tenants, and a look at the queue, the runs and the processes.

    url: of a login that sees all tenants' scores in one query, so that the reader is cheap; its
    own backend is left out of the CPU time. roots: the processes that count, with their children.
    """

    def __init__(
        self, url: str, instance: DagsterInstance, roots: Iterable[psutil.Process]
    ) -> None:
        self._url = url
        self._connection = psycopg.connect(self._url, autocommit=True)
        self._instance = instance
        self._roots = list(roots)
        self._idle_cores = 0.0

    def close(self) -> None:
        self._connection.close()

    def await_quiet(self, seconds: float) -> None:
        """Return when nothing is queued or left to report and no run is unfinished."""
        await_true("The queue is empty and every run has ended", self._quiet, seconds)
        time.sleep(_AFTERMATH_S)

    def _quiet(self) -> bool:
        row = self._connection.execute(
            "SELECT EXISTS (SELECT FROM crm.rescore_queue)"
            " OR EXISTS (SELECT FROM ml.rescorings WHERE reported_at IS NULL)"
        ).fetchone()
        assert row is not None
        return not row[0] and not self._instance.get_runs_count(RunsFilter(statuses=_UNFINISHED))

    def measure_idle(self) -> float:
        """Cores that the quiet processes keep busy; taken off every later CPU time."""
        began, before = time.monotonic(), self._cpu_seconds()
        time.sleep(_IDLE_S)
        self._idle_cores = (self._cpu_seconds() - before) / (time.monotonic() - began)
        return self._idle_cores

    def measure(self, changes: Sequence[Change], *, most_s: float, until_quiet: bool) -> Measured:
        """Write the changes and watch for each lead's score.

        most_s: raises TimeoutError when a score is not there so long after the last change.
        until_quiet: wait for the runs' end, which cpu_s includes; without, cpu_s is None.
        """
        began, before = time.time(), self._cpu_seconds()
        written: dict[_Lead, _Written] = {}
        stop = threading.Event()
        with ThreadPoolExecutor(max_workers=1) as writing:
            writer = writing.submit(_write, self._url, changes, written, stop)
            try:
                visible = self._watch(changes, written, writer, began + changes[-1].at + most_s)
            finally:
                stop.set()
        delays = np.array([visible[lead] - written[lead].committed for lead in visible])
        cpu_s = None
        if until_quiet:
            self.await_quiet(most_s)
            idle = self._idle_cores * (time.time() - began)
            cpu_s = (self._cpu_seconds() - before - idle) / len(delays)
        return Measured(
            leads=len(delays),
            p50_s=float(np.percentile(delays, 50)),
            p95_s=float(np.percentile(delays, 95)),
            max_s=float(delays.max()),
            cpu_s=cpu_s,
        )

    def _watch(
        self,
        changes: Sequence[Change],
        written: dict[_Lead, _Written],
        writer: "Future[None]",
        deadline: float,
    ) -> dict[_Lead, float]:
        """When each lead's score was seen. Raises what the writer raises."""
        visible: dict[_Lead, float] = {}
        expected = sum(len(change.lead_ids) for change in changes)
        while len(visible) < expected:
            if time.time() > deadline:
                raise TimeoutError(f"{expected - len(visible)} of {expected} leads have no score")
            time.sleep(_POLL_S)
            if writer.done():
                writer.result()
            pending = {lead: at for lead, at in written.copy().items() if lead not in visible}
            if not pending:
                continue
            rows = self._connection.execute(
                "SELECT tenant_id, lead_id, extract(epoch FROM calculated_at)::float8"
                " FROM ml.lead_scores"
                " WHERE tenant_id = ANY(%s) AND calculated_at > to_timestamp(%s)",
                (
                    list({tenant_id for tenant_id, _lead_id in pending}),
                    min(at.changed for at in pending.values()),
                ),
            ).fetchall()
            seen = time.time()
            for tenant_id, lead_id, calculated in rows:
                change = pending.get((tenant_id, lead_id))
                if change and calculated > change.changed:
                    visible[tenant_id, lead_id] = seen
        return visible

    def _cpu_seconds(self) -> float:
        """User and system time of the processes that count and of their children, ended or not."""
        processes = {
            process.pid: process
            for root in self._roots
            for process in (*root.children(recursive=True), root)
        }
        processes.pop(self._connection.info.backend_pid, None)
        total = 0.0
        for process in processes.values():
            with suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                total += times.user + times.system + times.children_user + times.children_system
        return total


def open_leads(url: str) -> dict[str, list[str]]:
    """The leads that have a score, by tenant."""
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "SELECT tenant_id, array_agg(lead_id ORDER BY lead_id) FROM ml.lead_scores GROUP BY 1"
        )
        return dict(rows.fetchall())


def _write(
    url: str, changes: Sequence[Change], written: dict[_Lead, _Written], stop: threading.Event
) -> None:
    """As a CRM that writes straight into the tables: plain INSERT, COMMIT, the next."""
    with psycopg.connect(url) as connection:
        began = time.time()
        for change in changes:
            if stop.wait(max(0.0, began + change.at - time.time())):
                return
            changed = time.time()
            connection.execute(
                "INSERT INTO crm.interactions"
                " (tenant_id, interaction_id, lead_id, kind, occurred_at)"
                " SELECT %s, gen_random_uuid(), lead_id, 'chat', now()"
                " FROM unnest(%s::text[]) lead_id",
                (change.tenant_id, list(change.lead_ids)),
            )
            connection.commit()
            committed = _Written(changed, time.time())
            written.update({(change.tenant_id, lead): committed for lead in change.lead_ids})
