"""The scores of a tenant's open leads, with their reasons."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, TypeVar

from dagster import AssetExecutionContext, Failure, MaterializeResult, MetadataValue, asset

from assets.lead_model import lead_model
from assets.partitions import tenant_partitions
from resources.warehouse import Warehouse

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

    from ml.model import Model
    from ml.scoring import Scores
    from warehouse.database import Database

T = TypeVar("T")

# Scores are renewed nightly; one that is two days old was missed.
LIFETIME = timedelta(days=2)
# Leads read, scored and written at a time: bounds memory at any number of leads.
_BLOCK = 100_000


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
    """What a scoring of a tenant's open leads came to."""

    leads: int
    mean_probability: float
    mean_confidence: float
    highest_score: int


@dataclass(frozen=True)
class _Block:
    lead_ids: "pl.Series"
    inputs: "NDArray[np.float32]"
    scores: "Scores"


def score_open_leads(
    database: "Database",
    tenant_id: str,
    model: "Model",
    *,
    model_version: int,
    now: datetime,
    run_id: str,
) -> Summary:
    """Score every open lead as of now and make these the tenant's scores, in one transaction."""
    import numpy as np

    from ml.ranking import percentiles
    from warehouse import scores

    blocks = list(_scored_blocks(database, tenant_id, model, now))
    if not blocks:
        probability = confidence = np.zeros(0)
    else:
        probability = np.concatenate([block.scores.probability for block in blocks])
        confidence = np.concatenate([block.scores.confidence for block in blocks])
    frames = _frames(blocks, percentiles(probability), model_version, now, run_id)
    with database.tenant(tenant_id) as connection:
        scores.replace_all(connection, tenant_id, frames)
    return Summary(
        leads=len(probability),
        mean_probability=float(probability.mean()) if blocks else 0.0,
        mean_confidence=float(confidence.mean()) if blocks else 0.0,
        highest_score=max((int(block.scores.score.max()) for block in blocks), default=0),
    )


def _scored_blocks(
    database: "Database", tenant_id: str, model: "Model", now: datetime
) -> Iterator[_Block]:
    import polars as pl

    from ml import features, scoring
    from ml.interactions import LOOKBACK_DAYS
    from warehouse import crm

    with database.reader(tenant_id) as reader:
        since = now - timedelta(days=LOOKBACK_DAYS)
        blocks = crm.open_leads(reader, tenant_id, _BLOCK, since)
        for leads, interactions in _read_ahead(blocks):
            inputs = features.build(model.spec, leads.with_columns(as_of=pl.lit(now)), interactions)
            yield _Block(leads["lead_id"], inputs, scoring.score(model, inputs))


def _read_ahead(blocks: Iterator[T]) -> Iterator[T]:
    """The same blocks, each read while the one before is worked on: PostgreSQL has a core too."""
    with ThreadPoolExecutor(max_workers=1) as reading:
        coming = reading.submit(next, blocks, None)
        while (block := coming.result()) is not None:
            coming = reading.submit(next, blocks, None)
            yield block


def _frames(
    blocks: "list[_Block]",
    percentile: "NDArray[np.float32]",
    model_version: int,
    now: datetime,
    run_id: str,
) -> "Iterator[pl.DataFrame]":
    import polars as pl

    start = 0
    for block in blocks:
        stop = start + len(block.lead_ids)
        yield pl.DataFrame(
            {
                "lead_id": block.lead_ids,
                "score": block.scores.score,
                "probability": block.scores.probability,
                "percentile": percentile[start:stop],
                "confidence": block.scores.confidence,
                "contributions": pl.Series(block.scores.contributions).arr.to_list(),
                "inputs": pl.Series(block.inputs).arr.to_list(),
            }
        ).with_columns(
            model_version=pl.lit(model_version, pl.Int32),
            calculated_at=pl.lit(now),
            expires_at=pl.lit(now + LIFETIME),
            run_id=pl.lit(run_id),
        )
        start = stop
