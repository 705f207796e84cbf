"""What rescoring a changed tenant costs in CPU: by part, in one process, each tenant's model new to
it as after the start of a run, and what PostgreSQL takes beside.

CPU time and not seconds, for a machine that does other work meanwhile.
"""

import os
import random
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime
from types import ModuleType
from typing import Any

import psycopg

from benchmarks.reporting import Arguments, arguments, report, told
from benchmarks.rescoring_installation import BIG, fill, postmaster, warehouse_superuser
from benchmarks.rescoring_measurement import open_leads
from examples.simulator.crm import simulate
from examples.simulator.profiles import ACME
from orchestration.installation import Installation, installation
from warehouse.migrate import migrate

SEED = 1
TENANTS = 100
LEADS = 20


def main() -> None:
    given = arguments(__doc__)
    # As in a rescoring run; read when polars does its first work.
    os.environ["POLARS_MAX_THREADS"] = "1"
    with (
        tempfile.TemporaryDirectory(prefix="galena-rescoring-") as folder,
        installation({"GALENA_HOME": folder}) as found,
    ):
        migrate(found.settings.owner_url)
        tenant_ids = [f"t{n:03}" for n in range(10 if given.quick else TENANTS)]
        with told(f"{len(tenant_ids)} tenants with a trained model and scores"):
            fill(found, tenant_ids, simulate(ACME, SEED, datetime.now(UTC)))
        _change(warehouse_superuser(found))
        with told("rescoring them"):
            parts, model_bytes = _drained(found), _model_bytes(found)
    _report(parts, model_bytes, given)


def _change(url: str) -> None:
    """An interaction each for some leads of every tenant."""
    chosen = random.Random(SEED)
    with psycopg.connect(url) as connection:
        for tenant_id, leads in sorted(open_leads(url).items()):
            if tenant_id != BIG:
                connection.execute(
                    "INSERT INTO crm.interactions"
                    " (tenant_id, interaction_id, lead_id, kind, occurred_at)"
                    " SELECT %s, gen_random_uuid(), lead_id, 'chat', now()"
                    " FROM unnest(%s::text[]) lead_id",
                    (tenant_id, chosen.sample(leads, LEADS)),
                )


def _drained(found: Installation) -> dict[str, float]:
    """CPU ms a tenant, by part, of the tenants after the first, which pays for the imports."""
    from ml import features, scoring
    from warehouse import crm, models, scores
    from warehouse import scoring as scored
    from warehouse.rescoring import Rescorer

    seconds: dict[str, float] = defaultdict(float)
    timed: dict[str, tuple[ModuleType, str]] = {
        "fetching the model": (models, "artifact"),
        "reading its document": (scored, "loads"),
        "reading leads and interactions": (crm, "changed_leads"),
        "features": (features, "build"),
        "scores and reasons": (scoring, "score"),
        "writing scores and history": (scores, "write"),
    }
    # Wrapping them here keeps timers out of the product.
    for part, (module, name) in timed.items():
        setattr(module, name, _timed(getattr(module, name), part, seconds))
    rescorer = Rescorer(found.database, "benchmark")
    rescorer.step()
    seconds.clear()
    server = _server_seconds(found)
    began, first = time.process_time(), rescorer.tally.transactions
    while rescorer.step():
        pass
    seconds["process"] = time.process_time() - began
    seconds["PostgreSQL"] = _server_seconds(found) - server
    tenants = rescorer.tally.transactions - first
    if rescorer.tally.failed:
        raise RuntimeError(f"{rescorer.tally.failed} attempts failed: what was measured is no cost")
    return {part: 1000 * spent / tenants for part, spent in seconds.items()}


def _timed(of: Callable[..., Any], part: str, seconds: dict[str, float]) -> Callable[..., Any]:
    def timed(*arguments: Any, **named: Any) -> Any:
        began = time.process_time()
        try:
            return of(*arguments, **named)
        finally:
            seconds[part] += time.process_time() - began

    return timed


def _server_seconds(found: Installation) -> float:
    """User and system time of the server's processes, ended or not."""
    root = postmaster(found.settings.home)
    total = root.cpu_times().children_user + root.cpu_times().children_system
    for process in (root, *root.children()):
        total += process.cpu_times().user + process.cpu_times().system
    return float(total)


def _model_bytes(found: Installation) -> int:
    with psycopg.connect(warehouse_superuser(found)) as connection:
        row = connection.execute("SELECT max(octet_length(artifact)) FROM ml.models").fetchone()
    assert row is not None
    return int(row[0])


def _report(parts: dict[str, float], model_bytes: int, given: Arguments) -> None:
    process, server = parts.pop("process"), parts.pop("PostgreSQL")
    report(
        f"CPU of a changed tenant, {LEADS} leads, its new model of {model_bytes / 1000:,.0f} kB",
        ("", "CPU ms"),
        [
            ("the rescoring process", f"{process:.1f}"),
            *((f"  {part}", f"{ms:.1f}") for part, ms in parts.items()),
            ("  the queue, transactions, all else", f"{process - sum(parts.values()):.1f}"),
            ("PostgreSQL", f"{server:.1f}"),
        ],
        {"process_cpu_ms": process, "postgres_cpu_ms": server, "model_bytes": model_bytes},
        given,
    )


if __name__ == "__main__":
    main()
