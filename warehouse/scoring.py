"""From a tenant's records to its written scores: all open leads at once, or those that changed.

Both go through ml.features.build and ml.scoring.score. A scoring of all leads has the tenant to
itself; scorings of changed leads share it, and leave it to the former when it comes.
"""

from collections import OrderedDict
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar

import polars as pl
from sqlalchemy import Connection

from ml import features, scoring, training
from ml.interactions import LOOKBACK_DAYS
from ml.labels import snapshots
from ml.model import Model, loads
from ml.ranking import quantiles
from warehouse import crm, models, queue, rescorings, scores, tenants
from warehouse.database import Database
from warehouse.errors import GalenaError

T = TypeVar("T")

# Scores are renewed nightly; one that is two days old was missed.
LIFETIME = timedelta(days=2)
# Leads read, scored and written at a time: bounds memory at any number of leads.
_BLOCK = 50_000
_LOOKBACK = timedelta(days=LOOKBACK_DAYS)
# Models kept in a process: about 1 MB each.
_MOST_MODELS = 500


class ChampionError(GalenaError):
    """The tenant's model cannot be used: none of its leads can be scored."""


class Champions:
    """The model that serves each tenant, kept between its scorings until another version serves."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, tuple[tuple[int, str], Model]] = OrderedDict()

    def serving(
        self, connection: Connection, tenant_id: str, *, now: datetime, run_id: str
    ) -> tuple[int, Model]:
        """Version and model. A tenant without gets its base rate as a version, so that its leads
        have scores that say "not enough evidence". Raises ChampionError."""
        version = models.champion_version(connection, tenant_id)
        if version is None:
            version = _promote_base_rate(connection, tenant_id, now, run_id)
        kept = self._kept.pop(tenant_id, None)
        same = kept is not None and kept[0] == version
        model = kept[1] if kept and same else _load(connection, tenant_id, version[0])
        self._kept[tenant_id] = (version, model)
        if len(self._kept) > _MOST_MODELS:
            self._kept.popitem(last=False)
        return version[0], model


def _load(connection: Connection, tenant_id: str, version: int) -> Model:
    try:
        return loads(models.artifact(connection, tenant_id, version))
    except (GalenaError, ValueError) as error:
        raise ChampionError(str(error)) from error


def _promote_base_rate(
    connection: Connection, tenant_id: str, now: datetime, run_id: str
) -> tuple[int, str]:
    """The first version of a tenant that waits for its first training: what share converts."""
    horizon_days = tenants.find(connection).horizon_days
    leads = crm.newest_leads(connection, tenant_id, 20_000)
    newest = leads.select(pl.max_horizontal("converted_at", "closed_at").max()).item()
    labelled = snapshots(leads, as_of=min(newest or now, now), horizon_days=horizon_days)
    trained = training.base_rate(
        labelled["label"].to_numpy(),
        labelled["snapshot_at"].dt.replace_time_zone(None).to_numpy(),
        trained_at=now,
        horizon_days=horizon_days,
    )
    version = models.register(
        connection,
        tenant_id,
        trained.model,
        feature_set=0,
        metrics=trained.report.to_json(),
        run_id=run_id,
    )
    # A training may have registered and promoted its version while this waited for its turn.
    serving = models.champion_version(connection, tenant_id)
    if serving is None:
        models.promote(
            connection, tenant_id, version, "champion", actor=f"run {run_id}", why="no model yet"
        )
        serving = models.champion_version(connection, tenant_id)
        assert serving is not None
    return serving


@dataclass(frozen=True)
class Summary:
    """What a scoring of a tenant's open leads came to; all 0 without a lead."""

    model_version: int
    leads: int
    mean_probability: float
    mean_confidence: float
    highest_score: int


def score_open_leads(
    database: Database, tenant_id: str, champions: Champions, run_id: str
) -> Summary:
    """Score every open lead and make these the tenant's scores, in one transaction.

    Block by block, so that memory does not grow with the leads. While one block is written, the
    next is scored and the one after that read: PostgreSQL and this process have a core each.
    Changes that wait to be rescored are part of it, and are taken from the queue.
    """
    tallies = []
    scores.ensure_partitions(database)
    with database.tenant(tenant_id) as connection, ExitStack() as stack:
        # Before anything is read: a scoring that waited must not write what it read earlier.
        scores.begin_anew(connection, tenant_id)
        queue.finish_all(connection, tenant_id)
        now = scores.now(connection)
        version, model = champions.serving(connection, tenant_id, now=now, run_id=run_id)
        reader = stack.enter_context(database.reader(tenant_id))
        read = _ahead(crm.open_leads(reader, tenant_id, _BLOCK, now - _LOOKBACK))
        scored = _ahead(_scored(model, now, leads, interactions) for leads, interactions in read)
        # After a failure the threads have to end before the connection that they read from.
        stack.callback(read.close)
        stack.callback(scored.close)
        stamp = scores.Stamp(version, now, now + LIFETIME, now, run_id)
        for block in scored:
            tallies.append(block.select("probability", "confidence", "score"))
            scores.write(connection, tenant_id, block, stamp)
        if not tallies:
            return Summary(version, 0, 0.0, 0.0, 0)
        tally = pl.concat(tallies)
        probability = tally["probability"].to_numpy()
        scores.rank(connection, tenant_id, now, quantiles(probability).tolist())
    return Summary(
        model_version=version,
        leads=tally.height,
        mean_probability=float(probability.mean()),
        mean_confidence=float(tally["confidence"].to_numpy().mean()),
        highest_score=int(tally["score"].to_numpy().max()),
    )


def score_claimed(
    connection: Connection,
    tenant_id: str,
    claimed: queue.Claim,
    champions: Champions,
    run_id: str,
) -> int:
    """Score the claimed leads with the tenant's champion and take their changes from the queue, in
    the claim's transaction; return the number of leads that have a new score.

    Leads that are no longer open lose their score; its history stays. Percentiles are read from
    the newest ranking of all leads.
    """
    as_of = claimed.as_of
    version, model = champions.serving(connection, tenant_id, now=as_of, run_id=run_id)
    leads, interactions = crm.changed_leads(
        connection, tenant_id, claimed.lead_ids, as_of - _LOOKBACK
    )
    scores.remove(connection, tenant_id, claimed.lead_ids)
    if not leads.is_empty():
        block = _scored(model, as_of, leads, interactions)
        ranked_at = scores.newest_ranking(connection, tenant_id)
        if ranked_at is None:
            ranked_at = as_of
            ranking = quantiles(block["probability"].to_numpy()).tolist()
            scores.rank(connection, tenant_id, ranked_at, ranking, whole=False)
        stamp = scores.Stamp(version, as_of, as_of + LIFETIME, ranked_at, run_id)
        scores.write(connection, tenant_id, block, stamp)
    queue.finish(connection, tenant_id, claimed)
    rescorings.record(
        connection,
        tenant_id,
        claimed,
        leads=leads.height,
        model_version=version,
        run_id=run_id,
    )
    return leads.height


def _scored(
    model: Model, now: datetime, leads: pl.DataFrame, interactions: pl.DataFrame
) -> pl.DataFrame:
    """The leads' scores, in the columns that are stored of each."""
    inputs = features.build(model.spec, leads.with_columns(as_of=pl.lit(now)), interactions)
    found = scoring.score(model, inputs)
    return pl.DataFrame(
        {
            "lead_id": leads["lead_id"],
            "score": found.score,
            "probability": found.probability,
            "confidence": found.confidence,
            "contributions": pl.Series(found.contributions).arr.to_list(),
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
