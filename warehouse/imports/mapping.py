"""Which column of a file is which field of a record: what a mapping file may say."""

import difflib
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from zoneinfo import available_timezones

import polars as pl
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from warehouse.errors import GalenaError

Values = Annotated[list[str], Field(min_length=1)]


_YES = ("yes", "true", "1")
_NO = ("no", "false", "0")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _without_blanks(cls, document: Any) -> Any:
        """A key with nothing behind it is as good as none."""
        if isinstance(document, dict):
            return {key: value for key, value in document.items() if value not in ("", None)}
        return document


class Outcome(_Strict):
    """A column whose values say how a lead ended.

    converted, lost: the values that say so, in any case of letters; by any other it is open.
    """

    column: str
    converted: Values
    lost: list[str] = []

    @model_validator(mode="after")
    def _is_clear(self) -> Self:
        _check_disjoint(self.converted, self.lost)
        return self


class Won(_Strict):
    """A column whose values say how a deal ended; by any value but these it is open.

    The column's name alone stands for one of yes and no, true and false, 1 and 0, won and lost.
    """

    column: str
    won: Values
    lost: list[str] = []

    @model_validator(mode="before")
    @classmethod
    def _from_column(cls, document: Any) -> Any:
        if isinstance(document, str):
            return {"column": document, "won": [*_YES, "won"], "lost": [*_NO, "lost"]}
        return document

    @model_validator(mode="after")
    def _is_clear(self) -> Self:
        _check_disjoint(self.won, self.lost)
        return self


class _Settings(_Strict):
    """What holds for a file of any table.

    known_at: the column that says when a row's facts became known; without it they count as
        known from the row's beginning (created_at, occurred_at).
    ignore: columns that are left out.
    timezone: whose clock the times without an offset were read from.
    day_first: whether 03/04/2026 is in April; must be said where such dates occur.
    """

    known_at: str | None = None
    ignore: list[str] = []
    timezone: str = "UTC"
    day_first: bool | None = None

    def columns(self) -> dict[str, str]:
        """The column of each field that has one."""
        columns = {}
        for field in type(self).model_fields:
            match getattr(self, field):
                case Outcome() | Won() as outcome:
                    columns[field] = outcome.column
                case str(column) if field not in ("table", "timezone"):
                    columns[field] = column
        return columns

    @field_validator("timezone")
    @classmethod
    def _exists(cls, timezone: str) -> str:
        try:
            pl.Series([0]).cast(pl.Datetime("us")).dt.replace_time_zone(timezone)
        except pl.exceptions.PolarsError as error:
            closest = _closest(timezone, available_timezones() or ["Europe/Berlin"])
            raise ValueError(
                f"there is no time zone {timezone!r}; the closest is {closest!r}"
            ) from error
        return timezone


class LeadsMapping(_Settings):
    """Every column that is not named here is an attribute of the lead.

    converted_at, closed_at: when it converted, or was lost; empty for open leads.
    outcome: how it ended, if a column says so; then a date counts only where the outcome agrees.
    outcome_at: when it ended either way.
    outcome_after_days: assumed from created_at to an outcome that has no date.
    """

    table: Literal["leads"] = "leads"
    id: str
    created_at: str
    account_id: str | None = None
    converted_at: str | None = None
    closed_at: str | None = None
    outcome: Outcome | None = None
    outcome_at: str | None = None
    outcome_after_days: Annotated[float, Field(gt=0, le=3650)] | None = None

    @model_validator(mode="after")
    def _has_dated_outcomes(self) -> Self:
        either = self.outcome_at or self.outcome_after_days
        if self.outcome is None:
            if either:
                raise ValueError("outcome_at and outcome_after_days need outcome beside them")
            return self
        dated = self.converted_at and (self.closed_at or not self.outcome.lost)
        if not (either or dated):
            raise ValueError(
                "outcome says how a lead ended but not when: name the column of its date by"
                " outcome_at (or by converted_at and closed_at), or assume a number of days after"
                " created_at by outcome_after_days"
            )
        return self


class InteractionsMapping(_Settings):
    """id: without it, an interaction's id is a hash of its other fields."""

    table: Literal["interactions"] = "interactions"
    id: str | None = None
    lead_id: str | None = None
    customer_id: str | None = None
    kind: str
    occurred_at: str
    text: str | None = None

    @model_validator(mode="after")
    def _is_someones(self) -> Self:
        if self.lead_id is None and self.customer_id is None:
            raise ValueError("lead_id or customer_id is needed: name the column that has it")
        return self


class CustomersMapping(_Settings):
    """Every column that is not named here is an attribute of the customer."""

    table: Literal["customers"] = "customers"
    id: str
    name: str
    created_at: str
    churned_at: str | None = None
    lead_id: str | None = None


