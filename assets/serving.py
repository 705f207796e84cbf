"""What downstream services read: the published views of a tenant."""

from typing import TYPE_CHECKING

from dagster import AssetExecutionContext, MaterializeResult, MetadataValue, asset

from assets.lead_scores import lead_scores
from assets.partitions import tenant_partitions
from resources.warehouse import Warehouse

if TYPE_CHECKING:
    from warehouse.scores import ServedScore


@asset(
    partitions_def=tenant_partitions, group_name="serving", deps=[lead_scores], kinds={"postgres"}
)
def serving(context: AssetExecutionContext, warehouse: Warehouse) -> MaterializeResult[None]:
    """The versioned SQL views in the schema `serving`, as this tenant's readers see them."""
    from warehouse import scores

    tenant_id = context.partition_key
    with warehouse.database.tenant(tenant_id) as connection:
        published = scores.published(connection, tenant_id)
        top = scores.top(connection, tenant_id, 5)
    lines = [f"| {lead.lead_id} | {lead.score} | {_strongest(lead)} |" for lead in top]
    return MaterializeResult(
        metadata={
            **{f"rows of {view}": count for view, count in published.items()},
            "top leads": MetadataValue.md(
                "\n".join(["| lead | score | strongest reason |", "|---|---|---|", *lines])
            ),
        }
    )


def _strongest(lead: "ServedScore") -> str:
    return str(lead.reasoning[0]["explanation"]) if lead.reasoning else "not enough evidence"
