"""The features of a tenant's leads: which there are (infer), and their matrix (build)."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ml import attributes as values
from ml import interactions as activity
from ml.spec import DAY_US, OTHER, Column, Dropped, FeatureSpec

MAX_COLUMNS = 200
MAX_CATEGORIES = 64
MAX_KINDS = 25

_NEARLY_ALL = 0.99
_HALF = 0.5
_SHORT = 60
_NO_BLANKS = r"^[!-~]+$"
_ANY_TIME = pl.lit(datetime(2000, 1, 1, tzinfo=UTC))


def infer(attributes: pl.DataFrame, interaction_kinds: Sequence[str]) -> FeatureSpec:
    """The spec of a tenant, from a sample of its leads; 50,000 rows say all there is to say.

    attributes: column attributes, one JSON object text per row.
    interaction_kinds: the tenant's kinds, the most frequent first; MAX_KINDS of them are counted.

    With few = 2 % of the rows of a small sample, 20 rows from 1,000 on and 0.1 % from 20,000 on
    (at least 2), the first rule that holds says what becomes of an attribute:
    1. it is not among the MAX_COLUMNS that are filled in most rows: dropped;
    2. it is filled in less than few rows: dropped;
    3. 99 % of what is filled are numbers, or texts of numbers: numeric;
    4. all are true, false, yes or no: boolean;
    5. 99 % are ISO dates or times: date;
    6. it is short (60 characters in the mean), and values of few rows or more, at most
       MAX_CATEGORIES of them, make up half of what is filled: categorical, the rest in OTHER;
    7. half are numbers: numeric, or half are times: date; what is not becomes missing;
    8. it is short, and 99 % are ASCII without blanks, such as ids and addresses: dropped;
    9. otherwise: text.
    A column whose feature then is one and the same number, missing in less than few rows, is
    dropped too. Columns and kinds stand in the order of their names.
    """
    texts = attributes["attributes"]
    names = _most_filled_first(texts)
    read = values.read(texts, sorted(names[:MAX_COLUMNS]))
    verdicts = [_judge(text, _few(len(texts))) for text in read]
    dropped = [verdict for verdict in verdicts if isinstance(verdict, Dropped)]
    if more := len(names[MAX_COLUMNS:]):
        dropped.append(Dropped(f"({more} more)", f"the {MAX_COLUMNS} most filled are read"))
    return FeatureSpec(
        columns=tuple(verdict for verdict in verdicts if isinstance(verdict, Column)),
        interaction_kinds=tuple(sorted(list(dict.fromkeys(interaction_kinds))[:MAX_KINDS])),
        dropped=tuple(dropped),
    )


def build(
    spec: FeatureSpec, leads: pl.DataFrame, interactions: pl.DataFrame
) -> NDArray[np.float32]:
    """Matrix (rows of leads, len(spec.features)), column-major; NaN is missing.

    The one function behind training (a lead in many rows, each as of its own time), batch and
    live scoring: a row's bytes depend on that row and its lead's interactions alone.

    leads: lead_id, created_at, as_of, attributes (JSON text that was known before as_of).
    interactions: lead_id, kind, occurred_at, known_at, in any order; what had not occurred or was
    not known before a row's as_of does not count (ml.interactions.summarize), and nothing older
    than ml.interactions.LOOKBACK_DAYS need be there. Pass those of these leads alone, and leads
    in blocks of some 100,000 rows: memory grows with both.

    Unseen categories become OTHER; values that are not of their column's kind become NaN.
    """
    matrix = np.empty((leads.height, len(spec.features)), np.float32, order="F")
    texts = values.read(leads["attributes"], [column.name for column in spec.columns])
    as_of = pl.lit(leads["as_of"])
    age = (as_of - pl.lit(leads["created_at"])).dt.total_microseconds() / DAY_US
    # All in one query: a few leads cost what it takes to ask, 0.4 ms each time.
    encoded = texts.select(
        *(
            values.encode(pl.nth(position), column, as_of).fill_null(np.nan).alias(str(position))
            for position, column in enumerate(spec.columns)
        ),
        age.fill_null(np.nan).alias("age"),
    )
    for position, column in zip([*range(len(spec.columns)), -1], encoded, strict=True):
        matrix[:, position] = column.to_numpy()
    if spec.interaction_kinds:
        matrix[:, len(spec.columns) : -1] = activity.summarize(
            leads, interactions, spec.interaction_kinds
        )
    return matrix


def _most_filled_first(texts: Iterable[str | None]) -> list[str]:
    filled: Counter[str] = Counter()
    for text in texts:
        filled.update({name: value not in (None, "") for name, value in _object(text).items()})
    return sorted(filled, key=lambda name: (-filled[name], name))


def _object(text: str | None) -> dict[str, Any]:
    try:
        document = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _few(rows: int) -> int:
    return max(2, min(20, rows // 50), rows // 1000)


def _judge(text: pl.Series, few: int) -> Column | Dropped:
    filled = text.filter(text != "")
    if len(filled) < few:
        return Dropped(text.name, f"filled in {len(filled)} of {len(text)} rows only")
    column = _column(filled, few)
    if column is None:
        return Dropped(text.name, "an identifier: most of its values stand in a row or two")
    feature = pl.select(values.encode(pl.lit(text), column, _ANY_TIME)).to_series()
    distinct, missing = feature.drop_nulls().n_unique(), feature.null_count()
    if distinct == 0 or (distinct == 1 and missing < few):
        return Dropped(text.name, "the same in every row")
    return column


def _column(filled: pl.Series, few: int) -> Column | None:
    """How the column is read, by rules 3 to 9 of infer; None for an identifier."""
    name, text = filled.name, pl.lit(filled)
    numbers, booleans, times, characters, without_blanks = pl.select(
        values.number(text).is_not_null().mean().alias("numbers"),
        values.boolean(text).is_not_null().mean().alias("booleans"),
        values.time(text).is_not_null().mean().alias("times"),
        text.str.len_chars().mean().alias("characters"),
        text.str.contains(_NO_BLANKS).mean().alias("without_blanks"),
    ).row(0)
    if numbers >= _NEARLY_ALL:
        return Column(name, "numeric")
    if booleans == 1:
        return Column(name, "boolean")
    if times >= _NEARLY_ALL:
        return Column(name, "date")
    if characters <= _SHORT and (categories := _categories(filled, few)):
        return Column(name, "categorical", categories)
    if max(numbers, times) >= _HALF:
        return Column(name, "numeric" if numbers >= times else "date")
    if characters <= _SHORT and without_blanks >= _NEARLY_ALL:
        return None
    return Column(name, "text")


def _categories(filled: pl.Series, few: int) -> tuple[str, ...]:
    """The categories by rule 6 of infer; none if the values are too many to be categories."""
    common = (
        filled.alias("value")
        .value_counts(name="rows")
        .filter(pl.col("rows") >= few, pl.col("value") != OTHER)
        .sort("rows", "value", descending=[True, False])
        .head(MAX_CATEGORIES)
    )
    if common["rows"].sum() < len(filled) * _HALF:
        return ()
    return (*sorted(common["value"]), OTHER)
