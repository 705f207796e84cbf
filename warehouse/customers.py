"""What models of customers and deals read: who there is, what was known when, what came of it.

Frames of customers and deals have the columns that ml.features.build asks for, and so call a
customer's or a deal's id lead_id.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import polars as pl
from sqlalchemy import Connection, text

from warehouse.database import BulkReader, literal

_TIME = pl.Datetime("us", "UTC")
_ROWS = {
    "lead_id": pl.String(),
    "created_at": _TIME,
    "as_of": _TIME,
    "attributes": pl.String(),
}
_INTERACTIONS = {
    "lead_id": pl.String(),
    "kind": pl.String(),
    "occurred_at": _TIME,
    "known_at": _TIME,
}

# PostgreSQL knows times that no datetime holds.
_READABLE = (
    "least({0}.created_at, {0}.{1}) >= '0001-01-02'"
    " AND greatest({0}.created_at, {0}.{1}) <= '9999-12-30'"
)
# A deal is looked at a minute after it began, as leads are, for a CRM writes both at once.
_BEGUN = "d.created_at + interval '1 minute'"


@dataclass(frozen=True, eq=False)
class Rows:
    """What features are built of.

    rows: lead_id (of the customer or the deal), created_at, as_of, attributes (JSON text).
    interactions: lead_id, kind, occurred_at, known_at.
    """

    rows: pl.DataFrame
    interactions: pl.DataFrame


def counts(connection: Connection, tenant_id: str) -> dict[str, int]:
    """Customers, those of them who left and who are present; won deals, those of them with an
    amount; open deals."""
    row = connection.execute(
        text(
            "SELECT c.*, d.* FROM (SELECT count(*) AS customers, count(churned_at) AS churned,"
            "  count(*) - count(churned_at) AS present"
            "  FROM crm.customers WHERE tenant_id = :tenant_id) c,"
            " (SELECT count(*) FILTER (WHERE won AND closed_at IS NOT NULL) AS won_deals,"
            "  count(*) FILTER (WHERE won AND closed_at IS NOT NULL AND amount > 0"
            "   AND amount < 'Infinity') AS won_with_amount,"
            "  count(*) FILTER (WHERE won IS NULL AND closed_at IS NULL) AS open_deals"
            "  FROM crm.deals WHERE tenant_id = :tenant_id) d"
        ),
        {"tenant_id": tenant_id},
    ).one()
    return {name: int(value) for name, value in row._mapping.items()}


def times(reader: BulkReader, tenant_id: str) -> pl.DataFrame:
    """Every customer's times: customer_id, created_at, churned_at."""
    return reader.frame(
        "SELECT customer_id, created_at, churned_at FROM crm.customers c"
        f" WHERE tenant_id = {literal(tenant_id)} AND {_READABLE.format('c', 'churned_at')}"
    )


def versions(reader: BulkReader, tenant_id: str) -> pl.DataFrame:
    """Customers' attributes as they became known: customer_id, known_at, attributes."""
    return reader.frame(
        "SELECT customer_id, known_at, attributes::text AS attributes"
        f" FROM crm.customer_attribute_history WHERE tenant_id = {literal(tenant_id)}"
    )


def interactions(reader: BulkReader, tenant_id: str) -> pl.DataFrame:
    """Every interaction of a customer: customer_id, kind, occurred_at, known_at."""
    return reader.frame(
        "SELECT customer_id, kind, occurred_at, known_at FROM crm.interactions"
        f" WHERE tenant_id = {literal(tenant_id)} AND customer_id IS NOT NULL"
    )


def present(reader: BulkReader, tenant_id: str, as_of: datetime) -> Rows:
    """The customers who have not left, as they stand; as_of is the time that all rows get."""
    mine = f"c.tenant_id = {literal(tenant_id)} AND c.churned_at IS NULL"
    return Rows(
        reader.frame(_CUSTOMERS.format(as_of=literal(as_of), condition=mine)),
        reader.frame(_OF_CUSTOMERS.format(as_of=literal(as_of), condition=mine)),
    )


def open_deals(reader: BulkReader, tenant_id: str) -> Rows:
    """The deals that are neither won nor lost, as they stood when they began."""
    return _deals(reader, f"{_mine(tenant_id)} AND d.won IS NULL AND d.closed_at IS NULL")


def won_deals(reader: BulkReader, tenant_id: str) -> Rows:
    """The deals that were won with an amount above 0, as they stood when they began; rows has
    amount, won_at and buyer (whose deal it is) besides."""
    won = "d.won AND d.closed_at IS NOT NULL AND d.amount > 0 AND d.amount < 'Infinity'"
    return _deals(reader, f"{_mine(tenant_id)} AND {won}")


def customers_by_id(
    connection: Connection, tenant_id: str, customer_ids: Sequence[str], as_of: datetime
) -> Rows:
    """These customers, whether they have left or not, as they stand; unknown ids have no row."""
    condition = "c.tenant_id = :tenant_id AND c.customer_id = ANY(:ids)"
    return _by_id(
        connection, tenant_id, customer_ids,
        _CUSTOMERS.format(as_of=literal(as_of), condition=condition),
        _OF_CUSTOMERS.format(as_of=literal(as_of), condition=condition),
    )  # fmt: skip


