"""Guesses a mapping from the names and the cells of a file's columns, and says why."""

import re
import tomllib
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import polars as pl

from warehouse.errors import GalenaError
from warehouse.imports import mapping as mappings
from warehouse.imports import values

# Of a column's cells, the share that must be times, or numbers, or all different, for the column to
# be taken for such; files have flaws, and a row with one is rejected later by itself.
_MOST = 0.9
_SAMPLE = 1_000
_MOST_OUTCOMES = 50
_DAY_FIRST = r"^(1[3-9]|2[0-9]|3[01])/"
_MONTH_FIRST = r"^[0-9]{1,2}/(1[3-9]|2[0-9]|3[01])/"

# Fields that files of other tables have as well, by the same names.
_COMMON = {
    "id", "name", "lead_id", "customer_id", "account_id", "stage", "won", "outcome", "closed_at",
    "outcome_at", "known_at",
}  # fmt: skip

_NEEDED = {
    "id": "the column that tells each row from all others",
    "name": "the column with the customers' names",
    "created_at": "the column that says when the row came into the CRM",
    "occurred_at": "the column that says when it happened",
    "kind": "the column that says what it was: an email, a call, ...",
    "stage": "the column that says how far the deal is",
    "lead_id": "the column with the lead's id; or give customer_id",
    "outcome_at": "the column that says when a lead was won or lost; or give outcome_after_days,"
    " the days to assume from created_at",
    "day_first": "true if 03/04/2026 is in April, false if it is in March; no date here decides it",
}


@dataclass(frozen=True)
class Guess:
    """One line of a mapping.

    value: None if it is needed and was not found. why: of the value, or what to put there.
    """

    value: Any
    why: str


@dataclass(frozen=True)
class Proposal:
    """A mapping as far as it could be guessed. remark: what becomes of all other columns."""

    guesses: Mapping[str, Guess]
    remark: str

    def mapping(self, file: str) -> mappings.Mapping:
        """The mapping. Raises GalenaError if anything needed was not found; file: its name."""
        for key, guess in self.guesses.items():
            if guess.value is None:
                raise GalenaError(
                    f"{file} leaves {key} open ({guess.why}): save what `galena import --propose`"
                    f" prints for it, fill in {key}, and import with --mapping FILE."
                )
        return mappings.parse_mapping({key: g.value for key, g in self.guesses.items()}, file)

    def to_yaml(self) -> str:
        """The mapping file, with the reason of each guess as a comment."""
        lines = []
        for key, guess in self.guesses.items():
            why = f"NOT FOUND: {guess.why}" if guess.value is None else guess.why
            lines.append(f"{mappings.yaml_line(key, guess.value)}  # {_one_line(why)}")
        return "\n".join([*lines, f"# {_one_line(self.remark)}", ""])


def propose_mapping(rows: pl.DataFrame, table: str | None = None) -> Proposal:
    """What the columns of a file are most likely for.

    table: what the file holds; None takes the table that its columns fit best.
    """
    if table not in (None, *mappings.MODELS):
        known = ", ".join(mappings.MODELS)
        raise GalenaError(f"There is no table {table!r}; expected one of {known}.")
    texts = {column.name: values.trimmed(values.as_text(column)) for column in rows}
    guessers = [_Guesser(texts, name) for name in mappings.MODELS if table in (None, name)]
    return max(guessers, key=_Guesser.fit).proposal()


