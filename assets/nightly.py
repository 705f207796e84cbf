"""The jobs of the night: every open lead of every tenant scored anew, and the past forgotten."""

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from dagster import (
    AssetMaterialization,
    DagsterInstance,
    DagsterRunStatus,
    Failure,
    OpExecutionContext,
    RunsFilter,
    job,
    op,
)

from assets.lead_scores import described, lead_scores
from assets.rescoring import rescore_changed_leads
from resources.warehouse import Warehouse

if TYPE_CHECKING:
    from warehouse.scoring import Champions

# Days that Dagster keeps an ended run with its events and logs. Rescoring runs are many, and each
# tenant has a materialization of the night besides. Ticks have their ages in dagster.yaml.
RUN_DAYS = 30
RESCORING_RUN_DAYS = 2
# A night's run that was killed goes on where it was.
_RECENT = timedelta(hours=12)
_RUNS_AT_A_TIME = 100


@op(pool="batch")
def score_all_tenants(context: OpExecutionContext, warehouse: Warehouse) -> None:
    """Score every open lead of every active tenant, one tenant after the other.

    A tenant that cannot be scored gets an alert, and the others are scored; the run fails at its
    end. Tenants scored whole in the last 12 hours are left out.
    """
    from warehouse import tenants
    from warehouse.errors import TenantNotFoundError
    from warehouse.scoring import Champions

    champions = Champions()
    due = tenants.not_ranked_since(warehouse.database, datetime.now(UTC) - _RECENT)
    failed = 0
    for number, tenant_id in enumerate(due, start=1):
        try:
            _score_tenant(context, warehouse, tenant_id, champions)
        except TenantNotFoundError:
            continue
        except Exception as error:
            failed += 1
            _alert(warehouse, tenant_id, error)
        if number % 50 == 0 or number == len(due):
            # Without the tenant's name: what a run logs is not deleted with a tenant.
            context.log.info(f"{number} of {len(due)} tenants scored, {failed} failed.")
    if failed:
        raise Failure(
            f"{failed} of {len(due)} tenants could not be scored: `galena alerts` says why."
        )


def _score_tenant(
    context: OpExecutionContext, warehouse: Warehouse, tenant_id: str, champions: "Champions"
) -> None:
    from warehouse import alerts
    from warehouse.scoring import score_open_leads

    summary = score_open_leads(warehouse.database, tenant_id, champions, context.run_id)
    # The tenant is held while it is named: its removal deletes what was told before.
    with warehouse.database.tenant(tenant_id) as connection:
        alerts.resolve(connection, tenant_id, _ALERT, [""])
        context.log_event(
            AssetMaterialization(
                asset_key=lead_scores.key,
                partition=tenant_id,
                description="every open lead",
                metadata=described(summary),
            )
        )


_ALERT = "nightly_scoring_failed"


def _alert(warehouse: Warehouse, tenant_id: str, error: Exception) -> None:
    from warehouse import alerts, errors

    with warehouse.database.tenant(tenant_id) as connection:
        alerts.raise_alert(connection, tenant_id, _ALERT, "", errors.in_one_line(error))


@op
def forget_the_past(context: OpExecutionContext, warehouse: Warehouse) -> None:
    """Delete what is past its age: months of score history, rankings, rescorings, resolved alerts,
    and Dagster's ended runs with their events and logs."""
    from warehouse import retention, tenants
    from warehouse.errors import TenantNotFoundError

    ages, rows = retention.Ages(), 0
    months = retention.forget_scores(warehouse.database, ages)
    for tenant in tenants.find_all(warehouse.database):
        try:
            with warehouse.database.tenant(tenant.tenant_id) as connection:
                rows += retention.forget(connection, tenant.tenant_id, ages)
        except TenantNotFoundError:
            continue
    runs = forget_runs(context.instance, datetime.now(UTC))
    context.log.info(f"Deleted: {len(months)} months of score history, {rows} rows, {runs} runs.")


def forget_runs(instance: DagsterInstance, now: datetime) -> int:
    """Delete the ended runs that are past their age as of now; return how many."""
    ended = [DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED]
    deleted = 0
    for job_name, days in ((rescore_changed_leads.name, RESCORING_RUN_DAYS), (None, RUN_DAYS)):
        old = RunsFilter(
            job_name=job_name, statuses=ended, updated_before=now - timedelta(days=days)
        )
        while runs := instance.get_runs(old, limit=_RUNS_AT_A_TIME):
            for run in runs:
                instance.delete_run(run.run_id)
                folder = Path(instance.storage_directory()) / run.run_id
                shutil.rmtree(folder, ignore_errors=True)
            deleted += len(runs)
    return deleted


@job(description="New scores for every open lead of every tenant: scores age.")
def rescore_all_leads() -> None:
    score_all_tenants()


@job(description="Deletes what is past its stated age.")
def retention() -> None:
    forget_the_past()
