"""What the benchmark rescoring works on: tenants with their models, and the running processes."""

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import psycopg
from sqlalchemy import make_url

from orchestration import services
from orchestration.installation import PROJECT, Installation
from warehouse import crm, features, models, tenants
from warehouse.database import Database
from warehouse.embedded import EmbeddedPostgres
from warehouse.schema import metadata
from warehouse.scoring import Champions, score_open_leads

if TYPE_CHECKING:
    import polars as pl

    from examples.simulator.crm import SimulatedCrm
    from ml.training import Trained

# The tenant of all the simulated leads: the others' model is trained on it, and trainings beside.
BIG = "big"
# Every so many of its leads are another tenant's: 200 of 20,000, of which about 75 are open.
_EVERY = 100
_HORIZON_DAYS = 30
_RUN = "benchmark"
_READY_S = 180.0


def fill(found: Installation, tenant_ids: Sequence[str], simulated: "SimulatedCrm") -> None:
    """Give each tenant leads, interactions, a trained model and scores of its open leads, so that
    none waits for its first run."""
    database = found.database
    first, *others = tenant_ids
    leads = simulated.leads.gather_every(_EVERY)
    interactions = simulated.interactions.join(leads.select("lead_id"), on="lead_id", how="semi")
    _load(database, BIG, simulated.leads, simulated.interactions)
    _load(database, first, leads, interactions)
    rows, spec = _feature_set(database, simulated.now)
    # A model names its feature set; of its rows, a few stand for all.
    _save_features(database, first, rows.head(100), spec, simulated.now)
    trained = _train(database, simulated.now)
    for tenant_id in (BIG, first):
        _register(database, tenant_id, trained)
        score_open_leads(database, tenant_id, Champions(), _RUN)
    _copy(warehouse_superuser(found), first, others)


def warehouse_superuser(found: Installation) -> str:
    """The URL of the login that sees all tenants, in the warehouse's database."""
    url = make_url(EmbeddedPostgres(found.settings.home).urls.superuser)
    return url.set(database="galena").render_as_string(hide_password=False)


def _copy(url: str, first: str, others: Sequence[str]) -> None:
    """Give the other tenants all that the first one has, row for row, without queueing changes."""
    with psycopg.connect(url, autocommit=True) as connection:
        with connection.transaction():
            connection.execute("SET LOCAL session_replication_role = replica")
            for table in metadata.sorted_tables:
                stored = [c.name for c in table.columns if c.computed is None]
                columns = ", ".join(name for name in stored if name != "tenant_id")
                connection.execute(
                    f"INSERT INTO {table.fullname} (tenant_id, {columns})"
                    f" SELECT new, {columns} FROM {table.fullname}, unnest(%s::text[]) new"
                    " WHERE tenant_id = %s",
                    (list(others), first),
                )
        # As after a day of use, when autovacuum has been there.
        connection.execute("VACUUM ANALYZE")


def _load(
    database: Database, tenant_id: str, leads: "pl.DataFrame", interactions: "pl.DataFrame"
) -> None:
    tenants.add(database, tenant_id, horizon_days=_HORIZON_DAYS)
    with database.tenant(tenant_id) as connection:
        crm.upsert(connection, tenant_id, "leads", leads)
        crm.upsert(connection, tenant_id, "interactions", interactions)


def _feature_set(database: Database, now: datetime) -> "tuple[pl.DataFrame, Mapping[str, Any]]":
    """The big tenant's labelled rows, saved, and their spec."""
    from assets.lead_features import labelled_rows

    with database.reader(BIG) as reader:
        spec, rows = labelled_rows(reader, BIG, now, _HORIZON_DAYS)
    _save_features(database, BIG, rows, spec.to_json(), now)
    return rows, spec.to_json()


def _save_features(
    database: Database,
    tenant_id: str,
    rows: "pl.DataFrame",
    spec: Mapping[str, Any],
    now: datetime,
) -> None:
    with database.tenant(tenant_id) as connection:
        features.save(
            connection,
            tenant_id,
            rows,
            spec=spec,
            as_of=now,
            horizon_days=_HORIZON_DAYS,
            run_id=_RUN,
        )


def _train(database: Database, now: datetime) -> "Trained":
    """A model of the big tenant's newest feature set."""
    from ml import training
    from ml.history import History
    from ml.spec import FeatureSpec

    with database.tenant(BIG) as connection:
        saved = features.newest(connection, BIG)
    assert saved is not None
    with database.reader(BIG) as reader:
        rows = features.rows(reader, BIG, saved.feature_set)
    return training.train(
        History.of(FeatureSpec.from_json(saved.spec), rows),
        trained_at=now,
        horizon_days=_HORIZON_DAYS,
    )


def _register(database: Database, tenant_id: str, trained: "Trained") -> None:
    with database.tenant(tenant_id) as connection:
        version = models.register(
            connection,
            tenant_id,
            trained.model,
            feature_set=1,
            metrics=trained.report.to_json(),
            run_id=_RUN,
        )
        models.promote(connection, tenant_id, version, "champion", actor=_RUN, why=_RUN)


@contextmanager
def galena_up(home: Path, port: int) -> Iterator[list[psutil.Process]]:
    """`galena up` on the port, while the body runs; its process, whose children are the rest."""
    galena = str(Path(sys.executable).with_name("galena"))
    command = [galena, "up", "--port", str(port)]
    with _started("galena up", command, home, lambda: services.listens(port)) as process:
        yield [process]


@contextmanager
def plain_processes(found: Installation, port: int) -> Iterator[list[psutil.Process]]:
    """The same three processes of Dagster on benchmarks.plain_rescoring; these processes."""
    home = found.settings.home
    socket = Path(found.environment()["GALENA_CODE_SERVER"]).with_name("plain")
    workspace = home / "plain.yaml"
    server = f"{{socket: {str(socket)!r}, location_name: plain}}"
    workspace.write_text(f"load_from: [{{grpc_server: {server}}}]\n")
    module = ("--module-name", "benchmarks.plain_rescoring", "--location-name", "plain")
    code = ("-m", "dagster", "api", "grpc", "--socket", str(socket), *module)
    environment = ("--use-python-environment-entry-point", "--log-level", "warning")
    daemon = ("-m", "dagster._daemon", "run", "-w", str(workspace), "--log-level", "warning")
    web = ("-m", "dagster_webserver", "-w", str(workspace), "-h", "127.0.0.1", "-p", str(port))
    python = sys.executable
    with (
        _started(
            "plain code server",
            [python, *code, *environment],
            home,
            lambda: services.listens(socket),
        ) as first,
        _started("plain daemon", [python, *daemon], home, lambda: True) as second,
        _started("plain webserver", [python, *web], home, lambda: services.listens(port)) as third,
    ):
        yield [first, second, third]


@contextmanager
def _started(
    name: str, command: Sequence[str], home: Path, ready: Callable[[], bool]
) -> Iterator[psutil.Process]:
    service = services.start(name, command, home / "logs" / f"{name}.log", {}, PROJECT)
    try:
        service.await_ready(ready, _READY_S)
        yield psutil.Process(service.process.pid)
    finally:
        service.stop(60)


def postmaster(home: Path) -> psutil.Process:
    """The embedded server's first process, of which all others are children."""
    pid = (home / "postgres" / "data" / "postmaster.pid").read_text().splitlines()[0]
    return psutil.Process(int(pid))


def await_true(what: str, true: Callable[[], bool], seconds: float) -> None:
    """Look twice a second. Raises TimeoutError, which says what did not come true."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {seconds:.0f} s")
        time.sleep(0.5)
