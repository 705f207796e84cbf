"""The watch over what serves: a look at a tenant's matured scores, and what follows from it."""

from dataclasses import asdict, dataclass
from datetime import datetime

from sqlalchemy import Connection, select, text

from ml import drift, monitoring, scoring
from ml.drift import InputDrift, OutcomeDrift
from ml.model import Model
from ml.monitoring import Action, Verdict
from ml.spec import FeatureSpec
from ml.translation import translate
from warehouse import (
    degradation,
    deployment,
    features,
    models,
    outcomes,
    score_quality,
    served_scores,
    training_settings,
)
from warehouse.database import BulkReader, Database
from warehouse.errors import GalenaError
from warehouse.models import ModelVersion
from warehouse.schema import input_drift, model_looks
from warehouse.score_history import document
from warehouse.score_quality import Week
from warehouse.served_scores import Said

# One process looks at a time.
LOCK = "watch of models"
# Of scores that are tested for what they say, whichever version made them.
DRIFT_DAYS = 60


@dataclass(frozen=True)
class Look:
    """What a look at a tenant's scores found and did.

    version: the champion that was judged. action: what was done now; a verdict is acted on once.
    restored: the version that serves again after a rollback. drifted: whether scores still mean
    what they say. inputs: empty where there are too few rows to tell. weeks: measured now.
    """

    version: int
    verdict: Verdict
    action: Action
    restored: int | None
    drifted: OutcomeDrift
    inputs: tuple[InputDrift, ...]
    weeks: tuple[Week, ...]

    @property
    def moved(self) -> list[str]:
        """The inputs that are not as in the training."""
        return [one.name for one in self.inputs if one.alarm]


def due(database: Database, *, now: datetime) -> list[str]:
    """The active tenants of whom a scoring has matured since they were last looked at."""
    with database.operator() as connection:
        return list(connection.scalars(_DUE, {"now": now}))


@dataclass(frozen=True)
class LastLook:
    """The newest look at a tenant's scores, as it is stored; moved: as in Look."""

    looked_at: datetime
    version: int
    action: Action
    sentence: str
    moved: tuple[str, ...]


def last_look(connection: Connection, tenant_id: str) -> LastLook | None:
    """None of a tenant that was never looked at."""
    row = connection.execute(
        select(*(model_looks.c[name] for name in ("looked_at", "version", "action", "sentence")))
        .where(model_looks.c.tenant_id == tenant_id)
        .order_by(model_looks.c.looked_at.desc())
        .limit(1)
    ).one_or_none()
    if row is None:
        return None
    moved = connection.scalars(
        select(input_drift.c.feature)
        .where(
            input_drift.c.tenant_id == tenant_id,
            input_drift.c.looked_at == row.looked_at,
            input_drift.c.alarm,
        )
        .order_by(input_drift.c.psi.desc())
    )
    return LastLook(row.looked_at, row.version, row.action, row.sentence, tuple(moved))


def look(database: Database, tenant_id: str, *, now: datetime) -> Look | None:
    """Measure the tenant's matured scores, judge the champion, and do what follows: alerts, a
    rollback, a training that is asked for, each with its entry in the audit log. None of a tenant
    whom nothing serves: due() names none, for who was scored once has a champion for good."""
    with database.tenant(tenant_id) as connection:
        champion = models.champion(connection, tenant_id)
        if champion is None:
            return None
        settings = training_settings.find(connection, tenant_id).monitoring
        model = document(connection, tenant_id, champion.version)
        former = deployment.previous(connection, tenant_id)
        before = None if former is None else _readable(connection, tenant_id, former)
        until = outcomes.known_until(connection, tenant_id, now)
    weeks = score_quality.measure(database, tenant_id, until=until, now=now)
    with database.reader(tenant_id) as reader:
        served = served_scores.of_version(
            reader,
            tenant_id,
            champion.version,
            since=champion.deployed_at or champion.trained_at,
            horizon_days=model.horizon_days,
            features=len(model.spec.features),
            until=until,
            rival=None if before is None else _as_said_by(before, model.spec),
        )
        verdict = monitoring.judge(
            served.outcome,
            served.probability,
            base_rate=served_scores.base_rate(reader, tenant_id, champion.version),
            promised=_promised(champion),
            predecessor=served.rival,
            has_predecessor=before is not None,
            settings=settings,
        )
        newest = served_scores.newest(reader, tenant_id, days=DRIFT_DAYS, until=until)
        moved = _inputs(database, reader, tenant_id, champion, model)
    drifted = drift.outcomes(newest.outcome, newest.probability)
    with database.tenant(tenant_id) as connection:
        models.lock(connection, tenant_id)
        done, restored = degradation.act(connection, tenant_id, champion, verdict, moved)
        found = Look(champion.version, verdict, done, restored, drifted, moved, tuple(weeks))
        degradation.tell(connection, tenant_id, champion, verdict, drifted)
        _store(connection, tenant_id, found, now)
    return found