class DealsMapping(_Settings):
    """won: a column of yes and no (or won and lost), or which values say so.

    closed_at: where `won` is mapped it counts only for deals that are won or lost.
    """

    table: Literal["deals"] = "deals"
    id: str
    stage: str
    created_at: str
    lead_id: str | None = None
    customer_id: str | None = None
    amount: str | None = None
    closed_at: str | None = None
    won: Won | None = None


Mapping = LeadsMapping | InteractionsMapping | CustomersMapping | DealsMapping
MODELS: dict[str, type[Mapping]] = {
    "leads": LeadsMapping,
    "interactions": InteractionsMapping,
    "customers": CustomersMapping,
    "deals": DealsMapping,
}


def load_mapping(path: Path) -> Mapping:
    """Read a mapping file. Raises GalenaError, naming the key, if it cannot be used."""
    return parse_mapping(read_yaml(path), path.name)


def read_yaml(path: Path) -> Any:
    """The document in a mapping file. Raises GalenaError if it cannot be read or is no YAML."""
    try:
        # Every scalar a string: to YAML the values yes and no, common as outcomes, are booleans.
        return yaml.load(path.read_text(encoding="utf-8"), yaml.BaseLoader)
    except OSError as error:
        raise GalenaError(f"{path} cannot be read: {error.strerror}: check the path.") from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise GalenaError(f"{path.name} is no YAML: {reason}.") from error


def parse_mapping(document: Any, name: str) -> Mapping:
    """The mapping that a YAML document is; name: what errors call it."""
    if not isinstance(document, dict):
        raise GalenaError(f"{name} is no mapping: it needs lines such as 'table: leads'.")
    table = document.get("table")
    if not isinstance(table, str) or table not in MODELS:
        known = ", ".join(MODELS)
        got = f"got {table!r}" if table else "it is missing"
        raise GalenaError(f"{name}, table: {got}; expected one of {known}.")
    try:
        return MODELS[table].model_validate(document)
    except ValidationError as error:
        raise GalenaError(f"{name}, {_first_error(error, MODELS[table])}.") from error


def check_columns(mapping: Mapping, file: str, columns: Iterable[str]) -> None:
    """Raise GalenaError for the first column of the mapping that the file does not have."""
    there = list(columns)
    named = [*mapping.columns().items(), *(("ignore", column) for column in mapping.ignore)]
    for field, column in named:
        if column not in there:
            closest = f"; the closest is {_closest(column, there)!r}" if there else ""
            raise GalenaError(f"{file} has no column {column!r}, named by {field}{closest}.")


def to_yaml(mapping: Mapping) -> str:
    """The mapping file that says what this mapping says."""
    document = mapping.model_dump(exclude_defaults=True)
    keys = [key for key in key_order(mapping.table) if key in document]
    lines = [yaml_line(key, document[key]) for key in keys]
    return "\n".join([yaml_line("table", mapping.table), *lines, ""])


def key_order(table: str) -> list[str]:
    """The keys of the table's mapping in the order to show them: fields before settings."""
    settings = _Settings.model_fields
    return [*(key for key in MODELS[table].model_fields if key not in settings), *settings]


def yaml_line(key: str, value: Any) -> str:
    """`key: value` on one line; a value of None leaves room for one."""
    if value is None:
        return f"{key}:"
    style: dict[str, Any] = {"default_flow_style": True, "allow_unicode": True}
    line = yaml.safe_dump([value], width=math.inf, sort_keys=False, **style).strip()
    if not line.isprintable():
        line = yaml.safe_dump([value], width=math.inf, default_style='"', **style).strip()
    return f"{key}: {line[1:-1]}"


def _first_error(error: ValidationError, model: type[Mapping]) -> str:
    # An unknown key first: it is often the misspelt one that is then missing.
    first = min(error.errors(), key=lambda found: found["type"] != "extra_forbidden")
    place = ".".join(str(part) for part in first["loc"])
    match first["type"]:
        case "extra_forbidden":
            parents: dict[str, type[BaseModel]] = {"outcome": Outcome, "won": Won}
            parent = model if len(first["loc"]) == 1 else parents[str(first["loc"][0])]
            closest = _closest(str(first["loc"][-1]), parent.model_fields)
            return f"{place} is no key; the closest is {closest!r}"
        case "missing":
            return f"{place} is missing: name the column that has it"
        case "value_error":
            return f"{place}: {first['ctx']['error']}" if place else str(first["ctx"]["error"])
        case _:
            return f"{place}: {first['msg']}, got {first['input']!r}"


def _closest(name: str, options: Iterable[str]) -> str:
    folded = {option.casefold(): option for option in options}
    (match,) = difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=0)
    return folded[match]


def _check_disjoint(yes: Iterable[str], no: Iterable[str]) -> None:
    both = {value.casefold() for value in yes} & {value.casefold() for value in no}
    if both:
        raise ValueError(f"{min(both)!r} cannot mean both outcomes")
