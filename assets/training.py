"""The jobs that train: one tenant on request, and at night the tenants that are due."""

import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from dagster import (
    AssetMaterialization,
    AssetSelection,
    Failure,
    OpExecutionContext,
    RetryPolicy,
    define_asset_job,
    job,
    op,
)

from assets.customer_models import customer_churn, customer_segments, deal_value
from assets.lead_features import lead_features
from assets.lead_model import lead_model
from assets.lead_scores import described, lead_scores
from resources.mlflow import MlflowTracking
from resources.warehouse import Warehouse

if TYPE_CHECKING:
    from warehouse.retraining import Due

train_tenant = define_asset_job(
    "train_tenant",
    selection=AssetSelection.assets(
        lead_features, lead_model, lead_scores, customer_churn, deal_value, customer_segments
    ),
    description="A training that was asked for: features, model, and the scores by it; or a model"
    " of customers or deals.",
)

# A tenant whose last training had more labelled rows gets a run of its own: it would hold up the
# others, and its process's memory stays as large as it made it.
BIG_ROWS = 50_000
# No tenant is begun after so long: the machine is for others by day. Who is left is first the
# next night, having been trained longest ago.
_NIGHT_S = 3 * 3600.0


# A database that is away for a moment must not cost the night: who was trained is no longer due.
@op(pool="batch", retry_policy=RetryPolicy(max_retries=3, delay=60))
def retrain_tenants(
    context: OpExecutionContext, warehouse: Warehouse, mlflow: MlflowTracking
) -> None:
    """Train every tenant that is due, one after the other, and score its leads anew where another
    model serves.

    A tenant that cannot be trained gets an alert, and the others are trained; the run fails at its
    end. Big tenants are queued for runs of their own.
    """
    from warehouse import retraining
    from warehouse.errors import TenantNotFoundError

    began, done, failed = time.monotonic(), 0, 0
    due = retraining.due(warehouse.database, now=datetime.now(UTC))
    for tenant in due:
        if time.monotonic() > began + _NIGHT_S:
            break
        with suppress(TenantNotFoundError):
            # Hours may have passed, and somebody may have trained it.
            with warehouse.database.tenant(tenant.tenant_id) as connection:
                if not retraining.why_due(connection, tenant.tenant_id, now=datetime.now(UTC)):
                    continue
            done += 1
            if tenant.rows > BIG_ROWS:
                _queue(warehouse, tenant)
            else:
                failed += not _retrained(context, warehouse, mlflow, tenant.tenant_id)
    # Without the tenants' names: what a run logs is not deleted with a tenant.
    context.log.info(f"{done} of {len(due)} tenants that are due were trained, {failed} failed.")
    if failed:
        raise Failure(
            f"{failed} of {done} tenants could not be trained: `galena alerts` says why.",
            allow_retries=False,
        )


def _queue(warehouse: Warehouse, tenant: "Due") -> None:
    from warehouse import training_jobs

    with warehouse.database.tenant(tenant.tenant_id) as connection:
        training_jobs.create(
            connection,
            tenant.tenant_id,
            training_jobs.Request(),
            requested_by="schedule",
        )


def _retrained(
    context: OpExecutionContext, warehouse: Warehouse, mlflow: MlflowTracking, tenant_id: str
) -> bool:
    """Train the tenant, with an alert where that fails; False then."""
    from warehouse import alerts, errors
    from warehouse.retraining import ALERT
    from warehouse.training_recording import TrainingCancelledError

    try:
        for event in _materializations(context, warehouse, mlflow, tenant_id):
            # The tenant is held while it is named: its removal deletes what was told before.
            with warehouse.database.tenant(tenant_id):
                context.log_event(event)
        with warehouse.database.tenant(tenant_id) as connection:
            alerts.resolve(connection, tenant_id, ALERT, [""])
    except (TrainingCancelledError, errors.TenantNotFoundError):
        return True
    except Exception as error:
        with warehouse.database.tenant(tenant_id) as connection:
            message = errors.in_one_line(error)
            alerts.raise_alert(connection, tenant_id, ALERT, "", message)
        return False
    return True


def _materializations(
    context: OpExecutionContext, warehouse: Warehouse, mlflow: MlflowTracking, tenant_id: str
) -> Iterator[AssetMaterialization]:
    """Make the tenant's features, model, and, where another model then serves, scores."""
    from assets.lead_features import build_features
    from assets.lead_model import train_tenant as train_model
    from warehouse import models
    from warehouse.scoring import Champions, score_open_leads

    run_id, database = context.run_id, warehouse.database
    with database.tenant(tenant_id) as connection:
        before = models.champion_version(connection, tenant_id)
    made = build_features(warehouse, tenant_id, run_id)
    yield AssetMaterialization(lead_features.key, partition=tenant_id, metadata=made.metadata)
    made = train_model(context, warehouse, mlflow, tenant_id)
    yield AssetMaterialization(lead_model.key, partition=tenant_id, metadata=made.metadata)
    with database.tenant(tenant_id) as connection:
        after = models.champion_version(connection, tenant_id)
    if after != before:
        scored = described(score_open_leads(database, tenant_id, Champions(), run_id))
        yield AssetMaterialization(lead_scores.key, partition=tenant_id, metadata=scored)


@job(description="Trains the tenants that are due, and scores their leads by better models.")
def retrain_due_tenants() -> None:
    retrain_tenants()
