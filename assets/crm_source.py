"""What a tenant's external CRM databases hold, read whole."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from dagster import AssetExecutionContext, Failure, MaterializeResult, asset

from assets.partitions import tenant_partitions
from resources.warehouse import Warehouse

if TYPE_CHECKING:
    from warehouse.sources.writing import Written


@asset(partitions_def=tenant_partitions, group_name="crm", kinds={"postgres"}, pool="batch")
def crm_source(context: AssetExecutionContext, warehouse: Warehouse) -> MaterializeResult[None]:
    """The records of the tenant's CRM databases: all are read, what differs is written, what is
    gone there is deleted. What changes afterwards is followed by the sensor `crm_sources`."""
    from warehouse.errors import GalenaError
    from warehouse.sources import registry, sync
    from warehouse.sources.writing import Written

    tenant_id = context.partition_key
    with warehouse.database.tenant(tenant_id) as connection:
        found = [source.source_id for source in registry.find_all(connection, tenant_id)]
    written, problems = Written(), []
    for source_id in found:
        try:
            written += sync.load(warehouse.database, tenant_id, source_id, datetime.now(UTC))
        except GalenaError as error:
            problems.append(f"{source_id}: {error}")
    if problems:
        # The others are read all the same.
        raise Failure(description="\n".join(problems))
    with warehouse.database.tenant(tenant_id) as connection:
        lags = [source.lag_bytes or 0 for source in registry.find_all(connection, tenant_id)]
    return MaterializeResult(
        metadata={
            **counted(written),
            "sources": len(found),
            "bytes of log unread": sum(lags),
            **({} if found else {"remark": "This tenant has no CRM database to read."}),
        }
    )


def counted(written: "Written") -> dict[str, int]:
    """What became of the rows, as metadata."""
    return {
        "dagster/row_count": written.read,
        "records written": written.written,
        "records deleted": written.deleted,
        "rows set aside": written.rejected,
    }
