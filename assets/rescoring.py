"""The job that rescores leads that changed, of all tenants, in one run."""

import gc
import os
import time
from typing import TYPE_CHECKING

from dagster import (
    AssetCheckEvaluation,
    AssetMaterialization,
    OpExecutionContext,
    job,
    op,
)

from assets.lead_scores import changes_are_rescored_in_time, lead_scores, timeliness
from resources.warehouse import Warehouse

if TYPE_CHECKING:
    from warehouse.rescoring import Rescorer
    from warehouse.rescorings import Report

# A run pays 2-7 CPU-seconds to start, and some 10 s pass between two runs. So it stays for changes
# that come soon after, and ends after a while, for a new version of the code to take over.
BUDGET_S = 600.0
_LINGER_S = 10.0
_PAUSE_S = 0.25
# An event takes Dagster some 25 ms, in which no lead is scored. Rescorings of a tenant are
# added up for so long before they are told, and then when nothing waits; a run ends by telling what
# is left, within some time.
_TOLD_AFTER_S = 60.0
_TELLING_S = 60.0


@op
def rescore(context: OpExecutionContext, warehouse: Warehouse) -> None:
    """Score the leads that changed until there are none for a while, or its time is spent, and
    report a materialization for each tenant whose leads changed, one a minute at most."""
    # Read when polars is imported. Its threads cost a few leads at a time a fifth more CPU.
    os.environ.setdefault("POLARS_MAX_THREADS", "1")
    from warehouse import queue
    from warehouse.rescoring import Rescorer

    # What is imported stays: looking through it for garbage took 1.4 ms a changed tenant.
    gc.freeze()
    with queue.lane(warehouse.database) as lane:
        if lane is None:
            context.log.info("Another run rescores already: this one has nothing to do.")
            return
        rescorer = Rescorer(warehouse.database, context.run_id)
        began = worked = told = time.monotonic()
        while time.monotonic() < min(began + BUDGET_S, worked + _LINGER_S):
            if rescorer.step():
                worked = time.monotonic()
                continue
            # Raises when the lock went with its connection: another run may be at work.
            lane.exec_driver_sql("SELECT 1")
            if time.monotonic() > told + _TOLD_AFTER_S / 10:
                _report(context, warehouse, rescorer, older_than_s=_TOLD_AFTER_S)
                told = time.monotonic()
            time.sleep(_PAUSE_S)
        _report(context, warehouse, rescorer, older_than_s=0.0)
        _check(context, warehouse)
        tally = rescorer.tally
        context.log.info(
            f"{tally.leads} leads rescored in {tally.transactions} transactions;"
            f" {tally.failed} attempts failed."
        )


def _report(
    context: OpExecutionContext, warehouse: Warehouse, rescorer: "Rescorer", older_than_s: float
) -> None:
    """Tell Dagster of the tenants' rescorings, and go on scoring what changes meanwhile.

    Told first and noted afterwards: a crash in between tells it again.
    """
    from warehouse import rescorings
    from warehouse.errors import TenantNotFoundError

    until = time.monotonic() + _TELLING_S
    for tenant_id, waited_s in rescorings.unreported_tenants(warehouse.database):
        if time.monotonic() > until or waited_s < older_than_s:
            return
        rescorer.step()
        try:
            # The tenant is held while it is named: its removal deletes what was told before.
            with warehouse.database.tenant(tenant_id) as connection:
                report = rescorings.unreported(connection, tenant_id)
                if report is not None:
                    context.log_event(_materialization(tenant_id, report))
                    rescorings.reported(connection, tenant_id, report)
        except TenantNotFoundError:
            continue


def _check(context: OpExecutionContext, warehouse: Warehouse) -> None:
    """Evaluate the asset check, which would otherwise be evaluated with whole tenants alone."""
    result = timeliness(warehouse)
    context.instance.report_runless_asset_event(
        AssetCheckEvaluation(
            asset_key=lead_scores.key,
            check_name=changes_are_rescored_in_time.check_key.name,
            passed=result.passed,
            severity=result.severity,
            metadata=result.metadata,
        )
    )


def _materialization(tenant_id: str, report: "Report") -> AssetMaterialization:
    seconds = {
        "oldest change to score (s)": report.oldest_change_s,
        "median change to score (s)": report.median_change_s,
    }
    return AssetMaterialization(
        asset_key=lead_scores.key,
        partition=tenant_id,
        description="leads that changed",
        metadata={
            "leads rescored": report.leads,
            "leads no longer open": report.removed,
            "changes": report.changes,
            "model version": report.model_version,
            # None when bulk loads alone changed them.
            **{name: value for name, value in seconds.items() if value is not None},
        },
    )


@job(
    description="New scores for the leads that changed, of all tenants.",
    tags={"dagster/priority": "10"},
)
def rescore_changed_leads() -> None:
    rescore()
