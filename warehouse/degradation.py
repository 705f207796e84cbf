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
    """Do once what the verdict says; what was done, and the version that serves again."""
    serving = models.champion_version(connection, tenant_id)
    # Another serves since it was judged.
    stale = serving is None or serving[0] != champion.version
    if verdict.action == "nothing" or stale or _acted(connection, tenant_id, champion):
        return "nothing", None
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


def _acted(connection: Connection, tenant_id: str, champion: ModelVersion) -> bool:
    """Whether something was done about this version since it serves."""
    last = connection.scalar(
        text(
            "SELECT max(looked_at) FROM ml.model_looks WHERE tenant_id = :tenant_id"
            " AND version = :version AND action <> 'nothing'"
        ),
        {"tenant_id": tenant_id, "version": champion.version},
    )
    since = champion.deployed_at
    return last is not None and (since is None or last >= since)


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
