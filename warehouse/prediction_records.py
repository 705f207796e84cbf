"""What is known now of the records that a batch of predictions names, and of which nothing is."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType

import polars as pl
from sqlalchemy import Connection, text

from ml import attributes as values
from ml import features
from ml.algorithm import Matrix
from ml.interactions import LOOKBACK_DAYS
from ml.spec import FeatureSpec
from warehouse import crm, customers

_LOOKBACK = timedelta(days=LOOKBACK_DAYS)
_SHOWN_CHARACTERS = 80
_TIME = pl.Datetime("us", "UTC")
_NO_INTERACTIONS = pl.DataFrame(
    schema={"lead_id": pl.String, "kind": pl.String, "occurred_at": _TIME, "known_at": _TIME}
)
# What a column of each kind holds. Whatever stands in the others can be read.
_EXPECTED = {
    "numeric": "a number",
    "boolean": "true, false, yes or no",
    "date": "a date such as 2026-02-28",
}


@dataclass(frozen=True)
class Table:
    """The records that one kind of subject has.

    name, key: of the table and its id. ended: SQL for the words that say how a record has ended,
    NULL while it is open. ends: the columns with its times.
    """

    name: str
    key: str
    ended: str
    ends: tuple[str, ...]


TABLES: Mapping[str, Table] = MappingProxyType(
    {
        "lead": Table(
            "crm.leads",
            "lead_id",
            "CASE WHEN converted_at IS NOT NULL THEN 'has converted'"
            " WHEN closed_at IS NOT NULL THEN 'is closed' END",
            ("converted_at", "closed_at"),
        ),
        "customer": Table(
            "crm.customers",
            "customer_id",
            "CASE WHEN churned_at IS NOT NULL THEN 'has left' END",
            ("churned_at",),
        ),
        "deal": Table(
            "crm.deals",
            "deal_id",
            "CASE WHEN won THEN 'is won' WHEN NOT won THEN 'is lost'"
            " WHEN closed_at IS NOT NULL THEN 'is closed' END",
            ("closed_at",),
        ),
    }
)


@dataclass(frozen=True)
class Known:
    """Items whose features are known, and those that have a reason why not.

    items: item and subject_id; matrix: their features, row by row. failed: item, subject_id, error.
    """

    items: pl.DataFrame
    matrix: Matrix
    failed: pl.DataFrame


def read(
    connection: Connection,
    tenant_id: str,
    subject: str,
    spec: FeatureSpec,
    items: pl.DataFrame,
    now: datetime,
) -> Known:
    """The features of the items as of now; of a deal as of its beginning, as its model learnt.

    subject: lead, customer, deal or row. items: item, subject_id, attributes (JSON text),
    created_at and error, of ml.prediction_items.
    """
    if subject == "row":
        wrong = _unreadable(spec, items["attributes"], now)
        judged = items.with_columns(error=pl.coalesce("error", wrong), as_of=pl.lit(now, _TIME))
        interactions = _NO_INTERACTIONS
    else:
        judged = _judged(connection, tenant_id, subject, items)
        usable = judged.filter(pl.col("error").is_null())["subject_id"].unique().to_list()
        records, interactions = _records(connection, tenant_id, subject, usable, now)
        records = records.rename({"lead_id": "subject_id"})
        judged = judged.join(records, on="subject_id", how="left", maintain_order="left")
        gone = pl.when(pl.col("as_of").is_null()).then(pl.lit(f"the {subject} has just ended"))
        judged = judged.with_columns(error=pl.coalesce("error", gone))
    good = judged.filter(pl.col("error").is_null())
    rows = good.select("created_at", "attributes", "as_of", lead_id="subject_id")
    return Known(
        good.select("item", "subject_id"),
        features.build(spec, rows, interactions),
        judged.filter(pl.col("error").is_not_null()).select("item", "subject_id", "error"),
    )


def _judged(
    connection: Connection, tenant_id: str, subject: str, items: pl.DataFrame
) -> pl.DataFrame:
    """item, subject_id, and error: why there is nothing to predict of that record, if so."""
    table = TABLES[subject]
    times = ", ".join(("created_at", *table.ends))
    found = connection.execute(
        text(
            f"SELECT {table.key}, coalesce({table.ended}, CASE WHEN"
            f" least({times}) < '0001-01-02' OR greatest({times}) > '9999-12-30'"
            "  THEN 'has a time that no model reads' END)"
            f" FROM {table.name} WHERE tenant_id = :tenant_id AND {table.key} = ANY(:named)"
        ),
        {
            "tenant_id": tenant_id,
            "named": items.filter(pl.col("error").is_null())["subject_id"].unique().to_list(),
        },
    )
    schema = {"subject_id": pl.String, "wrong": pl.String}
    known = pl.DataFrame([tuple(row) for row in found], schema=schema, orient="row")
    shown = pl.col("subject_id").str.head(_SHOWN_CHARACTERS)
    expected = f"expected the id of an open {subject}"
    return (
        items.select("item", "subject_id", "error")
        .join(known.with_columns(there=True), on="subject_id", how="left", maintain_order="left")
        .select(
            "item",
            "subject_id",
            error=pl.coalesce(
                "error",
                pl.when(pl.col("there").is_null()).then(
                    pl.format(
                        f"{table.key}: '{{}}' is no {subject} of the tenant; {expected}", shown
                    )
                ),
                pl.format(f"{table.key}: '{{}}' {{}}; {expected}", shown, "wrong"),
            ),
        )
    )


def _records(
    connection: Connection, tenant_id: str, subject: str, ids: list[str], now: datetime
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The records with these ids (lead_id, created_at, as_of, attributes), and interactions."""
    if subject == "lead":
        leads, interactions = crm.changed_leads(connection, tenant_id, ids, now - _LOOKBACK)
        return leads.with_columns(as_of=pl.lit(now, _TIME)), interactions
    if subject == "customer":
        found = customers.customers_by_id(connection, tenant_id, ids, now)
    else:
        found = customers.deals_by_id(connection, tenant_id, ids)
    return found.rows, found.interactions


def _unreadable(spec: FeatureSpec, attributes: pl.Series, now: datetime) -> pl.Series:
    """Per row what is wrong with the first attribute that is not of its column's kind."""
    columns = [column for column in spec.columns if column.kind in _EXPECTED]
    texts = values.read(attributes.fill_null("{}"), [column.name for column in columns])
    found = [pl.lit(None, pl.String)]
    for position, column in enumerate(columns):
        cell = pl.nth(position)
        number = values.encode(cell, column, pl.lit(now, _TIME))
        words = f"expected {_EXPECTED[column.kind]}"
        found.append(
            pl.when((cell != "") & number.is_null()).then(
                pl.format(
                    "{}: '{}' cannot be read; {}",
                    pl.lit(column.name),
                    cell.str.head(_SHOWN_CHARACTERS),
                    pl.lit(words),
                )
            )
        )
    if not columns:
        return pl.Series([None], dtype=pl.String).new_from_index(0, len(attributes))
    return texts.select(pl.coalesce(found)).to_series()
