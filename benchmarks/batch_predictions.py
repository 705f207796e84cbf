"""A batch of 200,000 predictions, 1 % of them bad, killed at half and gone on with.

The process that works is killed (SIGKILL) when half of the items are done; another goes on. Then
batches of a quarter and of all items are done whole, each in a process of its own, for speed and
memory; one is cancelled; and one is read from a CSV file.
"""

import csv
import multiprocessing
import os
import signal
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import text

from benchmarks.bulk_scoring import TENANT, load, peak_mb, register, train_booster
from benchmarks.reporting import Arguments, arguments, report, told
from warehouse import (
    predicting,
    prediction_files,
    prediction_items,
    prediction_jobs,
    prediction_results,
)
from warehouse.database import Database
from warehouse.embedded import EmbeddedPostgres, Urls
from warehouse.migrate import migrate
from warehouse.prediction_jobs import PredictionJob

_SPAWN = multiprocessing.get_context("spawn")


def main() -> None:
    given = arguments(__doc__)
    items = 20_000 if given.quick else 200_000
    with tempfile.TemporaryDirectory() as folder:
        server = EmbeddedPostgres(Path(folder))
        server.start()
        try:
            _run(server.urls, items, Path(folder), given)
        finally:
            server.stop()


def _run(urls: Urls, items: int, folder: Path, given: Arguments) -> None:
    migrate(urls.owner)
    database = Database(urls.app)
    with told("training a model and loading the leads"):
        load(database, items)
        register(database, train_booster())
    ids = _ids(database)
    # In a process that has nothing else in memory, as the run of a job has not.
    with told("a batch killed at half"):
        killed_at, ended = _killed(urls, database, ids)
    once = _each_once(database, ended, ids)
    reasons = _failures(database, ended)
    with told("batches of a quarter and of all"):
        quarter = _whole(urls, database, ids[: items // 4])
        whole = _whole(urls, database, ids)
    with told("a batch that is cancelled"):
        cancelled = _cancelled(urls, database, ids)
    with told("files of a quarter and of all"):
        small, large = (_file(urls, folder, number) for number in (items // 4, items))
    report(
        f"Batches of up to {items:,} predictions with reasons, 1 % bad",
        ("", "s", "items/s", "peak MB"),
        [
            (f"{items // 4:,} items", *_cells(quarter, items // 4)),
            (f"{items:,} items", *_cells(whole, items)),
            (f"queued from a CSV file of {items // 4:,} rows", *_cells(small, items // 4)),
            (f"queued from a CSV file of {items:,} rows", *_cells(large, items)),
        ],
        {
            "killed_at_item": killed_at,
            "items_done_once": once,
            "bad_items_with_their_reason": reasons,
            "items_per_s": items / whole.seconds,
            "peak_mb": whole.peak_mb,
            "peak_mb_of_a_quarter": quarter.peak_mb,
            "seconds_to_cancel": cancelled,
        },
        given,
    )


@dataclass(frozen=True)
class Measured:
    """Wall seconds of the work, and the peak memory of the process that did it."""

    seconds: float
    peak_mb: float


def _cells(measured: Measured, items: int) -> tuple[str, str, str]:
    return (
        f"{measured.seconds:.1f}",
        f"{items / measured.seconds:,.0f}",
        f"{measured.peak_mb:,.0f}",
    )


def _ids(database: Database) -> list[str]:
    """The leads' ids, every hundredth of which is no lead's."""
    with database.tenant(TENANT) as connection:
        known = connection.scalars(text("SELECT lead_id FROM crm.leads ORDER BY lead_id")).all()
    return [f"nobody {one}" if one % 100 == 50 else name for one, name in enumerate(known)]


def _queue(database: Database, ids: list[str]) -> str:
    with database.tenant(TENANT) as connection:
        return prediction_items.queue_ids(connection, TENANT, ids, requested_by="benchmark")


def _find(database: Database, job_id: str) -> PredictionJob:
    with database.tenant(TENANT) as connection:
        return prediction_jobs.find(connection, TENANT, job_id)


def _killed(urls: Urls, database: Database, ids: list[str]) -> tuple[int, PredictionJob]:
    """At which item the first process was killed, and the job as the second left it."""
    job_id = _queue(database, ids)
    first = _SPAWN.Process(target=_work, args=(urls.app, job_id, "first"))
    first.start()
    while _find(database, job_id).done_items < len(ids) // 2:
        time.sleep(0.01)
    assert first.pid is not None
    os.kill(first.pid, signal.SIGKILL)
    first.join()
    killed_at = _find(database, job_id).done_items
    with _SPAWN.Pool(1) as pool:
        pool.apply(_work, (urls.app, job_id, "second"))
    return killed_at, _find(database, job_id)


def _each_once(database: Database, job: PredictionJob, ids: list[str]) -> int:
    """How many items have one result, of the subject that was asked for."""
    with database.tenant(TENANT) as connection:
        found = connection.execute(
            text("SELECT item, subject_id FROM ml.prediction_results WHERE job_id = :job_id"),
            {"job_id": job.job_id},
        ).all()
    assert len(found) == job.total_items == len(ids)
    return len({item for item, name in found if ids[item - 1] == name})


def _failures(database: Database, job: PredictionJob) -> int:
    with database.tenant(TENANT) as connection:
        found = prediction_results.page(
            connection, TENANT, job.job_id, limit=10_000, failures=True, reasons=False
        )
    return sum(f"'{one.subject_id}' is no lead" in str(one.error) for one in found)


def _whole(urls: Urls, database: Database, ids: list[str]) -> Measured:
    job_id = _queue(database, ids)
    with _SPAWN.Pool(1) as pool:
        return pool.apply(_work, (urls.app, job_id, "run"))


def _cancelled(urls: Urls, database: Database, ids: list[str]) -> float:
    """Seconds from asking to the end of a batch that is at work."""
    job_id = _queue(database, ids)
    worker = _SPAWN.Process(target=_work, args=(urls.app, job_id, "run"))
    worker.start()
    while not _find(database, job_id).done_items:
        time.sleep(0.01)
    began = time.perf_counter()
    with database.tenant(TENANT) as connection:
        prediction_jobs.ask_to_cancel(connection, TENANT, job_id, actor="benchmark")
    while _find(database, job_id).ended_at is None:
        time.sleep(0.01)
    seconds = time.perf_counter() - began
    worker.join()
    assert _find(database, job_id).status == "cancelled"
    return seconds


def _file(urls: Urls, folder: Path, rows: int) -> Measured:
    path = folder / "rows.csv"
    with _SPAWN.Pool(1) as pool:
        pool.apply(_write, (urls.app, path, rows))
    with _SPAWN.Pool(1) as pool:
        return pool.apply(_read, (urls.app, path))


def _work(url: str, job_id: str, run_id: str) -> Measured:
    began = time.perf_counter()
    predicting.run(Database(url), TENANT, job_id, run_id=run_id)
    return Measured(time.perf_counter() - began, peak_mb())


def _write(url: str, path: Path, rows: int) -> None:
    with Database(url).tenant(TENANT) as connection, path.open("w", newline="") as out:
        found = connection.execute(
            text("SELECT lead_id, created_at, attributes FROM crm.leads LIMIT :rows"),
            {"rows": rows},
        ).all()
        names = sorted({name for row in found[:1000] for name in row.attributes})
        writer = csv.writer(out)
        writer.writerow(["id", "created_at", *names])
        for row in found:
            cells = [row.attributes.get(name) for name in names]
            writer.writerow([row.lead_id, row.created_at.isoformat(), *cells])


def _read(url: str, path: Path) -> Measured:
    began = time.perf_counter()
    with Database(url).tenant(TENANT) as connection:
        prediction_files.queue_file(connection, TENANT, path, requested_by="benchmark")
    return Measured(time.perf_counter() - began, peak_mb())


if __name__ == "__main__":
    main()
