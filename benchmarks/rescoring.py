"""A CRM change becomes a new score: how soon and for how much CPU, by the real processes.

Ours is `galena up`, idle and with a training of another tenant beside. Beside it stands the way
most people build it, a run for each tenant that changed (benchmarks.plain_rescoring). Every case
begins with an empty queue and no run at work, so that the start of a run is part of it.
"""

import os
import random
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import psutil
from dagster import DagsterInstance

from benchmarks.reporting import Arguments, arguments, console, report
from benchmarks.rescoring_installation import (
    BIG,
    await_true,
    fill,
    galena_up,
    plain_processes,
    postmaster,
)
from benchmarks.rescoring_measurement import Change, Measured, Observer, open_leads
from benchmarks.rescoring_training import training_beside
from examples.simulator.crm import simulate
from examples.simulator.profiles import ACME
from orchestration import runs, services
from orchestration.installation import Installation, installation
from warehouse.embedded import EmbeddedPostgres
from warehouse.migrate import migrate

SEED = 1
TENANTS = 500
LEADS = 20
# Tenants changed at once, ours and the plain way; ours has the plain way's sizes, too.
AT_ONCE = (1, 8, 50, 500)
PLAIN_AT_ONCE = (8, 50)
STREAM_PER_S = 50
STREAM_S = 120
STREAM = "stream"
# No case takes nearly as long; the plain way's 50 tenants come nearest.
MOST_S = 600.0
_PORT = 3500

_Cases = Mapping[str, Sequence[Change]]


@dataclass(frozen=True)
class Side:
    """One column of the table: what was measured, by case, and the cores its processes keep busy
    when there is nothing to do."""

    cases: Mapping[str, Measured]
    idle_cores: float


