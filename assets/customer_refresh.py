"""The nightly job of models of customers and deals: trained when they are old, predicted anew."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from dagster import (
    AssetMaterialization,
    AssetsDefinition,
    Failure,
    OpExecutionContext,
    RetryPolicy,
    job,
    op,
)

from assets.customer_models import (
    customer_churn,
    customer_segments,
    deal_value,
    predict,
    train_model,
)
from resources.warehouse import Warehouse

if TYPE_CHECKING:
    from dagster._core.definitions.metadata import RawMetadataValue

    from ml.kinds import Name

# Of the last training; one for which data were lacking counts, too.
_OLD = timedelta(days=7)
_ALERT = "customer_model_failed"
_ASSETS: "dict[Name, AssetsDefinition]" = {
    "customer_churn": customer_churn,
    "deal_value": deal_value,
    "customer_segments": customer_segments,
}


# A database that is away for a moment must not cost the night; who was trained is no longer due.
@op(pool="batch", retry_policy=RetryPolicy(max_retries=3, delay=60))
def refresh_models_of_customers(context: OpExecutionContext, warehouse: Warehouse) -> None:
    """Train each active tenant's models of customers and deals that are older than seven days, and
    predict anew by the others, one tenant after the other.

    A tenant whose model fails gets an alert, and the others go on; the run fails at its end.
    """
    from warehouse import tenants
    from warehouse.errors import TenantNotFoundError

    active = [one for one in tenants.find_all(warehouse.database) if one.status == "active"]
    failed = 0
    for tenant in active:
        for name in _ASSETS:
            with suppress(TenantNotFoundError):
                failed += not _refreshed(context, warehouse, tenant.tenant_id, name)
    # Without the tenants' names: what a run logs is not deleted with a tenant.
    context.log.info(f"{len(_ASSETS)} models of {len(active)} tenants, {failed} failed.")
    if failed:
        raise Failure(
            f"{failed} models of customers failed: `galena alerts` says why.", allow_retries=False
        )


def _refreshed(
    context: OpExecutionContext, warehouse: Warehouse, tenant_id: str, name: "Name"
) -> bool:
    """Train, or only predict, with an alert where that fails; False then."""
    from warehouse import alerts, errors
    from warehouse.training_recording import TrainingCancelledError

    try:
        metadata = _made(context, warehouse, tenant_id, name)
        # The tenant is held while it is named: its removal deletes what was told before.
        with warehouse.database.tenant(tenant_id) as connection:
            alerts.resolve(connection, tenant_id, _ALERT, [name])
            if metadata is not None:
                context.log_event(
                    AssetMaterialization(_ASSETS[name].key, partition=tenant_id, metadata=metadata)
                )
    except (TrainingCancelledError, errors.TenantNotFoundError):
        return True
    except Exception as error:
        with warehouse.database.tenant(tenant_id) as connection:
            alerts.raise_alert(connection, tenant_id, _ALERT, name, errors.in_one_line(error))
        return False
    return True


def _made(
    context: OpExecutionContext, warehouse: Warehouse, tenant_id: str, name: "Name"
) -> "dict[str, RawMetadataValue] | None":
    """What came of it, as metadata; None of a tenant that has neither customers nor deals."""
    from warehouse import customer_predictions, customers

    with warehouse.database.tenant(tenant_id) as connection:
        if not any(customers.counts(connection, tenant_id).values()):
            return None
        before = datetime.now(UTC) - _OLD
        due = customer_predictions.trained_before(connection, tenant_id, name, before)
    if due:
        return dict(train_model(context, warehouse, tenant_id, name).metadata or {})
    return predict(warehouse, tenant_id, name, context.run_id)


@job(description="Models of customers and deals: trained when old, and their predictions anew.")
def refresh_customer_models() -> None:
    refresh_models_of_customers()
