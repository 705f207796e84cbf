"""1,000,000 leads of one tenant scored with reasons, database to database.

Ours replaces existing scores and writes their history: `score_open_leads`, what the asset
lead_scores calls. The limit is LightGBM's predict without reasons on a matrix that is there
already, plus a COPY of the same rows into a bare table. The plain way is pandas, pred_contrib and
to_sql, on a tenth of the leads, times ten.
"""

import multiprocessing
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import polars as pl
from sqlalchemy import create_engine, make_url, text

from benchmarks import plain_scoring
from benchmarks.reporting import arguments, report, told
from examples.simulator.bulk import open_leads
from examples.simulator.crm import simulate
from examples.simulator.profiles import ACME
from ml import features, labels, scoring
from ml.algorithms.boosted_tables import FIXED
from ml.model import ConfidenceTable, Evidence, Model
from ml.tables import Tables
from warehouse import bulk, crm, models, scores, tenants
from warehouse.database import Database
from warehouse.embedded import EmbeddedPostgres, Urls
from warehouse.migrate import migrate
from warehouse.scoring import Champions, score_open_leads

TENANT = "bulk"
NOW = datetime(2026, 11, 1, tzinfo=UTC)
SEED = 1
ROUNDS = 300
THREADS = 2


def main() -> None:
    given = arguments(__doc__)
    leads = 20_000 if given.quick else 1_000_000
    with tempfile.TemporaryDirectory() as folder:
        server = EmbeddedPostgres(Path(folder))
        server.start()
        try:
            _run(server.urls, leads, given)
        finally:
            server.stop()


def _run(urls: Urls, leads: int, given: Any) -> None:
    migrate(urls.owner)
    database = Database(urls.app)
    with told("training a model and loading the leads"):
        booster = train_booster()
        load(database, leads)
        register(database, booster)
    with told("a first scoring, so that there are scores to replace"):
        _in_process(_score, urls)
    with told("ours"):
        ours = _in_process(_score, urls)
    with told("the limit"):
        limit = _in_process(_limit, urls, booster.model_to_string())
    sample = leads // 10
    with told(f"the plain way on {sample:,} leads"):
        plain = _in_process(_plain, urls, booster.model_to_string(), sample)
    plain_s = plain.seconds * leads / sample
    report(
        f"Scoring {leads:,} leads with reasons, {booster.num_trees()} trees",
        ("", "s", "rows/s", "peak MB"),
        [
            ("ours", f"{ours.seconds:.1f}", f"{leads / ours.seconds:,.0f}", f"{ours.peak_mb:,.0f}"),
            *((f"  {name}", f"{s:.1f}", "", "") for name, s in ours.stages.items()),
            ("limit", f"{limit.seconds:.1f}", f"{leads / limit.seconds:,.0f}", ""),
            *((f"  {name}", f"{s:.1f}", "", "") for name, s in limit.stages.items()),
            (f"plain (from {sample:,})", f"{plain_s:.1f}", f"{leads / plain_s:,.0f}", ""),
        ],
        {
            "rows_per_s": leads / ours.seconds,
            "peak_mb": ours.peak_mb,
            "over_limit": ours.seconds / limit.seconds,
            "speedup_over_plain": plain_s / ours.seconds,
        },
        given,
    )


@dataclass(frozen=True)
class Measured:
    """Wall seconds of a way, of its stages (which may overlap), and its process's peak memory."""

    seconds: float
    stages: dict[str, float]
    peak_mb: float


