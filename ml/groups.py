"""Figures by group on the rows that a training's hold-out judged."""

from collections.abc import Sequence

from ml.algorithm import Floats
from ml.fairness import NOT_KNOWN, FairnessReport, bands, by_group
from ml.history import History
from ml.settings import Fairness
from ml.windows import Rows


def by_attributes(
    history: History, rows: Rows, log_odds: Floats, settings: Fairness
) -> FairnessReport | None:
    """By the groups that the tenant names, of attributes that are features; None without any.

    history: with all attributes, those too that the model was not shown. rows: positions that were
    judged, with their calibrated log-odds, shape (rows,).
    """
    from scipy.special import expit

    there = {column.name for column in history.spec.columns}
    named = {name: edges for name, edges in settings.groups.items() if name in there}
    if not named:
        return None
    return by_group(
        {name: _groups(history, name, edges, rows) for name, edges in named.items()},
        history.label[rows],
        expit(log_odds),
        history.lead[rows],
        settings=settings,
    )


def _groups(history: History, name: str, edges: Sequence[float], rows: Rows) -> list[str]:
    names = [column.name for column in history.spec.columns]
    position = names.index(name)
    values, categories = history.matrix[rows, position], history.spec.columns[position].categories
    if edges:
        return bands(values, edges)
    if not categories:
        categories = ("no", "yes")
    return [
        categories[int(value)] if 0 <= value < len(categories) else NOT_KNOWN
        for value in values.tolist()
    ]
