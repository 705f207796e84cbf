"""The life of a tenant's model from its first training to the one that follows a failure, on a
simulated CRM; and that the audit trail tells it."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import numpy as np
import pytest
from scipy.special import expit, logit
from sqlalchemy import text

from assets.lead_features import lead_features
from assets.lead_model import lead_model
from assets.lead_scores import lead_scores
from examples.simulator import SimulatedCrm, simulate
from examples.simulator.profiles import ACME
from ml.settings import Governance, TrainingSettings
from resources.mlflow import MlflowTracking
from resources.warehouse import Warehouse
from warehouse import (
    alerts,
    audit,
    crm,
    deployment,
    model_monitoring,
    models,
    queue,
    tenants,
    training_jobs,
    training_settings,
)
from warehouse.database import Database

NOW = datetime.now(UTC)
TENANT = "story"
HORIZON_DAYS = 7
# What is scored now is made to have been scored so long ago: its horizon has ended.
PAST = timedelta(days=HORIZON_DAYS + 1)
APPROVAL = Governance(approval=True)
PROFILE = replace(ACME, name=TENANT, leads=6_000, customers=10, daily_conversion=0.002)


@pytest.fixture(scope="module")
def history() -> SimulatedCrm:
    return simulate(PROFILE, 5, NOW - PAST - timedelta(days=1))


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as found:
        found.add_dynamic_partitions("tenants", [TENANT])
        yield found


class Tenant:
    """A tenant, and what a person and Dagster do with its models."""

    def __init__(self, database: Database, instance: dg.DagsterInstance, mlflow: MlflowTracking):
        self.database, self.instance, self.mlflow = database, instance, mlflow

    def decide(self, **settings: object) -> None:
        decided = TrainingSettings.model_validate({"governance": APPROVAL, **settings})
        with self.database.tenant(TENANT) as connection:
            training_settings.save(connection, TENANT, decided, actor="ann")

    def train(self, job_id: str | None = None) -> models.ModelVersion:
        """Features, model and scores, as the job train_tenant makes them."""
        tags = {training_jobs.RUN_TAG: job_id} if job_id else {}
        done = dg.materialize(
            [lead_features, lead_model, lead_scores],
            instance=self.instance,
            partition_key=TENANT,
            tags=tags,
            resources={
                "warehouse": Warehouse(database_url=self.database.url),
                "mlflow": self.mlflow,
            },
        )
        assert done.success
        with self.database.tenant(TENANT) as connection:
            # While nothing is approved, a rate serves, which was never trained.
            return next(one for one in models.find_all(connection, TENANT) if one.data)

    def approve_and_deploy(self, version: int) -> None:
        with self.database.tenant(TENANT) as connection:
            deployment.approve(connection, TENANT, version, actor="ann", why="reviewed")
            deployment.deploy(connection, TENANT, version, APPROVAL, actor="ann", why="reviewed")

    def score(self) -> None:
        done = dg.materialize(
            [lead_features, lead_model, lead_scores],
            selection=[lead_scores],
            instance=self.instance,
            partition_key=TENANT,
            resources={
                "warehouse": Warehouse(database_url=self.database.url),
                "mlflow": self.mlflow,
            },
        )
        assert done.success

    @property
    def champion(self) -> int:
        with self.database.tenant(TENANT) as connection:
            found = models.champion(connection, TENANT)
        assert found is not None
        return found.version

    def trail(self) -> list[tuple[str, int | None]]:
        with self.database.tenant(TENANT) as connection:
            return [(one.action, one.version) for one in audit.of_models(connection, TENANT)]


@pytest.fixture
def tenant(
    database: Database,
    instance: dg.DagsterInstance,
    mlflow_url: str,
    tmp_path: Path,
    history: SimulatedCrm,
) -> Tenant:
    tenants.add(database, TENANT, horizon_days=HORIZON_DAYS)
    with database.tenant(TENANT) as connection:
        crm.upsert(connection, TENANT, "leads", history.leads)
        crm.upsert(connection, TENANT, "interactions", history.interactions)
    with database.operator() as connection:
        connection.execute(text("SELECT ml.ensure_history_partition(:at)"), {"at": NOW - PAST})
    mlflow = MlflowTracking(tracking_uri=mlflow_url, artifact_root=str(tmp_path))
    return Tenant(database, instance, mlflow)


def _let_a_week_pass(tenant: Tenant, good: int, bad: int) -> None:
    """What was served becomes a week old; meanwhile leads have converted as neither version
    expected, but as the good one comes nearer to: what the bad one adds to it has turned round."""
    with tenant.database.tenant(TENANT) as connection:
        rows = connection.execute(
            text(
                "SELECT g.lead_id, g.probability AS good, b.probability AS bad"
                " FROM ml.lead_score_history g JOIN ml.lead_score_history b"
                " USING (tenant_id, lead_id)"
                " WHERE g.model_version = :good AND b.model_version = :bad"
            ),
            {"good": good, "bad": bad},
        ).all()
        said_well = logit(np.array([row.good for row in rows]))
        said_badly = logit(np.array([row.bad for row in rows]))
        chance = expit(said_well - 1.5 * (said_badly - said_well))
        happened = np.random.default_rng(3).random(len(rows)) < chance
        converted = [row.lead_id for row, did in zip(rows, happened, strict=True) if did]
        connection.execute(
            text("UPDATE crm.leads SET converted_at = :at WHERE lead_id = ANY(:converted)"),
            {"at": NOW - PAST + timedelta(days=3), "converted": converted},
        )
        # The newest outcome says up to when outcomes are known.
        connection.execute(
            text(
                "UPDATE crm.leads SET closed_at = :now WHERE lead_id ="
                " (SELECT min(lead_id) FROM crm.leads WHERE converted_at IS NULL"
                "  AND closed_at IS NULL)"
            ),
            {"now": NOW},
        )
        past = {"seconds": PAST.total_seconds(), "bad": bad}
        for statement in (
            "UPDATE ml.score_rankings SET ranked_at = ranked_at - make_interval(secs => :seconds)",
            "UPDATE ml.lead_score_history SET"
            " calculated_at = calculated_at - make_interval(secs => :seconds),"
            " ranked_at = ranked_at - make_interval(secs => :seconds)",
            "UPDATE ml.models SET deployed_at = deployed_at - make_interval(secs => :seconds)",
        ):
            connection.execute(text(statement), past)


def test_a_model_is_approved_fails_is_rolled_back_and_followed_by_a_better_one(
    tenant: Tenant,
) -> None:
    # Trained without half of what it could know, approved, deployed.
    tenant.decide(drop=["monthly_budget", "lead_source", "job_level", "trial_started"])
    first = tenant.train()
    assert (first.status, first.stage) == ("awaiting_approval", "own_model")
    tenant.approve_and_deploy(first.version)
    tenant.score()

    # The next knows more, and is deployed too. Nobody restarts anything.
    tenant.decide()
    second = tenant.train()
    assert tenant.champion == first.version
    tenant.approve_and_deploy(second.version)
    assert [one.tenant_id for one in queue.waiting(tenant.database)] == [TENANT]
    tenant.score()

    # What it knew more turns against it.
    _let_a_week_pass(tenant, first.version, second.version)
    look = model_monitoring.look(tenant.database, TENANT, now=NOW)
    assert look is not None
    assert (look.version, look.restored) == (second.version, first.version)
    assert tenant.champion == first.version
    with tenant.database.tenant(TENANT) as connection:
        told = [alert.kind for alert in alerts.open_alerts(connection, TENANT)]
        (job,) = [
            one
            for one in training_jobs.find_all(connection, TENANT)
            if one.status in training_jobs.OPEN
        ]
    assert "model_degraded" in told
    assert job.requested_by == "monitoring"

    # The training that was asked for learns what has happened, and its model is promoted.
    third = tenant.train(job.job_id)
    assert third.version > second.version
    assert third.gate is not None
    assert third.gate["passed"]
    tenant.approve_and_deploy(third.version)
    assert tenant.champion == third.version

    first_v, second_v, third_v = first.version, second.version, third.version
    ours = (first_v, second_v, third_v, None)
    assert [(act, v) for act, v in tenant.trail() if v in ours] == [
        ("model.registered", first_v),
        ("model.approval_asked", first_v),
        ("model.approve", first_v),
        ("model.champion", first_v),
        ("model.registered", second_v),
        ("model.approval_asked", second_v),
        ("model.approve", second_v),
        ("model.champion", second_v),
        ("model.degraded", second_v),
        ("model.rollback", second_v),
        ("model.champion", first_v),
        ("training.ask", None),
        ("model.registered", third_v),
        ("model.approval_asked", third_v),
        ("model.approve", third_v),
        ("model.champion", third_v),
    ]
