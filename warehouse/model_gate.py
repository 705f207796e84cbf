"""The gate of a training, with the champion as it is registered beside it."""

from sqlalchemy import Connection

from ml import gate
from ml.kinds import Name
from ml.model import Model
from ml.settings import Governance
from ml.training import Trained
from warehouse import models
from warehouse.errors import GalenaError
from warehouse.models import LEAD_MODEL, ModelVersion
from warehouse.score_history import document


def judged(
    connection: Connection,
    tenant_id: str,
    trained: Trained,
    governance: Governance,
    name: Name = LEAD_MODEL,
) -> gate.Gate:
    """What is asked of the model before it may serve, and the answers; see ml.gate."""
    champion = models.champion(connection, tenant_id, name)
    # A tenant's first version is the rate of what has converted: it was never trained.
    if champion is None or not champion.data:
        return gate.judge(trained.report, governance, None)
    comparison = gate.Comparison(champion.version, 0, 0, None)
    if trained.unseen is not None and (model := _readable(connection, tenant_id, champion)):
        comparison = gate.compare(trained.unseen, model, champion.version)
    return gate.judge(trained.report, governance, comparison, _alarms(champion))


def _readable(connection: Connection, tenant_id: str, champion: ModelVersion) -> Model | None:
    """None of a champion whose document is spoilt: what replaces it is not compared with it."""
    try:
        return document(connection, tenant_id, champion.version)
    except GalenaError:
        return None


def _alarms(champion: ModelVersion) -> list[str]:
    fairness = champion.metrics.get("fairness") or {}
    return [f"{alarm['attribute']}: {alarm['group']}" for alarm in fairness.get("alarms", ())]