def _in_process(way: Callable[..., dict[str, float]], *arguments: object) -> Measured:
    """Run a way in a fresh process, so that its memory is its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_measured, (way, arguments))


def _measured(way: Callable[..., dict[str, float]], arguments: tuple[object, ...]) -> Measured:
    stages = way(*arguments)
    total = stages.pop("total")
    return Measured(total, stages, peak_mb())


def peak_mb() -> float:
    """Of this process since it began; getrusage would count the parent that it was forked from."""
    (line,) = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(line) / 1024


def _score(urls: Urls) -> dict[str, float]:
    database, champions = Database(urls.app), Champions()
    # Imports at first use are paid by a process once, not per scoring; so is the model.
    with database.tenant(TENANT) as connection:
        _version, loaded = champions.serving(connection, TENANT, now=NOW, run_id="benchmark")
    scoring.score(loaded, np.zeros((1, len(loaded.spec.features)), np.float32))
    clock = _Clock()
    # The stages as the pipeline names them; wrapping them here keeps timers out of the product.
    features.build = clock.timed("features", features.build)
    scoring.score = clock.timed("scores and reasons", scoring.score)
    scores.write = clock.timed("write scores and history", scores.write)
    crm.open_leads = clock.timed_iterator("read", crm.open_leads)
    began = time.perf_counter()
    score_open_leads(database, TENANT, champions, "benchmark")
    return {**clock.seconds, "total": time.perf_counter() - began}


def _limit(urls: Urls, booster_text: str) -> dict[str, float]:
    database = Database(urls.app)
    booster = lgb.Booster(model_str=booster_text)
    with database.reader(TENANT) as reader:
        rows = reader.frame(
            "SELECT * FROM ml.lead_score_history WHERE calculated_at ="
            " (SELECT max(calculated_at) FROM ml.lead_score_history)"
        )
    matrix = np.array(rows["inputs"].explode().to_numpy()).reshape(rows.height, -1)
    engine = create_engine(urls.owner)
    with engine.begin() as connection:
        columns = "SELECT * FROM ml.lead_score_history WITH NO DATA"
        connection.execute(text(f"CREATE TABLE public.bare AS {columns}"))
    began = time.perf_counter()
    booster.predict(matrix, num_threads=THREADS)
    predicted = time.perf_counter()
    with engine.begin() as connection:
        bulk.copy_into(connection, "public.bare", rows)
    ended = time.perf_counter()
    return {
        "predict": predicted - began,
        "COPY": ended - predicted,
        "total": ended - began,
    }


def _plain(urls: Urls, booster_text: str, leads: int) -> dict[str, float]:
    began = time.perf_counter()
    everything = make_url(urls.superuser).set(database="galena")
    plain_scoring.score(everything, booster_text, TENANT, NOW, leads)
    return {"total": time.perf_counter() - began}


class _Clock:
    """Seconds spent in wrapped functions, by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def timed(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any, **named: Any) -> Any:
            began = time.perf_counter()
            try:
                return function(*given, **named)
            finally:
                self._add(stage, began)

        return call

    def timed_iterator(
        self, stage: str, function: Callable[..., Iterator[Any]]
    ) -> Callable[..., Iterator[Any]]:
        def call(*given: Any, **named: Any) -> Iterator[Any]:
            iterator = function(*given, **named)
            while True:
                began = time.perf_counter()
                try:
                    item = next(iterator)
                except StopIteration:
                    return
                finally:
                    self._add(stage, began)
                yield item

        return call

    def _add(self, stage: str, began: float) -> None:
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - began


def train_booster() -> lgb.Booster:
    """Trained like the product's models, kept as a booster, for the limit needs one."""
    simulated = simulate(ACME, SEED, NOW)
    snapshots = labels.snapshots(simulated.leads, as_of=NOW).rename({"snapshot_at": "as_of"})
    rows = snapshots.join(simulated.leads.select("lead_id", "attributes"), on="lead_id")
    spec = _spec(simulated.leads)
    matrix = features.build(spec, rows, simulated.interactions)
    categorical = [i for i, feature in enumerate(spec.features) if feature.categorical]
    data = lgb.Dataset(matrix, rows["label"].to_numpy(), categorical_feature=categorical)
    return lgb.train({**FIXED, "max_depth": 2, "num_leaves": 4}, data, ROUNDS)


def _spec(leads: pl.DataFrame) -> Any:
    return features.infer(leads.select("attributes"), [kind.name for kind in ACME.kinds])


def register(database: Database, booster: lgb.Booster) -> None:
    spec = _spec(simulate(ACME, SEED, NOW).leads)
    known = ConfidenceTable(np.zeros(0), np.zeros(1), np.ones(1), np.ones(1, np.int64))
    served = Model(
        spec,
        Tables.compile(booster.dump_model()),
        known,
        Evidence("own_model", 1, 1),
        NOW,
        30,
    )
    with database.tenant(TENANT) as connection:
        version = models.register(
            connection, TENANT, served, feature_set=1, metrics={}, run_id="benchmark"
        )
        models.promote(connection, TENANT, version, "champion", actor="benchmark", why="benchmark")


def load(database: Database, leads: int) -> None:
    lead_rows, interactions = open_leads(ACME, SEED, NOW, leads=leads, interactions=3 * leads)
    tenants.add(database, TENANT)
    with database.tenant(TENANT) as connection:
        crm.upsert(connection, TENANT, "leads", lead_rows)
        crm.upsert(connection, TENANT, "interactions", interactions)


if __name__ == "__main__":
    main()
