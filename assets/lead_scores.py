"""The scores of a tenant's open leads, with their reasons."""

from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, TypeVar

from dagster import AssetExecutionContext, Failure, MaterializeResult, MetadataValue, asset

from assets.lead_model import lead_model
from assets.partitions import tenant_partitions
from resources.warehouse import Warehouse

if TYPE_CHECKING:
    import polars as pl

    from ml.model import Model
    from warehouse.database import Database

T = TypeVar("T")

# Scores are renewed nightly; one that is two days old was missed.
LIFETIME = timedelta(days=2)
# Leads read, scored and written at a time: bounds memory at any number of leads.
_BLOCK = 50_000


@asset(partitions_def=tenant_partitions, group_name="leads", deps=[lead_model], kinds={"postgres"})
def lead_scores(context: AssetExecutionContext, warehouse: Warehouse) -> MaterializeResult[None]:
    """Score 0 to 100, probability, percentile, confidence and reasons of every open lead; each
    score ever served stays in the history."""
    from ml.model import loads
    from warehouse import models

    tenant_id, now = context.partition_key, datetime.now(UTC)
    with warehouse.database.tenant(tenant_id) as connection:
        champion = models.champion(connection, tenant_id)
    if champion is None:
        raise Failure(f"Tenant {tenant_id!r} has no champion model: materialize lead_model first.")
    summary = score_open_leads(
        warehouse.database,
        tenant_id,
        loads(champion.artifact),
        model_version=champion.version,
        now=now,
        run_id=context.run.run_id,
    )
    return MaterializeResult(
        metadata={
            "dagster/row_count": summary.leads,
            "model version": champion.version,
            "model trained by": MetadataValue.dagster_run(champion.run_id),
            "mean probability": summary.mean_probability,
            "highest score": summary.highest_score,
            "mean confidence": summary.mean_confidence,
        }
    )


@dataclass(frozen=True)
class Summary:
    """What a scoring of a tenant's open leads came to; all 0 without a lead."""

    leads: int
    mean_probability: float
    mean_confidence: float
    highest_score: int


def score_open_leads(
    database: "Database",
    tenant_id: str,
    model: "Model",
    *,
    model_version: int,
    now: datetime,
    run_id: str,
) -> Summary:
    """Score every open lead as of now and make these the tenant's scores, in one transaction.

    Block by block, so that memory does not grow with the leads. While one block is written, the
    next is scored and the one after that read: PostgreSQL and this process have a core each.
    """
    import polars as pl

    from ml.interactions import LOOKBACK_DAYS
    from ml.ranking import quantiles
    from warehouse import crm, scores

    since = now - timedelta(days=LOOKBACK_DAYS)
    tallies = []
    with database.tenant(tenant_id) as connection:
        scores.ensure_partition(connection, now)
    with database.tenant(tenant_id) as connection, ExitStack() as stack:
        # Before the reader's snapshot: a scoring that waited must not write what it read earlier.
        scores.begin_anew(connection, tenant_id)
        reader = stack.enter_context(database.reader(tenant_id))
        read = _ahead(crm.open_leads(reader, tenant_id, _BLOCK, since))
        scored = _ahead(_scored(model, now, leads, interactions) for leads, interactions in read)
        # After a failure the threads have to end before the connection that they read from.
        stack.callback(read.close)
        stack.callback(scored.close)
        for block in scored:
            tallies.append(block.select("probability", "confidence", "score"))
            scores.write(
                connection,
                tenant_id,
                block.with_columns(
                    model_version=pl.lit(model_version, pl.Int32),
                    calculated_at=pl.lit(now),
                    expires_at=pl.lit(now + LIFETIME),
                    ranked_at=pl.lit(now),
                    run_id=pl.lit(run_id),
                ),
            )
        if not tallies:
            return Summary(0, 0.0, 0.0, 0)
        tally = pl.concat(tallies)
        probability = tally["probability"].to_numpy()
        scores.rank(connection, tenant_id, now, quantiles(probability).tolist())
    return Summary(
        leads=tally.height,
        mean_probability=float(probability.mean()),
        mean_confidence=float(tally["confidence"].to_numpy().mean()),
        highest_score=int(tally["score"].to_numpy().max()),
    )


def _scored(
    model: "Model", now: datetime, leads: "pl.DataFrame", interactions: "pl.DataFrame"
) -> "pl.DataFrame":
    """The leads' scores, in the columns that are stored of each."""
    import polars as pl

    from ml import features, scoring

    inputs = features.build(model.spec, leads.with_columns(as_of=pl.lit(now)), interactions)
    scores = scoring.score(model, inputs)
    return pl.DataFrame(
        {
            "lead_id": leads["lead_id"],
            "score": scores.score,
            "probability": scores.probability,
            "confidence": scores.confidence,
            "contributions": pl.Series(scores.contributions).arr.to_list(),
            "inputs": pl.Series(inputs).arr.to_list(),
        }
    )


def _ahead(blocks: Iterator[T]) -> Generator[T, None, None]:
    """The same blocks, each made by a thread while the one before it is worked on."""
    with ThreadPoolExecutor(max_workers=1) as making:
        coming = making.submit(next, blocks, None)
        while (block := coming.result()) is not None:
            coming = making.submit(next, blocks, None)
            yield block
