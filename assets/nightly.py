"""The jobs of the night: every open lead of every tenant scored anew, and the past forgotten."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from dagster import (
    AssetMaterialization,
    DagsterInstance,
    DagsterRunStatus,
    Failure,
    OpExecutionContext,
    RetryPolicy,
    RunsFilter,
    job,
    op,
)

from assets.lead_scores import described, lead_scores
from resources.warehouse import Warehouse

if TYPE_CHECKING:
    from warehouse.scoring import Champions

# Days that Dagster keeps an ended run of these jobs with its events and logs, and the events that
# belong to no run: rescoring runs are many, and each tenant has a materialization of the night
# besides. Runs that trained stay, for models and scores refer to them. Ticks have their ages in
# dagster.yaml.
RUN_DAYS = {
    "rescore_changed_leads": 2,
    "rescore_all_leads": 30,
    "load_crm_source": 30,
    "predict_batch": 30,
    "refresh_pooled_model": 30,
    "retention": 30,
    "watch_models": 30,
}
EVENT_DAYS = 30
# A night's run that was killed goes on where it was.
_RECENT = timedelta(hours=12)
_RUNS_AT_A_TIME = 100


# A database that is away for a moment must not cost the night; what is done is not done again.
@op(pool="batch", retry_policy=RetryPolicy(max_retries=3, delay=60))
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
            with suppress(TenantNotFoundError):
                _alert(warehouse, tenant_id, error)
        if number % 50 == 0 or number == len(due):
            # Without the tenant's name: what a run logs is not deleted with a tenant.
            context.log.info(f"{number} of {len(due)} tenants scored, {failed} failed.")
    if failed:
        raise Failure(
            f"{failed} of {len(due)} tenants could not be scored: `galena alerts` says why.",
            allow_retries=False,
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
    and what Dagster keeps of ended runs and of events without one."""
    from warehouse import retention, tenants
    from warehouse.errors import TenantNotFoundError

    ages, rows = retention.Ages(), 0
    served: list[datetime] = []
    for tenant in tenants.find_all(warehouse.database):
        with suppress(TenantNotFoundError), warehouse.database.tenant(tenant.tenant_id) as bound:
            rows += retention.forget(bound, tenant.tenant_id, ages)
            oldest = retention.oldest_served(bound, tenant.tenant_id)
            served += [oldest] if oldest else []
    now = datetime.now(UTC)
    runs = forget_runs(context.instance, now)
    events = forget_events(context.instance, now)
    context.log.info(f"Deleted: {rows} rows, {runs} runs, {events} events without a run.")
    # Last, for it fails when a month is in use, and is tried again the next night.
    months = retention.forget_scores(warehouse.database, min(served, default=None), ages)
    context.log.info(f"Deleted: {len(months)} months of score history.")


def forget_runs(instance: DagsterInstance, now: datetime) -> int:
    """Delete the ended runs that are past their age as of now; return how many."""
    ended = [DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED]
    deleted = 0
    for job_name, days in RUN_DAYS.items():
        old = RunsFilter(
            job_name=job_name, statuses=ended, updated_before=now - timedelta(days=days)
        )
        while runs := instance.get_runs(old, limit=_RUNS_AT_A_TIME):
            for run in runs:
                instance.delete_run(run.run_id)
                instance.compute_log_manager.delete_logs(prefix=[run.run_id])
            deleted += len(runs)
    return deleted


def forget_events(instance: DagsterInstance, now: datetime) -> int:
    """Delete the events that belong to no run and are past their age: evaluations of the check, and
    what sensors report. Dagster has no call for it."""
    from dagster._core.storage.event_log.schema import (
        AssetCheckExecutionsTable,
        AssetEventTagsTable,
        SqlEventLogStorageTable,
    )
    from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage
    from sqlalchemy import select

    storage = instance.event_log_storage
    assert isinstance(storage, SqlEventLogStorage)
    before = (now - timedelta(days=EVENT_DAYS)).replace(tzinfo=None)
    events, checks, tags = (
        SqlEventLogStorageTable.c,
        AssetCheckExecutionsTable.c,
        AssetEventTagsTable.c,
    )
    old = (events.run_id == "") & (events.timestamp < before)
    with storage.index_connection() as connection:
        connection.execute(
            AssetEventTagsTable.delete().where(
                tags.event_timestamp < before, tags.event_id.in_(select(events.id).where(old))
            )
        )
        connection.execute(
            AssetCheckExecutionsTable.delete().where(
                checks.run_id == "", checks.create_timestamp < before
            )
        )
        return int(connection.execute(SqlEventLogStorageTable.delete().where(old)).rowcount)


@job(description="New scores for every open lead of every tenant: scores age.")
def rescore_all_leads() -> None:
    score_all_tenants()


@job(description="Deletes what is past its stated age.")
def retention() -> None:
    forget_the_past()
