"""What follows where a model has degraded: rollback, training, alerts, and their audit entries."""

from sqlalchemy import Connection, text

from ml.drift import InputDrift, OutcomeDrift
from ml.monitoring import Action, Verdict
from warehouse import alerts, audit, deployment, models, training_jobs
from warehouse.models import LEAD_MODEL, ModelVersion

DRIFTED, DEGRADED = "model_drift", "model_degraded"
ACTOR = "monitoring"


def act(
    connection: Connection,
    tenant_id: str,
    champion: ModelVersion,
    verdict: Verdict,
    moved: tuple[InputDrift, ...],
) -> tuple[Action, int | None]:
    """Do what the verdict says, once, but for a training that came to nothing; what was done now,
    and the version that serves again."""
    serving = models.champion_version(connection, tenant_id)
    # Another serves since it was judged.
    stale = serving is None or serving[0] != champion.version
    if verdict.action == "nothing" or stale:
        return "nothing", None
    last = _last_action(connection, tenant_id, champion)
    # A retraining may become a rollback when the tenant allows it, or when more is known.
    if last == verdict.action or last == "rollback":
        return _try_again(connection, tenant_id, verdict.sentence), None
    details = {"name": champion.name, "version": champion.version, "why": verdict.sentence}
    audit.note(connection, tenant_id, "model.degraded", details, actor=ACTOR)
    restored = None
    if verdict.action == "rollback":
        restored = deployment.rollback(connection, tenant_id, actor=ACTOR, why=verdict.sentence)
    _ask_for_training(connection, tenant_id, verdict.sentence)
    words = [f"version {champion.version}: {verdict.sentence}"]
    if restored is not None:
        words.append(f"version {restored} serves again")
    changed = [one.name for one in moved if one.alarm]
    if changed:
        words.append(f"not as in its training: {', '.join(changed)}")
    alerts.raise_alert(connection, tenant_id, DEGRADED, "", "; ".join(words))
    return ("retraining" if restored is None else "rollback"), restored


def _last_action(connection: Connection, tenant_id: str, champion: ModelVersion) -> Action | None:
    """What was last done about this version since it serves."""
    found: Action | None = connection.scalar(
        text(
            "SELECT action FROM ml.model_looks WHERE tenant_id = :tenant_id"
            " AND version = :version AND action <> 'nothing'"
            " AND looked_at >= coalesce(CAST(:since AS timestamptz), '-infinity')"
            " ORDER BY looked_at DESC LIMIT 1"
        ),
        {"tenant_id": tenant_id, "version": champion.version, "since": champion.deployed_at},
    )
    return found


def _try_again(connection: Connection, tenant_id: str, why: str) -> Action:
    """Ask for another training where the newest made no version. One that a person cancelled or
    deleted is not asked for again."""
    jobs = training_jobs.find_all(connection, tenant_id)
    last = next((job for job in jobs if job.model_name == LEAD_MODEL), None)
    came_to_nothing = (
        last is not None
        and last.status not in training_jobs.OPEN
        and last.model_version is None
        and last.cancel_asked_at is None
    )
    if came_to_nothing:
        _ask_for_training(connection, tenant_id, why)
    return "retraining" if came_to_nothing else "nothing"


def _ask_for_training(connection: Connection, tenant_id: str, why: str) -> None:
    jobs = training_jobs.find_all(connection, tenant_id)
    if any(job.status in training_jobs.OPEN and job.model_name == LEAD_MODEL for job in jobs):
        return
    job_id = training_jobs.create(
        connection, tenant_id, training_jobs.Request(), requested_by=ACTOR
    )
    details = {"job_id": job_id, "why": why}
    audit.note(connection, tenant_id, "training.ask", details, actor=ACTOR)


def tell(
    connection: Connection,
    tenant_id: str,
    champion: ModelVersion,
    verdict: Verdict,
    drifted: OutcomeDrift,
) -> None:
    """Raise and resolve the alerts of what still holds."""
    if drifted.alarm:
        alerts.raise_alert(connection, tenant_id, DRIFTED, "", drifted.sentence)
    else:
        alerts.resolve(connection, tenant_id, DRIFTED, [""])
    if verdict.action != "nothing":
        return
    # After a rollback the alert stays until the restored version has shown what it is worth, or a
    # newer one serves.
    last = connection.scalar(
        text(
            "SELECT max(looked_at) FROM ml.model_looks"
            " WHERE tenant_id = :tenant_id AND action <> 'nothing'"
        ),
        {"tenant_id": tenant_id},
    )
    if verdict.enough or last is None or champion.trained_at > last:
        alerts.resolve(connection, tenant_id, DEGRADED, [""])
