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

from ml import features, scoring
from ml.interactions import LOOKBACK_DAYS
from ml.model import Model, loads
from ml.ranking import quantiles
from warehouse import ab_scoring, alerts, crm, models, queue, rescorings, scores
from warehouse.base_rate import promote_base_rate
from warehouse.database import Database
from warehouse.errors import GalenaError

T = TypeVar("T")

# Scores are renewed nightly; one that is two days old was missed.
LIFETIME = timedelta(days=2)
# Leads read, scored and written at a time: bounds memory at any number of leads.
_BLOCK = 50_000
_LOOKBACK = timedelta(days=LOOKBACK_DAYS)
# Models kept in a process: about 0.3 MB each.
_MOST_MODELS = 500


class ChampionError(GalenaError):
    """The tenant's model cannot be used: none of its leads can be scored."""


class Champions:
    """The models that serve each tenant, kept between its scorings until others serve."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, int, str], Model] = OrderedDict()

    def serving(
        self, connection: Connection, tenant_id: str, *, now: datetime, run_id: str
    ) -> tuple[int, Model]:
        """Version and model. A tenant without gets its base rate as a version, so that its leads
        have scores that say "not enough evidence". Raises ChampionError."""
        version = models.champion_version(connection, tenant_id)
        if version is None:
            version = promote_base_rate(connection, tenant_id, now, run_id)
        return version[0], self._model(connection, tenant_id, *version)

    def tested(
        self, connection: Connection, tenant_id: str, champion: int
    ) -> tuple[ab_scoring.Trial, Model] | None:
        """The tenant's open test of this champion with the challenger's model; None without one.

        A challenger that cannot be used serves no lead, and an alert says so.
        """
        trial = ab_scoring.running(connection, tenant_id, champion)
        if trial is None:
            return None
        try:
            return trial, self._model(connection, tenant_id, *trial.challenger)
        except ChampionError as error:
            message = f"the champion serves all leads: {error}"
            alerts.raise_alert(connection, tenant_id, ab_scoring.ALERT, "", message)
            return None

    def _model(self, connection: Connection, tenant_id: str, version: int, sha256: str) -> Model:
        key = tenant_id, version, sha256
        model = self._kept.pop(key, None) or _load(connection, tenant_id, version)
        self._kept[key] = model
        if len(self._kept) > _MOST_MODELS:
            self._kept.popitem(last=False)
        return model


def _load(connection: Connection, tenant_id: str, version: int) -> Model:
    try:
        return loads(models.artifact(connection, tenant_id, version))
    except (GalenaError, ValueError) as error:
        raise ChampionError(str(error)) from error


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
        tested = champions.tested(connection, tenant_id, version)
        reader = stack.enter_context(database.reader(tenant_id))
        read = _ahead(crm.open_leads(reader, tenant_id, _BLOCK, now - _LOOKBACK))
        scored = _ahead(_parts(version, model, tested, now, *block) for block in read)
        # After a failure the threads have to end before the connection that they read from.
        stack.callback(read.close)
        stack.callback(scored.close)
        for parts in scored:
            tallies += [
                part.select("probability", "confidence", "score")
                for part in parts.by_version.values()
            ]
            _write(connection, tenant_id, parts, now, now, run_id)
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
    tested = champions.tested(connection, tenant_id, version)
    leads, interactions = crm.changed_leads(
        connection, tenant_id, claimed.lead_ids, as_of - _LOOKBACK
    )
    scores.remove(connection, tenant_id, claimed.lead_ids)
    if not leads.is_empty():
        parts = _parts(version, model, tested, as_of, leads, interactions)
        ranked_at = scores.newest_ranking(connection, tenant_id)
        if ranked_at is None:
            ranked_at = as_of
            served = pl.concat([part["probability"] for part in parts.by_version.values()])
            ranking = quantiles(served.to_numpy()).tolist()
            scores.rank(connection, tenant_id, ranked_at, ranking, whole=False)
        _write(connection, tenant_id, parts, as_of, ranked_at, run_id)
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


def _parts(
    version: int,
    model: Model,
    tested: tuple[ab_scoring.Trial, Model] | None,
    now: datetime,
    leads: pl.DataFrame,
    interactions: pl.DataFrame,
) -> ab_scoring.Parts:
    """The leads' scores by the model that serves each; both models' of all where one is tested."""
    own = _scored(model, now, leads, interactions)
    if tested is None:
        return ab_scoring.Parts({version: own}, None)
    trial, challenger = tested
    return ab_scoring.parted(version, trial, own, _scored(challenger, now, leads, interactions))


def _write(
    connection: Connection,
    tenant_id: str,
    parts: ab_scoring.Parts,
    now: datetime,
    ranked_at: datetime,
    run_id: str,
) -> None:
    for version, part in parts.by_version.items():
        if not part.is_empty():
            stamp = scores.Stamp(version, now, now + LIFETIME, ranked_at, run_id)
            scores.write(connection, tenant_id, part, stamp)
    if parts.said is not None:
        ab_scoring.log(connection, tenant_id, parts.said, now)


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
