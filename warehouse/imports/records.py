"""What a row becomes: the fields a mapping finds in it, and the record that they make."""

from datetime import timedelta
from hashlib import blake2b

import polars as pl

from warehouse.errors import GalenaError
from warehouse.imports import values
from warehouse.imports.mapping import (
    CustomersMapping,
    DealsMapping,
    InteractionsMapping,
    LeadsMapping,
    Mapping,
)
from warehouse.imports.reading import Source

MOST_ATTRIBUTES = 500
# The fields that begin a record; a date alone is their first second, of any other time its last:
# what ended or became known on a day was not known before that day was over.
BEGINNINGS = ("created_at", "occurred_at")


def read_fields(source: Source, texts: pl.DataFrame, mapping: Mapping) -> pl.DataFrame:
    """One row per row of the source: line; for each field of the mapping what it stands for
    (FIELD) and its text (FIELD text), null where it has no column; and, of leads and customers,
    attributes (JSON text).

    texts: the source's cells as text.
    """
    columns = mapping.columns()
    fields = [source.lines]
    for field in type(mapping).model_fields:
        text = pl.Series([None], dtype=pl.String).new_from_index(0, len(texts))
        if field in columns:
            text = values.trimmed(texts[columns[field]])
        fields += [text.alias(f"{field} text"), _read(field, text, source, mapping).alias(field)]
    if isinstance(mapping, LeadsMapping | CustomersMapping):
        fields.append(_attributes(source, mapping))
    return pl.DataFrame(fields)


def unmapped(source: Source, mapping: Mapping) -> list[str]:
    """The columns that are neither mapped to a field nor ignored."""
    taken = {*mapping.columns().values(), *mapping.ignore}
    return [name for name in source.rows.columns if name not in taken]


def record(mapping: Mapping) -> dict[str, pl.Expr]:
    """The columns of the mapping's table, key first, over the columns of read_fields."""
    match mapping:
        case LeadsMapping():
            return {
                "lead_id": pl.col("id"),
                "account_id": pl.col("account_id"),
                "created_at": pl.col("created_at"),
                **_lead_outcome(mapping),
                "attributes": pl.col("attributes"),
                "known_at": pl.coalesce("known_at", "created_at"),
            }
        case CustomersMapping():
            return {
                "customer_id": pl.col("id"),
                "lead_id": pl.col("lead_id"),
                "name": pl.col("name"),
                "created_at": pl.col("created_at"),
                "churned_at": pl.col("churned_at"),
                "attributes": pl.col("attributes"),
                "known_at": pl.coalesce("known_at", "created_at"),
            }
        case DealsMapping():
            return {
                "deal_id": pl.col("id"),
                "lead_id": pl.col("lead_id"),
                "customer_id": pl.col("customer_id"),
                "amount": pl.col("amount"),
                "stage": pl.col("stage"),
                "created_at": pl.col("created_at"),
                **_deal_outcome(mapping),
                "known_at": pl.coalesce("known_at", "created_at"),
            }
        case InteractionsMapping():
            return {
                "interaction_id": pl.col("id"),
                "lead_id": pl.col("lead_id"),
                "customer_id": pl.col("customer_id"),
                "kind": pl.col("kind"),
                "occurred_at": pl.col("occurred_at"),
                "text": pl.col("text"),
                "known_at": pl.coalesce("known_at", "occurred_at"),
            }


def says(field: str, meanings: list[str]) -> pl.Expr:
    """Whether the field's text is one of the values, in any case of letters."""
    known = [meaning.strip().lower() for meaning in meanings]
    return pl.col(f"{field} text").str.to_lowercase().is_in(known).fill_null(value=False)


def hashed_ids(interactions: pl.DataFrame) -> pl.Series:
    """Ids for interactions that have none: the same for the same facts, on any machine."""
    facts = interactions.select(
        pl.concat_str(
            pl.col("lead_id", "customer_id", "kind").fill_null(""),
            pl.col("occurred_at").dt.epoch("us"),
            pl.col("text").fill_null(""),
            # Rows with a NUL are rejected, so that two different rows cannot read the same.
            separator="\0",
        )
    ).to_series()
    return pl.Series(
        "interaction_id",
        [blake2b(fact.encode(), digest_size=16).hexdigest() for fact in facts],
        dtype=pl.String,
    )


def _read(field: str, text: pl.Series, source: Source, mapping: Mapping) -> pl.Series:
    if field == "amount":
        return values.numbers(text, decimal_comma=source.decimal_comma).cast(pl.Float64)
    if not field.endswith("_at"):
        return text
    if mapping.day_first is None and values.has_slashed_dates(text):
        raise GalenaError(
            f"{source.name}: {field} has dates such as 03/04/2026, and nothing says whether the day"
            " or the month stands first: add day_first: true or day_first: false to the mapping."
        )
    return values.times(
        text,
        zone=mapping.timezone,
        day_first=bool(mapping.day_first),
        end_of_day=field not in BEGINNINGS,
    )


def _attributes(source: Source, mapping: Mapping) -> pl.Series:
    names = unmapped(source, mapping)
    if len(names) > MOST_ATTRIBUTES:
        raise GalenaError(
            f"{source.name} has {len(names)} columns that would be attributes; expected at most"
            f" {MOST_ATTRIBUTES}: list those that say nothing under ignore."
        )
    cells = [
        values.json_values(
            source.rows[name], typed=source.typed, decimal_comma=source.decimal_comma
        )
        for name in names
    ]
    frame = pl.DataFrame(cells) if cells else pl.DataFrame(height=len(source.rows))
    return values.json_objects(frame).alias("attributes")


def _lead_outcome(mapping: LeadsMapping) -> dict[str, pl.Expr]:
    converted_at, closed_at = pl.col("converted_at"), pl.col("closed_at")
    if mapping.outcome is None:
        return {
            "converted_at": converted_at,
            "closed_at": pl.when(converted_at.is_null()).then(closed_at),
        }
    ended_at = [pl.col("outcome_at")]
    if mapping.outcome_after_days:
        ended_at.append(pl.col("created_at") + timedelta(days=mapping.outcome_after_days))
    return {
        "converted_at": pl.when(says("outcome", mapping.outcome.converted)).then(
            pl.coalesce(converted_at, *ended_at)
        ),
        "closed_at": pl.when(says("outcome", mapping.outcome.lost)).then(
            pl.coalesce(closed_at, *ended_at)
        ),
    }


def _deal_outcome(mapping: DealsMapping) -> dict[str, pl.Expr]:
    if mapping.won is None:
        return {"closed_at": pl.col("closed_at"), "won": pl.lit(None, pl.Boolean)}
    won, lost = says("won", mapping.won.won), says("won", mapping.won.lost)
    return {
        "closed_at": pl.when(won | lost).then(pl.col("closed_at")),
        "won": pl.when(won).then(True).when(lost).then(False),
    }
