"""Sends tenants' events to their webhooks."""

import time
from contextlib import suppress
from datetime import UTC, datetime

from dagster import DefaultSensorStatus, SensorEvaluationContext, SkipReason, sensor

from resources.warehouse import Warehouse

# No tenant is begun after so long; the next look begins with those whose events wait longest.
_BUDGET_S = 30.0


@sensor(minimum_interval_seconds=2, default_status=DefaultSensorStatus.RUNNING)
def webhook_deliveries(
    context: SensorEvaluationContext,  # noqa: ARG001 Dagster hands it over
    warehouse: Warehouse,
) -> SkipReason:
    """Sends what is due, of one tenant after the other, and of each until one is not taken."""
    from warehouse import events, webhooks
    from warehouse.errors import TenantNotFoundError

    began, taken = time.monotonic(), 0
    waiting = events.tenants_with_due(warehouse.database, now=datetime.now(UTC))
    for tenant_id in waiting:
        if time.monotonic() > began + _BUDGET_S:
            break
        with suppress(TenantNotFoundError):
            taken += webhooks.deliver_due(warehouse.database, tenant_id, now=datetime.now(UTC))
    return SkipReason(f"Events of {len(waiting)} tenants were due; {taken} were taken.")
