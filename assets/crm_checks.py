"""Checks of a tenant's CRM records: what was said of each load; are they fit to train on?

What keeps a bad load from being published is the load's own transaction (warehouse/loads); a check
of Dagster's runs when the rows are there already.
"""

import warnings
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from dagster import (
    AssetCheckExecutionContext,
    AssetCheckResult,
    AssetCheckSeverity,
    MetadataValue,
    TableColumn,
    TableRecord,
    TableSchema,
    asset_check,
)
from dagster_shared.utils.warnings import PreviewWarning

from assets.crm_records import crm_records
from assets.partitions import tenant_partitions
from resources.warehouse import Warehouse

if TYPE_CHECKING:
    from warehouse.loads.verdicts import Verdict

_COLUMNS = TableSchema(
    [
        TableColumn(name)
        for name in ("load", "severity", "check", "column", "found", "expected", "expectation")
    ]
)

with warnings.catch_warnings():
    # Checks with partitions are new in Dagster; without, one tenant's result would hide another's.
    warnings.simplefilter("ignore", PreviewWarning)

    @asset_check(asset=crm_records, partitions_def=tenant_partitions)
    def loads_are_sound(
        context: AssetCheckExecutionContext, warehouse: Warehouse
    ) -> AssetCheckResult:
        """Whether the last load of each file and CRM database was published. One that was blocked
        changed nothing, so that what is published is still fit to train on."""
        from warehouse.loads import verdicts

        tenant_id = context.partition_key
        with warehouse.database.tenant(tenant_id) as connection:
            found = verdicts.newest(connection, tenant_id)
        return described([one for one in found if one.source != verdicts.RECORDS])

    @asset_check(asset=crm_records, partitions_def=tenant_partitions, blocking=True)
    def records_are_sound(
        context: AssetCheckExecutionContext, warehouse: Warehouse
    ) -> AssetCheckResult:
        """Whether the published records, whoever wrote them, are like those of the last good check:
        schema, ranges, nulls, duplicates, volume, freshness, outcomes. What is not keeps features
        and a model from being made of them; the scores that are served stay."""
        from warehouse.loads.sources import check_records

        return described(
            check_records(warehouse.database, context.partition_key, datetime.now(UTC))
        )


def described(verdicts: "list[Verdict]") -> AssetCheckResult:
    """Verdicts as the result of a check, with what was not as expected as a table."""
    failures = [(one, failure) for one in verdicts for failure in one.failures]
    blocked = [one for one in verdicts if one.said == "blocked"]
    warned = any(failure.severity == "warning" for _, failure in failures)
    return AssetCheckResult(
        passed=not blocked and not warned,
        severity=AssetCheckSeverity.ERROR if blocked else AssetCheckSeverity.WARN,
        description="; ".join(
            f"{one.source} ({one.table}): {failure}"
            for one, failure in failures
            if failure.severity != "info" and one.said != "accepted"
        )
        or "All was as expected.",
        metadata={
            **{
                f"{one.source} ({one.table})": f"{one.said} at {one.loaded_at:%Y-%m-%d %H:%M} UTC,"
                f" {one.profile.rows:,} rows"
                for one in verdicts
            },
            "not as expected": MetadataValue.table(
                records=[
                    TableRecord(
                        {
                            "load": f"{one.source} ({one.table})",
                            "severity": failure.severity,
                            "check": failure.check,
                            "column": failure.column,
                            "found": failure.found,
                            "expected": failure.expected,
                            "expectation": failure.expectation,
                        }
                    )
                    for one, failure in failures
                ],
                schema=_COLUMNS,
            ),
        },
    )
