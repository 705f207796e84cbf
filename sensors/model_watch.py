"""The sensor that has the models watched when scores have matured."""

from datetime import UTC, datetime

from dagster import (
    DefaultSensorStatus,
    RunRequest,
    SkipReason,
    sensor,
)

from assets.model_watch import watch_models
from resources.warehouse import Warehouse


@sensor(
    job=watch_models,
    minimum_interval_seconds=60,
    default_status=DefaultSensorStatus.RUNNING,
)
def model_watch(warehouse: Warehouse) -> RunRequest | SkipReason:
    """Starts one run an hour at most, and one at a time, while tenants' scores have matured since
    they were last looked at."""
    from warehouse import model_monitoring

    now = datetime.now(UTC)
    due = model_monitoring.due(warehouse.database, now=now)
    if not due:
        return SkipReason("No scores have matured since the last look.")
    if warehouse.database.is_held(model_monitoring.LOCK):
        return SkipReason(f"A look is under way; scores of {len(due)} tenants have matured.")
    # A key that was used starts nothing: a run that failed is tried again the next hour.
    return RunRequest(run_key=f"{now:%Y-%m-%dT%H}")
