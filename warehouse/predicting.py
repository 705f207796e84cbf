"""Does a batch of predictions, block by block: what is written is done, and done once."""

from datetime import datetime

import polars as pl
import psycopg
from sqlalchemy import Connection, text
from sqlalchemy.exc import DataError

from ml.kinds import AnyModel, predict
from warehouse import bulk, models, prediction_jobs, prediction_records, scores
from warehouse.database import Database
from warehouse.errors import GalenaError, in_one_line
from warehouse.imports.values import to_json
from warehouse.prediction_jobs import PredictionJob, TakenOverError
from warehouse.schema import prediction_results

# Items read, predicted and written in one transaction: what a kill costs, and what a cancelled job
# does at most before it ends. A block takes about half a second.
BLOCK = 5_000
_ITEMS = {
    "item": pl.Int32(),
    "subject_id": pl.String(),
    "attributes": pl.String(),
    "created_at": pl.Datetime("us", "UTC"),
    "error": pl.String(),
}
_RESULTS = {
    "item": pl.Int32(),
    "subject_id": pl.String(),
    "output": pl.String(),
    "contributions": pl.List(pl.Float32()),
    "inputs": pl.List(pl.Float32()),
    "error": pl.String(),
}


def run(
    database: Database, tenant_id: str, job_id: str, *, run_id: str, block: int = BLOCK
) -> PredictionJob:
    """Do what is left of a job; return it as it has ended.

    A block of items is read as of now, predicted and written in one transaction with the job's
    counts. So whoever goes on after a kill goes on behind the last block, and an item has one
    result. A job whose model cannot be used has failed. Whatever else goes wrong leaves the job as
    it is, to be gone on with. Raises TakenOverError when the job is no longer this run's.
    """
    with database.tenant(tenant_id) as connection:
        job = prediction_jobs.begin(connection, tenant_id, job_id, run_id)
        try:
            model = models.load(connection, tenant_id, job.model_id)
        except GalenaError as error:
            prediction_jobs.end(connection, tenant_id, job_id, "failed", str(error))
            return prediction_jobs.find(connection, tenant_id, job_id)
    while job.status == "running":
        with database.tenant(tenant_id) as connection:
            if not _do_block(connection, tenant_id, job, model, run_id, block):
                prediction_jobs.end(connection, tenant_id, job_id, "cancelled", None)
            elif job.done_items + block >= job.total_items:
                prediction_jobs.end(connection, tenant_id, job_id, "completed", None)
            job = prediction_jobs.find(connection, tenant_id, job_id)
    return job


def _do_block(
    connection: Connection,
    tenant_id: str,
    job: PredictionJob,
    model: AnyModel,
    run_id: str,
    block: int,
) -> bool:
    """Do the next items; False when the job is to be cancelled, and nothing was done."""
    now = scores.now(connection)
    items = _items(connection, tenant_id, job, block)
    done = _predicted(connection, tenant_id, job.subject, model, items, now)
    failed = done["error"].count()
    moved = connection.execute(
        _MOVE,
        {
            "tenant_id": tenant_id,
            "job_id": job.job_id,
            "run_id": run_id,
            "completed": done.height - failed,
            "failed": failed,
            "before": job.done_items,
        },
    ).rowcount
    if not moved:
        found = prediction_jobs.find(connection, tenant_id, job.job_id)
        if found.run_id != run_id or found.status != "running" or found.cancel_asked_at is None:
            raise TakenOverError(f"Prediction job {job.job_id} is another run's, or has ended.")
        return False
    rows = done.with_columns(
        pl.lit(job.job_id).alias("job_id"),
        pl.lit(now, pl.Datetime("us", "UTC")).alias("predicted_at"),
    )
    bulk.insert(connection, tenant_id, prediction_results, rows)
    return True


# Before the results are written: another run that does the same block waits here, and then finds it
# done. A job that is to be cancelled does not move.
_MOVE = text(
    "UPDATE ml.prediction_jobs SET completed_items = completed_items + :completed,"
    " failed_items = failed_items + :failed"
    " WHERE tenant_id = :tenant_id AND job_id = :job_id AND run_id = :run_id"
    " AND status = 'running' AND cancel_asked_at IS NULL"
    " AND completed_items + failed_items = :before"
)


def _items(connection: Connection, tenant_id: str, job: PredictionJob, block: int) -> pl.DataFrame:
    rows = connection.execute(
        text(
            "SELECT item, subject_id, attributes::text, created_at, error FROM ml.prediction_items"
            " WHERE tenant_id = :tenant_id AND job_id = :job_id"
            " AND item > :after AND item <= :upto ORDER BY item"
        ),
        {
            "tenant_id": tenant_id,
            "job_id": job.job_id,
            "after": job.done_items,
            "upto": job.done_items + block,
        },
    )
    return pl.DataFrame([tuple(row) for row in rows], schema=_ITEMS, orient="row")


def _predicted(
    connection: Connection,
    tenant_id: str,
    subject: str,
    model: AnyModel,
    items: pl.DataFrame,
    now: datetime,
) -> pl.DataFrame:
    """A result for each item. Where something goes wrong that nobody has thought of, the items are
    halved until those stand alone that it goes wrong with."""
    try:
        with connection.begin_nested():
            known = prediction_records.read(connection, tenant_id, subject, model.spec, items, now)
            return _results(model, known)
    except (DataError, psycopg.DataError, ValueError, pl.exceptions.PolarsError) as error:
        if items.height == 1:
            words = f"it cannot be predicted ({in_one_line(error)})"
            failed = items.select("item", "subject_id", error=pl.lit(words))
            return pl.concat([_NO_RESULTS, failed], how="diagonal")
        half = items.height // 2
        halves = (items.head(half), items.tail(items.height - half))
        return pl.concat(
            _predicted(connection, tenant_id, subject, model, part, now) for part in halves
        )


_NO_RESULTS = pl.DataFrame(schema=_RESULTS)


def _results(model: AnyModel, known: prediction_records.Known) -> pl.DataFrame:
    if known.items.is_empty():
        return pl.concat([_NO_RESULTS, known.failed], how="diagonal")
    said = predict(model, known.matrix)
    good = known.items.with_columns(
        to_json(said.drop("contributions").to_struct().alias("output")),
        said["contributions"],
        pl.Series("inputs", known.matrix).arr.to_list(),
    )
    return pl.concat([_NO_RESULTS, good, known.failed], how="diagonal")