class _Guesser:
    """Takes columns for the fields of one table: by their names first, then by their cells."""

    def __init__(self, texts: Mapping[str, pl.Series], table: str) -> None:
        self._texts = texts
        self._table = table
        self._model = mappings.MODELS[table].model_fields
        self._headers = _headers()[table]
        # Of columns that read alike, the first.
        self._names = {_normal(name): name for name in reversed([*texts])}
        self._columns: dict[str, str] = {}
        self._known: set[str] = set()
        self._guesses: dict[str, Guess] = {}

        for field in self._model:
            if field in self._headers and field not in ("outcome", "won"):
                self._take_by_name(field)
        self._take_by_cells("id", _all_differ, "its cells are all different")
        for field in ("created_at", "occurred_at"):
            self._take_by_cells(field, _are_times, "the only column of times")
        if table == "leads":
            self._guess_lead_outcome()
        if table == "deals":
            self._guess_deal_outcome()
        self._note_what_is_missing()
        self._guess_settings()

    def fit(self) -> tuple[bool, int]:
        """Whether all that the table must have was found, and how much speaks for it."""
        required = [field for field, info in self._model.items() if info.is_required()]
        complete = all(field in self._columns for field in required)
        return complete, len(self._signs()) + len(self._known - _COMMON)

    def proposal(self) -> Proposal:
        signs = ", ".join(repr(name) for name in self._signs()[:3])
        table = Guess(self._table, f"it has {signs}" if signs else "it fits best")
        order = mappings.key_order(self._table)
        own = {key: self._guesses[key] for key in order if key in self._guesses}
        named = {*self._columns.values(), *self._telling()}
        others = ", ".join(name for name in self._texts if name not in named) or "none"
        fate = "attributes" if self._table in ("leads", "customers") else "not imported"
        return Proposal({"table": table, **own}, f"All other columns ({fate}): {others}")

    def _take_by_name(self, field: str) -> None:
        fits = _FITS.get("at" if field.endswith("_at") else field)
        for known in self._headers[field]:
            name = self._names.get(known)
            if name in self._free() and (fits is None or fits(self._texts[name])):
                self._columns[field] = name
                self._guesses[field] = Guess(name, "by its name")
                self._known.add(field)
                return

    def _take_by_cells(self, field: str, fits: Callable[[pl.Series], bool], why: str) -> None:
        needed = field in self._model and self._model[field].is_required()
        # A column that is named as the id and repeats refers to rows of another file.
        refers = field == "id" and not self._names.keys().isdisjoint(self._headers["id"])
        if not needed or field in self._columns or refers:
            return
        found = [name for name in self._free() if fits(self._texts[name])]
        if field == "id":
            found = sorted(found, key=lambda name: not _is_named_as_id(name))[:1]
        if len(found) == 1:
            self._columns[field] = found[0]
            self._guesses[field] = Guess(found[0], why)
        elif found:
            several = ", ".join(repr(name) for name in found)
            self._guesses[field] = Guess(None, f"{_NEEDED[field]}: one of {several}?")

    def _guess_lead_outcome(self) -> None:
        """How leads ended, as far as it has dates: a lead without one would be rejected."""
        column, words = self._find_outcome("outcome")
        dated = words.yes and all(
            self._is_dated(column, word, "converted_at", "outcome_at") for word in words.yes
        )
        if not words.yes or (not dated and "converted_at" in self._columns):
            self._columns.pop("outcome_at", None)
            self._guesses.pop("outcome_at", None)
            return
        lost = [
            word
            for word in (*words.lost, *words.no)
            if self._is_dated(column, word, "closed_at", "outcome_at")
        ]
        self._take_outcome("outcome", {"column": column, "converted": words.yes, "lost": lost})
        if not dated:
            self._guesses["outcome_at"] = Guess(None, _NEEDED["outcome_at"])

    def _guess_deal_outcome(self) -> None:
        column, words = self._find_outcome("won")
        if words.yes:
            no = [word for word in words.no if self._is_dated(column, word, "closed_at")]
            self._take_outcome("won", {"column": column, "won": words.yes, "lost": words.lost + no})

    def _take_outcome(self, field: str, value: dict[str, Any]) -> None:
        self._columns[field] = value["column"]
        self._known.add(field)
        self._guesses[field] = Guess(value, "by its name and its values; by any other it is open")

    def _find_outcome(self, field: str) -> "tuple[str, _Words]":
        """The first column, of those named as outcomes, whose values say that one was won."""
        for known in self._headers[field]:
            name = self._names.get(known)
            if name is not None:
                words = _outcome_words(self._texts[name])
                if words.yes:
                    return name, words
        return "", _Words([], [], [])

    def _is_dated(self, column: str, word: str, *fields: str) -> bool:
        """Whether most rows with the word in the column have one of the dates."""
        dated = pl.Series([False]).new_from_index(0, len(self._texts[column]))
        for field in fields:
            if field in self._columns:
                dated |= self._texts[self._columns[field]].is_not_null()
        return _are_most(dated.filter(self._texts[column] == word))

    def _note_what_is_missing(self) -> None:
        for field, info in self._model.items():
            if info.is_required() and field not in self._guesses:
                self._guesses[field] = Guess(None, _NEEDED[field])
        if self._table == "interactions" and not {"lead_id", "customer_id"} & self._columns.keys():
            self._guesses["lead_id"] = Guess(None, _NEEDED["lead_id"])

    def _guess_settings(self) -> None:
        times = [column for field, column in self._columns.items() if field.endswith("_at")]
        slashed = [self._texts[column] for column in times]
        slashed = [text for text in slashed if values.has_slashed_dates(text)]
        if slashed:
            self._guesses["day_first"] = _day_first(pl.concat(slashed))
        if self._telling():
            why = "filled in when the outcome is near or known, they would give it away"
            self._guesses["ignore"] = Guess(self._telling(), why)

    def _free(self) -> list[str]:
        return [name for name in self._texts if name not in self._columns.values()]

    def _signs(self) -> list[str]:
        signs = set(self._headers["signs"])
        return [
            name
            for name in self._texts
            if not signs.isdisjoint([_normal(name), *_normal(name).split()])
        ]

    def _telling(self) -> list[str]:
        """The free columns of leads that come with the outcome or after it."""
        if self._table != "leads":
            return []
        fields = ("after_outcome", "converted_at", "closed_at", "outcome_at")
        late = {name for field in fields for name in self._headers[field]}
        outcomes = set(self._headers["outcome"])
        return [
            name
            for name in self._free()
            if _normal(name) in late
            or (_normal(name) in outcomes and _outcome_words(self._texts[name]).yes)
        ]


