"""Whether outcomes have anything to do with what is known of the leads."""

import numpy as np

from ml.algorithm import Floats
from ml.encoding import Encoding
from ml.history import History

SHUFFLES = 2_000
# Of 100 tenants without a signal, two are believed to have one.
LEVEL = 0.02
# Of more leads, as many are read, evenly over time: there the test misses nothing any more.
MOST_LEADS = 10_000
# Columns that vary little weigh little: three leads of a rare category are no signal.
LEAST_DEVIATION = 0.3
# Leads that have, and that lack, what a single column says.
FEWEST_LEADS = 5
_AT_A_TIME = 100


def p_value(history: History, seed: int) -> float:
    """The share of shuffles of the outcomes among the leads whose outcomes go with the columns as
    much as the real ones do; below LEVEL there is a signal.

    A permutation test, exact at any number of outcomes. Of each shuffle the better of two ranks
    counts: by the global score statistic, the squared covariance of outcomes and columns summed
    over all columns, which sees many weak ones (J. Goeman, S. van de Geer, H. van Houwelingen,
    "Testing against a high dimensional alternative", 2006), and by the strongest correlation of any
    one column, which sees a single one among thousands of leads. Leads, not snapshots, are
    shuffled: a lead's snapshots share its outcome.
    """
    from threadpoolctl import threadpool_limits

    if history.label.all() or not history.label.any():
        return 1.0
    columns, outcome = _by_lead(history)
    residual = outcome - outcome.mean()
    random = np.random.default_rng(seed)
    block = np.broadcast_to(residual, (_AT_A_TIME, len(residual)))
    with threadpool_limits(limits=1):
        shuffled = [
            _statistics(columns, random.permuted(block, axis=1))
            for _ in range(SHUFFLES // _AT_A_TIME)
        ]
        told = np.vstack([_statistics(columns, residual[np.newaxis]), *shuffled])
    # Ties are no better than the real outcomes by rounding alone.
    rounded = np.round(told / np.maximum(np.abs(told).max(axis=0), 1e-300), 9)
    ranks = [(np.sort(-each).searchsorted(-each, side="right")) for each in rounded.T]
    best = np.minimum(*ranks)
    return float((best <= best[0]).mean())


def _statistics(columns: Floats, residuals: Floats) -> Floats:
    """Of each row of residuals (shuffles, leads), the global and the strongest column's."""
    deviation = columns.std(axis=0)
    weighed = columns / np.maximum(deviation, LEAST_DEVIATION)
    covariance = residuals @ weighed
    # Without each lead's covariance with itself, which rests on how unusual it is alone.
    own = residuals**2 @ (weighed**2).sum(axis=1)
    often = (columns != columns.min(axis=0)).sum(axis=0) >= FEWEST_LEADS
    seldom = (columns != columns.max(axis=0)).sum(axis=0) >= FEWEST_LEADS
    alone = columns[:, often & seldom] / deviation[often & seldom]
    strongest = np.abs(residuals @ alone).max(axis=1, initial=0.0)
    return np.column_stack([(covariance**2).sum(axis=1) - own, strongest])


def _by_lead(history: History) -> tuple[Floats, Floats]:
    """The mean of each lead's encoded snapshots, and the share of them that converted."""
    _, first_row, lead = np.unique(history.lead, return_index=True, return_inverse=True)
    by_time = np.argsort(first_row)
    step = max(len(by_time) / MOST_LEADS, 1.0)
    chosen = np.zeros(len(by_time), dtype=np.bool_)
    chosen[by_time[np.arange(0, len(by_time), step).astype(np.intp)]] = True
    read = np.flatnonzero(chosen[lead])
    _, lead = np.unique(lead[read], return_inverse=True)
    matrix, rows = history.matrix[read], np.bincount(lead)
    encoded = Encoding.of(history.spec, matrix).encode(matrix)
    mean = np.column_stack([np.bincount(lead, column) for column in encoded.T] or [rows])
    return mean / rows[:, None], np.bincount(lead, history.label[read]) / rows
