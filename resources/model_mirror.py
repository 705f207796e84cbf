"""MLflow's aliases of a tenant's scoring model, as the registry has them."""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from resources.mlflow import MlflowTracking

if TYPE_CHECKING:
    from warehouse.database import Database

# The watch looks about daily, and MLflow may have been away for some days.
_RECENTLY = timedelta(days=7)


def mirror(mlflow: MlflowTracking, database: "Database", tenant_id: str) -> None:
    """Let MLflow's aliases name what the registry's do. The registry decides what serves: call this
    after it has, and once more later where it failed."""
    from warehouse import models

    with database.tenant(tenant_id) as connection:
        named = {
            alias: models.aliased(connection, tenant_id, alias)
            for alias in ("champion", "challenger")
        }
    # What MLflow has no run of, such as a rate that was never trained, has no alias there.
    runs = {alias: found.mlflow_run_id if found else None for alias, found in named.items()}
    mlflow.set_aliases(tenant_id, runs)


def mirror_recent(
    mlflow: MlflowTracking, database: "Database", tenant_id: str, *, now: datetime
) -> None:
    """The same for a tenant whose champion or challenger is of the last week, and nothing for
    others."""
    from warehouse import audit, models

    with database.tenant(tenant_id) as connection:
        decided = audit.of_models(connection, tenant_id, models.LEAD_MODEL)
    if decided and decided[-1].at > now - _RECENTLY:
        mirror(mlflow, database, tenant_id)
