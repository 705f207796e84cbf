"""Sends tenants' events to their webhooks."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from dagster import DefaultSensorStatus, SensorEvaluationContext, SensorResult, SkipReason, sensor

from resources.warehouse import Warehouse

if TYPE_CHECKING:
    from warehouse.database import Database

# No tenant is begun after so long, and no event of a tenant that has had its share: a slow receiver
# gets one event a look, and one look ends within the minute that Dagster gives it.
_BUDGET, _SHARE = timedelta(seconds=30), timedelta(seconds=5)


# Each tick of a sensor costs the two cores that rescore some CPU: what can wait ticks seldom.
@sensor(minimum_interval_seconds=15, default_status=DefaultSensorStatus.RUNNING)
def webhook_deliveries(context: SensorEvaluationContext, warehouse: Warehouse) -> SensorResult:
    """Sends what is due, of one tenant after the other, and of each until one is not taken.

    One tenant's failure is its alert and does not stop the next; who did not get a turn is first in
    the next look.
    """
    from warehouse import events

    until = _now() + _BUDGET
    waiting = events.tenants_with_due(warehouse.database, now=_now())
    first = int(context.cursor or 0) % max(len(waiting), 1)
    turns = taken = 0
    for tenant_id in waiting[first:] + waiting[:first]:
        if _now() > until:
            break
        turns += 1
        taken += _delivered(warehouse.database, tenant_id)
    words = f"Events of {len(waiting)} tenants were due; {taken} were taken."
    return SensorResult(
        skip_reason=SkipReason(words), cursor=str((first + turns) % max(len(waiting), 1))
    )


def _delivered(database: "Database", tenant_id: str) -> int:
    """How many of the tenant's events were taken; none where that failed, which is an alert."""
    from warehouse import alerts, webhooks
    from warehouse.errors import TenantNotFoundError, in_one_line

    with suppress(TenantNotFoundError):
        try:
            return webhooks.deliver_due(database, tenant_id, now=_now, until=_now() + _SHARE)
        except TenantNotFoundError:
            raise
        except Exception as error:
            with database.tenant(tenant_id) as connection:
                message = f"No event is sent: {in_one_line(error)}"
                alerts.raise_alert(connection, tenant_id, webhooks.ALERT, "", message)
    return 0


def _now() -> datetime:
    return datetime.now(UTC)