@dataclass(frozen=True)
class _Words:
    """The values of a column that say won, lost, and no (lost, or not yet won)."""

    yes: list[str]
    lost: list[str]
    no: list[str]


def _outcome_words(text: pl.Series) -> _Words:
    known = _headers()["outcomes"]
    found = text.drop_nulls().unique(maintain_order=True)
    if len(found) > _MOST_OUTCOMES:
        return _Words([], [], [])

    def among(*kinds: str) -> list[str]:
        words = {word for kind in kinds for word in known[kind]}
        return [value for value in found if " ".join(value.lower().split()) in words]

    return _Words(among("won", "yes"), among("lost"), among("no"))


def _day_first(dates: pl.Series) -> Guess:
    day = dates.str.contains(_DAY_FIRST).any()
    month = dates.str.contains(_MONTH_FIRST).any()
    if day == month:
        return Guess(None, _NEEDED["day_first"])
    return Guess(day, f"the {'first' if day else 'second'} number of a date is above 12")


def _all_differ(text: pl.Series) -> bool:
    different = text.n_unique() - (1 if text.has_nulls() else 0)
    return different > 0 and different >= _MOST * len(text)


def _are_times(text: pl.Series) -> bool:
    sample = text.drop_nulls().head(_SAMPLE)
    read = values.times(sample, day_first=bool(sample.str.contains(_DAY_FIRST).any()))
    return _are_most(read.is_not_null())


def _are_numbers(text: pl.Series) -> bool:
    sample = text.drop_nulls().head(_SAMPLE)
    return _are_most(values.numbers(sample, decimal_comma=True).is_not_null())


def _are_most(cells: pl.Series) -> bool:
    return len(cells) > 0 and cells.sum() >= _MOST * len(cells)


# What a column must hold besides its name, for fields where names mislead.
_FITS: dict[str, Callable[[pl.Series], bool]] = {
    "id": _all_differ,
    "at": _are_times,
    "amount": _are_numbers,
}


def _is_named_as_id(name: str) -> bool:
    return not {"id", "nr", "no", "number", "nummer", "key", "uuid"}.isdisjoint(
        _normal(name).split()
    )


def _normal(name: str) -> str:
    """The name in small letters, without accents, one blank between words."""
    split = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    plain = unicodedata.normalize("NFKD", split).encode("ascii", "ignore").decode()
    return " ".join(re.findall(r"[a-z0-9]+", plain.lower()))


@cache
def _headers() -> dict[str, dict[str, list[str]]]:
    text = files(__package__).joinpath("headers.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


def _one_line(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in " ".join(text.split()))