def deals_by_id(connection: Connection, tenant_id: str, deal_ids: Sequence[str]) -> Rows:
    """These deals, open or not, as they stood when they began; unknown ids have no row."""
    condition = "d.tenant_id = :tenant_id AND d.deal_id = ANY(:ids)"
    return _by_id(
        connection, tenant_id, deal_ids,
        _DEALS.format(condition=condition), _OF_DEALS.format(condition=condition),
    )  # fmt: skip


def _by_id(
    connection: Connection, tenant_id: str, ids: Sequence[str], rows: str, interactions: str
) -> Rows:
    given = {"tenant_id": tenant_id, "ids": list(ids)}
    found = connection.execute(text(_bindable(rows)), given)
    acts = connection.execute(text(_bindable(interactions)), given)
    return Rows(
        pl.DataFrame([tuple(row)[:4] for row in found], schema=_ROWS, orient="row"),
        pl.DataFrame([tuple(row) for row in acts], schema=_INTERACTIONS, orient="row"),
    )


def _bindable(query: str) -> str:
    """SQLAlchemy reads a colon before a word as a parameter, and two as a cast."""
    return query.replace("'customer: '", "'customer\\: '")


def _deals(reader: BulkReader, condition: str) -> Rows:
    readable = _READABLE.format("d", "closed_at")
    return Rows(
        reader.frame(_DEALS.format(condition=f"{condition} AND {readable}")),
        reader.frame(_OF_DEALS.format(condition=f"{condition} AND {readable}")),
    )


def _mine(tenant_id: str) -> str:
    return f"d.tenant_id = {literal(tenant_id)}"


_CUSTOMERS = (
    "SELECT c.customer_id AS lead_id, c.created_at, {as_of}::timestamptz AS as_of,"
    " c.attributes::text AS attributes FROM crm.customers c"
    " WHERE {condition} ORDER BY c.customer_id"
)
_OF_CUSTOMERS = (
    "SELECT i.customer_id AS lead_id, i.kind, i.occurred_at, i.known_at FROM crm.interactions i"
    " JOIN crm.customers c ON c.tenant_id = i.tenant_id AND c.customer_id = i.customer_id"
    " WHERE {condition} AND i.occurred_at >= {as_of}::timestamptz - interval '91 days'"
)
# The newest version known before the deal began, of its lead and of its customer, whose names are
# told apart. Of a deal without a lead its age is 0.
_DEALS = (
    "SELECT d.deal_id AS lead_id, coalesce(l.created_at, d.created_at) AS created_at,"
    f" {_BEGUN} AS as_of,"
    " (coalesce(known_lead.attributes, '{{}}'::jsonb)"
    "  || coalesce(known_customer.attributes, '{{}}'::jsonb))::text AS attributes,"
    " d.amount, d.closed_at AS won_at, coalesce(d.customer_id, d.lead_id, d.deal_id) AS buyer"
    " FROM crm.deals d"
    " LEFT JOIN crm.leads l ON l.tenant_id = d.tenant_id AND l.lead_id = d.lead_id"
    " LEFT JOIN LATERAL (SELECT h.attributes FROM crm.attribute_history h"
    "  WHERE h.tenant_id = d.tenant_id AND h.lead_id = d.lead_id"
    f"  AND h.known_at < {_BEGUN} AND jsonb_typeof(h.attributes) = 'object'"
    "  ORDER BY h.known_at DESC LIMIT 1) known_lead ON true"
    " LEFT JOIN LATERAL (SELECT (SELECT jsonb_object_agg('customer: ' || a.key, a.value)"
    "   FROM jsonb_each(h.attributes) a) AS attributes FROM crm.customer_attribute_history h"
    "  WHERE h.tenant_id = d.tenant_id AND h.customer_id = d.customer_id"
    f"  AND h.known_at < {_BEGUN} AND jsonb_typeof(h.attributes) = 'object'"
    "  ORDER BY h.known_at DESC LIMIT 1) known_customer ON true"
    " WHERE {condition} ORDER BY d.deal_id"
)
_SINCE = (
    f"i.occurred_at < {_BEGUN} AND i.occurred_at >= d.created_at - interval '91 days'"
    " AND {condition}"
)
_OF_DEALS = (
    "SELECT d.deal_id AS lead_id, i.kind, i.occurred_at, i.known_at FROM crm.deals d"
    " JOIN crm.interactions i ON i.tenant_id = d.tenant_id AND i.lead_id = d.lead_id"
    f" WHERE {_SINCE}"
    " UNION ALL SELECT d.deal_id, i.kind, i.occurred_at, i.known_at FROM crm.deals d"
    " JOIN crm.interactions i ON i.tenant_id = d.tenant_id AND i.customer_id = d.customer_id"
    f" WHERE {_SINCE}"
)
