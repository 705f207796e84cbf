"""What a batch of predictions is made of: records by their ids, or those that a query finds."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

import polars as pl
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from sqlalchemy import Connection, text

from ml.kinds import KINDS
from warehouse import bulk, models, prediction_jobs
from warehouse.errors import GalenaError
from warehouse.prediction_records import TABLES
from warehouse.schema import prediction_items

_LONGEST_ID = 255
_SHOWN_CHARACTERS = 80
_BLOCK = 50_000
_Scalar = str | int | float | bool
# Deals have no attributes: these columns may be asked for instead.
_DEAL_COLUMNS = ("stage", "customer_id", "lead_id")


class Query(BaseModel):
    """Which of a tenant's open records to predict: all those that fit everything that is named.

    where: values of attributes (of deals: stage, customer_id, lead_id), compared as texts, so that
    "40" finds 40. created_after, created_before: times, UTC where they have no offset. limit: the
    first so many by id.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    where: dict[str, Any] = {}
    created_after: datetime | None = None
    created_before: datetime | None = None
    limit: Annotated[int, Field(ge=1, le=prediction_jobs.MOST_ITEMS)] | None = None

    @field_validator("where")
    @classmethod
    def _are_scalars(cls, where: dict[str, Any]) -> dict[str, Any]:
        for name, value in where.items():
            if not isinstance(value, _Scalar) or "\0" in f"{name}{value}":
                raise ValueError(f"{name} is {value!r}; expected a text, a number or a boolean")
        return where

    @field_validator("created_after", "created_before")
    @classmethod
    def _in_utc(cls, time: datetime | None) -> datetime | None:
        return time.replace(tzinfo=UTC) if time and time.tzinfo is None else time


def parse_query(document: Mapping[str, Any]) -> Query:
    """The query of a JSON document; raises GalenaError that names the key and what is expected."""
    try:
        return Query.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            keys = ", ".join(Query.model_fields)
            raise GalenaError(f"The query, {place}: no key; expected {keys}.") from None
        said = str(first["ctx"]["error"]) if first["type"] == "value_error" else first["msg"]
        raise GalenaError(f"The query, {place}: {said}; got {first['input']!r}.") from None


def model(connection: Connection, tenant_id: str, version: int | None) -> models.ModelVersion:
    """The version, or that of the lead model that serves. Raises GalenaError when there is none."""
    if version is not None:
        return models.find(connection, tenant_id, version)
    serving = models.champion(connection, tenant_id)
    if serving is None:
        raise GalenaError(f"Tenant {tenant_id!r} has no model yet: `galena train {tenant_id}`.")
    return serving


def queue_ids(
    connection: Connection,
    tenant_id: str,
    ids: Sequence[str],
    *,
    version: int | None = None,
    requested_by: str,
) -> str:
    """Queue predictions of the records with these ids, one item each in this order; return the
    job's id. What is no id of an open record fails alone, when its turn has come.

    version: of any of the tenant's models, whose subject says what the ids are of; None is the lead
    model that serves. Raises GalenaError as prediction_jobs.create does.
    """
    chosen = model(connection, tenant_id, version)

    def fill(job_id: str) -> int:
        for start in range(0, len(ids), _BLOCK):
            add(connection, tenant_id, job_id, start, _named(ids[start : start + _BLOCK]))
        return len(ids)

    return prediction_jobs.create(
        connection,
        tenant_id,
        chosen.version,
        KINDS[chosen.name].subject,
        fill,
        input={"ids": len(ids)},
        requested_by=requested_by,
    )


def queue_query(
    connection: Connection,
    tenant_id: str,
    query: Query,
    *,
    version: int | None = None,
    requested_by: str,
) -> str:
    """Queue predictions of the open records that the query finds now, by id; return the job's id.

    version and errors: as queue_ids.
    """
    chosen = model(connection, tenant_id, version)
    subject = KINDS[chosen.name].subject
    statement, values = _select(subject, query)

    def fill(job_id: str) -> int:
        parameters = {**values, "tenant_id": tenant_id, "job_id": job_id}
        return connection.execute(text(statement), parameters).rowcount

    return prediction_jobs.create(
        connection,
        tenant_id,
        chosen.version,
        subject,
        fill,
        input={"query": query.model_dump(mode="json", exclude_defaults=True)},
        requested_by=requested_by,
    )


def add(
    connection: Connection, tenant_id: str, job_id: str, done: int, items: pl.DataFrame
) -> None:
    """Write items behind the `done` that are there. items: the columns of ml.prediction_items."""
    numbered = items.with_columns(
        pl.int_range(done + 1, done + 1 + items.height).cast(pl.Int32).alias("item"),
        pl.lit(job_id).alias("job_id"),
    )
    bulk.insert(connection, tenant_id, prediction_items, numbered)


def judged_ids(ids: pl.Series, field: str) -> pl.DataFrame:
    """subject_id, as it can be stored, and error, for what is no id. field: what errors call it."""
    known = ids.fill_null("").str.replace_all("\0", "\N{SYMBOL FOR NULL}", literal=True)
    shown = known.str.head(_SHOWN_CHARACTERS)
    rows = pl.DataFrame({"known": known, "shown": shown, "ids": ids})
    characters = pl.col("known").str.len_chars()
    return rows.select(
        subject_id=pl.col("known").str.head(_LONGEST_ID),
        error=pl.when(pl.col("known").str.strip_chars() == "")
        .then(pl.lit(f"{field}: '' is no id; expected one in every item"))
        .when(characters > _LONGEST_ID)
        .then(
            pl.format(
                f"{field}: '{{}}...' has {{}} characters; expected at most {_LONGEST_ID}",
                "shown",
                characters,
            )
        )
        .when(pl.col("ids").str.contains("\0", literal=True))
        .then(pl.format(f"{field}: '{{}}' holds a NUL character; expected text without", "shown")),
    )


def _named(ids: Sequence[str]) -> pl.DataFrame:
    # A command line may hold bytes that are no text.
    texts = [one.encode(errors="backslashreplace").decode() for one in ids]
    return judged_ids(pl.Series(texts, dtype=pl.String), "id")


def _select(subject: str, query: Query) -> tuple[str, dict[str, Any]]:
    """The statement that writes the items, and its parameters."""
    table = TABLES[subject]
    conditions, values = [f"({table.ended}) IS NULL"], dict[str, Any]()
    for number, (name, value) in enumerate(query.where.items()):
        if subject == "deal" and name not in _DEAL_COLUMNS:
            expected = ", ".join(_DEAL_COLUMNS)
            raise GalenaError(f"The query, where: {name} is no column; expected {expected}.")
        column = name if subject == "deal" else f"attributes ->> :name_{number}"
        conditions.append(f"{column} = :value_{number}")
        values |= {
            **({} if subject == "deal" else {f"name_{number}": name}),
            f"value_{number}": value if isinstance(value, str) else json.dumps(value),
        }
    for bound, sign in (("created_after", ">"), ("created_before", "<")):
        if getattr(query, bound) is not None:
            conditions.append(f"created_at {sign} :{bound}")
            values[bound] = getattr(query, bound)
    return (
        "INSERT INTO ml.prediction_items (tenant_id, job_id, item, subject_id)"
        f" SELECT :tenant_id, :job_id, row_number() OVER (ORDER BY {table.key}), {table.key}"
        f" FROM {table.name}"
        f" WHERE tenant_id = :tenant_id AND {' AND '.join(conditions)} ORDER BY {table.key}"
        f" LIMIT {query.limit or prediction_jobs.MOST_ITEMS + 1}"
    ), values