def main() -> None:
    given = arguments(__doc__)
    with tempfile.TemporaryDirectory(prefix="galena-rescoring-") as folder, _installed(folder) as f:
        tenant_ids = [f"t{n:03}" for n in range(TENANTS // 8 if given.quick else TENANTS)]
        with _told(f"{len(tenant_ids)} tenants with a trained model and scores"):
            fill(f.database, tenant_ids, simulate(ACME, SEED, datetime.now(UTC)))
        superuser = EmbeddedPostgres(f.settings.home).urls.superuser
        leads = open_leads(superuser)
        leads.pop(BIG)
        cases = _cases(leads, given)
        with runs.instance() as instance:
            bench = _Bench(f, instance, superuser, tenant_ids)
            ours, training = bench.ours(cases)
            plain = bench.plain({str(n): cases[str(n)] for n in PLAIN_AT_ONCE})
    _report(cases, ours, training, plain, given)


@contextmanager
def _installed(folder: str) -> Iterator[Installation]:
    """An installation of its own, which the processes started after this find by the variables."""
    with installation({"GALENA_HOME": folder}) as found:
        migrate(found.settings.owner_url)
        os.environ.update(found.environment())
        yield found


def _cases(leads: Mapping[str, Sequence[str]], given: Arguments) -> dict[str, list[Change]]:
    """The transactions of each case; in none of them a lead changes twice."""
    chosen = random.Random(SEED)
    tenant_ids = sorted(leads)
    cases = {
        str(n): [
            Change(0.0, tenant_id, chosen.sample(leads[tenant_id], LEADS))
            for tenant_id in tenant_ids[: max(n // 8, 1) if given.quick else n]
        ]
        for n in AT_ONCE
    }
    everyone = [(tenant_id, lead_id) for tenant_id in tenant_ids for lead_id in leads[tenant_id]]
    changes = STREAM_PER_S * (10 if given.quick else STREAM_S)
    cases[STREAM] = [
        Change(number / STREAM_PER_S, tenant_id, [lead_id])
        for number, (tenant_id, lead_id) in enumerate(chosen.sample(everyone, changes))
    ]
    return cases


@dataclass(frozen=True)
class _Bench:
    found: Installation
    instance: DagsterInstance
    superuser_url: str
    tenant_ids: Sequence[str]

    def ours(self, cases: _Cases) -> tuple[Side, Side]:
        """Each case idle, then each with a training beside."""
        port = services.free_port(_PORT)
        with galena_up(self.found.settings.home, port) as roots, self._observer(roots) as observer:
            with _told("galena up, and its sensors know every tenant"):
                await_true("Every tenant is a partition", self._knows_tenants, 120)
                observer.await_quiet(MOST_S)
            idle_cores = observer.measure_idle()
            idle = self._each("ours", cases, observer)
            beside = {}
            for name, changes in cases.items():
                with training_beside(self.instance, port):
                    said = _told(f"ours with a training beside: {_words(name, changes)}")
                    with said:
                        beside[name] = observer.measure(changes, most_s=MOST_S, until_quiet=False)
                observer.await_quiet(MOST_S)
        return Side(idle, idle_cores), Side(beside, idle_cores)

    def plain(self, cases: _Cases) -> Side:
        """A run for each tenant, on the same Dagster storage and the same data."""
        port = services.free_port(_PORT)
        with plain_processes(self.found, port) as roots, self._observer(roots) as observer:
            time.sleep(10)  # the daemon loads the location and looks at it for the first time
            observer.await_quiet(MOST_S)
            idle_cores = observer.measure_idle()
            return Side(self._each("a run per tenant", cases, observer), idle_cores)

    def _each(self, way: str, cases: _Cases, observer: Observer) -> dict[str, Measured]:
        measured = {}
        for name, changes in cases.items():
            with _told(f"{way}: {_words(name, changes)}"):
                measured[name] = observer.measure(changes, most_s=MOST_S, until_quiet=True)
        return measured

    @contextmanager
    def _observer(self, roots: Sequence[psutil.Process]) -> Iterator[Observer]:
        everything = [*roots, postmaster(self.found.settings.home)]
        observer = Observer(self.superuser_url, self.instance, everything)
        try:
            yield observer
        finally:
            observer.close()

    def _knows_tenants(self) -> bool:
        return set(self.instance.get_dynamic_partitions("tenants")) >= set(self.tenant_ids)


def _words(name: str, changes: Sequence[Change]) -> str:
    if name == STREAM:
        return f"{STREAM_PER_S} changes/s for {len(changes) // STREAM_PER_S} s"
    return f"{len(changes)} tenants at once"


def _report(cases: _Cases, ours: Side, training: Side, plain: Side, given: Arguments) -> None:
    report(
        f"From COMMIT to a visible score, {LEADS} leads a tenant; CPU less that of idle processes",
        (
            "p50 / p95 / max",
            *("ours, s", "CPU ms/change"),
            "with a training beside, s",
            *("a run per tenant, s", "CPU ms/change"),
        ),
        [
            (
                _words(name, changes),
                *(_delays(ours, name), _cpu(ours, name)),
                _delays(training, name),
                *(_delays(plain, name), _cpu(plain, name)),
            )
            for name, changes in cases.items()
        ],
        _figures(ours, training, plain),
        given,
    )


def _delays(side: Side, name: str) -> str:
    found = side.cases.get(name)
    return f"{found.p50_s:.1f} / {found.p95_s:.1f} / {found.max_s:.1f}" if found else ""


def _cpu(side: Side, name: str) -> str:
    found = side.cases.get(name)
    return f"{1000 * found.cpu_s:.1f}" if found else ""


def _figures(ours: Side, training: Side, plain: Side) -> dict[str, float]:
    figures = {"idle_cores": ours.idle_cores, "plain_idle_cores": plain.idle_cores}
    for size in PLAIN_AT_ONCE:
        name = str(size)
        figures[f"cpu_saving_{name}"] = plain.cases[name].cpu_s / ours.cases[name].cpu_s
    for prefix, suffix, side in (
        ("", "", ours),
        ("", "_training", training),
        ("plain_", "", plain),
    ):
        for name, found in side.cases.items():
            for figure in ("p50_s", "p95_s", "max_s", "cpu_s_per_change"):
                value = found.cpu_s if figure == "cpu_s_per_change" else getattr(found, figure)
                if value == value:  # there is none of CPU beside a training
                    called = f"{STREAM}_{figure}" if name == STREAM else f"{figure}_{name}"
                    figures[f"{prefix}{called}{suffix}"] = value
    return figures


@contextmanager
def _told(what: str) -> Iterator[None]:
    began = time.perf_counter()
    with console.status(what):
        yield
    console.print(f"[dim]{what}: {time.perf_counter() - began:.1f} s[/dim]")


if __name__ == "__main__":
    main()
