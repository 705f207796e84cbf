"""A CRM change becomes a new score: how soon and for how much CPU, by the real processes.

Ours is `galena up`, idle and with a training of another tenant beside. Beside it stands the way
most people build it, a run for each tenant that changed (benchmarks.plain_rescoring). Every case
begins with an empty queue and no run at work, so that the start of a run is part of it.
"""

import os
import random
import secrets
import tempfile
import time
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import psutil
from dagster import DagsterInstance

from benchmarks.reporting import Arguments, arguments, report, told
from benchmarks.rescoring_installation import (
    BIG,
    await_true,
    fill,
    galena_up,
    plain_processes,
    postmaster,
    warehouse_superuser,
)
from benchmarks.rescoring_measurement import Change, Measured, Observer, open_leads
from benchmarks.rescoring_training import training_beside
from examples.simulator.crm import simulate
from examples.simulator.profiles import ACME
from orchestration import runs, services
from orchestration.installation import Installation, installation
from warehouse.migrate import migrate

SEED = 1
TENANTS = 500
LEADS = 20
# Tenants changed at once, by the cases' names.
AT_ONCE = (1, 8, 50, 500)
STREAM_PER_S = 50
STREAM_S = 120
STREAM = "stream"
TRAINING_BESIDE = ("1", "50", "500", STREAM)
PLAIN = ("8", "50")
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
        with told(f"{len(tenant_ids)} tenants with a trained model and scores"):
            fill(f, tenant_ids, simulate(ACME, SEED, datetime.now(UTC)))
        leads = open_leads(warehouse_superuser(f))
        leads.pop(BIG)
        cases = _cases(leads, given)
        with runs.instance() as instance:
            bench = _Bench(f, instance, tenant_ids)
            ours, training = bench.ours(cases)
            plain = bench.plain({name: cases[name] for name in PLAIN})
    _report(cases, ours, training, plain, given)


@contextmanager
def _installed(folder: str) -> Iterator[Installation]:
    """An installation of its own, which the processes started after this find by the variables."""
    with installation({"GALENA_HOME": folder}) as found:
        migrate(found.settings.owner_url)
        os.environ.update(found.environment())
        # Not made by itself where a variable names the server, as these do.
        os.environ["GALENA_MASTER_KEY"] = b64encode(secrets.token_bytes(32)).decode()
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
    tenant_ids: Sequence[str]

    def ours(self, cases: _Cases) -> tuple[Side, Side]:
        """The cases alone, then those with a training beside."""
        port = services.free_port(_PORT)
        with galena_up(self.found.settings.home, port) as roots, self._observer(roots) as observer:
            with told("galena up, and its sensors know every tenant"):
                await_true("Every tenant is a partition", self._knows_tenants, 120)
                observer.await_quiet(MOST_S)
            idle_cores = observer.measure_idle()
            idle = self._each("ours", cases, observer)
            beside = {}
            for name in TRAINING_BESIDE:
                changes = cases[name]
                with (
                    training_beside(self.instance, port),
                    told(f"ours, a training beside: {_words(name, changes)}"),
                ):
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
            with told(f"{way}: {_words(name, changes)}"):
                measured[name] = observer.measure(changes, most_s=MOST_S, until_quiet=True)
        return measured

    @contextmanager
    def _observer(self, roots: Sequence[psutil.Process]) -> Iterator[Observer]:
        everything = [*roots, postmaster(self.found.settings.home)]
        observer = Observer(warehouse_superuser(self.found), self.instance, everything)
        try:
            yield observer
        finally:
            observer.close()

    def _knows_tenants(self) -> bool:
        return set(self.instance.get_dynamic_partitions("tenants")) >= set(self.tenant_ids)


def _words(name: str, changes: Sequence[Change]) -> str:
    if name == STREAM:
        return f"{STREAM_PER_S} changes/s for {len(changes) // STREAM_PER_S} s"
    return f"{len(changes)} tenant{'s' if len(changes) > 1 else ''} at once"


def _report(cases: _Cases, ours: Side, training: Side, plain: Side, given: Arguments) -> None:
    sides = {
        "ours": ours,
        "ours, a training beside": training,
        "a run per tenant": plain,
    }
    rows: list[tuple[str, ...]] = []
    for name, changes in cases.items():
        rows.append((_words(name, changes), "", "", "", ""))
        rows += [
            (f"  {way}", *_row(side.cases[name]))
            for way, side in sides.items()
            if name in side.cases
        ]
    report(
        f"From COMMIT to a visible score, {LEADS} leads a tenant, no run at work at first;"
        f" CPU until all runs have ended, less that of the idle processes"
        f" (ours {ours.idle_cores:.2f}, plain {plain.idle_cores:.2f} cores)",
        ("", "p50 s", "p95 s", "max s", "CPU ms/change"),
        rows,
        _figures(ours, training, plain),
        given,
    )


def _row(found: Measured) -> tuple[str, ...]:
    delays = (f"{seconds:.1f}" for seconds in (found.p50_s, found.p95_s, found.max_s))
    return *delays, "" if found.cpu_s is None else f"{1000 * found.cpu_s:.1f}"


def _figures(ours: Side, training: Side, plain: Side) -> dict[str, float]:
    figures = {"idle_cores": ours.idle_cores, "plain_idle_cores": plain.idle_cores}
    for name, measured in plain.cases.items():
        figures[f"cpu_saving_{name}"] = _cpu(measured) / _cpu(ours.cases[name])
    for prefix, suffix, side in (
        ("", "", ours),
        ("", "_training", training),
        ("plain_", "", plain),
    ):
        for name, found in side.cases.items():
            for figure, value in (
                ("p50_s", found.p50_s),
                ("p95_s", found.p95_s),
                ("max_s", found.max_s),
                ("cpu_s_per_change", found.cpu_s),
            ):
                if value is not None:
                    called = f"{STREAM}_{figure}" if name == STREAM else f"{figure}_{name}"
                    figures[f"{prefix}{called}{suffix}"] = value
    return figures


def _cpu(found: Measured) -> float:
    assert found.cpu_s is not None
    return found.cpu_s


if __name__ == "__main__":
    main()
