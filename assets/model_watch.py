"""The job that watches the models that serve: matured scores against what happened."""

import base64
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from dagster import (
    AssetObservation,
    Failure,
    MetadataValue,
    OpExecutionContext,
    RetryPolicy,
    job,
    op,
)
from dagster._core.definitions.metadata import RawMetadataValue

from assets.lead_model import lead_model
from resources.mlflow import MlflowTracking
from resources.warehouse import Warehouse

if TYPE_CHECKING:
    from warehouse.model_monitoring import Look
    from warehouse.score_quality import Week

_ALERT, _MLFLOW = "monitoring_failed", "mlflow_failed"
# Of the weeks that are drawn and listed.
_MOST_WEEKS = 26


# A database that is away for a moment; who was looked at is no longer due.
@op(pool="batch", retry_policy=RetryPolicy(max_retries=3, delay=60))
def watch_tenants(
    context: OpExecutionContext, warehouse: Warehouse, mlflow: MlflowTracking
) -> None:
    """Look at every tenant of whom scores have matured, one after the other, and judge the open
    tests of two models.

    A tenant that cannot be looked at gets an alert, and the others are looked at; the run fails at
    its end.
    """
    from warehouse import ab_tests, model_monitoring, tenants

    database = warehouse.database
    with database.alone(model_monitoring.LOCK) as held:
        if held is None:
            context.log.info("Another run is at it.")
            return
        due = model_monitoring.due(database, now=datetime.now(UTC))
        acted, failed = _look_at_all(context, warehouse, due)
        ended = ab_tests.judge_all(database, now=datetime.now(UTC))
        for tenant in tenants.find_all(database):
            if tenant.status == "active":
                _mirror(warehouse, mlflow, tenant.tenant_id)
    # Without the tenants' names: what a run logs is not deleted with a tenant.
    context.log.info(
        f"{len(due)} tenants looked at, something was done for {acted}, {failed} failed;"
        f" {ended} tests of two models have ended."
    )
    if failed:
        raise Failure(
            f"{failed} of {len(due)} tenants could not be looked at: `galena alerts` says why.",
            allow_retries=False,
        )


def _look_at_all(
    context: OpExecutionContext, warehouse: Warehouse, due: "list[str]"
) -> tuple[int, int]:
    """Of how many tenants something had to be done, and how many could not be looked at."""
    from warehouse.errors import TenantNotFoundError

    acted, failed = 0, 0
    for tenant_id in due:
        try:
            acted += _look(context, warehouse, tenant_id)
        except TenantNotFoundError:
            continue
        except Exception as error:
            failed += 1
            with suppress(TenantNotFoundError):
                _alert(warehouse, tenant_id, _ALERT, error)
    return acted, failed


def _mirror(warehouse: Warehouse, mlflow: MlflowTracking, tenant_id: str) -> None:
    """Let MLflow know which version serves, where that was decided of late."""
    from resources import model_mirror
    from warehouse.errors import TenantNotFoundError

    try:
        model_mirror.mirror_recent(mlflow, warehouse.database, tenant_id, now=datetime.now(UTC))
    except TenantNotFoundError:
        pass
    except Exception as error:
        with suppress(TenantNotFoundError):
            _alert(warehouse, tenant_id, _MLFLOW, error)


def _look(context: OpExecutionContext, warehouse: Warehouse, tenant_id: str) -> bool:
    """Whether something had to be done."""
    from warehouse import alerts, model_monitoring, score_quality

    found = model_monitoring.look(warehouse.database, tenant_id, now=datetime.now(UTC))
    # The tenant is held while it is named: its removal deletes what was told before.
    with warehouse.database.tenant(tenant_id) as connection:
        alerts.resolve(connection, tenant_id, _ALERT, [""])
        if found is None:
            return False
        weeks = score_quality.find_all(connection, tenant_id, _MOST_WEEKS)
        context.log_event(
            AssetObservation(
                asset_key=lead_model.key,
                partition=tenant_id,
                description=f"what came of its scores: {found.action}",
                metadata=_described(found, weeks),
            )
        )
    return found.action != "nothing"


def _described(found: "Look", weeks: "list[Week]") -> dict[str, RawMetadataValue]:
    from ml import plots

    told: dict[str, RawMetadataValue] = {
        "model version": found.version,
        "action": found.action,
        "verdict": found.verdict.sentence,
        "drift of outcomes": found.drifted.sentence,
        "inputs not as in the training": ", ".join(found.moved) or "none",
    }
    if found.restored is not None:
        told["serves again"] = found.restored
    if weeks:
        picture = plots.weeks_plot(
            [week.week_start for week in reversed(weeks)],
            [week.quality.log_loss for week in reversed(weeks)],
            [week.quality.base_rate_log_loss for week in reversed(weeks)],
        )
        encoded = base64.b64encode(picture).decode()
        told["log-loss by week"] = MetadataValue.md(f"![plot](data:image/png;base64,{encoded})")
        told["weeks"] = MetadataValue.md("\n".join(_lines(weeks)))
    return told


def _lines(weeks: "list[Week]") -> Iterator[str]:
    yield "| week | version | scores | rate | predicted | log-loss | base rate | AUC | lift |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for week in weeks:
        figures = week.quality
        yield (
            f"| {week.week_start} | {week.version} | {figures.rows:,} | {figures.observed:.1%}"
            f" | {figures.predicted:.1%} | {figures.log_loss:.4f}"
            f" | {figures.base_rate_log_loss:.4f}"
            f" | {'' if figures.auc is None else f'{figures.auc:.3f}'}"
            f" | {'' if figures.lift10 is None else f'{figures.lift10:.2f}'} |"
        )


def _alert(warehouse: Warehouse, tenant_id: str, kind: str, error: Exception) -> None:
    from warehouse import alerts, errors

    with warehouse.database.tenant(tenant_id) as connection:
        alerts.raise_alert(connection, tenant_id, kind, "", errors.in_one_line(error))


@job(description="Matured scores against what happened; a model that has degraded is rolled back.")
def watch_models() -> None:
    watch_tenants()
