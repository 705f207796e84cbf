"""The CRM's records of a tenant, as the pipeline finds them."""

from dagster import AssetExecutionContext, MaterializeResult, asset

from assets.crm_source import crm_source
from assets.partitions import tenant_partitions
from resources.warehouse import Warehouse


@asset(partitions_def=tenant_partitions, group_name="crm", deps=[crm_source], kinds={"postgres"})
def crm_records(context: AssetExecutionContext, warehouse: Warehouse) -> MaterializeResult[None]:
    """Leads, customers, deals and interactions in the schema `crm`, written by imports,
    by CRMs, and by what is read from CRMs' own databases (crm_source)."""
    from warehouse import crm

    tenant_id = context.partition_key
    with warehouse.database.tenant(tenant_id) as connection:
        counts = crm.counts(connection, tenant_id)
        newest = crm.newest_known_at(connection, tenant_id)
    return MaterializeResult(
        metadata={
            "dagster/row_count": counts["leads"],
            **counts,
            "newest fact known at": newest.isoformat() if newest else "none",
        }
    )