def _readable(connection: Connection, tenant_id: str, version: int) -> Model | None:
    try:
        return document(connection, tenant_id, version)
    except GalenaError:
        # A rollback to it is then none, either.
        return None


def _promised(champion: ModelVersion) -> float | None:
    """The log-loss of its hold-out; None where there was none, or another than what serves."""
    hold_out = champion.metrics.get("hold_out")
    if not hold_out or champion.stage == "pooled_model":
        return None
    what = "base_rate" if champion.stage == "base_rate" else "model"
    found: float = hold_out[what]["log_loss"]
    return found


def _as_said_by(model: Model, spec: FeatureSpec) -> Said | None:
    """How to ask the model for the probabilities of inputs of spec, where it takes nothing but what
    spec has; None of another. A category that spec lumps with others is one of the others."""
    if not {one.name for one in model.spec.features} <= {one.name for one in spec.features}:
        return None
    return lambda inputs: scoring.score(model, translate(inputs, spec, model.spec)).probability


def _inputs(
    database: Database,
    reader: BulkReader,
    tenant_id: str,
    champion: ModelVersion,
    model: Model,
) -> tuple[InputDrift, ...]:
    """The open leads' newest inputs against the rows that the champion learnt from."""
    with database.tenant(tenant_id) as connection:
        learnt = features.find(connection, tenant_id, champion.feature_set)
    if learnt is None:
        return ()
    spec = FeatureSpec.from_json(learnt.spec)
    rows = served_scores.training_inputs(
        reader, tenant_id, champion.feature_set, len(spec.features)
    )
    trained = translate(rows, spec, model.spec)
    newest, said = served_scores.newest_inputs(reader, tenant_id, model.spec, champion.version)
    return drift.inputs(
        model.spec,
        trained,
        newest,
        trained_score=scoring.score(model, trained).probability,
        newest_score=said,
    )


def _store(connection: Connection, tenant_id: str, found: Look, now: datetime) -> None:
    figures = {"verdict": found.verdict.to_json(), "drift": asdict(found.drifted)}
    connection.execute(
        model_looks.insert().values(
            tenant_id=tenant_id,
            looked_at=now,
            version=found.version,
            action=found.action,
            sentence=found.verdict.sentence,
            figures=figures,
        )
    )
    if found.inputs:
        connection.execute(
            input_drift.insert(),
            [
                {
                    "tenant_id": tenant_id,
                    "looked_at": now,
                    "feature": one.name,
                    "psi": one.psi,
                    "p_value": one.p_value,
                    "alarm": one.alarm,
                }
                for one in found.inputs
            ],
        )


# A ranking is written with the scores of all leads that were open, and is as old as they.
_DUE = text(
    "SELECT t.tenant_id FROM crm.tenants t WHERE t.status = 'active' AND EXISTS"
    " (SELECT FROM ml.score_rankings r WHERE r.tenant_id = t.tenant_id"
    "  AND r.ranked_at <= :now - make_interval(days => t.horizon_days)"
    "  AND r.ranked_at > coalesce((SELECT max(looked_at) FROM ml.model_looks k"
    "   WHERE k.tenant_id = t.tenant_id) - make_interval(days => t.horizon_days), '-infinity'))"
    " ORDER BY t.tenant_id"
)
